//! The command: reads the settings, binds, serves; or asks a running one for its health, handles keys, or prints the
//! settings.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::env::{EXIT_CONFIGURATION, Environment, Invalid, markdown};
use common::secret::Secret;
use common::server::Inherited;
use common::telemetry::{self, Telemetry};
use common::traces;
use llm_proxy::{
    ADMIN_LISTEN, Config, DrainCommand, KeysCommand, Listeners, ResumeCommand, TopView, VARIABLES,
};

/// What stands below the list of commands.
const HELP: &str = "\
Start one in front of a llama-server on this machine, and ask it:
  export LLM_API_KEY=$(openssl rand -hex 32)
  LLM_MODEL=my-model PROXY_UPSTREAMS=http://127.0.0.1:8080 PROXY_UPSTREAM_API_KEY=ITS_KEY llm-proxy &
  curl http://127.0.0.1:8081/v1/models -H \"Authorization: Bearer $LLM_API_KEY\"

Give each caller a key of its own, with limits:
  llm-proxy keys new app --requests-per-minute 60 --expires 90d >> keys.toml
  PROXY_KEYS_FILE=keys.toml ... llm-proxy

Callers connect to PROXY_LISTEN (port 8081) and speak OpenAI's API. Operators find /readyz, /metrics
and /status on PROXY_ADMIN_LISTEN (port 9081); `llm-proxy top` shows the last. `llm-proxy drain HOST:PORT` takes a
llama-server out of use without a cut. SIGTERM lets running answers end; SIGHUP reads the keys file at once.
Every setting is an environment variable: `llm-proxy settings` lists them with their defaults.";

/// The only door to llama-server: keys with limits, a bounded queue as wide as the slots, deadlines, cancelling.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until SIGTERM or SIGINT (the default).
    Serve,
    /// Make keys, list them, and check a keys file before it is put in place.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Ask the llm-proxy on this machine whether it is ready; exit code 0 or 1.
    Healthcheck,
    /// Show how a running llm-proxy is doing, anew each second: slots, queue, rates.
    Top {
        /// Its admin listener.
        #[arg(long, default_value = "http://127.0.0.1:9081", value_name = "URL")]
        admin: String,
        /// Print it once.
        #[arg(long)]
        once: bool,
        /// Print it once, as JSON.
        #[arg(long, conflicts_with = "once")]
        json: bool,
    },
    /// Give an upstream no new requests and wait until its answers have ended, before its llama-server is stopped.
    Drain(DrainCommand),
    /// Give a drained upstream requests again.
    Resume(ResumeCommand),
    /// Print every setting with its default and meaning, as a Markdown table.
    Settings,
}

fn main() -> ExitCode {
    let tables: &[&[_]] = &[VARIABLES, telemetry::VARIABLES, traces::VARIABLES];
    match Arguments::parse().verb.unwrap_or(Verb::Serve) {
        Verb::Serve => {}
        Verb::Healthcheck => return healthcheck(),
        Verb::Keys(command) => return command.run(),
        Verb::Drain(command) => return run(command.run()),
        Verb::Resume(command) => return run(command.run()),
        Verb::Top { admin, once, json } => {
            let view = match (json, once) {
                (true, _) => TopView::Json,
                (false, true) => TopView::Once,
                (false, false) => TopView::Live,
            };
            return run(llm_proxy::top(&admin, view));
        }
        Verb::Settings => {
            print!("{}", markdown(tables));
            return ExitCode::SUCCESS;
        }
    }
    let mut env = Environment::from_process("PROXY_", tables);
    let config = Config::read(&mut env);
    let telemetry = Telemetry::read(&mut env);
    config.check_files(&mut env);
    if let Err(invalid) = env.finish() {
        return refuse(&invalid);
    }
    run(async {
        let flush = telemetry.install_for_service();
        let served = serve(config).await;
        drop(flush);
        served
    })
}

/// Reads one setting, because a health check may run where no other is set.
fn healthcheck() -> ExitCode {
    let mut env = Environment::only(&[ADMIN_LISTEN]);
    let admin = env.read(&ADMIN_LISTEN);
    match env.finish() {
        Ok(()) => run(common::admin::healthcheck(admin)),
        Err(invalid) => refuse(&invalid),
    }
}

fn refuse(invalid: &Invalid) -> ExitCode {
    eprintln!("llm-proxy: {invalid}");
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Runs `verb` and says how it ended.
fn run(verb: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(|error| format!("cannot start: {error}"))
        .and_then(|runtime| runtime.block_on(verb));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("llm-proxy: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), String> {
    if config.api_key.as_ref().is_some_and(Secret::is_short) {
        tracing::warn!(
            "LLM_API_KEY is so short that a stranger may find it by trying: `openssl rand -hex 32` makes a good one"
        );
    }
    let mut inherited = Inherited::take();
    let listeners = Listeners {
        public: inherited.listener("PROXY_LISTEN", config.listen).await?,
        admin: inherited
            .listener("PROXY_ADMIN_LISTEN", config.admin_listen)
            .await?,
    };
    let stop = async {
        if let Err(error) = common::shutdown::signalled().await {
            tracing::error!(%error, "signals cannot be received");
        }
    };
    llm_proxy::serve(config, listeners, stop)
        .await
        .map_err(|error| error.to_string())
}
