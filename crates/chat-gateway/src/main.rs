//! The chat-gateway binary: reads the settings, serves until told to stop, and answers health checks.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use chat_gateway::store::{self, ServerAddress};
use chat_gateway::{ADMIN_LISTEN, Config, DATA, Listeners, STORE, config};
use clap::{Parser, Subcommand};
use common::env::{EXIT_CONFIGURATION, Environment, Variable};
use common::shutdown::{self, Shutdown};
use common::traces::{self, Traces};
use common::{admin, telemetry};

/// How long the bus and the database may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

const TABLES: &[&[Variable]] = &[
    chat_gateway::VARIABLES,
    telemetry::VARIABLES,
    traces::VARIABLES,
];

/// The browsers' door to the model. Settings come from the environment: see `settings`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Asks the running service whether it is ready; exits with 1 when it is not.
    Healthcheck,
    /// Prints the table of settings, in Markdown.
    Settings,
    /// Copies the database of `GATEWAY_DATA` to a new file, while the service runs.
    Backup {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Puts a backup in the place of what is in `GATEWAY_DATA`, while no service runs. What was there is kept beside it.
    Restore {
        /// The folder that holds the backup: `chat.db`, and `cookie.key` if anonymous users are to stay who they are.
        folder: PathBuf,
        /// Only says whether this gateway could work with it.
        #[arg(long)]
        check: bool,
    },
    /// Copies the conversations of a SQLite database to an empty PostgreSQL database, while no service runs.
    Migrate {
        /// `sqlite:` and the folder that `GATEWAY_DATA` named.
        #[arg(long, value_parser = sqlite_folder)]
        from: PathBuf,
        /// The database, as in `GATEWAY_STORE`; that one unless told. A password here is seen by whoever lists processes.
        #[arg(long, value_parser = server_address)]
        to: Option<Box<ServerAddress>>,
    },
    /// Prints the description of the HTTP API, as in docs/openapi.json.
    Openapi,
}

fn server_address(text: &str) -> Result<Box<ServerAddress>, String> {
    ServerAddress::parse(text).map(Box::new)
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    if let Some(Verb::Settings) = verb {
        print!("{}", common::env::markdown(TABLES));
        return ExitCode::SUCCESS;
    }
    if let Some(Verb::Openapi) = verb {
        print!("{}", chat_gateway::openapi());
        return ExitCode::SUCCESS;
    }
    if let Some(Verb::Healthcheck) = verb {
        // It reads one setting, because it may run where no other is set.
        let mut env = Environment::only(&[ADMIN_LISTEN]);
        let admin = env.read(&ADMIN_LISTEN);
        return start(env, async move {
            admin::healthcheck(admin)
                .await
                .map_err(|reason| anyhow!(reason))
        });
    }
    if let Some(Verb::Backup { file }) = verb {
        let mut env = Environment::only(&[DATA, STORE]);
        let data: PathBuf = env.read(&DATA);
        let server = config::store(&mut env);
        return start(env, async move {
            if server.is_some() {
                return Err(store::BackupError::Server.into());
            }
            Ok(store::backup(&data, &file).await?)
        });
    }
    if let Some(Verb::Restore { folder, check }) = verb {
        let mut env = Environment::only(&[DATA]);
        let data: PathBuf = env.read(&DATA);
        return start(env, async move {
            if check {
                return Ok(store::check(&folder).await?);
            }
            Ok(store::restore(&data, &folder).await?)
        });
    }
    if let Some(Verb::Migrate { from, to }) = verb {
        let mut env = Environment::only(&[STORE]);
        let to = to.or_else(|| config::store(&mut env).map(Box::new));
        return start(env, async move {
            let to = to.context("name the database: --to postgres://..., or GATEWAY_STORE")?;
            let moved = store::transfer(&from, &to).await?;
            println!(
                "copied {} conversations, {} messages, {} requests, {} days of tokens and {} texts to {to}",
                moved.conversations, moved.messages, moved.requests, moved.days, moved.texts
            );
            Ok(())
        });
    }
    let mut env = Environment::from_process("GATEWAY_", TABLES);
    let config = Config::read(&mut env);
    let telemetry = telemetry::Telemetry::read(&mut env);
    start(env, async {
        let _flush = telemetry.install_for_service();
        serve(config).await
    })
}

/// Runs `work` unless the settings are refused, and says how it ended.
fn start(env: Environment, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    if let Err(invalid) = env.finish() {
        eprintln!("chat-gateway: {invalid}");
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime");
    let ran = runtime.and_then(|runtime| runtime.block_on(work));
    ran.map_or_else(
        |error| {
            eprintln!("chat-gateway: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config)
        .await
        .map_err(|reason| anyhow!(reason))?;
    let traces = Traces::start(
        "chat-gateway",
        env!("CARGO_PKG_VERSION"),
        config.traces.as_ref(),
    );
    let traces = traces.map_err(|reason| anyhow!(reason))?;
    let (shutdown, drain) = (Shutdown::new(), config.drain);
    let serving = chat_gateway::serve(config, listeners, traces.clone(), shutdown.clone());
    let ending = async {
        shutdown::signalled()
            .await
            .context("cannot wait for signals")?;
        tracing::info!("shutting down");
        let abandoned = shutdown.finish(drain).await;
        if abandoned > 0 {
            tracing::warn!(abandoned, "some connections did not end in time");
        }
        anyhow::Ok(())
    };
    // Side by side, so that whoever the kernel has let in when the signal comes is still taken.
    let (stopped, ()) = tokio::try_join!(async { anyhow::Ok(serving.await?) }, ending)?;
    // What still holds a connection now is abandoned with the process.
    tokio::time::timeout(CLOSE_TIMEOUT, stopped.close())
        .await
        .ok();
    traces.finish().await;
    Ok(())
}

/// The folder in `sqlite:FOLDER`.
fn sqlite_folder(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("sqlite:") {
        Some(folder) if !folder.is_empty() => Ok(PathBuf::from(folder)),
        _ => Err("must be sqlite:FOLDER".to_owned()),
    }
}
