//! Logs: one subscriber, text for people or JSON lines for machines, on standard output.
//!
//! Prompts, answers, keys and tokens are never logged. async-openai logs whole bodies, tungstenite whole frames, and the
//! crates of Xet their settings with a token in them; their targets are switched off whatever the level.

use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::env::{Environment, Variable};
use crate::lines::{Flush, LossyLines};

/// Crates whose targets are switched off.
const QUIET: [&str; 10] = [
    "async_openai",
    "sqlx",
    "sqlx_core",
    "sqlx_sqlite",
    "tungstenite",
    "xet",
    "xet_client",
    "xet_core_structures",
    "xet_data",
    "xet_runtime",
];
/// Crates that log, whose names begin their targets. All of Corral's are known to each service, because one `LOG_LEVEL` is
/// often meant for all of them.
const TARGETS: &str = "admission, chat_gateway, common, llama_client, llm_proxy, model_fetcher, axum, axum_core, hyper, \
     hyper_util, iana_time_zone, opentelemetry, opentelemetry_otlp, opentelemetry_sdk, quinn, quinn_proto, quinn_udp, reqwest, \
     rustls_platform_verifier, tokio_tungstenite, tower_http";

const LOG_LEVEL: Variable = Variable::new(
    "LOG_LEVEL",
    "info",
    "`off`, `error`, `warn` (or `warning`), `info`, `debug` or `trace`, in any case. After a comma, targets may have levels \
     of their own, as in `info,llm_proxy=debug`.",
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
        let filter = env.read_with(&LOG_LEVEL, parse_filter);
        let json = env.read_with(&LOG_FORMAT, |format| match format {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("must be text or json".to_owned()),
        });
        Self { filter, json }
    }

    /// The same, as JSON.
    #[must_use]
    pub fn as_json(self) -> Self {
        Self { json: true, ..self }
    }

    /// Whether the lines are JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Installs the subscriber for the whole process; a second call does nothing. The program waits for each line to be
    /// written, which suits one that ends by itself.
    pub fn install(self) {
        self.install_to(std::io::stdout);
    }

    /// As [`Telemetry::install`], for a service: a log that nobody reads delays nothing, and costs lines instead. Dropping
    /// the returned value writes the last of them. A panic is logged with its place and without its message, which may
    /// quote a user.
    pub fn install_for_service(self) -> Flush {
        let (lines, flush) = LossyLines::start("log", std::io::stdout(), lost_lines());
        self.install_to(move || lines.clone());
        std::panic::set_hook(Box::new(log_panic));
        flush
    }

    fn install_to(self, writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_writer(writer);
        let installed = if self.json {
            builder.json().flatten_event(true).try_init()
        } else {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stdout());
            builder.with_ansi(colours).with_target(false).try_init()
        };
        // It fails when one is installed already, as in tests.
        installed.ok();
    }
}

/// A level for everything and levels of targets, divided by commas. `EnvFilter` alone would take a misspelt level for a
/// target and switch off everything else.
fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let mut everything = None;
    let mut directives = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None if part.is_empty() => {}
            None => {
                let level = parse_level(part)?;
                if everything.replace(level).is_some() {
                    return Err("has two levels for everything: keep one".to_owned());
                }
            }
            Some((target, level)) => {
                let target = parse_target(target.trim())?;
                directives.push(format!("{target}={}", parse_level(level.trim())?));
            }
        }
    }
    directives.insert(0, everything.unwrap_or(LevelFilter::INFO).to_string());
    directives.extend(QUIET.map(|name| format!("{name}=off")));
    EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
}

fn parse_level(word: &str) -> Result<LevelFilter, String> {
    match word.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(
            "a level must be off, error, warn, info, debug or trace, and a target's comes after it, as in info,llm_proxy=debug"
                .to_owned(),
        ),
    }
}

/// A crate's name, in which a hyphen may stand for the underscore, and perhaps a module's path.
fn parse_target(text: &str) -> Result<String, String> {
    let target = text.to_ascii_lowercase().replace('-', "_");
    let name = target.split("::").next().unwrap_or_default();
    if QUIET.contains(&name) {
        Err(format!(
            "{name} logs what must not be read, and is always off"
        ))
    } else if is_target(name) && !target.contains(['[', ']', '{', '}', ' ']) {
        Ok(target)
    } else {
        Err(format!("a target must begin with one of {TARGETS}"))
    }
}

fn is_target(name: &str) -> bool {
    TARGETS.split(", ").any(|target| target == name)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let at = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(at, "a panic: this is a mistake in the program");
}

/// Counts the lines of the log that were lost. A process has one log, and so one counter.
pub fn lost_lines() -> Counter {
    static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
    LOST.clone()
}

/// The present time in UTC as the log writes it: RFC 3339, to the microsecond.
#[must_use]
pub fn timestamp() -> String {
    let mut text = String::with_capacity(32);
    SystemTime
        .format_time(&mut Writer::new(&mut text))
        .expect("a string takes every write");
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::{QUIET, is_target, log_panic, parse_filter};

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
    fn a_panic_is_logged_with_its_place_and_without_its_message() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let line = line!() + 3;
        let panicked = tracing::subscriber::with_default(subscriber.finish(), || {
            std::panic::catch_unwind(|| {
                panic!("byte index 1 is not a boundary of `what a user wrote`")
            })
        });
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let expected = format!(
            "ERROR common::telemetry: a panic: this is a mistake in the program at=\"{}:{line}:17\"\n",
            file!()
        );
        assert_eq!(
            String::from_utf8(log.0.lock().unwrap().clone()).unwrap(),
            expected
        );
    }

    #[test]
    fn a_level_is_understood_in_any_case_and_a_target_with_a_hyphen() {
        let of = |text: &str| parse_filter(text).unwrap().to_string();
        let filter = |directives: &str| {
            let quiet = QUIET.map(|name| format!("{name}=off")).join(",");
            let written = tracing_subscriber::EnvFilter::new(format!("{directives},{quiet}"));
            written.to_string()
        };
        for (text, directives) in [
            ("WARNING", "warn"),
            ("Debug", "debug"),
            ("error,", "error"),
            ("off", "off"),
            ("info, llm-proxy=DEBUG", "info,llm_proxy=debug"),
            ("llm_proxy::fleet=trace", "info,llm_proxy::fleet=trace"),
            ("warn,hyper=off,common=info", "warn,hyper=off,common=info"),
        ] {
            assert_eq!(of(text), filter(directives), "{text}");
        }
    }

    #[test]
    fn a_word_that_means_nothing_is_refused_with_those_that_do() {
        for text in [
            "loud",
            "3",
            "info,loud",
            "llm_proxy",
            "llm_proxy=loud",
            "llm_proxy=",
        ] {
            let problem = parse_filter(text).unwrap_err();
            assert!(
                problem.starts_with("a level must be off, error, warn,"),
                "{text}: {problem}"
            );
        }
        for text in [
            "proxy=debug",
            "llm_proxyy=debug",
            "=debug",
            "llm_proxy[x]=debug",
        ] {
            let problem = parse_filter(text).unwrap_err();
            assert!(
                problem.contains(" admission, chat_gateway, common,"),
                "{text}: {problem}"
            );
        }
        for text in ["tungstenite=debug", "async-openai::client=trace"] {
            let problem = parse_filter(text).unwrap_err();
            assert!(problem.ends_with(" and is always off"), "{text}: {problem}");
        }
        assert_eq!(
            parse_filter("info,debug").unwrap_err(),
            "has two levels for everything: keep one"
        );
    }

    /// The packages of Cargo.lock that may log: they depend on `tracing` or `log`.
    #[test]
    fn every_package_that_logs_is_a_target() {
        let lock = include_str!("../../../Cargo.lock");
        let logs = |package: &&str| {
            package.contains("\n \"tracing\",\n") || package.contains("\n \"log\",\n")
        };
        let named = |package: &str| {
            let name = package.trim_start().strip_prefix("name = \"")?;
            Some(name.split_once('"')?.0.replace('-', "_"))
        };
        // These only hand on what others log, are in no service (rustyline is xtask's, hf-hub with globset and h2 the
        // tests', sqlx's other databases nobody's), or log under another name: the target of hf-xet is xet.
        let silent = [
            "globset",
            "h2",
            "hf_hub",
            "hf_xet",
            "jni",
            "rustyline",
            "sqlx_mysql",
            "sqlx_postgres",
            "tower",
            "tracing",
            "tracing_log",
            "tracing_subscriber",
        ];
        for name in lock.split("[[package]]").filter(logs).filter_map(named) {
            let name = name.as_str();
            let known = is_target(name) || QUIET.contains(&name) || silent.contains(&name);
            assert!(known, "{name}");
        }
    }
}
