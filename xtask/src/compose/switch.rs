//! `cargo xtask switch-model` on a stack under test, while people chat: nobody sees an error, whichever way it takes.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use xshell::{Shell, cmd};

use super::stack::Stack;
use crate::model::DEV_REPO;
use crate::say;
use crate::settings::{Profile, Settings};
use crate::switch_model::{ModelChoice, RunningStack, SwitchWay, switch};

/// How long running answers may take to end.
const WAIT_SECONDS: u64 = 120;
/// A name that is in no volume.
const MISSING_FILE: &str = "missing.gguf";

/// Has the stack serve `file`: in development beside the old model, in production in its place.
pub(super) fn to_another_model(stack: &Stack<'_>, settings: &Settings, file: &str) -> Result<()> {
    let running = RunningStack::find(
        stack.shell(),
        settings,
        stack.profile(),
        Some(stack.project()),
        &stack.variables(),
    )?;
    let way = match stack.profile() {
        Profile::Dev => SwitchWay::Beside,
        Profile::Prod => SwitchWay::Drain,
    };
    let is_over = AtomicBool::new(false);
    let url = format!("ws://127.0.0.1:{}/api/v1/ws/chat", stack.port());
    std::thread::scope(|scope| {
        let chatting = scope.spawn(|| chat_until(&is_over, &url));
        let missing = switch(&running, &choice(MISSING_FILE), way, WAIT_SECONDS);
        let switched = switch(&running, &choice(file), way, WAIT_SECONDS);
        is_over.store(true, Ordering::Relaxed);
        let n_answers = chatting.join().ok().context("the chat panicked")??;
        ensure!(
            missing.is_err(),
            "a model that the Hub does not have was switched to"
        );
        ensure!(switched?, "{file} was served before it was switched to");
        say::line(format_args!("  {n_answers} answers meanwhile, all whole"));
        Ok(())
    })
}

fn choice(file: &str) -> ModelChoice {
    ModelChoice {
        repository: DEV_REPO.to_owned(),
        file: file.to_owned(),
        revision: "main".to_owned(),
    }
}

/// Asks one question after another; how many were answered.
fn chat_until(is_over: &AtomicBool, url: &str) -> Result<usize> {
    let sh = Shell::new()?;
    let xtask = std::env::current_exe()?;
    let mut n_answers = 0;
    while !is_over.load(Ordering::Relaxed) {
        let chat = cmd!(sh, "{xtask} chat {url}").stdin("Say hello.\n");
        let answer = chat
            .quiet()
            .ignore_stderr()
            .read()
            .context("a chat ended with an error while the model was changed")?;
        ensure!(
            !answer.trim().is_empty(),
            "an answer was empty while the model was changed"
        );
        n_answers += 1;
    }
    Ok(n_answers)
}
