//! llama-server's preStop hook (deploy/k8s/base/drain.sh) on a real llama-server, which computes a real answer.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use xshell::Shell;

use crate::say;
use crate::settings::Settings;
use crate::steps::StepOutcome;

/// Tokens of the answer that keeps a slot busy: some seconds on one core.
const ANSWER_TOKENS: u32 = 128;

/// Runs the hook beside `engine`, which asks for `key`.
///
/// # Errors
///
/// When the hook ends too early, never, or with the wrong exit code.
pub(crate) fn test(
    sh: &Shell,
    settings: &Settings,
    engine: SocketAddr,
    key: &str,
) -> Result<StepOutcome> {
    if settings.which("curl").is_none() {
        return Ok(StepOutcome::Skipped(
            "no curl (Debian: apt-get install curl)".to_owned(),
        ));
    }
    let folder = sh.create_temp_dir()?;
    let key_file = folder.path().join("key");
    sh.write_file(&key_file, format!("{key}\n"))?;
    let mut hook = Command::new("sh");
    hook.arg(settings.root().join("deploy/k8s/base/drain.sh"))
        .env("LLAMA_URL", format!("http://{engine}"))
        .env("LLAMA_ARG_API_KEY_FILE", &key_file)
        .env("LLAMA_DRAIN_SECONDS", "120")
        .env("LLAMA_DRAIN_QUIET_SECONDS", "1");
    ends(&mut hook, 0, "no slot works").context("an idle llama-server")?;

    let mut answer = LongAnswer::begin(engine, &key_file)?;
    hook.env("LLAMA_DRAIN_SECONDS", "0");
    ends(&mut hook, 1, "still busy").context("an answer that outlasts the drain")?;
    hook.env("LLAMA_DRAIN_SECONDS", "120");
    let said =
        ends(&mut hook, 0, "no slot works").context("an answer that ends within the drain")?;
    looks_seldom(&said)?;
    // The hook has ended, so all of the answer is there already.
    let words = answer.rest()?;
    ensure!(
        words.trim_end().ends_with("data: [DONE]"),
        "the hook ended before the answer: {words}"
    );

    sh.write_file(&key_file, "another-key\n")?;
    ends(&mut hook, 1, "refused with 401").context("a wrong key")?;
    hook.env("LLAMA_URL", "http://127.0.0.1:1");
    ends(&mut hook, 0, "has ended").context("a llama-server that has gone")?;
    Ok(StepOutcome::Passed)
}

/// Runs the hook, which must end with this code and say this.
fn ends(hook: &mut Command, code: i32, words: &str) -> Result<String> {
    let output = hook.output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    say::line(format_args!("drain.sh: {}", said.trim()));
    ensure!(
        output.status.code() == Some(code) && said.contains(words),
        "drain.sh ended with {}, not with {code} and {words:?}",
        output.status
    );
    Ok(said)
}

/// More than one look in 2 seconds, and llama-server may not notice callers that leave.
fn looks_seldom(said: &str) -> Result<()> {
    let numbers: Vec<u64> = said
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let &[seconds, looks] = numbers.as_slice() else {
        anyhow::bail!("drain.sh does not say how long it took: {said}");
    };
    ensure!(
        looks <= seconds / 2 + 2,
        "drain.sh looked {looks} times in {seconds} s"
    );
    Ok(())
}

/// A stream of one answer that has begun.
struct LongAnswer {
    curl: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl LongAnswer {
    /// Asks, and waits for the first token: from then on a slot is busy.
    fn begin(engine: SocketAddr, key_file: &std::path::Path) -> Result<Self> {
        let key = std::fs::read_to_string(key_file)?;
        let body = json!({
            "stream": true,
            "ignore_eos": true,
            "max_tokens": ANSWER_TOKENS,
            "messages": [{"role": "user", "content": "Tell me a long story."}],
        });
        let mut curl = Command::new("curl")
            .args(["--silent", "--no-buffer", "--max-time", "300"])
            .args(["--header", &format!("Authorization: Bearer {}", key.trim())])
            .args(["--json", &body.to_string()])
            .arg(format!("http://{engine}/v1/chat/completions"))
            .stdout(Stdio::piped())
            .spawn()?;
        let output = curl.stdout.take().context("curl has an output")?;
        let mut lines = BufReader::new(output);
        let mut first = String::new();
        lines.read_line(&mut first)?;
        ensure!(first.starts_with("data: "), "no answer began: {first}");
        Ok(Self { curl, lines })
    }

    /// What follows, to the end.
    fn rest(&mut self) -> Result<String> {
        let mut words = String::new();
        self.lines.read_to_string(&mut words)?;
        self.curl.wait()?;
        Ok(words)
    }
}

impl Drop for LongAnswer {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        self.curl.kill().ok();
    }
}
