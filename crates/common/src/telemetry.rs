//! Logs: one subscriber, text for people or JSON lines for machines, on standard output.
//!
//! Prompts, answers, keys and tokens are never logged. async-openai logs whole bodies and tungstenite whole
//! frames; their targets are switched off whatever the level.

use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::env::{Environment, Variable};
use crate::lines::{Flush, Lines};

/// The targets that are switched off.
const QUIET: &str = "async_openai=off,tungstenite=off";

const LOG_LEVEL: Variable = Variable::new(
    "LOG_LEVEL",
    "info",
    "`error`, `warn`, `info`, `debug` or `trace`, or per target as in `info,llm_proxy=debug`.",
);
const LOG_FORMAT: Variable = Variable::new(
    "LOG_FORMAT",
    "text",
    "`text` for people, `json` for one JSON object per line.",
);

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
                "must be error, warn, info, debug, trace, or a list like info,llm_proxy=debug"
                    .to_owned()
            })
        });
        let json = env.read_with(&LOG_FORMAT, |format| match format {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("must be text or json".to_owned()),
        });
        Self { filter, json }
    }

    /// As told, but in any case as JSON.
    #[must_use]
    pub fn as_json(self) -> Self {
        Self { json: true, ..self }
    }

    /// Whether lines are for machines.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Installs the subscriber for the whole process; a second call does nothing. A line is written before the program
    /// goes on, which suits one that ends by itself.
    pub fn install(self) {
        self.install_to(std::io::stdout);
    }

    /// As [`Telemetry::install`], for a service: a log that nobody reads holds nothing up, and costs lines instead.
    /// What is dropped at the end writes the last of them. A panic is a line that says where, not what: its message may
    /// quote what it stumbled over.
    ///
    /// # Errors
    ///
    /// When there can be no thread for it.
    pub fn install_for_service(self) -> std::io::Result<Flush> {
        let (lines, flush) = Lines::start("log", std::io::stdout(), lost_lines())?;
        self.install_to(move || lines.clone());
        std::panic::set_hook(Box::new(log_panic));
        Ok(flush)
    }

    fn install_to(self, writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_writer(writer);
        let _already_installed = if self.json {
            builder.json().flatten_event(true).try_init()
        } else {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stdout());
            builder.with_ansi(colours).with_target(false).try_init()
        };
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let at = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(at, "a panic: this is a mistake in the program");
}

/// The lines of the log that nobody will read; one counter for the process, as there is one log.
pub fn lost_lines() -> Counter {
    static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
    LOST.clone()
}

/// This moment in UTC as the log writes it: RFC 3339, to the microsecond.
#[must_use]
pub fn timestamp() -> String {
    let mut text = String::with_capacity(32);
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::log_panic;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_by_its_place_and_never_by_its_words() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let line = line!() + 2;
        let panicked = tracing::subscriber::with_default(subscriber.finish(), || {
            std::panic::catch_unwind(|| {
                panic!("byte index 1 is not a boundary of `what a user wrote`")
            })
        });
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let expected = format!(
            "ERROR common::telemetry: a panic: this is a mistake in the program at=\"{}:{line}:41\"\n",
            file!()
        );
        assert_eq!(
            String::from_utf8(log.0.lock().unwrap().clone()).unwrap(),
            expected
        );
    }
}
