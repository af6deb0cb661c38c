//! The tests that the pages of docs name: a table whose last column is headed `test` holds only names that are there.
//!
//! A name is the path of a file, as far as it is needed to find it, and the test in it (`fleet::a_test`, `common/heads::*`);
//! a name without a test stands for all of a file. What begins with `cargo ` is a command.

use std::collections::BTreeSet;

/// The source files that git knows, by the parts of their paths, and the functions in each.
pub(super) struct Functions(Vec<(Vec<String>, BTreeSet<String>)>);

impl Functions {
    pub(super) fn of<'a>(files: impl Iterator<Item = (&'a str, String)>) -> Self {
        let mut sources = Vec::new();
        for (path, text) in files {
            if let Some(path) = path.strip_suffix(".rs") {
                let parts = path.split('/').map(str::to_owned).collect();
                sources.push((parts, function_names(&text)));
            }
        }
        Self(sources)
    }

    /// Whether there is a test of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split("::").flat_map(|part| part.split('/')).collect();
        let Some((last, folders)) = parts.split_last() else {
            return false;
        };
        self.0.iter().any(|(path, functions)| {
            let whole_file = path
                .last()
                .is_some_and(|file| [file.as_str(), "tests"].contains(last));
            (is_in(path, folders) && (functions.contains(*last) || *last == "*"))
                || (whole_file && is_in(path, &parts))
        })
    }
}

/// The functions that are declared in `text`.
fn function_names(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let (before, name) = line.split_once("fn ")?;
            let is_declared = before
                .split_whitespace()
                .all(|word| word == "async" || word.starts_with("pub"));
            if !is_declared {
                return None;
            }
            Some(name.split(['(', '<']).next()?.to_owned())
        })
        .collect()
}

/// Whether `parts` are in `path`, in their order. A module of tests may be within its file, so its name does not count.
fn is_in(path: &[String], parts: &[&str]) -> bool {
    let mut path = path.iter();
    parts
        .iter()
        .filter(|part| **part != "tests")
        .all(|part| path.any(|known| known == part))
}

/// What the tables of the page at `path` name that is not there.
pub(super) fn missing(path: &str, page: &str, functions: &Functions) -> Vec<String> {
    let mut problems = Vec::new();
    let mut in_table = false;
    for (number, line) in page.lines().enumerate() {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        if !line.starts_with('|') {
            in_table = false;
        } else if cells.last() == Some(&"test") {
            in_table = true;
        } else if in_table {
            let names = cells
                .last()
                .map(|cell| cell.split('`').skip(1).step_by(2))
                .into_iter()
                .flatten();
            let unknown = names.filter(|name| !name.starts_with("cargo ") && !functions.has(name));
            problems.extend(
                unknown.map(|name| format!("{path}:{}: there is no test {name}", number + 1)),
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{Functions, missing};

    fn functions() -> Functions {
        let files = [
            (
                "crates/a/tests/it/door.rs",
                "#[tokio::test]\nasync fn it_opens() {}\n// A fn it_never() is none.\n",
            ),
            (
                "xtask/src/compose/expect.rs",
                "pub(super) fn healthy(stack: &Stack<'_>) -> Result<()> {\n",
            ),
            ("crates/a/src/queue/tests.rs", "fn in_order() {}\n"),
            (
                "crates/b/src/lines.rs",
                "mod tests {\n    fn none_is_lost() {}\n}\n",
            ),
            ("docs/door.md", "fn no_code() {}\n"),
        ];
        Functions::of(
            files
                .into_iter()
                .map(|(path, text)| (path, text.to_owned())),
        )
    }

    #[test]
    fn a_test_is_found_by_its_file_and_its_name() {
        let functions = functions();
        for name in [
            "door::it_opens",
            "a/door::it_opens",
            "door::*",
            "door",
            "queue::tests::in_order",
            "a/queue::tests",
            "lines::tests::none_is_lost",
            "b/lines::tests",
            "compose/expect::healthy",
        ] {
            assert!(functions.has(name), "{name}");
        }
        for name in [
            "door::it_shuts",
            "door::it_never",
            "b/door::it_opens",
            "dor::*",
            "dor",
            "queue::it_opens",
            "no_code",
            "",
        ] {
            assert!(!functions.has(name), "{name}");
        }
    }

    #[test]
    fn only_the_last_column_of_a_table_of_tests_is_looked_at() {
        let page = "| | what | test |\n|---|---|---|\n| 1 | `/health` | `door::it_opens`, `door::gone` |\n\
                    | 2 | x | `cargo xtask soak` |\n\nIn `door::gone` is nothing.\n\n| a | b |\n|---|---|\n| 1 | `gone` |\n";
        assert_eq!(
            missing("docs/x.md", page, &functions()),
            ["docs/x.md:3: there is no test door::gone"]
        );
    }
}
