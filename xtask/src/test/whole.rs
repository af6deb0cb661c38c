//! `cargo xtask up` as its user sees it: one question in a terminal chat, a second `up`, Ctrl-C, and then kill -9 of another
//! one. No process is left behind.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use xshell::{Shell, cmd};

use super::chain::ChainHub;
use crate::addresses::Addresses;
use crate::call::{Call, Output, RunningCall};
use crate::python::Python;
use crate::say;
use crate::settings::Settings;
use crate::steps::StepOutcome;

/// Everything is built by now, so this is only the start.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// The longest time from Ctrl-C to the end of the last process.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Tests `up`. Linux only, because it looks into /proc.
pub(super) async fn test(sh: &Shell, settings: &Settings) -> Result<StepOutcome> {
    if !cfg!(target_os = "linux") {
        return Ok(StepOutcome::Skipped(
            "only Linux shows in /proc which processes are left behind".to_owned(),
        ));
    }
    let hub = ChainHub::start(settings, &Python::new(settings)).await?;
    let models = sh.create_temp_dir()?;
    let addresses = Addresses::free()?;
    let settings = settings
        .without(&["LLM_MODEL"])
        .with(hub.variables())
        .with([("MODELS_DIR", models.path().display().to_string())])
        .with(addresses.variables());

    let page = format!("http://{}/", addresses.gateway);
    let mut up = Up::start(&settings).await?;
    say::line(format_args!("$ cargo xtask chat {page}"));
    let chat = cmd!(sh, "/proc/self/exe chat {page}")
        .stdin("Say hello.\n")
        .quiet();
    let answer = chat.read().context("`cargo xtask chat` got no answer")?;
    if answer.trim().is_empty() {
        bail!("`cargo xtask chat` printed nothing and ended with 0");
    }
    say::line("$ cargo xtask up");
    let again = cmd!(sh, "/proc/self/exe up").envs(settings.pairs()).quiet();
    let words = again.read_stderr().context("a second `up` failed")?;
    if !words.starts_with(&format!("Corral is already running: page {page}, process ")) {
        bail!("a second `up` did not say that the first one runs: {words}");
    }
    let status = up.end(Signal::INT).await.context("after Ctrl-C")?;
    if !status.success() {
        bail!("after Ctrl-C `up` ended with {status}");
    }
    freed(&addresses).await.context("after Ctrl-C")?;

    let mut up = Up::start(&settings).await?;
    up.end(Signal::KILL)
        .await
        .context("after kill -9 of xtask")?;
    freed(&addresses).await.context("after kill -9 of xtask")?;
    hub.stop();
    Ok(StepOutcome::Passed)
}

/// Waits until all addresses are free. A killed process becomes a zombie before its last thread has closed its sockets.
async fn freed(addresses: &Addresses) -> Result<()> {
    let begin = Instant::now();
    while let Err(error) = addresses.check() {
        if begin.elapsed() > GONE_WITHIN {
            return Err(error);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A running `cargo xtask up`.
struct Up {
    running: RunningCall,
    pid: Pid,
}

impl Up {
    /// Starts it and waits until it has printed the page's address.
    async fn start(settings: &Settings) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let running = Call::new("/proc/self/exe")
            .args(["up"])
            .settings(settings)
            .start(Output::Pipe(writer))?;
        let pid = running.pid().context("`up` has no process id")?;
        let (sender, mut lines) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                say::line(format_args!("  {line}"));
                // Nobody listens once `up` is ready, but it would block if nobody read.
                sender.blocking_send(line).ok();
            }
        });
        let ready = async {
            while let Some(line) = lines.recv().await {
                if line.starts_with("Chat: http") {
                    return Ok(());
                }
            }
            bail!("`up` ended before it was ready")
        };
        tokio::time::timeout(UP_WITHIN, ready)
            .await
            .context("`up` was not ready in time")??;
        Ok(Self { running, pid })
    }

    /// Sends `signal` to xtask alone and waits until it and all its descendants have ended.
    async fn end(&mut self, signal: Signal) -> Result<std::process::ExitStatus> {
        let family = descendants(self.pid.as_raw_nonzero().get());
        if family.len() < 3 {
            bail!("the chain has fewer than three processes: {family:?}");
        }
        kill_process(self.pid, signal)?;
        let begin = Instant::now();
        let status = tokio::time::timeout(GONE_WITHIN, self.running.wait())
            .await
            .context("`up` did not end")??;
        loop {
            let alive: Vec<_> = family
                .iter()
                .filter(|(pid, name)| is_alive(**pid, name))
                .collect();
            if alive.is_empty() {
                return Ok(status);
            }
            if begin.elapsed() > GONE_WITHIN {
                bail!("left behind: {alive:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// All processes below `ancestor`, by id, with their names.
fn descendants(ancestor: i32) -> BTreeMap<i32, String> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<_> = pids
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
            let (name, _, parent) = stat(pid)?;
            Some((pid, parent, name))
        })
        .collect();
    let mut found = BTreeMap::new();
    let mut parents = vec![ancestor];
    while let Some(wanted) = parents.pop() {
        for (pid, _, name) in all.iter().filter(|(_, parent, _)| *parent == wanted) {
            found.insert(*pid, name.clone());
            parents.push(*pid);
        }
    }
    found
}

/// Whether the process runs. A zombie that nobody reaps, as in a container without an init, does not.
fn is_alive(pid: i32, name: &str) -> bool {
    stat(pid).is_some_and(|(now, state, _)| now == name && state != 'Z')
}

/// Name, state and parent, from a line like `42 (name) S 1 ...`.
fn stat(pid: i32) -> Option<(String, char, i32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = line.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_whitespace();
    Some((
        name.to_owned(),
        fields.next()?.chars().next()?,
        fields.next()?.parse().ok()?,
    ))
}
