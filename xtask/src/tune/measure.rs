//! Starts a llama-server and takes its figures: the speeds are its own (`timings`), the pauses are seen from outside.
//!
//! Prompts are lists of token numbers, so their lengths are exact, and no two are alike, so none is cached.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;

use super::LOADED_WITHIN;
use super::search::{EngineChoice, Measured};
use crate::call::{Output, RunningCall, tail};
use crate::engine::Engine;
use crate::memory::bytes_of;
use crate::probe;
use crate::settings::Settings;

/// Tokens of the prompt whose speed is taken.
const PROMPT_TOKENS: u64 = 512;
/// Tokens of the answer whose speed is taken.
const ANSWER_TOKENS: u64 = 48;
/// Tokens of the long prompt beside which another chat goes on.
const LONG_PROMPT_TOKENS: u64 = 1024;
/// The longest that the other chat goes on, in tokens.
const OTHER_TOKENS: u64 = 600;
/// Token numbers begin here; every vocabulary has more than those below and these.
const FIRST_TOKEN: u64 = 1000;
const N_TOKENS: u64 = 20_000;
/// How long one answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);
/// How long the engine may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// A llama-server with one choice of settings.
pub(super) struct RunningEngine {
    running: RunningCall,
    address: SocketAddr,
    key: String,
}

impl RunningEngine {
    /// Starts it on a free port and waits until its model is loaded.
    ///
    /// # Errors
    ///
    /// When it ends instead, with the end of its log.
    pub(super) async fn start(
        settings: &Settings,
        engine: &Engine,
        model: &Path,
        choice: EngineChoice,
    ) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let key = settings
            .secret("PROXY_UPSTREAM_API_KEY")
            .or_else(|_| settings.secret("LLM_API_KEY"))?;
        let settings = settings.with(choice.values());
        let log = settings.target("logs/tune/llama-server.log");
        let mut running = engine
            .call(&settings, model, "tuned", address)?
            .start(Output::Log(&log))?;
        let ready = async {
            while probe::ready(address, "/health").await.is_err() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            loaded = tokio::time::timeout(LOADED_WITHIN, ready) => {
                loaded.context("the engine does not become ready")?;
            }
            status = running.wait() => bail!("the engine ended ({}):\n{}", status?, tail(&log)),
        }
        Ok(Self {
            running,
            address,
            key,
        })
    }

    /// Stops it.
    pub(super) async fn stop(mut self) {
        self.running.signal(Signal::TERM);
        // What does not end in time is killed when it is dropped.
        tokio::time::timeout(GRACE, self.running.wait()).await.ok();
    }

    /// The memory that it holds now, in bytes.
    fn resident(&self) -> u64 {
        let Some(pid) = self.running.pid() else {
            return 0;
        };
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        bytes_of(&status, "VmRSS:").unwrap_or(0)
    }

    async fn ask(&self, prompt: &[u64], n_predict: u64) -> Result<TimedAnswer> {
        let body = json!({
            "prompt": prompt, "n_predict": n_predict, "stream": true, "cache_prompt": false,
            "ignore_eos": true, "temperature": 0,
        })
        .to_string();
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        Ok(TimedAnswer {
            lines: BufReader::new(stream).lines(),
        })
    }
}

/// An answer that comes.
struct TimedAnswer {
    lines: Lines<BufReader<TcpStream>>,
}

/// What an event says; only the last one has timings.
#[derive(Deserialize)]
struct CompletionEvent {
    #[serde(default)]
    error: Option<serde_json::Value>,
    timings: Option<EngineTimings>,
    #[serde(default)]
    stop: bool,
}

/// llama-server's own clock.
#[derive(Clone, Copy, Debug, Deserialize)]
struct EngineTimings {
    prompt_n: u64,
    prompt_per_second: f64,
    predicted_per_second: f64,
}

impl TimedAnswer {
    /// The next token; the timings with the last one. Not cancel-safe.
    async fn next(&mut self) -> Result<Option<EngineTimings>> {
        while let Some(line) = self.lines.next_line().await? {
            let payload = line
                .strip_prefix("data: ")
                .or_else(|| line.strip_prefix("error: "));
            let Some(payload) = payload else {
                // A head, the size of a chunk, or an empty line; but an error comes without an event.
                ensure!(
                    !line.starts_with("{\"error\""),
                    "llama-server refuses: {line}"
                );
                continue;
            };
            let event: CompletionEvent =
                serde_json::from_str(payload).context("an event has another form")?;
            if let Some(error) = event.error {
                bail!("llama-server refuses: {error}");
            }
            return Ok(event.timings.filter(|_| event.stop));
        }
        bail!("the answer ended before its last event")
    }

    /// The timings of the whole answer.
    async fn whole(mut self) -> Result<EngineTimings> {
        let answered = async {
            loop {
                if let Some(timings) = self.next().await? {
                    return Ok(timings);
                }
            }
        };
        tokio::time::timeout(ANSWERED_WITHIN, answered)
            .await
            .context("an answer takes too long")?
    }
}

/// How often and with which prompts an engine is asked.
pub(super) struct EngineBench {
    n_rounds: usize,
    n_prompts: u64,
}

impl EngineBench {
    /// One round, or three.
    pub(super) const fn new(is_quick: bool) -> Self {
        Self {
            n_rounds: if is_quick { 1 } else { 3 },
            n_prompts: 0,
        }
    }

    /// The figures of one engine: medians.
    ///
    /// # Errors
    ///
    /// When it refuses or breaks off.
    pub(super) async fn measure(
        &mut self,
        engine: &RunningEngine,
        choice: EngineChoice,
    ) -> Result<Measured> {
        let room = choice.n_ctx_slot.saturating_sub(ANSWER_TOKENS);
        ensure!(
            room > 64,
            "{} tokens of context are too few to measure",
            choice.n_ctx_slot
        );
        // The first answer touches memory that was never touched before.
        let warm_up = self.prompt(room.min(64));
        engine.ask(&warm_up, 8).await?.whole().await?;
        let mut prompts = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..self.n_rounds {
            let prompt = self.prompt(room.min(PROMPT_TOKENS));
            let timings = engine.ask(&prompt, ANSWER_TOKENS).await?.whole().await?;
            ensure!(
                timings.prompt_n == prompt.len() as u64,
                "the engine had some of the prompt cached"
            );
            prompts.push(timings.prompt_per_second);
            answers.push(timings.predicted_per_second);
        }
        let mut shares = Vec::new();
        let mut stalls = Vec::new();
        for _ in 0..self.n_rounds {
            shares.push(self.share(engine, choice).await?);
            if choice.slots > 1 {
                stalls.push(self.stall(engine, choice).await?);
            }
        }
        Ok(Measured {
            prompt_per_second: median(prompts),
            answer_per_second: median(answers),
            share_per_second: median(shares),
            stall: (!stalls.is_empty()).then(|| Duration::from_secs_f64(median(stalls))),
            resident: engine.resident(),
        })
    }

    /// Tokens per second of each answer while all slots answer.
    async fn share(&mut self, engine: &RunningEngine, choice: EngineChoice) -> Result<f64> {
        let prompts: Vec<Vec<u64>> = (0..choice.slots).map(|_| self.prompt(32)).collect();
        let answers = prompts.iter().map(|prompt| async {
            let answer = engine.ask(prompt, ANSWER_TOKENS).await?;
            answer.whole().await
        });
        let all = try_join_all(answers).await?;
        let sum: f64 = all.iter().map(|timings| timings.predicted_per_second).sum();
        Ok(sum / all.len() as f64)
    }

    /// The longest pause of a chat, in seconds, while a long prompt of another one is computed.
    async fn stall(&mut self, engine: &RunningEngine, choice: EngineChoice) -> Result<f64> {
        let n_long = LONG_PROMPT_TOKENS.min(choice.n_ctx_slot - ANSWER_TOKENS);
        let long_prompt = self.prompt(n_long);
        let n_other = OTHER_TOKENS.min(choice.n_ctx_slot - 64);
        let mut chat = engine.ask(&self.prompt(32), n_other).await?;
        chat.next().await?;
        let mut last = Instant::now();
        let mut longest = Duration::ZERO;
        let other = async { engine.ask(&long_prompt, 1).await?.whole().await };
        let mut other = std::pin::pin!(other);
        loop {
            // `next` is dropped only when the pause is over and measured.
            tokio::select! {
                token = chat.next() => {
                    let is_last = token?.is_some();
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    if is_last {
                        other.as_mut().await?;
                        return Ok(longest.as_secs_f64());
                    }
                }
                computed = other.as_mut() => {
                    computed?;
                    return Ok(longest.max(last.elapsed()).as_secs_f64());
                }
            }
        }
    }

    /// A prompt that was never asked before.
    fn prompt(&mut self, n: u64) -> Vec<u64> {
        self.n_prompts += 1;
        let salt = self.n_prompts * 7919;
        (0..n)
            .map(|at| FIRST_TOKEN + (salt + at * (salt % 97 + 31)) % N_TOKENS)
            .collect()
    }
}

/// The one in the middle.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::{EngineBench, FIRST_TOKEN, N_TOKENS, median};

    #[test]
    fn prompts_have_their_length_and_no_two_begin_alike() {
        let mut bench = EngineBench::new(true);
        let prompts: Vec<Vec<u64>> = (0..50).map(|_| bench.prompt(40)).collect();
        for (at, prompt) in prompts.iter().enumerate() {
            assert_eq!(prompt.len(), 40);
            assert!(
                prompt
                    .iter()
                    .all(|token| (FIRST_TOKEN..FIRST_TOKEN + N_TOKENS).contains(token))
            );
            assert!(prompts[..at].iter().all(|other| other[..8] != prompt[..8]));
        }
    }

    #[test]
    fn one_bad_round_of_three_does_not_count() {
        assert!((median(vec![10.0, 1.0, 11.0]) - 10.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
