//! `cargo xtask arm`: Corral for 64-bit Arm on another machine. The services as a chain and, with `--whole`, the crates' own
//! tests run under an emulator, which `CORRAL_ARM64_TOOL` names.
//!
//! On an Arm machine `cargo xtask test` is the test; docs/arm.md says what an emulator cannot show.

use std::process::ExitCode;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::programs::Emulator;
use crate::settings::{Profile, Settings};
use crate::skipped::SkippedTests;
use crate::steps::{StepOutcome, Steps};
use crate::{block_on, say};

mod chain;
mod left_out;
mod model;

/// How to get what the steps need.
const GET_TOOL: &str = "CORRAL_ARM64_TOOL names no emulator (docs/arm.md says what it must do)";
/// The list of tests that ended early, below `target/`.
const SKIPPED: &str = "arm-tests-skipped";
/// For all builds: nobody debugs them, and most are made once.
const BUILD: [(&str, &str); 2] = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")];

/// The crates whose tests run with `--whole`, each with its step.
const CRATES: [(&str, &str); 7] = [
    ("arm: tests of common", "common"),
    ("arm: tests of admission", "admission"),
    ("arm: tests of llama-client", "llama-client"),
    ("arm: tests of llm-proxy", "llm-proxy"),
    ("arm: tests of chat-gateway", "chat-gateway"),
    ("arm: tests of model-fetcher", "model-fetcher"),
    ("arm: tests of testkit", "testkit"),
];

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct ArmOptions {
    /// Runs the crates' own tests, too, which takes about half an hour.
    #[arg(long)]
    whole: bool,
}

/// Runs every step; the last line is their count.
///
/// # Errors
///
/// When this machine is Arm or has no emulator. A failed step shows in the exit code.
pub(crate) fn run(options: &ArmOptions) -> Result<ExitCode> {
    let settings = Settings::load(Profile::Dev)?;
    if let Some(word) = is_needless() {
        bail!("{word}");
    }
    if Emulator::find(&settings)?.is_none() {
        bail!("{GET_TOOL}");
    }
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let mut steps = Steps::new(false);
    test(&mut steps, &sh, &settings, options.whole);
    Ok(steps.finish())
}

/// The steps, for `cargo xtask test --arm` too.
pub(crate) fn test(steps: &mut Steps, sh: &Shell, settings: &Settings, whole: bool) {
    let mut found = None;
    steps.run("arm: services", || {
        if let Some(word) = is_needless() {
            say::line(word);
            return Ok(StepOutcome::Passed);
        }
        let Some(emulator) = Emulator::find(settings)? else {
            return Ok(StepOutcome::Skipped(GET_TOOL.to_owned()));
        };
        let tool = emulator.tool();
        let root = settings.root();
        say::run(cmd!(sh, "{tool} build {root}").envs(BUILD))?;
        found = Some(emulator);
        Ok(StepOutcome::Passed)
    });
    let Some(emulator) = found else {
        return;
    };
    steps.run("arm: chain", || {
        block_on(chain::test(sh, settings, &emulator))
    });
    if !whole {
        return;
    }
    let mut skipped = None;
    for (step, name) in CRATES {
        steps.run(step, || {
            if skipped.is_none() {
                skipped = Some(SkippedTests::start(settings, SKIPPED)?);
            }
            tests_of(name, sh, settings, &emulator)
        });
    }
    if let Some(skipped) = skipped {
        steps.run("arm: tools of tests", || skipped.outcome());
    }
}

/// The tests of a crate, but for those that no emulator can run.
fn tests_of(
    name: &str,
    sh: &Shell,
    settings: &Settings,
    emulator: &Emulator,
) -> Result<StepOutcome> {
    let tool = emulator.tool();
    let root = settings.root();
    let mut arguments = vec!["--exact"];
    for (test, reason) in left_out::of(name) {
        say::line(format_args!("left out: {test}: {reason}"));
        arguments.extend(["--skip", test]);
    }
    say::run(
        cmd!(sh, "{tool} test {root} {name} {arguments...}")
            .envs(BUILD)
            .env(SkippedTests::VARIABLE, settings.target(SKIPPED)),
    )?;
    Ok(StepOutcome::Passed)
}

/// The tests that are named here, as `tidy` finds them.
pub(crate) fn named_tests() -> impl Iterator<Item = String> {
    let chain = chain::TESTS.iter().map(|test| format!("chain/{test}"));
    chain.chain(left_out::named())
}

/// Why nothing is to be done on this machine.
fn is_needless() -> Option<&'static str> {
    cfg!(target_arch = "aarch64")
        .then_some("This machine is Arm: `cargo xtask test` has tested the programs for Arm.")
}
