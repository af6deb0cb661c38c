//! Corral's developer commands: `cargo xtask VERB`, one file per verb.
//!
//! xtask links none of our crates. It runs cargo, npm, docker and the built binaries, and prints every command that it
//! runs. A failure ends with one message that says what to do.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::settings::Profile;

mod addresses;
mod arm;
mod autobahn;
mod bench;
mod bundle;
mod call;
mod chat;
mod ci;
mod claim;
mod compose;
mod contract;
mod doctor;
mod engine;
mod env;
mod env_file;
mod fetch_model;
mod gguf;
mod kubernetes;
mod memory;
mod model;
mod mutants;
mod page;
mod probe;
mod programs;
mod python;
mod release;
mod say;
mod sbom;
mod schemas;
mod settings;
mod signals;
mod skipped;
mod soak;
mod stack;
mod steps;
mod switch_model;
mod test;
mod tidy;
mod tune;
mod up;

/// Corral's developer commands.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(subcommand)]
    verb: DeveloperVerb,
}

#[derive(Debug, Subcommand)]
enum DeveloperVerb {
    /// Runs everything natively: the model, llama-server, llm-proxy, chat-gateway and the page. Ctrl-C stops all of it.
    Up {
        /// Which env file has the settings.
        #[arg(long, value_enum, default_value_t = Profile::Dev)]
        env: Profile,
    },
    /// Fetches only the model.
    FetchModel {
        /// Which env file names the model.
        #[arg(long, value_enum, default_value_t = Profile::Dev)]
        env: Profile,
    },
    /// Measures llama-server with the model on this machine, and recommends settings.
    Tune(tune::TuneOptions),
    /// Changes the model of the Compose stack that runs, without a cut.
    SwitchModel {
        /// What `deploy/corral switch-model` takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Makes one archive with all that a machine without a network needs, and install.sh.
    Bundle(bundle::BundleOptions),
    /// Chats in the terminal with a running gateway; reads messages from standard input.
    Chat {
        /// The gateway's address, as in http://127.0.0.1:8000/; by default that of `cargo xtask up`.
        address: Option<String>,
    },
    /// Shows what this machine has, what it lacks, and how to get that.
    Doctor,
    /// Runs the tests, after setting up what they need.
    Test(test::TestOptions),
    /// Tests the programs for 64-bit Arm on another machine, with the emulator that CORRAL_ARM64_TOOL names.
    Arm(arm::ArmOptions),
    /// Checks what a merge needs besides the tests: style, lints, docs, house rules, licences.
    Ci,
    /// Renders and checks deploy/k8s, as `ci` does. Needs no cluster.
    Kubernetes,
    /// Checks the house rules: file length, module docs, dependency direction, style and the like.
    Tidy(tidy::TidyOptions),
    /// Measures and prints tables.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        subject: bench::Subject,
    },
    /// Puts mixed load and a fault a minute on llm-proxy, and fails when anything is lost or left behind.
    Soak(soak::SoakOptions),
    /// Plays Autobahn's cases against the gateway's WebSocket layer. Takes half a minute.
    Autobahn,
    /// Breaks the code in small ways and sees whether a test notices. Takes hours.
    Mutants(mutants::MutantsOptions),
    /// Gives generated JSON schemas that llm-proxy lets through to llama.cpp's own converter.
    Schemas(schemas::SchemasOptions),
    /// Compares docs/configuration.md with the code.
    Env {
        /// Writes the file instead.
        #[arg(long)]
        write: bool,
    },
    /// Lists what is in each image (a software bill of materials), in `target/sbom`.
    Sbom,
    /// Writes a new version into every file that names it, and dates the change log's entry.
    Release(release::ReleaseOptions),
    /// Compares the contract of the chat protocol (docs/protocol, the page's types) with the code.
    Contract {
        /// Writes the files instead.
        #[arg(long)]
        write: bool,
    },
    /// Becomes COMMAND, which ends when the process PARENT ends.
    #[command(hide = true)]
    Bound {
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(CommandLine::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: DeveloperVerb) -> Result<ExitCode> {
    match verb {
        DeveloperVerb::Up { env } => block_on(up::run(env))?,
        DeveloperVerb::FetchModel { env } => block_on(fetch_model::run(env))?,
        DeveloperVerb::Tune(options) => block_on(tune::run(&options))?,
        DeveloperVerb::SwitchModel { arguments } => match switch_model::run(&arguments)? {},
        DeveloperVerb::Bundle(options) => bundle::run(&options)?,
        DeveloperVerb::Chat { address } => block_on(chat::run(address))?,
        DeveloperVerb::Doctor => return doctor::run(),
        DeveloperVerb::Test(options) => return test::run(&options),
        DeveloperVerb::Arm(options) => return arm::run(&options),
        DeveloperVerb::Ci => return ci::run(),
        DeveloperVerb::Kubernetes => kubernetes::run()?,
        DeveloperVerb::Tidy(options) => tidy::run(&options)?,
        DeveloperVerb::Bench { subject } => bench::run(&subject)?,
        DeveloperVerb::Soak(options) => soak::run(&options)?,
        DeveloperVerb::Autobahn => autobahn::run()?,
        DeveloperVerb::Mutants(options) => return mutants::run(&options),
        DeveloperVerb::Schemas(options) => schemas::run(&options)?,
        DeveloperVerb::Env { write } => env::run(write)?,
        DeveloperVerb::Sbom => sbom::run()?,
        DeveloperVerb::Release(options) => release::run(&options)?,
        DeveloperVerb::Contract { write } => contract::run(write)?,
        DeveloperVerb::Bound { parent, command } => return Err(call::bound(parent, &command)),
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(task)
}

/// A runtime on this thread alone. The kernel ends children with the thread that started them, so that thread must live as
/// long as xtask.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
