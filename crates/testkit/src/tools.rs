//! Programs that a test needs and a machine may lack: strace, faketime, a mount namespace.
//!
//! A test whose tool does not work here ends early. That must never look like a promise that was kept, so every such
//! test asks here: `cargo xtask test` counts what was skipped, and under `--all` the test fails.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Set by `cargo xtask test --all`: nothing may be skipped.
const ALL: &str = "CORRAL_TEST_ALL";
/// The file to which each skipped test adds a line, set by `cargo xtask test`.
const SKIPPED: &str = "CORRAL_TEST_SKIPPED";

/// Whether `program` works here with `arguments`, a harmless call of what the test is about to do.
///
/// When it does not, the skip is counted, and the test returns at once.
///
/// # Panics
///
/// When it does not work and nothing may be skipped.
pub fn needs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let works = command.status().is_ok_and(|status| status.success());
    if !works {
        skip(&format!(
            "`{program} {}` does not work here",
            arguments.join(" ")
        ));
    }
    works
}

/// Counts this test as skipped, for a reason that is no program. The test returns after it.
///
/// # Panics
///
/// When nothing may be skipped.
pub fn skip(reason: &str) {
    assert!(variable(ALL).is_none(), "nothing may be skipped: {reason}");
    eprintln!("skipped: {reason}");
    if let Some(path) = variable(SKIPPED) {
        note(&path, reason).expect("the file of skipped tests takes a line");
    }
}

/// One write for the whole line, because the tests of several processes add to the same file.
fn note(path: &str, reason: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)?;
    file.write_all(format!("{}: {reason}\n", test_name()).as_bytes())
}

/// The test harness runs each test in a thread of its name, or alone in the main thread.
fn test_name() -> String {
    let arguments: Vec<String> = std::env::args().collect();
    let exact = arguments
        .iter()
        .position(|argument| argument == "--exact")
        .and_then(|at| at.checked_add(1).and_then(|at| arguments.get(at)));
    let thread = std::thread::current().name().map(str::to_owned);
    thread
        .filter(|name| name != "main" && !name.starts_with("tokio-"))
        .or_else(|| exact.cloned())
        .unwrap_or_else(|| "a test".to_owned())
}

/// How often a test does what it does at random: `usual`, unless the variable `name` says more.
///
/// # Panics
///
/// When the variable is no number.
#[must_use]
pub fn times(name: &str, usual: usize) -> usize {
    variable(name).map_or(usual, |times| times.parse().expect("a number"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "testkit's tests have no settings; the variables are for the harness alone"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{ALL, SKIPPED, needs};

    /// What the test below does in a process of its own, whose environment is the harness's.
    #[test]
    #[ignore = "run by the test below"]
    fn without_its_tool() {
        assert!(!needs("no-such-program-of-ours", &["--version"]));
    }

    fn run_without_its_tool(variables: &[(&str, &str)]) -> bool {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "tools::tests::without_its_tool"])
            .env_remove(ALL)
            .env_remove(SKIPPED)
            .envs(variables.iter().copied())
            .output()
            .unwrap()
            .status
            .success()
    }

    #[test]
    fn a_test_without_its_tool_is_counted_and_fails_where_nothing_may_be_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("skipped");
        let path = file.to_str().unwrap();
        assert!(run_without_its_tool(&[(SKIPPED, path)]));
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "tools::tests::without_its_tool: `no-such-program-of-ours --version` does not work here\n"
        );
        assert!(!run_without_its_tool(&[(SKIPPED, path), (ALL, "1")]));
    }

    #[test]
    fn a_tool_that_works_is_not_skipped() {
        assert!(needs("true", &[]));
    }
}
