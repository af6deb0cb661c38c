//! Paced answers whose tokens are the times at which the mock wrote them, beside sockets that say nothing. Some of the answers
//! may be watched by a second socket of the same user, at the next gateway where there are several.

use std::time::{Duration, Instant};

use bench::process::rss_kib;
use bench::samples::spread;
use bench::stamps;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::dialect::{AcceptedAnswer, ChatVersion, Meaning};
use crate::socket::{ChatCaller, ChatFailure, ChatSocket};
use crate::{Costs, GatewayTarget};

/// Sockets that are being opened at the same time.
const OPENING: usize = 64;
/// How long all sockets together may take to open.
const OPEN_PATIENCE: Duration = Duration::from_secs(120);
/// How long a gateway may take to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How much longer than planned all answers together may take before they are given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacedLoad {
    pub(crate) chats: usize,
    /// Milliseconds between two tokens.
    pub(crate) pace: u64,
    /// How many percent of the answers are watched.
    pub(crate) watched: usize,
}

/// What one socket saw of an answer.
#[derive(Default)]
struct PacedTally {
    micros: Vec<u32>,
    tokens: usize,
    outcome: Option<ChatFailure>,
}

/// What many sockets saw together.
#[derive(Default)]
struct PacedSum {
    sockets: usize,
    micros: Vec<u32>,
    tokens: usize,
    whole: usize,
    failures: Vec<ChatFailure>,
}

/// The times of a load: what comes before `from` is not counted, and what is not there at `end` comes too late.
#[derive(Clone, Copy)]
struct PacedTimes {
    from: Instant,
    end: Instant,
}

/// Opens `idle` sockets, then begins the answers, spread over the time that opening takes, each as long as what is measured.
pub(crate) async fn run(to: &GatewayTarget, idle: usize, load: PacedLoad) -> Value {
    let tasks = LocalSet::new();
    let run = async {
        let memory = to.gateway().map(rss_kib);
        let began = Instant::now();
        let (waiting, mut failures) = open(to, idle, &tasks).await;
        let opened = began.elapsed();
        sleep(SETTLE).await;
        let memory_idle = to.gateway().map(rss_kib);
        let seen = chats_beside(to, load, &tasks).await;
        let lost = waiting.iter().filter(|task| task.is_finished()).count();
        failures.extend((0..lost).map(|_| ChatFailure::Broken));
        let idle = json!({"sockets": waiting.len(), "seconds": opened.as_secs_f64(), "rss_kib_before": memory,
            "rss_kib_after": memory_idle, "failures": ChatFailure::count(&failures)});
        json!({"idle": idle, "chats": seen})
    };
    tasks.run_until(run).await
}

/// Opens `n` sockets that answer pings and say nothing.
async fn open(
    to: &GatewayTarget,
    n: usize,
    tasks: &LocalSet,
) -> (Vec<JoinHandle<ChatFailure>>, Vec<ChatFailure>) {
    let callers = (0..n).map(|number| to.caller(number));
    let opening = callers.map(|caller| async move { ChatSocket::open(&caller).await });
    let mut opening = stream::iter(opening).buffer_unordered(OPENING);
    let mut waiting = Vec::new();
    let mut failures = Vec::new();
    let patience = (Instant::now() + OPEN_PATIENCE).into();
    while let Ok(Some(opened)) = timeout_at(patience, opening.next()).await {
        match opened {
            Ok(socket) => waiting.push(tasks.spawn_local(socket.idle())),
            Err(failure) => failures.push(failure),
        }
    }
    let late = n - waiting.len() - failures.len();
    failures.extend((0..late).map(|_| ChatFailure::Late));
    (waiting, failures)
}

async fn chats_beside(to: &GatewayTarget, load: PacedLoad, tasks: &LocalSet) -> Value {
    let PacedLoad {
        chats,
        pace,
        watched,
    } = load;
    let tokens = usize::try_from(to.time().as_millis()).unwrap_or_default()
        / usize::try_from(pace.max(1)).unwrap_or(1);
    let asked = to.dialect.ask(&format!("tokens={tokens},pace={pace}"), 0);
    let begin = Instant::now();
    // Opening takes its time too: at most 500 a second.
    let opening = Duration::from_millis(2) * u32::try_from(chats).unwrap_or(u32::MAX);
    let times = PacedTimes {
        // What comes while others still begin is not counted.
        from: begin + opening + Duration::from_millis(500),
        end: begin + opening + to.time() + PATIENCE,
    };
    let mut running = Vec::new();
    for number in 0..chats {
        let to = to.clone();
        let asked = asked.clone();
        let at = begin + opening.mul_f64(number as f64 / chats.max(1) as f64);
        let is_watched = number * watched % 100 + watched > 99;
        running.push(tasks.spawn_local(async move {
            sleep_until(at.into()).await;
            let mut tally = PacedTally::default();
            let mut watcher = None;
            let chatting = chat(
                &to,
                number,
                &asked,
                times,
                &mut tally,
                |accepted, cookie| {
                    if is_watched && watcher.is_none() {
                        let mut caller = to.caller(number + 1);
                        caller.cookie = cookie;
                        watcher = Some(spawn_local(watch(caller, accepted, times)));
                    }
                },
            );
            let ended = timeout_at(times.end.into(), chatting).await;
            tally.outcome = ended.unwrap_or(Err(ChatFailure::Late)).err();
            let watched = match watcher {
                Some(watcher) => watcher.await.ok(),
                None => None,
            };
            (tally, watched)
        }));
    }
    sleep_until((begin + opening).into()).await;
    let mut costs = Costs::begin(to);
    let rest = to.time().saturating_sub(opening);
    sleep(rest / 2).await;
    costs.look();
    sleep(rest / 2).await;
    let costs = costs.end();
    let mut owners = PacedSum::default();
    let mut watchers = PacedSum::default();
    for task in running {
        let Ok((tally, watched)) = task.await else {
            continue;
        };
        owners.add(tally, tokens);
        if let Some(watched) = watched {
            watchers.add(watched, tokens);
        }
    }
    let mut seen = owners.told();
    seen["chats"] = chats.into();
    seen["watchers"] = watchers.told();
    seen["costs"] = costs;
    seen["cost_seconds"] = rest.as_secs_f64().into();
    seen["pace"] = pace.into();
    seen
}

impl PacedSum {
    /// Adds what a socket saw of an answer of `tokens`.
    fn add(&mut self, mut tally: PacedTally, tokens: usize) {
        self.sockets += 1;
        self.micros.append(&mut tally.micros);
        self.tokens += tally.tokens;
        match tally.outcome {
            Some(failure) => self.failures.push(failure),
            None if tally.tokens == tokens => self.whole += 1,
            None => self.failures.push(ChatFailure::Partial),
        }
    }

    fn told(mut self) -> Value {
        json!({"sockets": self.sockets, "whole": self.whole, "tokens": self.tokens,
            "micros": spread(&mut self.micros), "samples": self.micros.len(),
            "failures": ChatFailure::count(&self.failures)})
    }
}

/// Asks, and reads the answer to its end. `accepted` hears that it was begun, with the user's cookie.
async fn chat(
    to: &GatewayTarget,
    number: usize,
    asked: &[String],
    times: PacedTimes,
    tally: &mut PacedTally,
    mut accepted: impl FnMut(AcceptedAnswer, Option<String>),
) -> Result<(), ChatFailure> {
    let mut socket = ChatSocket::open(&to.caller(number)).await?;
    let cookie = socket.cookie.take();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    socket.say(&asked).await?;
    read(&mut socket, to.dialect, times, tally, |frame| {
        if let Some(begun) = AcceptedAnswer::read(frame) {
            accepted(begun, cookie.clone());
        }
    })
    .await
}

/// Reads an answer that another socket has asked for.
async fn watch(caller: ChatCaller, accepted: AcceptedAnswer, times: PacedTimes) -> PacedTally {
    let mut tally = PacedTally::default();
    let watching = async {
        let mut socket = ChatSocket::open(&caller).await?;
        socket.say(&[&accepted.watch_from(0)]).await?;
        read(&mut socket, caller.dialect, times, &mut tally, |_| {}).await
    };
    let ended = timeout_at(times.end.into(), watching).await;
    tally.outcome = ended.unwrap_or(Err(ChatFailure::Late)).err();
    tally
}

/// Reads an answer to its end, and hands frames that are no part of it to `other`.
async fn read(
    socket: &mut ChatSocket,
    dialect: ChatVersion,
    times: PacedTimes,
    tally: &mut PacedTally,
    mut other: impl FnMut(&[u8]),
) -> Result<(), ChatFailure> {
    let mut end = None;
    while end.is_none() {
        let counts = Instant::now() >= times.from;
        socket
            .next(&mut |frame: &[u8]| match dialect.read(frame) {
                Meaning::Delta => {
                    stamps::ages(frame, |micros| {
                        tally.tokens += 1;
                        if counts {
                            tally.micros.push(micros);
                        }
                    });
                }
                Meaning::Snapshot => {
                    tally.tokens = 0;
                    stamps::ages(frame, |_| tally.tokens += 1);
                }
                Meaning::Done => end = Some(Ok(())),
                Meaning::Failed => end = Some(Err(ChatFailure::Error)),
                Meaning::Other => other(frame),
            })
            .await?;
    }
    end.unwrap_or(Ok(()))
}
