//! `cargo xtask soak`: mixed load on a release build of llm-proxy, with a fault a minute. Nothing may be lost, unexplained or
//! left behind. The binary `soak` of the crate bench does the work and judges.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::{Profile, Settings};

/// How to soak.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakOptions {
    /// Minutes of load. In less than five only a few faults happen.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

/// Builds, soaks, and fails when anything was wrong.
///
/// # Errors
///
/// When it does not build, or something was wrong; its output says what.
pub(crate) fn run(options: &SoakOptions) -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    say::run(cmd!(sh, "cargo build --release --package llm-proxy"))?;
    say::run(cmd!(
        sh,
        "cargo build --release --package bench --bin bench_llama --bin soak"
    ))?;
    let soak = settings.target("release/soak");
    let minutes = options.minutes.to_string();
    say::run(cmd!(sh, "{soak} --minutes {minutes}"))
}
