//! `cargo xtask bench WHAT`: measurements, printed as tables. They never fail a build. docs/performance.md has the figures,
//! with the machine that they were taken on.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::{Profile, Settings};

mod fetch;
mod gateway;
mod hub;
mod measure;
mod mock;
mod page;
mod proxy;
mod scale;
mod table;
mod tools;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subject {
    /// What chat-gateway and llm-proxy add to the first token, compared with asking the upstream directly.
    Chain,
    /// The cost of fetching a model with model-fetcher, curl, aria2c and `hf download`, from a Hub on this machine.
    Fetch(fetch::FetchBenchOptions),
    /// What chat-gateway does with many chats and sockets, beside the least gateway in Python, on a mock of llama-server.
    Gateway(gateway::GatewayBenchOptions),
    /// What the page costs the browser: its first paint, long answers, long conversations, fast answers.
    Page(page::PageBenchOptions),
    /// What llm-proxy, nginx and other gateways add to answers and tokens of a mock of llama-server.
    Proxy(proxy::ProxyBenchOptions),
    /// How far one queue goes: the real one before hundreds of simulated engines and thousands of people.
    Queue,
    /// llm-proxy's choice of an upstream compared with others, on simulated llama-servers.
    Route,
    /// Several gateways over one PostgreSQL and one Valkey, beside one with SQLite: the delay of a token, a gateway's death,
    /// and what the two servers cost.
    Scale(scale::ScaleBenchOptions),
}

/// Builds with optimisation and measures.
///
/// # Errors
///
/// When it does not build, or a measured program fails.
pub(crate) fn run(subject: &Subject) -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    match subject {
        Subject::Chain => {
            let packages = ["--package", "llm-proxy", "--package", "chat-gateway"];
            say::run(cmd!(sh, "cargo build --release {packages...} --bins"))?;
            say::run(cmd!(
                sh,
                "cargo build --release --package bench --bin bench_chain"
            ))?;
            let bench = settings.target("release/bench_chain");
            say::run(cmd!(sh, "{bench}"))
        }
        Subject::Fetch(options) => {
            let packages = ["--package", "model-fetcher", "--package", "testkit"];
            say::run(cmd!(
                sh,
                "cargo build --release {packages...} --bins --example bench_fetch"
            ))?;
            // By itself, so that model-fetcher is built as it is shipped.
            say::run(cmd!(sh, "cargo build --release --package fake-cas --bins"))?;
            crate::block_on(fetch::run(&settings, options))
        }
        Subject::Gateway(options) => {
            build_gateway(&sh)?;
            crate::block_on(gateway::run(&settings, options))
        }
        Subject::Page(options) => {
            // In one call, as `bench chain` builds them: another selection would compile dependencies again.
            let packages = ["--package", "llm-proxy", "--package", "chat-gateway"];
            say::run(cmd!(sh, "cargo build --release {packages...} --bins"))?;
            page::run(&sh, &settings, options)
        }
        Subject::Proxy(options) => {
            say::run(cmd!(sh, "cargo build --release --package llm-proxy"))?;
            say::run(cmd!(
                sh,
                "cargo build --release --package bench --bin bench_llama --bin bench_load"
            ))?;
            crate::block_on(proxy::run(&settings, options))
        }
        Subject::Queue => simulate(&sh, &settings, "bench_queue"),
        Subject::Route => simulate(&sh, &settings, "bench_route"),
        Subject::Scale(options) => {
            build_gateway(&sh)?;
            crate::block_on(scale::run(&settings, options))
        }
    }
}

/// Builds the services and the loads of chat-gateway.
fn build_gateway(sh: &Shell) -> Result<()> {
    // In one call, as `bench chain` builds them: another selection would compile dependencies again.
    let packages = ["--package", "llm-proxy", "--package", "chat-gateway"];
    say::run(cmd!(sh, "cargo build --release {packages...} --bins"))?;
    let bins = ["bench_llama", "bench_load", "bench_chat"];
    let bins = bins.iter().flat_map(|bin| ["--bin", bin]);
    say::run(cmd!(sh, "cargo build --release --package bench {bins...}"))
}

/// Builds and runs an example of the crate `admission`.
fn simulate(sh: &Shell, settings: &Settings, example: &str) -> Result<()> {
    let package = "admission";
    say::run(cmd!(
        sh,
        "cargo build --release --package {package} --example {example}"
    ))?;
    let bench = settings.target(&format!("release/examples/{example}"));
    say::run(cmd!(sh, "{bench}"))
}
