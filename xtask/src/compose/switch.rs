//! `deploy/corral switch-model` on a stack that runs, while callers ask: nobody sees an error, whether the new model loads
//! or not, and whichever of the two stops first.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xshell::cmd;

use super::OTHER_FILE;
use super::expect;
use super::hub::HubPlace;
use super::operator::OperatorServer;
use super::stack::Stack;
use crate::model::{DEV_FILE, DEV_REPO};
use crate::say;
use crate::settings::Profile;

/// What the Hub has under this name has the header of a model, and nothing that llama-server loads.
const BROKEN_FILE: &str = "broken.gguf";
/// Asks llm-proxy in two loops until `/tmp/over` is there, and prints what was no whole answer, then the count of all.
const CALLERS: &str = r#"
ask() {
  n=0
  until [ -e /tmp/over ]; do
    curl -sS -m 300 -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d "$BODY" \
      http://127.0.0.1:8081/v1/chat/completions >"/tmp/$1" 2>&1
    case $(tail -n 2 "/tmp/$1") in 'data: [DONE]'*) ;; *) echo "no whole answer: $(tail -c 300 "/tmp/$1")" ;; esac
    n=$((n + 1))
  done
  echo "whole or not: $n"
}
ask 1 & ask 2
wait
"#;
/// Has the stack serve [`OTHER_FILE`] instead of [`DEV_FILE`]: in development beside it, in production in its place.
///
/// # Errors
///
/// When a caller gets anything but a whole answer, or the stack is not as promised afterwards.
pub(super) fn to_another_model(stack: &mut Stack<'_>, place: &HubPlace) -> Result<()> {
    while_callers_ask(stack, place)?;
    stack.set("HF_FILENAME", OTHER_FILE);
    stack.set("LLM_MODEL", DEV_FILE);
    expect::serves(stack, OTHER_FILE)
}

fn while_callers_ask(stack: &Stack<'_>, place: &HubPlace) -> Result<()> {
    let (way, says) = match stack.profile() {
        Profile::Dev => (&[][..], "nobody waits"),
        Profile::Prod => (&["--drain"][..], "requests wait in the queue"),
    };
    let server = OperatorServer::new(stack)?;
    // Containers that were started from another folder would be started anew.
    server.runs(&["up"])?;
    let callers = CallersContainer::start(stack)?;

    let hub = place.serve_broken(BROKEN_FILE)?;
    let ran = server.ends(&[&["switch-model"], way, &[DEV_REPO, BROKEN_FILE]].concat())?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(
        ran.status.code() == Some(1)
            && said.contains("the new model does not work")
            && said.contains(says),
        "a broken model ends with {}: {said}",
        ran.status
    );
    drop(hub);
    expect::serves(stack, DEV_FILE)?;
    nothing_is_left(stack)?;

    let hub = place.serve(OTHER_FILE)?;
    let ran = server.ends(&[&["switch-model"], way, &[DEV_REPO, OTHER_FILE]].concat())?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(
        ran.status.success() && said.contains(says),
        "switch-model ends with {}: {said}",
        ran.status
    );
    drop(hub);
    let n_answers = callers.end()?;
    say::line(format_args!("  {n_answers} answers meanwhile, all whole"));
    nothing_is_left(stack)?;
    let settings = server.settings()?;
    let wanted = format!(
        "HF_REPO_ID={DEV_REPO}\nHF_FILENAME={OTHER_FILE}\nHF_REVISION=main\nLLM_MODEL={DEV_FILE}\n"
    );
    ensure!(settings.ends_with(&wanted), ".env.local is {settings:?}");
    // The next start is with the same model, and starts nothing anew.
    let before = engine(stack)?;
    let up = server.corral(&["up"]).env("HF_FILENAME", OTHER_FILE);
    say::read(up.env("LLM_MODEL", DEV_FILE))?;
    ensure!(
        engine(stack)? == before,
        "the next `up` starts another llama_server"
    );
    Ok(())
}

/// One llama_server runs, and llm-proxy drains none.
fn nothing_is_left(stack: &Stack<'_>) -> Result<()> {
    engine(stack)?;
    let top = [
        "exec",
        "-T",
        "llm_proxy",
        "/usr/local/bin/llm-proxy",
        "top",
        "--json",
    ];
    let status: Value = serde_json::from_str(&stack.compose(&top).quiet().read()?)?;
    ensure!(
        status["drained"] == json!([]),
        "something is drained still: {status}"
    );
    Ok(())
}

/// The id of the one llama_server.
fn engine(stack: &Stack<'_>) -> Result<String> {
    let ids = stack
        .compose(&["ps", "--all", "--quiet", "llama_server"])
        .quiet()
        .read()?;
    ensure!(
        ids.lines().count() == 1,
        "not one llama_server is there: {ids:?}"
    );
    Ok(ids)
}

/// Two callers of llm-proxy in a container of their own.
struct CallersContainer<'a> {
    stack: &'a Stack<'a>,
    name: String,
}

impl<'a> CallersContainer<'a> {
    fn start(stack: &'a Stack<'a>) -> Result<Self> {
        let containers = stack.containers()?;
        let proxy = containers["llm_proxy"]["Id"].as_str();
        let network = format!("container:{}", proxy.context("llm_proxy has an id")?);
        let image = containers["llama_server"]["Image"]
            .as_str()
            .context("llama_server has an image")?;
        let callers = Self {
            stack,
            name: format!("{}-callers", stack.project()),
        };
        let name = &callers.name;
        let key = stack.key();
        let sh = stack.shell();
        say::run(
            cmd!(
                sh,
                "docker run --detach --name {name} --network {network} --env KEY --env BODY --entrypoint sh {image} -c {CALLERS}"
            )
            .env("KEY", key)
            .env("BODY", question())
            .ignore_stdout(),
        )?;
        Ok(callers)
    }

    /// Lets them end. How many answers they had; fails when one was not whole.
    fn end(self) -> Result<usize> {
        let sh = self.stack.shell();
        let name = &self.name;
        say::run(cmd!(sh, "docker exec {name} touch /tmp/over"))?;
        say::run(cmd!(sh, "docker wait {name}").ignore_stdout())?;
        let log = cmd!(sh, "docker logs {name}").quiet().read()?;
        let counts: Option<Vec<usize>> = log
            .lines()
            .map(|line| line.strip_prefix("whole or not: ")?.parse().ok())
            .collect();
        let counts = counts.with_context(|| format!("while the model was changed: {log}"))?;
        ensure!(counts.len() == 2, "the callers ended early: {log}");
        Ok(counts.iter().sum())
    }
}

impl Drop for CallersContainer<'_> {
    fn drop(&mut self) {
        let sh = self.stack.shell();
        let name = &self.name;
        cmd!(sh, "docker rm --force {name}")
            .quiet()
            .ignore_status()
            .ignore_stdout()
            .ignore_stderr()
            .run()
            .ok();
    }
}

/// What they ask. An answer takes some seconds.
fn question() -> String {
    let message = json!({"role": "user", "content": "Tell a long story about a horse."});
    json!({"model": DEV_FILE, "messages": [message], "max_tokens": 100, "stream": true}).to_string()
}
