//! The command line: subcommands, settings, signals and exit codes around the library.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::env::{EXIT_CONFIGURATION, Environment};
use common::telemetry::Telemetry;
use model_fetcher::config::{self, ALL_TABLES, Fetch, Import, List, PREFIX, TABLES};
use model_fetcher::{Digest, Error, FileState};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long what runs may take to save its work after a signal.
const GRACE: Duration = Duration::from_millis(1500);

/// Fills a folder with a verified GGUF model, then exits.
///
/// Without a command it fetches HF_FILENAME of HF_REPO_ID into MODELS_DIR; a model that is in place costs no request.
/// HF_FILENAME is a file, the first part of a split one, or a quantisation such as :Q4_K_M. An interrupted run goes on where it stopped. `model-fetcher settings` lists all settings.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  HF_REPO_ID=ggml-org/gemma-3-4b-it-GGUF HF_FILENAME=gemma-3-4b-it-Q4_K_M.gguf \
                  MODELS_DIR=./models model-fetcher\n  HF_REPO_ID=ggml-org/gemma-3-4b-it-GGUF HF_FILENAME=:Q4_K_M \
                  MODEL_MIRRORS=https://hf-mirror.com model-fetcher --locked\n\nExit codes: 0 done, 64 settings, 65 wrong bytes, 69 source not \
                  reached, 73 cannot write, 74 disk full, 75 locked by another, 77 not allowed, 130 and 143 stopped by \
                  a signal."
)]
#[command(args_conflicts_with_subcommands = true)]
struct FetcherArguments {
    /// Fetches exactly the files that MODELS_DIR/models.lock has for this request, from any source, or nothing.
    #[arg(long)]
    locked: bool,
    /// Every line on standard output is one JSON object, progress in numbers, as with LOG_FORMAT=json.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes a model from a disk, for machines without a network.
    #[command(
        after_help = "Examples:\n  HF_FILENAME=model.gguf MODELS_DIR=./models model-fetcher import /media/usb/model.gguf \
                            --sha256 b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53\n  \
                            HF_FILENAME=large-00001-of-00003.gguf MODELS_DIR=./models model-fetcher import /media/usb"
    )]
    Import {
        /// The GGUF file to take, all files of a split model, or the folder that they are in; HF_FILENAME is the name
        /// that the first one is published under.
        #[arg(required = true, value_name = "FILE|FOLDER")]
        files: Vec<PathBuf>,
        /// The SHA-256 that a model in one file must have, as 64 hexadecimal digits; MODEL_SHA256 does the same. The
        /// parts of a split model are compared with models.lock.
        #[arg(long)]
        sha256: Option<Digest>,
    },
    /// Lists the models of a repository: names, sizes, gating, and what fits in this machine's memory.
    #[command(
        after_help = "Examples:\n  model-fetcher list ggml-org/gemma-3-4b-it-GGUF\n  \
                            model-fetcher list ggml-org/gemma-3-4b-it-GGUF:Q4_K_M --json"
    )]
    List {
        /// The repository, as owner/name, and after a colon one quantisation.
        #[arg(value_name = "REPO[:QUANT]")]
        repository: String,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Removes what neither the manifest nor models.lock wants: other GGUF files, and leftovers of downloads.
    #[command(after_help = "Example:\n  MODELS_DIR=./models model-fetcher prune --dry-run")]
    Prune {
        /// Only says what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says what is in MODELS_DIR, by size and time of change.
    #[command(after_help = "Example:\n  MODELS_DIR=./models model-fetcher status --json")]
    Status {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Reads every file in MODELS_DIR again and compares it with its digest.
    #[command(after_help = "Example:\n  MODELS_DIR=./models model-fetcher verify")]
    Verify,
    /// Prints the table of settings, as Markdown.
    #[command(after_help = "Example:\n  model-fetcher settings")]
    Settings,
}

fn main() -> ExitCode {
    let options = match FetcherArguments::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Nobody reads a closed output.
            error.print().ok();
            return if error.use_stderr() {
                ExitCode::from(EXIT_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("model-fetcher: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(options));
    // A flush that still runs may take longer than a stop is allowed to.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The library's own errors name their cause; the chain would say it twice.
            match error.downcast_ref::<Error>() {
                Some(error) => eprintln!("model-fetcher: {error}"),
                None => eprintln!("model-fetcher: {error:#}"),
            }
            let code = match error.downcast_ref::<Error>() {
                Some(error) => error.exit_code(),
                None if error.is::<common::env::Invalid>() => EXIT_CONFIGURATION,
                None => 1,
            };
            ExitCode::from(code)
        }
    }
}

async fn run(
    FetcherArguments {
        locked,
        json,
        command,
    }: FetcherArguments,
) -> anyhow::Result<u8> {
    let mut env = Environment::from_process(PREFIX, ALL_TABLES);
    let telemetry = Telemetry::read(&mut env);
    let telemetry = if json { telemetry.as_json() } else { telemetry };
    let stop = CancellationToken::new();
    match command {
        None => {
            let settings = Fetch::read(&mut env);
            env.finish()?;
            let json = telemetry.is_json();
            telemetry.install();
            let settings = Fetch {
                locked,
                json,
                ..settings.context("the settings are incomplete")?
            };
            until_signalled(model_fetcher::fetch(&settings, &stop), &stop).await
        }
        Some(Command::Import { files, sha256 }) => {
            let settings = Import::read(&mut env, files, sha256);
            env.finish()?;
            telemetry.install();
            let settings = settings.context("the settings are incomplete")?;
            until_signalled(model_fetcher::import(&settings, &stop), &stop).await
        }
        Some(Command::List { repository, json }) => {
            let settings = List::read(&mut env, &repository);
            env.finish()?;
            let settings = settings.context("the settings are incomplete")?;
            until_signalled(list(&settings, json, &stop), &stop).await
        }
        Some(Command::Prune { dry_run }) => {
            let folder = config::folder(&mut env);
            env.finish()?;
            until_signalled(prune(&folder, dry_run, &stop), &stop).await
        }
        Some(Command::Status { json }) => {
            let folder = config::folder(&mut env);
            env.finish()?;
            let status = model_fetcher::status(&folder)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&status)?);
            } else {
                print!("{status}");
            }
            Ok(0)
        }
        Some(Command::Verify) => {
            let folder = config::folder(&mut env);
            env.finish()?;
            telemetry.install();
            until_signalled(verify(&folder, &stop), &stop).await
        }
        Some(Command::Settings) => {
            print!("{}", common::env::markdown(TABLES));
            Ok(0)
        }
    }
}

async fn list(settings: &List, json: bool, stop: &CancellationToken) -> Result<(), Error> {
    let listing = model_fetcher::list(settings, stop).await?;
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&listing).expect("a listing has only string keys")
        );
    } else {
        print!("{listing}");
    }
    Ok(())
}

async fn prune(
    folder: &std::path::Path,
    dry_run: bool,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let unwanted = model_fetcher::prune(folder, dry_run, stop).await?;
    let (did, freed) = if dry_run {
        ("would remove", "would free")
    } else {
        ("removed", "freed")
    };
    unwanted.iter().for_each(|file| println!("{did}  {file}"));
    let n_bytes: u64 = unwanted.iter().map(|file| file.allocated).sum();
    println!(
        "{freed} {}.{} MB in {} files",
        n_bytes / 1_000_000,
        n_bytes % 1_000_000 / 100_000,
        unwanted.len()
    );
    Ok(())
}

async fn verify(folder: &std::path::Path, stop: &CancellationToken) -> Result<(), Error> {
    let files = model_fetcher::verify(folder, stop).await?;
    if files.is_empty() {
        println!("{} holds no verified model yet", folder.display());
    }
    files.iter().for_each(|found| println!("{found}"));
    match files
        .iter()
        .filter(|found| found.state != FileState::Verified)
        .count()
    {
        0 => Ok(()),
        n_damaged => Err(Error::Damaged(n_damaged)),
    }
}

/// Runs `work` to its end. After SIGTERM or SIGINT it is asked to stop, and left behind when it takes too long.
async fn until_signalled<T>(
    work: impl Future<Output = Result<T, Error>>,
    stop: &CancellationToken,
) -> anyhow::Result<u8> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut work = std::pin::pin!(work);
    let code = tokio::select! {
        done = work.as_mut() => {
            done?;
            return Ok(0);
        }
        _ = terminate.recv() => 143,
        _ = interrupt.recv() => 130,
    };
    stop.cancel();
    match tokio::time::timeout(GRACE, work).await {
        Ok(Ok(_)) => Ok(0),
        Ok(Err(Error::Stopped)) | Err(_) => {
            eprintln!("model-fetcher: {}", Error::Stopped);
            Ok(code)
        }
        Ok(Err(error)) => Err(error.into()),
    }
}
