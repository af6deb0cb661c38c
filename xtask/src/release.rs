//! `cargo xtask release VERSION`: one version for everything in the repository. It writes files; the commit and the tag are
//! the maintainer's.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::workspace;

/// The version of the workspace.
pub(crate) const CURRENT: &str = env!("CARGO_PKG_VERSION");
/// The stacks, whose images have the version of their checkout unless `CORRAL_VERSION` is set.
pub(crate) const STACKS: [&str; 2] = [
    "deploy/docker-compose.dev.yml",
    "deploy/docker-compose.prod.yml",
];
/// The names of the services' images for Kubernetes, with the same version.
const CLUSTERS: [&str; 3] = [
    "deploy/k8s/base/kustomization.yaml",
    "deploy/k8s/components/migrate/kustomization.yaml",
    "deploy/k8s/example/kustomization.yaml",
];
/// The heading of what the next release will have.
const UNRELEASED: &str = "## Unreleased\n";

/// What to release.
#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseOptions {
    /// The new version, as in 0.2.0.
    version: String,
    /// Only checks that the workspace has this version, and that the change log has an entry for it.
    #[arg(long)]
    check: bool,
}

/// Writes the version into every file that names it, and dates the change log's entry.
///
/// # Errors
///
/// When it is no version, or what is unreleased is empty; in a check, when something else has another version.
pub(crate) fn run(options: &ReleaseOptions) -> Result<()> {
    let version = options.version.as_str();
    ensure!(
        is_version(version),
        "{version} is not a version: three numbers with dots, as in 0.2.0"
    );
    let root = workspace();
    let changelog = read(&root, "CHANGELOG.md")?;
    if options.check {
        ensure!(
            version == CURRENT,
            "the workspace has the version {CURRENT}, not {version}: run `cargo xtask release {version}`"
        );
        ensure!(
            entries(&changelog, version) > 0,
            "CHANGELOG.md has no entry for {version}: run `cargo xtask release {version}`"
        );
        return Ok(());
    }
    let sh = Shell::new()?;
    sh.change_dir(&root);
    let today = cmd!(sh, "date -u +%F").read()?;
    let dated = dated(&changelog, version, &today)?;
    let manifest = read(&root, "Cargo.toml")?;
    let old = format!("\nversion = \"{CURRENT}\"\n");
    let new = format!("\nversion = \"{version}\"\n");
    sh.write_file("Cargo.toml", manifest.replacen(&old, &new, 1))?;
    for stack in STACKS {
        let text = read(&root, stack)?;
        let old = format!("${{CORRAL_VERSION:-{CURRENT}}}");
        let new = format!("${{CORRAL_VERSION:-{version}}}");
        sh.write_file(stack, text.replace(&old, &new))?;
    }
    for cluster in CLUSTERS {
        let text = read(&root, cluster)?;
        let old = format!("newTag: {CURRENT}\n");
        let new = format!("newTag: {version}\n");
        sh.write_file(cluster, text.replace(&old, &new))?;
    }
    // These write the lock files, too.
    say::run(cmd!(sh, "cargo update --workspace"))?;
    say::run(
        cmd!(
            sh,
            "cargo metadata --manifest-path fuzz/Cargo.toml --format-version 1"
        )
        .ignore_stdout(),
    )?;
    say::run(cmd!(
        sh,
        "npm --prefix web version {version} --no-git-tag-version --allow-same-version"
    ))?;
    sh.write_file("CHANGELOG.md", dated)?;
    say::line(format_args!(
        "\nThe repository has the version {version}. Look at `git diff`, then:\n\n  \
         cargo xtask ci && cargo xtask test --all --compose\n  \
         git commit --all --message 'release {version}'\n  \
         git tag --annotate v{version} --message 'Corral {version}'\n  \
         git push origin main v{version}"
    ));
    Ok(())
}

fn read(root: &Path, path: &str) -> Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

fn is_version(text: &str) -> bool {
    let numbers: Vec<_> = text.split('.').collect();
    numbers.len() == 3
        && numbers.iter().all(|number| {
            number
                .parse::<u32>()
                .is_ok_and(|n| n.to_string() == *number)
        })
}

/// The change log with what is unreleased under the new version.
fn dated(changelog: &str, version: &str, today: &str) -> Result<String> {
    if entries(changelog, "Unreleased") == 0 {
        bail!("CHANGELOG.md has nothing under `## Unreleased`: write what users see of {version}");
    }
    let heading = format!("{UNRELEASED}\n## {version} - {today}\n");
    Ok(changelog.replacen(UNRELEASED, &heading, 1))
}

/// How many entries the change log has under the heading that begins with `name`.
fn entries(changelog: &str, name: &str) -> usize {
    let mut wanted = false;
    let mut n_entries = 0;
    for line in changelog.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            wanted = heading.split(' ').next() == Some(name);
        } else if wanted && line.starts_with("- ") {
            n_entries += 1;
        }
    }
    n_entries
}

#[cfg(test)]
mod tests {
    use super::{dated, entries, is_version};

    const LOG: &str =
        "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.1.0 - 2026-11-01\n\n- Old.\n- Older.\n";

    #[test]
    fn a_release_dates_what_was_unreleased() {
        let after = dated(LOG, "0.2.0", "2026-12-01").unwrap();
        let expected = "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n- New.\n\n\
                        ## 0.1.0 - 2026-11-01\n\n- Old.\n- Older.\n";
        assert_eq!(after, expected);
        assert_eq!(entries(&after, "0.2.0"), 1);
        assert_eq!(entries(&after, "0.1.0"), 2);
    }

    #[test]
    fn nothing_unreleased_is_no_release() {
        let after = dated(LOG, "0.2.0", "2026-12-01").unwrap();
        assert!(dated(&after, "0.3.0", "2026-12-02").is_err());
    }

    #[test]
    fn a_version_is_three_numbers() {
        assert!(is_version("0.2.0"));
        for wrong in ["v0.2.0", "0.2", "0.2.0-rc1", "0.02.0", ""] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }
}
