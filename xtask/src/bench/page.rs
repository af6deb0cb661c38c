//! `cargo xtask bench page`: what the page costs the browser's main thread. web/bench/ measures, with Chromium's own trace, a
//! real gateway and a scripted model; this finds the programs.

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::settings::Settings;
use crate::{block_on, doctor, page, say};

/// What `bench page` measures.
#[derive(Debug, clap::Args)]
pub(crate) struct PageBenchOptions {
    /// Only this scenario; may be repeated.
    #[arg(long = "scenario", value_enum)]
    scenarios: Vec<PageScenario>,
    /// Seconds of each paced answer.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PageScenario {
    /// The time to the first paint, and to a page that can be used.
    Paint,
    /// Answers of a megabyte are opened.
    Answers,
    /// A conversation of 2,000 messages is opened and read to its beginning.
    Messages,
    /// Answers of 200 tokens a second, and one of a megabyte at once.
    Stream,
}

impl PageScenario {
    const fn name(self) -> &'static str {
        match self {
            Self::Paint => "paint",
            Self::Answers => "answers",
            Self::Messages => "messages",
            Self::Stream => "stream",
        }
    }
}

/// Measures and prints, table by table. The gateway is already built.
///
/// # Errors
///
/// When there is no Chromium, the page does not build, or a scenario does not come to its end.
pub(crate) fn run(sh: &Shell, settings: &Settings, options: &PageBenchOptions) -> Result<()> {
    let chromium = doctor::chromium(settings)
        .context("no Chromium (Debian: apt-get install chromium; or CHROMIUM_BIN)")?;
    let dist = block_on(page::build(settings))?;
    block_on(page::install(settings))?;
    let scenarios = options
        .scenarios
        .iter()
        .map(|scenario| format!("--scenario={}", scenario.name()));
    let scenarios: Vec<String> = scenarios.collect();
    let seconds = format!("--seconds={}", options.seconds);
    let gateway = settings.target("release/chat-gateway");
    let bench = cmd!(
        sh,
        "npm --prefix web run --silent bench -- {seconds} {scenarios...}"
    );
    say::run(
        bench
            .env("CHROMIUM_BIN", chromium)
            .env("CORRAL_PAGE_DIR", dist)
            .env("CORRAL_GATEWAY_PROGRAM", gateway),
    )
}
