//! The command: reads the settings, binds, serves; or asks a running one for its health, or prints the settings.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::env::{EXIT_CONFIGURATION, Environment, markdown};
use common::telemetry::{self, Telemetry};
use llm_proxy::{Config, Listeners, VARIABLES};

/// The only door to llama-server: keys, a bounded queue, deadlines, cancelling. Settings come from the environment.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve (the default).
    Serve,
    /// Ask the llm-proxy on this machine whether it is ready; exit code 0 or 1.
    Healthcheck,
    /// Print the settings as a Markdown table.
    Settings,
}

fn main() -> ExitCode {
    let tables: &[&[_]] = &[VARIABLES, telemetry::VARIABLES];
    let verb = Arguments::parse().verb.unwrap_or(Verb::Serve);
    if matches!(verb, Verb::Settings) {
        print!("{}", markdown(tables));
        return ExitCode::SUCCESS;
    }
    let mut env = Environment::from_process("PROXY_", tables);
    let (config, telemetry) = (Config::read(&mut env), Telemetry::read(&mut env));
    if let Err(invalid) = env.finish() {
        eprintln!("llm-proxy: {invalid}");
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    let run = async {
        match verb {
            Verb::Serve | Verb::Settings => {
                let flush = telemetry
                    .install_for_service()
                    .map_err(|error| format!("cannot write the log: {error}"))?;
                let served = serve(config).await;
                drop(flush);
                served
            }
            Verb::Healthcheck => common::admin::healthcheck(config.admin_listen).await,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended =
        runtime.map_err(|error| format!("cannot start: {error}")).and_then(|runtime| runtime.block_on(run));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("llm-proxy: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), String> {
    let listeners = Listeners {
        public: common::server::bind("PROXY_LISTEN", config.listen).await?,
        admin: common::server::bind("PROXY_ADMIN_LISTEN", config.admin_listen).await?,
    };
    let stop = async {
        if let Err(error) = common::shutdown::signalled().await {
            tracing::error!(%error, "signals cannot be received");
        }
    };
    llm_proxy::serve(config, listeners, stop).await.map_err(|error| error.to_string())
}
