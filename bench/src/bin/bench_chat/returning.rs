//! Readers that lose their connections in mid-answer, all at once, and come back: what watchers cost, and how soon each reads
//! on. Every reader checks that its text goes on exactly where it had stopped. Version 2 only.

use std::time::{Duration, Instant};

use bench::process::rss_kib;
use bench::samples::{micros, spread};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout_at};

use crate::socket::{ChatCaller, ChatFailure, ChatSocket};
use crate::{Costs, GatewayTarget};

/// Sockets that are being opened at the same time.
const OPENING: usize = 128;
/// How long a gateway may take to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the readers read before their connections break.
const READ_FIRST: Duration = Duration::from_secs(2);
/// How much longer than planned everything may take together.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running answer and its user.
#[derive(Clone)]
struct BegunAnswer {
    caller: ChatCaller,
    conversation: String,
    answer: String,
}

/// One reader of an answer.
struct AnswerReader {
    running: BegunAnswer,
    socket: Option<ChatSocket>,
    position: u64,
    /// When it read something for the first time since it was opened.
    read_on: Option<Instant>,
    is_done: bool,
}

/// Begins `answers`, lets `readers` watch them, breaks all their connections at once, and lets them come back.
pub(crate) async fn run(to: &GatewayTarget, answers: usize, readers: usize, pace: u64) -> Value {
    let tasks = LocalSet::new();
    let run = async {
        let deadline = Instant::now() + to.time() + PATIENCE;
        let mut failures = Vec::new();
        let running = begin(to, answers, pace, &mut failures).await;
        sleep(SETTLE).await;
        let memory = to.gateway().map(rss_kib);
        let mut open = Vec::new();
        let chosen = running.iter().cycle().take(readers);
        let mut opening = stream::iter(chosen.map(|running| AnswerReader::open(running.clone())))
            .buffer_unordered(OPENING);
        while let Some(opened) = opening.next().await {
            opened.map_or_else(|failure| failures.push(failure), |reader| open.push(reader));
        }
        drop(opening);
        sleep(SETTLE).await;
        let memory_open = to.gateway().map(rss_kib);
        for reader in &mut open {
            failures.extend(reader.watch().await.err());
        }
        sleep(SETTLE).await;
        let memory_watching = to.gateway().map(rss_kib);

        let n_watching = open.len();
        let cut = Instant::now() + READ_FIRST;
        let reading: Vec<_> = open
            .into_iter()
            .map(|mut reader| {
                tasks.spawn_local(async move {
                    let read = timeout_at(cut.into(), reader.read()).await;
                    (reader, read.unwrap_or(Ok(())).err())
                })
            })
            .collect();
        let mut cut_off = Vec::new();
        for task in reading {
            let Ok((mut reader, failure)) = task.await else {
                continue;
            };
            failures.extend(failure);
            reader.socket = None;
            cut_off.push(reader);
        }
        let n_missed: usize = cut_off.iter().filter(|reader| reader.is_done).count();

        let costs = Costs::begin(to);
        let broken = Instant::now();
        let mut opening = stream::iter(cut_off.into_iter().map(AnswerReader::come_back))
            .buffer_unordered(OPENING);
        let mut reading = Vec::new();
        while let Some(opened) = opening.next().await {
            match opened {
                Ok(mut reader) => reading.push(tasks.spawn_local(async move {
                    let read = timeout_at(deadline.into(), reader.read()).await;
                    (reader, read.unwrap_or(Err(ChatFailure::Late)).err())
                })),
                Err(failure) => failures.push(failure),
            }
        }
        let opened = broken.elapsed();
        let costs = costs.end();
        let mut read_on = Vec::new();
        let mut whole = 0;
        for task in reading {
            let Ok((reader, failure)) = task.await else {
                continue;
            };
            failures.extend(failure);
            whole += usize::from(reader.is_done);
            read_on.extend(reader.read_on.map(|at| micros(at - broken)));
        }
        json!({"readers": n_watching, "answers": running.len(), "came_back": read_on.len(), "whole": whole,
            "ended_before": n_missed, "opened_seconds": opened.as_secs_f64(), "read_on_micros": spread(&mut read_on),
            "rss_kib": [memory, memory_open, memory_watching], "costs": costs,
            "failures": ChatFailure::count(&failures)})
    };
    tasks.run_until(run).await
}

/// Asks for the answers. Those who asked leave; the answers run on.
async fn begin(
    to: &GatewayTarget,
    answers: usize,
    pace: u64,
    failures: &mut Vec<ChatFailure>,
) -> Vec<BegunAnswer> {
    let tokens = u64::try_from(to.time().as_millis()).unwrap_or_default() / pace.max(1);
    let asked = to
        .dialect
        .ask(&format!("tokens={tokens},pace={pace}"), 0)
        .concat();
    let asking = (0..answers).map(|number| ask(to.caller(number), &asked));
    let mut asking = stream::iter(asking).buffer_unordered(OPENING);
    let mut running = Vec::new();
    while let Some(begun) = asking.next().await {
        begun.map_or_else(
            |failure| failures.push(failure),
            |begun| running.push(begun),
        );
    }
    running
}

async fn ask(mut caller: ChatCaller, asked: &str) -> Result<BegunAnswer, ChatFailure> {
    let mut socket = ChatSocket::open(&caller).await?;
    caller.cookie = socket.cookie.take();
    socket.say(&[asked]).await?;
    let mut accepted = None;
    let mut is_refused = false;
    while accepted.is_none() && !is_refused {
        socket
            .next(&mut |frame: &[u8]| {
                let frame: Value = serde_json::from_slice(frame).unwrap_or_default();
                is_refused |= frame["type"] == "error";
                if frame["type"] == "accepted" {
                    accepted = Some((text(&frame["conversation"]), text(&frame["answer"])));
                }
            })
            .await?;
    }
    let (conversation, answer) = accepted.ok_or(ChatFailure::Error)?;
    Ok(BegunAnswer {
        caller,
        conversation,
        answer,
    })
}

impl AnswerReader {
    async fn open(running: BegunAnswer) -> Result<Self, ChatFailure> {
        let socket = ChatSocket::open(&running.caller).await?;
        Ok(Self {
            running,
            socket: Some(socket),
            position: 0,
            read_on: None,
            is_done: false,
        })
    }

    /// Opens a new connection and watches from its own position on.
    async fn come_back(mut self) -> Result<Self, ChatFailure> {
        self.socket = Some(ChatSocket::open(&self.running.caller).await?);
        self.read_on = None;
        self.watch().await?;
        Ok(self)
    }

    async fn watch(&mut self) -> Result<(), ChatFailure> {
        let held = json!([{"message": self.running.answer, "position": self.position}]);
        let frame = json!({"type": "watch", "id": "w", "conversation": self.running.conversation, "answers": held});
        let socket = self.socket.as_mut().ok_or(ChatFailure::Broken)?;
        socket.say(&[&frame.to_string()]).await
    }

    /// Reads until the answer ends. Cancel-safe unless the peer pings.
    async fn read(&mut self) -> Result<(), ChatFailure> {
        let socket = self.socket.as_mut().ok_or(ChatFailure::Broken)?;
        let mut failure = None;
        while !self.is_done && failure.is_none() {
            let now = &mut self.read_on;
            let position = &mut self.position;
            let is_done = &mut self.is_done;
            socket
                .next(&mut |frame: &[u8]| {
                    let frame: Value = serde_json::from_slice(frame).unwrap_or_default();
                    match frame["type"].as_str() {
                        Some("delta") => {
                            now.get_or_insert_with(Instant::now);
                            *position += text(&frame["text"]).len() as u64;
                        }
                        Some("done") if frame["status"] == "done" => *is_done = true,
                        Some("done" | "error" | "snapshot") => failure = Some(ChatFailure::Error),
                        _ => return,
                    }
                    if frame["position"].as_u64() != Some(*position) {
                        failure = Some(ChatFailure::Partial);
                    }
                })
                .await?;
        }
        failure.map_or(Ok(()), Err)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
