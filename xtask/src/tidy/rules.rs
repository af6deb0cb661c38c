//! Rules about the text of one file. Each takes text and returns its problems, so that each can be tested on a line.

use super::unclean::{Finding, Habit};

/// Lines that one source file may have.
const MAX_LINES: usize = 600;
/// Endings of hand-written text.
const TEXT: &[&str] = &[
    ".rs",
    ".ts",
    ".tsx",
    ".css",
    ".html",
    ".py",
    ".toml",
    ".yml",
    ".yaml",
    ".md",
    ".conf",
    ".json",
    "Dockerfile",
    ".env.dev",
    ".env.prod",
];
/// Where the process environment may be read.
const READERS: &[&str] = &[
    "crates/common/src/env.rs",
    "crates/testkit/",
    "xtask/",
    // `cargo xtask autobahn` names the player so.
    "crates/chat-gateway/src/wire/autobahn.rs",
    // `cargo xtask schemas` and `cargo fuzz` name the converter so.
    "crates/llm-proxy/src/request/schema/fuzzing.rs",
    "crates/llm-proxy/src/request/schema/tests/converter.rs",
];

/// A rule about one line.
type Rule = fn(&str) -> Option<&'static str>;

/// All rules for the file at `path`, from the workspace's root.
pub(super) fn file(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if ends_with(path, &[".rs", ".ts", ".tsx"]) {
        problems.extend(length(text).map(|problem| format!("{path}: {problem}")));
    }
    if ends_with(path, &[".rs"]) {
        problems.extend(module_docs(text).map(|problem| format!("{path}:1: {problem}")));
    }
    let rules: &[(bool, Rule)] = &[
        (ends_with(path, &[".rs"]), bare_allow),
        (
            ends_with(path, &[".rs"]) && !READERS.iter().any(|reader| path.starts_with(reader)),
            environment,
        ),
        (
            ends_with(
                path,
                &[".rs", ".ts", ".tsx", ".py", ".yml", ".toml", "Dockerfile"],
            ),
            unfinished,
        ),
        (ends_with(path, TEXT), trailing_space),
        (true, conflict),
    ];
    for (number, line) in text.lines().enumerate() {
        let found = rules
            .iter()
            .filter(|(applies, _)| *applies)
            .filter_map(|(_, rule)| rule(line));
        problems.extend(found.map(|problem| format!("{path}:{}: {problem}", number + 1)));
    }
    problems
}

fn ends_with(path: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| path.ends_with(ending))
}

fn length(text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MAX_LINES)
        .then(|| format!("{lines} lines, at most {MAX_LINES}: is there a second subject in it?"))
}

fn module_docs(text: &str) -> Option<&'static str> {
    (!text.starts_with("//!"))
        .then_some("must open with `//!`: what it owns and what it keeps true")
}

fn bare_allow(line: &str) -> Option<&'static str> {
    let is_attribute = line.trim_start().starts_with("#[") || line.trim_start().starts_with("#![");
    (is_attribute && line.contains("allow("))
        .then_some("use #[expect(lint, reason = \"...\")] instead of allow")
}

fn environment(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    code.contains("env::var")
        .then_some("only common::env reads the environment")
}

fn unfinished(line: &str) -> Option<&'static str> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    marks
        .iter()
        .any(|mark| line.contains(mark))
        .then_some("finish it, or write an issue")
}

/// What a merge left for somebody to decide.
fn conflict(line: &str) -> Option<&'static str> {
    ["<<<<<<< ", ">>>>>>> "]
        .iter()
        .any(|mark| line.starts_with(mark))
        .then_some("a conflict of a merge: decide which side stays")
}

fn trailing_space(line: &str) -> Option<&'static str> {
    line.ends_with([' ', '\t', '\r'])
        .then_some("white space at the end of the line")
}

/// Tests that say they are skipped in a way that `cargo xtask test` cannot count.
pub(super) fn silent_skips(path: &str, text: &str) -> Vec<Finding> {
    if path == "crates/testkit/src/tools.rs" {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| line.contains(concat!("\"skip", "ped: ")))
        .map(|(index, _)| {
            let what = "a skipped test must count: use testkit::tools::needs";
            Finding::new(Habit::SilentSkip, path, index + 1, what)
        })
        .collect()
}

/// A crate that compiles something for fuzz targets alone is one that `fuzz/` uses, or nothing ever compiles that.
pub(super) fn unfuzzed(path: &str, text: &str, manifest: &str) -> Option<String> {
    let name = path.strip_prefix("crates/")?.split('/').next()?;
    let is_fuzzed = text.contains("cfg(fuzzing)") && path.ends_with(".rs");
    let is_used = manifest.contains(&format!("\"../crates/{name}\""));
    (is_fuzzed && !is_used)
        .then(|| format!("{path}: has cfg(fuzzing), but fuzz/Cargo.toml does not use {name}"))
}

/// The change log exists and has an entry.
pub(super) fn changelog(text: &str) -> Option<String> {
    let has_entry = text.lines().any(|line| line.starts_with("## "))
        && text.lines().any(|line| line.starts_with("- "));
    (!has_entry).then(|| {
        "CHANGELOG.md: must have a `## ` heading and an entry that begins with `- `".to_owned()
    })
}

/// Each variable of an env file is in `documented`, the page that is rendered from the code.
pub(super) fn env_file(name: &str, text: &str, documented: &str) -> Vec<String> {
    let pairs = match crate::env_file::parse(name, text) {
        Ok(pairs) => pairs,
        Err(error) => return vec![error.to_string()],
    };
    let unknown = pairs
        .into_iter()
        .filter(|(variable, _)| !documented.contains(&format!("`{variable}`")));
    unknown
        .map(|(variable, _)| {
            format!(
                "{name}: {variable} is not documented in {}",
                crate::env::PAGE
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        bare_allow, changelog, conflict, env_file, environment, file, length, module_docs,
        silent_skips, trailing_space, unfinished, unfuzzed,
    };

    #[test]
    fn a_file_of_more_than_600_lines_is_too_long() {
        assert_eq!(length(&"x\n".repeat(600)), None);
        assert!(length(&"x\n".repeat(601)).is_some());
    }

    #[test]
    fn a_rust_file_opens_with_what_it_is_about() {
        assert_eq!(module_docs("//! What.\n"), None);
        assert!(module_docs("use std::fs;\n").is_some());
    }

    #[test]
    fn an_allow_is_refused_and_an_expect_is_not() {
        assert!(bare_allow("    #[allow(dead_code)]").is_some());
        assert!(bare_allow("#![allow(dead_code)]").is_some());
        assert_eq!(bare_allow("#[expect(dead_code, reason = \"x\")]"), None);
        assert_eq!(bare_allow("self.allow(caller)"), None);
    }

    #[test]
    fn what_a_merge_left_is_found() {
        assert!(conflict("<<<<<<< HEAD").is_some());
        assert!(conflict(">>>>>>> 0a1b2c3").is_some());
        assert_eq!(conflict("    >>>>>>> not at the beginning"), None);
    }

    #[test]
    fn a_test_that_skips_itself_without_telling_is_found() {
        let text = concat!("x\neprintln!(\"skip", "ped: no strace\");\n");
        assert_eq!(silent_skips("crates/a/tests/it/b.rs", text).len(), 1);
        assert_eq!(silent_skips("crates/testkit/src/tools.rs", text), []);
    }

    #[test]
    fn a_crate_with_something_to_fuzz_is_used_by_the_fuzz_targets() {
        let manifest = "a = { path = \"../crates/a\" }";
        let text = "#[cfg(fuzzing)]\npub mod fuzzing;\n";
        assert_eq!(unfuzzed("crates/a/src/lib.rs", text, manifest), None);
        assert_eq!(unfuzzed("crates/b/src/lib.rs", "", manifest), None);
        assert_eq!(
            unfuzzed("crates/b/src/lib.rs", text, manifest).as_deref(),
            Some("crates/b/src/lib.rs: has cfg(fuzzing), but fuzz/Cargo.toml does not use b")
        );
    }

    #[test]
    fn only_the_readers_of_the_environment_may_read_it() {
        assert!(environment("let home = std::env::var(\"HOME\");").is_some());
        assert_eq!(environment("// never std::env::var"), None);
        let text = "//! x\nstd::env::var(\"HOME\")\n";
        assert_eq!(file("crates/common/src/env.rs", text), Vec::<String>::new());
        assert_eq!(
            file("crates/llm-proxy/src/config.rs", text),
            ["crates/llm-proxy/src/config.rs:2: only common::env reads the environment"]
        );
    }

    #[test]
    fn what_is_unfinished_is_found() {
        assert!(unfinished(concat!("// TO", "DO: later")).is_some());
        assert!(unfinished(concat!("// FIX", "ME")).is_some());
        assert_eq!(unfinished("// done"), None);
    }

    #[test]
    fn white_space_at_the_end_of_a_line_is_found() {
        assert!(trailing_space("x ").is_some());
        assert!(trailing_space("x\t").is_some());
        assert_eq!(trailing_space("x"), None);
    }

    #[test]
    fn the_change_log_has_an_entry() {
        assert_eq!(changelog("# Changes\n\n## 0.1.0\n\n- It runs.\n"), None);
        assert!(changelog("").is_some());
        assert!(changelog("## 0.1.0\n").is_some());
    }

    #[test]
    fn an_env_file_has_documented_variables_only() {
        let page = "| `HF_TOKEN` or `HF_TOKEN_FILE` | – | The token. |";
        assert_eq!(
            env_file(".env.dev", "# HF_X=1\nHF_TOKEN_FILE=/x\n", page),
            Vec::<String>::new()
        );
        assert_eq!(
            env_file(".env.dev", "HF_TOKN=x\n", page),
            [".env.dev: HF_TOKN is not documented in docs/configuration.md"]
        );
    }
}
