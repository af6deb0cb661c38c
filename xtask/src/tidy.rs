//! `cargo xtask tidy`: the house rules that no compiler checks, each a small function in one of its modules.
//!
//! It looks at the files that git knows or would add, so what is built or ignored does not count.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::arm;
use crate::env;
use crate::release;
use crate::say;
use crate::settings::{Profile, workspace};

mod dependencies;
mod imports;
mod lexemes;
mod named;
mod prose;
mod rules;
mod style;
mod translations;
mod unclean;
mod versions;

/// How to check.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TidyOptions {
    /// First takes out of the list of files that are not yet clean whatever is clean by now.
    #[arg(long)]
    shrink: bool,
}

/// Checks everything.
///
/// # Errors
///
/// With a line per problem: the place, what is wrong and what to do.
pub(crate) fn run(options: &TidyOptions) -> Result<()> {
    let root = workspace();
    let sh = Shell::new()?;
    sh.change_dir(&root);
    let mut problems = Vec::new();

    let files = say::read(cmd!(
        sh,
        "git ls-files --cached --others --exclude-standard"
    ))?;
    let fuzz = read(&root.join("fuzz/Cargo.toml"));
    for path in files.lines() {
        // A file that was just deleted, or one that is no text, has no rules.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            problems.extend(rules::file(path, &text));
            problems.extend(rules::unfuzzed(path, &text, &fuzz));
            problems.extend(versions::unpinned(path, &text));
        }
    }
    let functions = named::Functions::of(files.lines().map(|path| (path, read(&root.join(path)))));
    for path in files.lines().filter(|path| path.ends_with(".md")) {
        problems.extend(named::missing(path, &read(&root.join(path)), &functions));
    }
    let unknown = arm::named_tests().filter(|name| !functions.has(name));
    problems.extend(unknown.map(|name| format!("xtask/src/arm: there is no test {name}")));
    let pages = files.lines().filter(|path| path.ends_with(".md"));
    let pages: Vec<_> = pages
        .map(|path| (path.to_owned(), read(&root.join(path))))
        .collect();
    problems.extend(translations::differences(&pages));
    let findings = findings(&root, &files);
    if options.shrink {
        let list = unclean::shrunk(&findings, &read(&root.join(unclean::LIST)));
        sh.write_file(root.join(unclean::LIST), list)?;
    }
    problems.extend(unclean::problems(
        &findings,
        &read(&root.join(unclean::LIST)),
    ));
    let metadata = say::read(cmd!(sh, "cargo metadata --no-deps --format-version 1"))?;
    problems.extend(dependencies::check(&serde_json::from_str(&metadata)?));
    problems.extend(rules::changelog(&read(&root.join("CHANGELOG.md"))));
    problems.extend(versions::changelog(&read(&root.join("CHANGELOG.md"))));
    for path in release::STACKS.into_iter().chain(["web/package.json"]) {
        problems.extend(versions::differences(path, &read(&root.join(path))));
    }
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

/// What the rules of style find in all of `files`, a path per line.
fn findings(root: &Path, files: &str) -> Vec<unclean::Finding> {
    let texts: Vec<(String, String)> = files
        .lines()
        .filter(|path| path.ends_with(".rs") || path.ends_with(".md"))
        .map(|path| (path.to_owned(), read(&root.join(path))))
        .collect();
    let mut findings = Vec::new();
    for (path, text) in &texts {
        // This rule's own file is the list of what it forbids.
        if path != "xtask/src/tidy/prose.rs" {
            findings.extend(prose::file(path, text));
        }
        if path.ends_with(".rs") {
            findings.extend(style::file(path, text));
            findings.extend(rules::silent_skips(path, text));
        }
    }
    findings.extend(style::shared_names(&texts));
    findings.extend(imports::circles(&texts));
    findings
}

/// The text of a file; a missing one is empty, which its rule then says.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
