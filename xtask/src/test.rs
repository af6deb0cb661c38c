//! `cargo xtask test`: the one test command. It installs what the tests need (npm packages, engine, model) and runs every
//! test that this machine can run: units and wire, Autobahn's cases, the page, the native chain on the real engine and
//! model, clients in Python, JavaScript and curl, the page in a browser, `up` itself and, when asked, both Compose stacks.

use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::settings::{Profile, Settings};
use crate::skipped::SkippedTests;
use crate::steps::{StepOutcome, Steps};
use crate::{arm, autobahn, block_on, compose, doctor, kubernetes, page, runtime, say};

mod chain;
mod clients;
mod whole;

use chain::TestChain;

/// What all builds of checks and tests select. Another selection would compile dependencies again, with other features.
/// bench has no tests.
pub(crate) const OURS: [&str; 5] = ["--workspace", "--exclude", "xtask", "--exclude", "bench"];
/// The list of tests that ended early, below `target/`.
const SKIPPED: &str = "tests-skipped";
/// The longest answer of the chain under test. The small model rambles. This is enough for an answer that can be stopped, and
/// takes no minutes.
pub(crate) const MAX_ANSWER_TOKENS: &str = "384";

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct TestOptions {
    /// Fails where something this machine lacks would be skipped.
    #[arg(long)]
    all: bool,
    /// Tests both Compose stacks too, on this machine's Docker Engine.
    #[arg(long)]
    compose: bool,
    /// Tests the programs for 64-bit Arm too, with the emulator that CORRAL_ARM64_TOOL names.
    #[arg(long)]
    arm: bool,
    /// Runs only the Rust tests whose names contain this, without the chain.
    filter: Option<String>,
}

/// Runs the tests; the last line is the count of steps.
///
/// # Errors
///
/// When the workspace cannot be entered. A failed step shows in the exit code.
pub(crate) fn run(options: &TestOptions) -> Result<ExitCode> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let mut steps = Steps::new(!options.all);
    let skipped = SkippedTests::start(&settings, SKIPPED)?;
    if let Some(filter) = &options.filter {
        steps.run("rust", || {
            rust(&sh, &settings, &[filter.as_str()], options.all, &skipped)
        });
        steps.run("tools of tests", || skipped.outcome());
        return Ok(steps.finish());
    }

    steps.run("rust", || rust(&sh, &settings, &[], options.all, &skipped));
    steps.run("tools of tests", || skipped.outcome());
    steps.run("autobahn", || websocket(&sh, &settings));
    steps.run("page", || page_units(&sh, &settings));

    let runtime = runtime()?;
    let mut started = None;
    steps.run("chain starts", || {
        started = Some(runtime.block_on(TestChain::start(&sh, &settings))?);
        Ok(StepOutcome::Passed)
    });
    if let Some(chain) = started {
        steps.run("chain", || {
            chain_tests(&sh, &settings, &chain.variables(), &[])
        });
        clients::run(&mut steps, &sh, &settings, &chain);
        steps.run("drain of a pod", || {
            let (engine, key) = chain.second_engine();
            kubernetes::drain::test(&sh, &settings, engine, key)
        });
        steps.run("page in chromium", || browser(&sh, &settings, &chain));
        steps.run("chain stops", || runtime.block_on(chain.stop()));
    }
    drop(runtime);

    steps.run("up", || block_on(whole::test(&sh, &settings)));
    if options.compose {
        steps.run("compose", || compose::test(&sh, &settings));
        steps.run("bundle", || compose::offline::test(&sh, &settings));
    }
    if options.arm {
        arm::test(&mut steps, &sh, &settings, false);
    }
    Ok(steps.finish())
}

/// xtask has calls of its own: `cargo xtask` has already compiled its dependencies with its own few features.
fn rust(
    sh: &Shell,
    settings: &Settings,
    filter: &[&str],
    all: bool,
    skipped: &SkippedTests,
) -> Result<StepOutcome> {
    // `testkit::tools` reads both.
    let _list = sh.push_env(SkippedTests::VARIABLE, &skipped.list);
    let _all = all.then(|| sh.push_env("CORRAL_TEST_ALL", "1"));
    say::run(cmd!(sh, "cargo build {OURS...} --all-targets"))?;
    if settings.which("cargo-nextest").is_some() {
        // Most tests wait for something most of the time.
        let threads = (available_parallelism()?.get() * 3 / 2).max(2).to_string();
        say::run(cmd!(
            sh,
            "cargo nextest run {OURS...} --no-tests pass --no-fail-fast --test-threads {threads} {filter...}"
        ))?;
        say::run(cmd!(
            sh,
            "cargo nextest run --package xtask --no-tests pass --no-fail-fast {filter...}"
        ))?;
    } else {
        say::line(
            "cargo-nextest is not here (`cargo install --locked cargo-nextest`): using cargo test",
        );
        say::run(cmd!(sh, "cargo test {OURS...} --no-fail-fast {filter...}"))?;
        say::run(cmd!(sh, "cargo test --package xtask {filter...}"))?;
    }
    Ok(StepOutcome::Passed)
}

/// Autobahn's cases against the gateway's WebSocket layer.
fn websocket(sh: &Shell, settings: &Settings) -> Result<StepOutcome> {
    if settings.which("python3").is_none() {
        return Ok(StepOutcome::Skipped(
            "no python3 (Debian: apt-get install python3 python3-venv)".to_owned(),
        ));
    }
    autobahn::test(sh, settings)?;
    Ok(StepOutcome::Passed)
}

fn page_units(sh: &Shell, settings: &Settings) -> Result<StepOutcome> {
    if settings.which("npm").is_none() {
        return Ok(StepOutcome::Skipped(format!("no npm: {}", page::GET_NODE)));
    }
    block_on(page::install(settings))?;
    say::run(cmd!(sh, "npm --prefix web test"))?;
    Ok(StepOutcome::Passed)
}

/// The ignored tests of testkit's `chain`, or those of them that `names` has, one at a time, because each watches all slots.
pub(crate) fn chain_tests(
    sh: &Shell,
    settings: &Settings,
    variables: &[(&'static str, String)],
    names: &[&str],
) -> Result<StepOutcome> {
    let variables = variables.iter().map(|(name, value)| (name, value));
    let exact = (!names.is_empty()).then_some("--exact");
    if settings.which("cargo-nextest").is_some() {
        say::run(
            cmd!(
                sh,
                "cargo nextest run {OURS...} --test chain --run-ignored only --no-fail-fast -- {exact...} {names...}"
            )
            .envs(variables),
        )?;
    } else {
        let selection = [OURS.as_slice(), &["--test", "chain", "--", "--ignored"]].concat();
        say::run(
            cmd!(
                sh,
                "cargo test {selection...} --test-threads 1 {exact...} {names...}"
            )
            .envs(variables),
        )?;
    }
    Ok(StepOutcome::Passed)
}

fn browser(sh: &Shell, settings: &Settings, chain: &TestChain) -> Result<StepOutcome> {
    let Some(chromium) = doctor::chromium(settings) else {
        return Ok(StepOutcome::Skipped(doctor::GET_CHROMIUM.to_owned()));
    };
    block_on(page::install(settings))?;
    let gateway = settings.target("debug/chat-gateway");
    say::run(
        cmd!(sh, "npm --prefix web run e2e")
            .envs(chain.variables())
            .env("CHROMIUM_BIN", chromium)
            .env("CORRAL_GATEWAY_PROGRAM", gateway),
    )?;
    Ok(StepOutcome::Passed)
}
