//! `cargo xtask switch-model`: another model in a running Compose stack, without a cut.
//!
//! The new model is fetched beside the old one. With enough memory a second llama_server loads it while the first one
//! serves, is asked for a token, and takes over; the old one gets no new requests and ends when its answers have ended.
//! Without enough memory the old one is drained and stopped first, and requests wait in llm-proxy's queue. A new model
//! that does not load or answer leaves the old one serving. The public name, LLM_MODEL, stays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use xshell::Shell;

use crate::env_file;
use crate::memory::{EngineMemory, KvType, MachineMemory, gib};
use crate::say;
use crate::settings::{Profile, Settings};

mod stack;

use stack::{EngineContainer, EngineState};
pub(crate) use stack::{ModelChoice, RunningStack};

/// How long a model may take to load; that of the stack's health check, and some more.
const LOADED_WITHIN: Duration = Duration::from_secs(15 * 60);
/// How long llm-proxy may take to find a new engine: it resolves the name every 10 s.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// The end of what llm-proxy says of an upstream that answers, whether it is drained or not.
const ANSWERS: &str = "it answers";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// The share of the memory that is free which a second engine may take, in percent.
const SHARE_OF_AVAILABLE: u64 = 85;

/// Which model, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct SwitchOptions {
    /// The repository of the new model, as in unsloth/Qwen3-4B-Instruct-2507-GGUF.
    repository: String,
    /// Its file, as in Qwen3-4B-Instruct-2507-Q4_0.gguf.
    file: String,
    /// Its revision.
    #[arg(long, default_value = "main")]
    revision: String,
    /// Which stack: that of .env.dev or that of .env.prod.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    env: Profile,
    /// The Compose project, when it is not the stack's own.
    #[arg(long)]
    project: Option<String>,
    /// Whether the old model serves until the new one is ready; by default, if there is memory for both.
    #[arg(long, value_enum, default_value_t = SwitchWay::Auto)]
    way: SwitchWay,
    /// How long running answers may take to end, in seconds.
    #[arg(long, default_value_t = 1800)]
    wait: u64,
}

/// What happens to the old model while the new one loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SwitchWay {
    /// As the memory allows.
    Auto,
    /// It serves on.
    Beside,
    /// It ends its answers and stops; new requests wait.
    Drain,
}

/// Changes the model of the running stack.
///
/// # Errors
///
/// When the stack does not run, the model cannot be fetched, or it does not load or answer. The old one serves then.
pub(crate) fn run(options: &SwitchOptions) -> Result<()> {
    let settings = Settings::load(options.env)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let project = options.project.as_deref();
    let stack = RunningStack::find(&sh, &settings, options.env, project, &[])?;
    let chosen = ModelChoice {
        repository: options.repository.clone(),
        file: options.file.clone(),
        revision: options.revision.clone(),
    };
    if switch(&stack, &chosen, options.way, options.wait)? {
        say::line(say::bold("For the next start"));
        env_file::write(&stack.last_env_file(), &stack.values(&chosen))?;
        say::line("`up -d` brings the same now.");
    }
    Ok(())
}

/// Has `stack` serve `chosen`. False when it did already. No file is changed.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn switch(
    stack: &RunningStack<'_>,
    chosen: &ModelChoice,
    way: SwitchWay,
    wait_seconds: u64,
) -> Result<bool> {
    chosen.check()?;
    let old = stack.engine()?;
    let known = stack.upstreams()?;
    ensure!(
        known.iter().any(|upstream| upstream.address == old.address),
        "llm_proxy does not know llama_server by its address, {}: PROXY_UPSTREAMS must be \
         dns+http://llama_server:8080. `up -d` with this version's Compose files sets it",
        old.address
    );
    if old.model == chosen.to_string() {
        say::line(format_args!("{chosen} is being served already."));
        return Ok(false);
    }
    say::line(format_args!(
        "{} is served now as `{}`, which stays its name for callers.",
        old.model,
        stack.alias()
    ));
    say::line(say::bold("Fetching the new model beside it"));
    stack.fetch(chosen)?;
    if is_beside(stack, chosen, &old, way)? {
        beside(stack, chosen, &old, wait_seconds)?;
    } else {
        in_place(stack, chosen, &old, wait_seconds)?;
    }
    say::line(format_args!("{chosen} is served."));
    Ok(true)
}

/// Whether both models can be loaded at once. Says so.
fn is_beside(
    stack: &RunningStack<'_>,
    chosen: &ModelChoice,
    old: &EngineContainer,
    way: SwitchWay,
) -> Result<bool> {
    let memory = MachineMemory::read()?;
    let (weights, shape) = stack.header(old, chosen)?;
    let need = EngineMemory::new(
        weights,
        shape,
        stack.number("LLAMA_CTX_SIZE", 8192),
        KvType::named(stack.setting("LLAMA_KV_TYPE").unwrap_or("f16")),
        stack.number("LLAMA_CACHE_RAM_MIB", 1024),
    );
    let usable = memory.available * SHARE_OF_AVAILABLE / 100;
    say::line(format_args!(
        "The new model takes up to {need}; {} of {} are free.",
        gib(memory.available),
        gib(memory.total)
    ));
    let is_beside = match way {
        SwitchWay::Auto => need.total() <= usable,
        SwitchWay::Beside => true,
        SwitchWay::Drain => false,
    };
    if is_beside {
        say::line("The old model serves until the new one does. Nobody waits.");
    } else {
        say::line(format_args!(
            "The old model ends its answers and stops, then the new one loads. Until it answers, new requests wait in \
             the queue: API callers up to {} s, people on the page up to {} s (PROXY_QUEUE_DEADLINE_SECONDS, \
             PROXY_QUEUE_EVENTS_DEADLINE_SECONDS).",
            stack.number("PROXY_QUEUE_DEADLINE_SECONDS", 30),
            stack.number("PROXY_QUEUE_EVENTS_DEADLINE_SECONDS", 600)
        ));
    }
    Ok(is_beside)
}

/// The new model loads while the old one serves.
fn beside(
    stack: &RunningStack<'_>,
    chosen: &ModelChoice,
    old: &EngineContainer,
    wait_seconds: u64,
) -> Result<()> {
    say::line(say::bold("Loading it beside the old one"));
    let new = stack.start_beside(chosen, old)?;
    // It must not get requests before it has shown that it answers.
    let tried = stack
        .drain(&new, 0)
        .and_then(|()| until_loaded(stack, &new))
        .and_then(|()| stack.ask(&new))
        .and_then(|()| stack.resume(&new))
        .and_then(|()| until_known(stack, &new));
    if let Err(error) = tried {
        stack.explain(&new);
        stack.remove(&new)?;
        // It may have ended before it had an address.
        stack.resume(&new).ok();
        return Err(error.context(format!(
            "{chosen} was given up; {} serves as before",
            old.model
        )));
    }
    say::line(say::bold(
        "The new one answers; the old one ends its answers",
    ));
    empty(stack, old, wait_seconds)?;
    stack.remove(old)?;
    stack.resume(old)
}

/// The old model stops before the new one loads.
fn in_place(
    stack: &RunningStack<'_>,
    chosen: &ModelChoice,
    old: &EngineContainer,
    wait_seconds: u64,
) -> Result<()> {
    let before = stack.configured()?;
    ensure!(
        before.to_string() == old.model,
        "the env files name {before}, but {} is running: without them it could not be brought back if the new model \
         failed. Put it back into the env files first",
        old.model
    );
    say::line(say::bold("The old model ends its answers"));
    if let Err(error) = empty(stack, old, wait_seconds) {
        stack.resume(old)?;
        return Err(error);
    }
    say::line(say::bold("Loading the new one in its place"));
    let loaded = stack.start_in_place(chosen).and_then(|()| {
        let new = stack.engine()?;
        until_loaded(stack, &new)?;
        stack.ask(&new)?;
        until_known(stack, &new)
    });
    if let Err(error) = loaded {
        if let Ok(new) = stack.engine() {
            stack.explain(&new);
        }
        say::line(say::bold("It failed; the old one comes back"));
        stack.start_in_place(&before)?;
        let back = stack.engine()?;
        until_loaded(stack, &back)?;
        until_known(stack, &back)?;
        stack.resume(old)?;
        return Err(error.context(format!("{chosen} was given up; {before} serves again")));
    }
    // Only now: it may have another address, and those who wait need one that answers.
    stack.resume(old)
}

/// Waits until no answer runs at an engine, neither of llm-proxy nor of anybody who asks it directly. After the wait it
/// says what will be cut.
fn empty(stack: &RunningStack<'_>, engine: &EngineContainer, wait_seconds: u64) -> Result<()> {
    let begin = Instant::now();
    // It waits itself, and says what still runs.
    let drained = stack.drain(engine, wait_seconds);
    loop {
        let n_busy = stack.n_busy(engine)?;
        if n_busy == 0 {
            return Ok(());
        }
        if drained.is_err() || begin.elapsed() > Duration::from_secs(wait_seconds) {
            say::line(format_args!(
                "{n_busy} answers still run after {wait_seconds} s: they are cut off now."
            ));
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until an engine has loaded its model.
fn until_loaded(stack: &RunningStack<'_>, engine: &EngineContainer) -> Result<()> {
    let begin = Instant::now();
    loop {
        match stack.state(engine)? {
            EngineState::Healthy => {
                say::line(format_args!(
                    "  loaded in {}",
                    say::seconds(begin.elapsed())
                ));
                return Ok(());
            }
            EngineState::Starting => {}
            EngineState::Failed(how) => bail!("the model does not load: llama_server {how}"),
        }
        ensure!(
            begin.elapsed() < LOADED_WITHIN,
            "the model is not loaded after {}",
            say::seconds(LOADED_WITHIN)
        );
        std::thread::sleep(LOOK);
    }
}

/// Waits until llm-proxy has found an engine and it answers. It gets requests then, unless it is drained.
fn until_known(stack: &RunningStack<'_>, engine: &EngineContainer) -> Result<()> {
    let begin = Instant::now();
    loop {
        let upstreams = stack.upstreams()?;
        let found = upstreams
            .iter()
            .find(|upstream| upstream.address == engine.address);
        if found.is_some_and(|upstream| upstream.state.ends_with(ANSWERS)) {
            return Ok(());
        }
        let state = found.map_or("it has not found it", |upstream| &upstream.state);
        ensure!(
            begin.elapsed() < FOUND_WITHIN,
            "llm_proxy does not know that llama_server answers at {}: {state}",
            engine.address
        );
        std::thread::sleep(LOOK);
    }
}

/// Says why `cargo xtask up` is not switched.
pub(crate) fn not_native(address: std::net::SocketAddr) -> String {
    format!(
        "no Compose stack is running, but `cargo xtask up` is, at http://{address}/: it is not switched while it runs. \
         Put HF_REPO_ID, HF_FILENAME and LLM_MODEL into .env.local, then Ctrl-C and `cargo xtask up` again"
    )
}

/// Whether a file's name can be served by the stack.
fn check_file(file: &str) -> Result<()> {
    ensure!(
        !file.starts_with(':') && file.ends_with(".gguf"),
        "{file} must be the name of a GGUF file: Compose mounts files by name, so a quantisation such as :Q4_0 is not enough"
    );
    Ok(())
}

impl ModelChoice {
    fn check(&self) -> Result<()> {
        ensure!(
            self.repository.split('/').count() == 2,
            "{} must look like OWNER/NAME",
            self.repository
        );
        check_file(&self.file).context("the model's file")
    }
}

#[cfg(test)]
mod tests {
    use super::ModelChoice;

    #[test]
    fn a_choice_names_a_repository_and_a_file() {
        let choice = |repository: &str, file: &str| {
            let choice = ModelChoice {
                repository: repository.to_owned(),
                file: file.to_owned(),
                revision: "main".to_owned(),
            };
            choice.check().is_ok()
        };
        assert!(choice("a/b", "c/d.gguf"));
        assert!(!choice("a", "d.gguf"));
        assert!(!choice("a/b", ":Q4_0"));
        assert!(!choice("a/b", "d.bin"));
    }
}
