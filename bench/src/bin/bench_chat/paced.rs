//! Paced answers whose tokens are the times at which the mock wrote them, beside sockets that say nothing.

use std::time::{Duration, Instant};

use bench::process::rss_kib;
use bench::samples::spread;
use bench::stamps;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::dialect::Meaning;
use crate::socket::{ChatFailure, ChatSocket};
use crate::{Costs, GatewayTarget};

/// Sockets that are being opened at the same time.
const OPENING: usize = 64;
/// How long all sockets together may take to open.
const OPEN_PATIENCE: Duration = Duration::from_secs(120);
/// How long a gateway may take to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How much longer than planned all answers together may take before they are given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one chat saw.
#[derive(Default)]
struct PacedTally {
    micros: Vec<u32>,
    tokens: usize,
    outcome: Option<ChatFailure>,
}

/// Opens `idle` sockets, then begins `chats` answers, spread over one pause between tokens, each as long as what is measured.
pub(crate) async fn run(to: &GatewayTarget, chats: usize, idle: usize, pace: u64) -> Value {
    let tasks = LocalSet::new();
    let run = async {
        let memory = to.gateway().map(rss_kib);
        let began = Instant::now();
        let (waiting, mut failures) = open(to, idle, &tasks).await;
        let opened = began.elapsed();
        sleep(SETTLE).await;
        let memory_idle = to.gateway().map(rss_kib);
        let seen = chats_beside(to, chats, pace, &tasks).await;
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

async fn chats_beside(to: &GatewayTarget, chats: usize, pace: u64, tasks: &LocalSet) -> Value {
    let tokens = usize::try_from(to.time().as_millis()).unwrap_or_default()
        / usize::try_from(pace.max(1)).unwrap_or(1);
    let asked = to.dialect.ask(&format!("tokens={tokens},pace={pace}"), 0);
    let begin = Instant::now();
    // Opening takes its time too: at most 500 a second.
    let opening = Duration::from_millis(2) * u32::try_from(chats).unwrap_or(u32::MAX);
    let end = begin + opening + to.time() + PATIENCE;
    let mut running = Vec::new();
    for number in 0..chats {
        let to = to.clone();
        let asked = asked.clone();
        let at = begin + opening.mul_f64(number as f64 / chats.max(1) as f64);
        // What comes while others still begin is not counted.
        let from = begin + opening + Duration::from_millis(500);
        running.push(tasks.spawn_local(async move {
            sleep_until(at.into()).await;
            let mut tally = PacedTally::default();
            let ended = timeout_at(end.into(), chat(&to, number, &asked, from, &mut tally)).await;
            tally.outcome = ended.unwrap_or(Err(ChatFailure::Late)).err();
            tally
        }));
    }
    sleep_until((begin + opening).into()).await;
    let mut costs = Costs::begin(to);
    let rest = to.time().saturating_sub(opening);
    sleep(rest / 2).await;
    costs.look();
    sleep(rest / 2).await;
    let costs = costs.end();
    let mut micros = Vec::new();
    let mut failures = Vec::new();
    let mut n_tokens = 0;
    let mut whole = 0;
    for task in running {
        let Ok(mut tally) = task.await else { continue };
        micros.append(&mut tally.micros);
        n_tokens += tally.tokens;
        match tally.outcome {
            Some(failure) => failures.push(failure),
            None if tally.tokens == tokens => whole += 1,
            None => failures.push(ChatFailure::Partial),
        }
    }
    json!({"whole": whole, "chats": chats, "tokens": n_tokens, "micros": spread(&mut micros),
        "samples": micros.len(), "failures": ChatFailure::count(&failures), "costs": costs,
        "cost_seconds": rest.as_secs_f64(), "pace": pace})
}

async fn chat(
    to: &GatewayTarget,
    number: usize,
    asked: &[String],
    from: Instant,
    tally: &mut PacedTally,
) -> Result<(), ChatFailure> {
    let mut socket = ChatSocket::open(&to.caller(number)).await?;
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    socket.say(&asked).await?;
    let dialect = to.dialect;
    let mut end = None;
    while end.is_none() {
        let counts = Instant::now() >= from;
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
                Meaning::Done => end = Some(Ok(())),
                Meaning::Failed => end = Some(Err(ChatFailure::Error)),
                Meaning::Other => {}
            })
            .await?;
    }
    end.unwrap_or(Ok(()))
}
