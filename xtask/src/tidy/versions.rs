//! Everything in the repository has one version, the workspace's.

use crate::release::CURRENT;

/// Where the file at `path` names another version.
pub(super) fn differences(path: &str, text: &str) -> Vec<String> {
    let marks = if path.ends_with("package.json") {
        ("\"version\": \"", '"')
    } else {
        ("CORRAL_VERSION:-", '}')
    };
    named(text, marks)
        .into_iter()
        .filter(|version| *version != CURRENT)
        .map(|version| {
            format!("{path}: has the version {version}, not {CURRENT}: `cargo xtask release VERSION` writes all of them")
        })
        .collect()
}

/// What is between the two marks, everywhere.
fn named<'a>(text: &'a str, (begin, end): (&str, char)) -> Vec<&'a str> {
    let rests = text.split(begin).skip(1);
    rests.filter_map(|rest| rest.split(end).next()).collect()
}

/// The newest release in the change log is the workspace's version.
pub(super) fn changelog(text: &str) -> Option<String> {
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let newest = headings.find(|heading| *heading != "Unreleased")?;
    let version = newest.split(' ').next().unwrap_or_default();
    (version != CURRENT).then(|| {
        format!(
            "CHANGELOG.md: the newest release is {version}, and the workspace's version {CURRENT}"
        )
    })
}

/// An action of a workflow must be named by its commit, with its version beside it: a tag can be moved.
pub(super) fn unpinned(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with(".github/") {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| Some((index, line.split("uses: ").nth(1)?)))
        .filter(|(_, action)| !action.starts_with("./") && !is_pinned(action))
        .map(|(index, action)| {
            format!(
                "{path}:{}: pin {action} as NAME@COMMIT # vVERSION",
                index + 1
            )
        })
        .collect()
}

fn is_pinned(action: &str) -> bool {
    let Some((name, version)) = action.split_once(" # v") else {
        return false;
    };
    let commit = name.split('@').nth(1).unwrap_or_default();
    commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()) && !version.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{CURRENT, changelog, differences, unpinned};

    #[test]
    fn a_file_with_another_version_is_found() {
        let good = format!("image: x:${{CORRAL_VERSION:-{CURRENT}}}\n");
        assert_eq!(differences("deploy/x.yml", &good), Vec::<String>::new());
        assert_eq!(
            differences("deploy/x.yml", "x:${CORRAL_VERSION:-9.9.9}").len(),
            1
        );
        assert_eq!(
            differences("web/package.json", "\"version\": \"9.9.9\",").len(),
            1
        );
    }

    #[test]
    fn the_newest_release_of_the_change_log_is_the_workspaces_version() {
        assert_eq!(changelog("## Unreleased\n\n- x\n"), None);
        assert_eq!(
            changelog(&format!(
                "## Unreleased\n## {CURRENT} - 2026-12-01\n## 0.0.1\n"
            )),
            None
        );
        assert!(changelog("## Unreleased\n## 9.9.9 - 2026-12-01\n").is_some());
    }

    #[test]
    fn an_action_that_is_named_by_its_tag_is_found() {
        let pinned = "uses: a/b@0123456789012345678901234567890123456789 # v1.2.3\nuses: ./x\n";
        assert_eq!(
            unpinned(".github/workflows/ci.yml", pinned),
            Vec::<String>::new()
        );
        assert_eq!(
            unpinned(".github/workflows/ci.yml", "  - uses: a/b@v1\n"),
            [".github/workflows/ci.yml:1: pin a/b@v1 as NAME@COMMIT # vVERSION"]
        );
    }
}
