//! What style rules find, and the list of files that are not yet clean.
//!
//! Old code breaks these rules by the hundred. `not-yet-clean.txt` names each file that breaks one, and a file on the
//! list that no longer does is a problem too. So the list can only become shorter.

use std::collections::BTreeSet;
use std::fmt;

/// Where the list is, from the workspace's root.
pub(super) const LIST: &str = "xtask/src/tidy/not-yet-clean.txt";

/// A habit that the house has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// `let (a, b) = (x, y);`
    TupleLet,
    /// A name that begins with an underscore and holds no guard.
    Underscore,
    /// `let name = |x| ...;`
    NamedClosure,
    /// Two types of one name.
    TypeName,
    /// A test whose name is longer than a sentence of moderate length.
    TestName,
    /// A turn of phrase from the list in `prose`.
    Prose,
    /// Two modules that need each other, or one that needs what is above it.
    ImportCircle,
    /// A test that ends early without `testkit::tools`.
    SilentSkip,
}

impl fmt::Display for Habit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TupleLet => "tuple-let",
            Self::Underscore => "underscore",
            Self::NamedClosure => "named-closure",
            Self::TypeName => "type-name",
            Self::TestName => "test-name",
            Self::Prose => "prose",
            Self::ImportCircle => "import-circle",
            Self::SilentSkip => "silent-skip",
        })
    }
}

/// A habit at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) habit: Habit,
    pub(super) path: String,
    pub(super) line: usize,
    what: String,
}

impl Finding {
    pub(super) fn new(habit: Habit, path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            habit,
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }

    /// The line of the list that excuses it.
    fn excuse(&self) -> String {
        format!("{} {}", self.habit, self.path)
    }
}

/// The problems: findings in files that are not on the list, and lines of the list that excuse nothing.
pub(super) fn problems(findings: &[Finding], list: &str) -> Vec<String> {
    let excused: BTreeSet<&str> = list.lines().collect();
    let needed: BTreeSet<String> = findings.iter().map(Finding::excuse).collect();
    let mut problems = Vec::new();
    for finding in findings {
        if !excused.contains(finding.excuse().as_str()) {
            let Finding {
                habit,
                path,
                line,
                what,
            } = finding;
            problems.push(format!("{path}:{line}: {what} ({habit})"));
        }
    }
    for (number, line) in list.lines().enumerate() {
        if !needed.contains(line) {
            problems.push(format!(
                "{LIST}:{}: `{line}` is clean: take the line out (`cargo xtask tidy --shrink`)",
                number + 1
            ));
        }
    }
    problems
}

/// The list without the lines that excuse nothing, in order, each once.
pub(super) fn shrunk(findings: &[Finding], list: &str) -> String {
    let needed: BTreeSet<String> = findings.iter().map(Finding::excuse).collect();
    let kept: BTreeSet<&str> = list.lines().filter(|line| needed.contains(*line)).collect();
    let mut text = String::new();
    for line in kept {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Finding, Habit, problems, shrunk};

    fn findings() -> [Finding; 2] {
        [
            Finding::new(Habit::TupleLet, "a.rs", 3, "write a line for each"),
            Finding::new(Habit::Prose, "b.md", 1, "say `is`"),
        ]
    }

    #[test]
    fn a_finding_is_a_problem_unless_its_file_is_on_the_list_for_it() {
        assert_eq!(
            problems(&findings(), "prose b.md\n"),
            ["a.rs:3: write a line for each (tuple-let)"]
        );
        assert_eq!(
            problems(&findings(), "prose b.md\ntuple-let a.rs\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_file_on_the_list_that_is_clean_is_a_problem() {
        let list = "prose b.md\nprose a.rs\ntuple-let a.rs\n";
        assert_eq!(
            problems(&findings(), list),
            [
                "xtask/src/tidy/not-yet-clean.txt:2: `prose a.rs` is clean: take the line out (`cargo xtask tidy --shrink`)"
            ]
        );
        let twice = format!("{list}{list}");
        assert_eq!(shrunk(&findings(), &twice), "prose b.md\ntuple-let a.rs\n");
    }
}
