//! Logs: one subscriber, text for people or JSON lines for machines, on standard output.
//!
//! Prompts, answers, keys and tokens are never logged. async-openai logs whole bodies, tungstenite whole frames, and
//! hf-hub reports what is tried again as errors; their targets are switched off whatever the level.

use tracing_subscriber::EnvFilter;

use crate::env::{Environment, Variable};

/// The targets that are switched off.
const QUIET: &str = "async_openai=off,hf_hub=off,tungstenite=off";

const LOG_LEVEL: Variable = Variable::new(
    "LOG_LEVEL",
    "info",
    "`error`, `warn`, `info`, `debug` or `trace`, or per target as in `info,llm_proxy=debug`.",
);
const LOG_FORMAT: Variable =
    Variable::new("LOG_FORMAT", "text", "`text` for people, `json` for one JSON object per line.");

/// The settings that [`Telemetry::read`] understands.
pub const VARIABLES: &[Variable] = &[LOG_LEVEL, LOG_FORMAT];

/// How and how much to log.
#[derive(Debug)]
pub struct Telemetry {
    filter: EnvFilter,
    json: bool,
}

impl Telemetry {
    /// Reads `LOG_LEVEL` and `LOG_FORMAT`.
    pub fn read(env: &mut Environment) -> Self {
        let filter = env.read_with(&LOG_LEVEL, |level| {
            EnvFilter::try_new(format!("{level},{QUIET}")).map_err(|_| {
                "must be error, warn, info, debug, trace, or a list like info,llm_proxy=debug".to_owned()
            })
        });
        let json = env.read_with(&LOG_FORMAT, |format| match format {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("must be text or json".to_owned()),
        });
        Self { filter, json }
    }

    /// Installs the subscriber for the whole process; a second call does nothing.
    pub fn install(self) {
        let builder = tracing_subscriber::fmt().with_env_filter(self.filter);
        let _already_installed = if self.json {
            builder.json().flatten_event(true).try_init()
        } else {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stdout());
            builder.with_ansi(colours).with_target(false).try_init()
        };
    }
}
