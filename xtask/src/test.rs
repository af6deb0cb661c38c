//! `cargo xtask test`: the one test command. Sets up what the tests need (npm packages, engine, model) and runs all that
//! this machine can: units and wire, the page, the native chain on the real engine and model, clients in Python,
//! JavaScript and curl, the page in a browser, `up` itself and, when asked, both Compose stacks.

use std::process::ExitCode;

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::settings::{Profile, Settings};
use crate::steps::{Outcome, Steps};
use crate::{block_on, compose, doctor, page, runtime, say};

mod chain;
mod clients;
mod whole;

use chain::TestChain;

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fails where something this machine lacks would be skipped.
    #[arg(long)]
    all: bool,
    /// Tests both Compose stacks too, on this machine's Docker Engine.
    #[arg(long)]
    compose: bool,
    /// Runs only the Rust tests whose names contain this, without the chain.
    filter: Option<String>,
}

/// Runs the tests; the last line is the count of steps.
///
/// # Errors
///
/// When the workspace cannot be entered; a failed step is in the exit code.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let mut steps = Steps::new(!options.all);
    if let Some(filter) = &options.filter {
        steps.run("rust", || rust(&sh, &settings, &[filter.as_str()]));
        return Ok(steps.finish());
    }

    steps.run("rust", || rust(&sh, &settings, &[]));
    steps.run("crash tools", || Ok(crash_tools(&settings)));
    steps.run("packet filter", || packet_filter(&sh));
    steps.run("page", || page_units(&sh, &settings));

    let runtime = runtime()?;
    let mut started = None;
    steps.run("chain starts", || {
        started = Some(runtime.block_on(TestChain::start(&sh, &settings))?);
        Ok(Outcome::Passed)
    });
    if let Some(chain) = started {
        steps.run("chain", || black_box(&sh, &settings, &chain));
        clients::run(&mut steps, &sh, &settings, &chain);
        steps.run("page in chromium", || browser(&sh, &settings, &chain));
        steps.run("chain stops", || runtime.block_on(chain.stop()));
    }
    drop(runtime);

    steps.run("up", || block_on(whole::test(&sh, &settings)));
    if options.compose {
        steps.run("compose", || compose::test(&sh, &settings));
    }
    Ok(steps.finish())
}

/// xtask apart: `cargo xtask` has compiled its dependencies with its own few features already.
fn rust(sh: &Shell, settings: &Settings, filter: &[&str]) -> Result<Outcome> {
    say::run(cmd!(sh, "cargo build --workspace --exclude xtask --bins"))?;
    if settings.which("cargo-nextest").is_some() {
        say::run(cmd!(
            sh,
            "cargo nextest run --workspace --exclude xtask --no-tests pass --no-fail-fast {filter...}"
        ))?;
        say::run(cmd!(
            sh,
            "cargo nextest run --package xtask --no-tests pass --no-fail-fast {filter...}"
        ))?;
    } else {
        say::line(
            "cargo-nextest is not here (`cargo install --locked cargo-nextest`): using cargo test",
        );
        say::run(cmd!(
            sh,
            "cargo test --workspace --exclude xtask --no-fail-fast {filter...}"
        ))?;
        say::run(cmd!(sh, "cargo test --package xtask {filter...}"))?;
    }
    Ok(Outcome::Passed)
}

/// Some tests of model-fetcher need these programs and test nothing without them, which no test runner can show.
fn crash_tools(settings: &Settings) -> Outcome {
    let missing: Vec<_> = ["strace", "faketime"]
        .into_iter()
        .filter(|tool| settings.which(tool).is_none())
        .collect();
    if missing.is_empty() {
        return Outcome::Passed;
    }
    let missing = missing.join(" ");
    Outcome::Skipped(format!(
        "model-fetcher's tests that need {missing} tested nothing (Debian: apt-get install {missing})"
    ))
}

/// The test of an upstream whose packets are dropped needs a network of its own, and tests nothing without one.
fn packet_filter(sh: &Shell) -> Result<Outcome> {
    let rule = "ip link set lo up && iptables -A INPUT -p tcp --dport 9 -j DROP";
    let works = cmd!(sh, "unshare -rn sh -c {rule}")
        .quiet()
        .ignore_status()
        .output();
    if works.is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::Skipped(
        "no packets could be dropped: needs iptables, iproute2 and user namespaces \
         (Debian: apt-get install iptables iproute2)"
            .to_owned(),
    ))
}

fn page_units(sh: &Shell, settings: &Settings) -> Result<Outcome> {
    if settings.which("npm").is_none() {
        return Ok(Outcome::Skipped(
            "no npm: install Node 20 (Debian: apt-get install nodejs npm)".to_owned(),
        ));
    }
    block_on(page::install(settings))?;
    say::run(cmd!(sh, "npm --prefix web test"))?;
    Ok(Outcome::Passed)
}

/// The ignored tests of testkit's `chain`, one at a time: they look at which slots are busy.
fn black_box(sh: &Shell, settings: &Settings, chain: &TestChain) -> Result<Outcome> {
    let variables = chain.variables();
    if settings.which("cargo-nextest").is_some() {
        let selection = ["--workspace", "--exclude", "xtask", "--test", "chain"];
        say::run(
            cmd!(
                sh,
                "cargo nextest run {selection...} --run-ignored only --no-fail-fast"
            )
            .envs(variables),
        )?;
    } else {
        let selection = [
            "--workspace",
            "--exclude",
            "xtask",
            "--test",
            "chain",
            "--",
            "--ignored",
        ];
        say::run(cmd!(sh, "cargo test {selection...} --test-threads 1").envs(variables))?;
    }
    Ok(Outcome::Passed)
}

fn browser(sh: &Shell, settings: &Settings, chain: &TestChain) -> Result<Outcome> {
    let Some(chromium) = doctor::chromium(settings) else {
        return Ok(Outcome::Skipped(
            "no Chromium (Debian: apt-get install chromium; or CHROMIUM_BIN)".to_owned(),
        ));
    };
    block_on(page::install(settings))?;
    say::run(
        cmd!(sh, "npm --prefix web run e2e")
            .envs(chain.variables())
            .env("CHROMIUM_BIN", chromium),
    )?;
    Ok(Outcome::Passed)
}
