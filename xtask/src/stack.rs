//! The native chain as child processes: starts llama-server, llm-proxy and chat-gateway, waits until each is ready, and
//! stops them in reverse order.
//!
//! Each writes to `SERVICE.log` in the folder of the logs. Its warnings and errors are shown as well once it is ready:
//! while the chain starts, each service warns that the next one is missing. Dropping the chain kills it.

use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures_util::future::{select_all, try_join_all};
use rustix::process::Signal;

use crate::addresses::Addresses;
use crate::call::{self, Call, Output, RunningCall};
use crate::engine::Engine;
use crate::probe;
use crate::programs::Programs;
use crate::say;
use crate::settings::Settings;

/// Between two probes of a service.
const POLL: Duration = Duration::from_millis(50);
/// How long a service may take until a line says what it waits for. Each further line comes after twice the time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long running answers may take to end after Ctrl-C, unless the settings say otherwise.
const DRAIN: [(&str, &str); 2] = [("GATEWAY_DRAIN_SECONDS", "1"), ("PROXY_DRAIN_SECONDS", "1")];
/// How long a service may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// The running services, first to last in the order of the chain.
pub(crate) struct Chain {
    services: Vec<ChainService>,
}

struct ChainService {
    name: &'static str,
    running: RunningCall,
    log: PathBuf,
    probe: (SocketAddr, &'static str),
    since: Instant,
    is_ready: Arc<AtomicBool>,
}

/// The parts of a chain.
pub(crate) struct Parts<'a> {
    /// The variables of all services.
    pub(crate) settings: &'a Settings,
    /// The addresses of its listeners.
    pub(crate) addresses: &'a Addresses,
    /// Corral's own programs.
    pub(crate) programs: &'a Programs,
    /// The engine to run.
    pub(crate) engine: &'a Engine,
    /// The GGUF file.
    pub(crate) model: &'a Path,
    /// The built page.
    pub(crate) page: &'a Path,
    /// The folder for the logs.
    pub(crate) logs: &'a Path,
}

impl Chain {
    /// Starts all three without waiting for any.
    ///
    /// # Errors
    ///
    /// When one cannot be started. Those before it have been killed.
    pub(crate) fn start(parts: &Parts<'_>) -> Result<Self> {
        let addresses = parts.addresses;
        let settings = parts
            .settings
            .with(addresses.variables())
            .with([("GATEWAY_WEB_DIR", parts.page.display().to_string())])
            // Compose's own; the services would refuse them as misspellings.
            .without(&["GATEWAY_PORT", "PROXY_UPSTREAM_API_KEY_SECRET"])
            .with(
                DRAIN
                    .into_iter()
                    .filter(|(name, _)| parts.settings.get(name).is_none()),
            );
        let settings = match settings.get("GATEWAY_DATA") {
            Some(_) => settings,
            // A chain on other ports keeps its own: one gateway at a time uses a folder.
            None => {
                let data = settings.target(&format!("data/{}", addresses.gateway.port()));
                settings.with([("GATEWAY_DATA", data.display().to_string())])
            }
        };
        let alias = match settings.get("LLM_MODEL") {
            Some(alias) => alias,
            None => settings.required("HF_FILENAME")?,
        };
        let llama = parts
            .engine
            .call(&settings, parts.model, alias, addresses.llama)?;
        let proxy = parts.programs.call("llm-proxy").settings(&settings);
        let gateway = parts.programs.call("chat-gateway").settings(&settings);
        let mut services = Vec::new();
        for (name, call, probe) in [
            ("llama-server", llama, (addresses.llama, "/health")),
            ("llm-proxy", proxy, (addresses.proxy_admin, "/readyz")),
            (
                "chat-gateway",
                gateway,
                (addresses.gateway_admin, "/readyz"),
            ),
        ] {
            services.push(ChainService::start(name, &call, parts.logs, probe)?);
        }
        Ok(Self { services })
    }

    /// llama-server's process id.
    pub(crate) fn engine_pid(&self) -> Option<String> {
        Some(
            self.services
                .first()?
                .running
                .pid()?
                .as_raw_nonzero()
                .to_string(),
        )
    }

    /// Waits until all are ready, with a line for each.
    ///
    /// # Errors
    ///
    /// When one ends instead, with its name and the end of its log.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        try_join_all(self.services.iter_mut().map(ChainService::ready)).await?;
        Ok(())
    }

    /// Waits until a service ends, which none should. The error names it and shows the end of its log. Cancel-safe.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        let (error, _, _) = select_all(
            self.services
                .iter_mut()
                .map(|service| Box::pin(service.broken())),
        )
        .await;
        error
    }

    /// Stops all, last first: SIGTERM, and SIGKILL after [`GRACE`].
    pub(crate) async fn stop(mut self) {
        while let Some(mut service) = self.services.pop() {
            service.running.signal(Signal::TERM);
            if tokio::time::timeout(GRACE, service.running.wait())
                .await
                .is_err()
            {
                say::line(format_args!(
                    "{} did not end within {}; killing it",
                    service.name,
                    say::seconds(GRACE)
                ));
                service.running.signal(Signal::KILL);
                // However it ended, it has.
                service.running.wait().await.ok();
            }
        }
    }
}

impl ChainService {
    fn start(
        name: &'static str,
        call: &Call,
        logs: &Path,
        probe: (SocketAddr, &'static str),
    ) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = call::create(&log)?;
        let (reader, writer) = std::io::pipe()?;
        let running = call.start(Output::Pipe(writer))?;
        let is_ready = Arc::new(AtomicBool::new(false));
        let shown = Arc::clone(&is_ready);
        std::thread::spawn(move || keep_log(name, reader, file, &shown));
        Ok(Self {
            name,
            running,
            log,
            probe,
            since: Instant::now(),
            is_ready,
        })
    }

    async fn ready(&mut self) -> Result<()> {
        let name = self.name;
        let since = self.since;
        let becomes_ready = until_ready(name, since, self.probe);
        tokio::select! {
            () = becomes_ready => {
                self.is_ready.store(true, Ordering::Relaxed);
                say::line(format_args!("  {name:12}  ready  {}", say::seconds(since.elapsed())));
                Ok(())
            }
            error = self.broken() => Err(error),
        }
    }

    async fn broken(&mut self) -> anyhow::Error {
        let status = self.running.wait().await;
        let how = status.map_or_else(
            |error| error.to_string(),
            |status: ExitStatus| status.to_string(),
        );
        let name = self.name;
        let log = &self.log;
        // The log's thread may still be writing the last line.
        tokio::time::sleep(POLL).await;
        anyhow!(
            "{name} ended unexpectedly ({how}). The end of {}:\n{}",
            log.display(),
            call::tail(log)
        )
    }
}

fn until_ready(
    name: &'static str,
    since: Instant,
    (address, path): (SocketAddr, &'static str),
) -> impl Future<Output = ()> {
    let mut next_word = PATIENCE;
    async move {
        while let Err(reason) = probe::ready(address, path).await {
            if since.elapsed() > next_word {
                say::line(format_args!(
                    "  {name:12}  waiting {}: {reason}",
                    say::seconds(since.elapsed())
                ));
                next_word *= 2;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Writes every line to the log and shows the important ones while `shown`, until the service and its children are gone.
fn keep_log(name: &str, reader: std::io::PipeReader, mut log: std::fs::File, shown: &AtomicBool) {
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        // A full disk must not stop the service, which waits for its reader.
        log.write_all(&line)
            .and_then(|()| log.write_all(b"\n"))
            .ok();
        let line = String::from_utf8_lossy(&line);
        if is_important(&line) && shown.load(Ordering::Relaxed) {
            say::line(format_args!(
                "{} {line}",
                say::dim(format_args!("{name:12} |"))
            ));
        }
    }
}

/// Our text logs and llama.cpp's both have the level as the second word. llama.cpp warns of usual things (a prompt that was
/// cached whole, an answer that was stopped), so only its errors count.
fn is_important(line: &str) -> bool {
    matches!(line.split_whitespace().nth(1), Some("WARN" | "ERROR" | "E"))
}

#[cfg(test)]
mod tests {
    use super::is_important;

    #[test]
    fn what_is_shown_is_our_warnings_and_everyones_errors() {
        assert!(is_important(
            "2026-11-22T16:00:00Z  WARN the upstream is slow"
        ));
        assert!(is_important(
            "0.00.031.571 E srv          init: exiting due to model loading error"
        ));
        assert!(!is_important(
            "0.47.080.435 W srv          stop: cancel task, id_task = 1186"
        ));
        assert!(!is_important("2026-11-22T16:00:00Z  INFO listening"));
        assert!(!is_important(""));
    }
}
