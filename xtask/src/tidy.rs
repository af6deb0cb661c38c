//! `cargo xtask tidy`: the house rules that no compiler checks, each a small function in `rules`, `named` or `dependencies`.
//!
//! It looks at the files that git knows or would add, so what is built or ignored does not count.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::env;
use crate::say;
use crate::settings::{Profile, workspace};

mod dependencies;
mod named;
mod rules;

/// Checks everything.
///
/// # Errors
///
/// With a line per problem: the place, what is wrong and what to do.
pub(crate) fn run() -> Result<()> {
    let root = workspace();
    let sh = Shell::new()?;
    sh.change_dir(&root);
    let mut problems = Vec::new();

    let files = say::read(cmd!(
        sh,
        "git ls-files --cached --others --exclude-standard"
    ))?;
    for path in files.lines() {
        // A file that was just deleted, or one that is no text, has no rules.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            problems.extend(rules::file(path, &text));
        }
    }
    let functions = named::Functions::of(files.lines().map(|path| (path, read(&root.join(path)))));
    for path in files.lines().filter(|path| path.ends_with(".md")) {
        problems.extend(named::missing(path, &read(&root.join(path)), &functions));
    }
    let metadata = say::read(cmd!(sh, "cargo metadata --no-deps --format-version 1"))?;
    problems.extend(dependencies::check(&serde_json::from_str(&metadata)?));
    problems.extend(rules::changelog(&read(&root.join("CHANGELOG.md"))));
    let documented = read(&root.join(env::PAGE));
    for profile in [Profile::Dev, Profile::Prod] {
        let name = profile.file_name();
        problems.extend(rules::env_file(name, &read(&root.join(name)), &documented));
    }

    if problems.is_empty() {
        Ok(())
    } else {
        bail!("{} problems:\n  {}", problems.len(), problems.join("\n  "))
    }
}

/// The text of a file; a missing one is empty, which its rule then says.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
