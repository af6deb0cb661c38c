//! Readers at one of several gateways when it is killed: how soon each reads on at another gateway, or is told that its answer
//! was interrupted. Half of their answers were begun at the gateway that falls, the others elsewhere. Version 2 only.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bench::samples::{micros, spread};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::reader::{AnswerReader, BegunAnswer, ReaderEnd};
use crate::socket::ChatFailure;
use crate::{Costs, GatewayTarget};

/// Sockets that are being opened at the same time.
const OPENING: usize = 128;
/// How long the readers read before the gateway is killed.
const READ_FIRST: Duration = Duration::from_secs(2);
/// A reader whose connection fails tries again after this.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How long after the death a reader may still wait for what becomes of its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reader after the death.
struct ReturnedReader {
    /// Whether its answer was begun at the gateway that fell.
    was_at_home: bool,
    reader: AnswerReader,
    /// When it was told how its answer ended.
    ended: Option<Instant>,
    n_tries: usize,
    failure: Option<ChatFailure>,
}

/// Begins an answer for each of `readers`, lets them read at the first gateway, kills it, and lets them come back.
pub(crate) async fn run(to: &GatewayTarget, readers: usize, kill: u32, pace: u64) -> Value {
    let tasks = LocalSet::new();
    let run = async {
        let mut failures = Vec::new();
        let open = begin(to, readers, pace, &mut failures).await;
        let n_reading = open.len();
        let cut = Instant::now() + READ_FIRST;
        let deadline = cut + to.time() + PATIENCE;
        let others = to.also.clone();
        let running: Vec<_> = open
            .into_iter()
            .enumerate()
            .map(|(number, (was_at_home, reader))| {
                let at = others[number % others.len()];
                tasks.spawn_local(async move {
                    let mut returned = ReturnedReader {
                        was_at_home,
                        reader,
                        ended: None,
                        n_tries: 0,
                        failure: None,
                    };
                    let read = timeout_at(deadline.into(), returned.read(cut, at)).await;
                    returned.failure = read.unwrap_or(Err(ChatFailure::Late)).err();
                    returned
                })
            })
            .collect();
        sleep_until(cut.into()).await;
        let costs = Costs::begin(to);
        let is_killed = Command::new("kill")
            .args(["-KILL", &kill.to_string()])
            .status();
        let killed = Instant::now();
        if !is_killed.is_ok_and(|status| status.success()) {
            failures.push(ChatFailure::Connect);
        }
        let mut read_on = Vec::new();
        let mut told = Vec::new();
        let mut whole = 0;
        let mut n_tries = 0;
        let mut n_snapshots = 0;
        let mut at_home = 0;
        for task in running {
            let Ok(returned) = task.await else { continue };
            at_home += usize::from(returned.was_at_home);
            n_tries += returned.n_tries;
            n_snapshots += returned.reader.n_snapshots;
            failures.extend(returned.failure);
            let end = returned.reader.end;
            match (end, returned.ended) {
                (Some(ReaderEnd::Interrupted), Some(at)) => {
                    told.push(micros(at.saturating_duration_since(killed)));
                }
                (Some(ReaderEnd::Done), _) => whole += 1,
                _ => {}
            }
            if end != Some(ReaderEnd::Interrupted)
                && let Some(at) = returned.reader.read_on
            {
                read_on.push(micros(at.saturating_duration_since(killed)));
            }
        }
        json!({"readers": n_reading, "at_home": at_home, "read_on": read_on.len(), "whole": whole,
            "interrupted": told.len(), "tries": n_tries, "snapshots": n_snapshots,
            "read_on_micros": spread(&mut read_on),
            "told_micros": spread(&mut told), "costs": costs.end(),
            "failures": ChatFailure::count(&failures)})
    };
    tasks.run_until(run).await
}

/// Begins the answers, of which every other one is at home at the gateway that will fall, and opens a reader for each there.
async fn begin(
    to: &GatewayTarget,
    readers: usize,
    pace: u64,
    failures: &mut Vec<ChatFailure>,
) -> Vec<(bool, AnswerReader)> {
    let tokens = u64::try_from(to.time().as_millis()).unwrap_or_default() / pace.max(1);
    let order = format!("tokens={tokens},pace={pace}");
    let asked = to.dialect.ask(&order, 0).concat();
    let opening = (0..readers).map(|number| {
        let mut caller = to.caller(number);
        let home = match number % 2 {
            0 => to.to,
            _ => to.also[number / 2 % to.also.len()],
        };
        caller.to = home;
        let asked = &asked;
        async move {
            let running = BegunAnswer::ask(caller, asked).await?;
            let mut reader = AnswerReader::open(running, to.to).await?;
            // What the dead gateway had not told the others yet is lost.
            reader.takes_snapshots = true;
            reader.watch().await?;
            Ok((home == to.to, reader))
        }
    });
    let mut opening = stream::iter(opening).buffer_unordered(OPENING);
    let mut open = Vec::new();
    while let Some(opened) = opening.next().await {
        let opened: Result<_, ChatFailure> = opened;
        opened.map_or_else(|failure| failures.push(failure), |reader| open.push(reader));
    }
    open
}

impl ReturnedReader {
    /// Reads, and goes on at the gateway `at` once the first one has gone, until the answer ends.
    async fn read(&mut self, cut: Instant, at: SocketAddr) -> Result<(), ChatFailure> {
        let before = self.reader.read().await;
        if before.is_ok() || Instant::now() < cut {
            // It ended, or broke, before anything was killed.
            return before.and(Err(ChatFailure::Late));
        }
        loop {
            self.n_tries += 1;
            let read = match self.reader.connect(at).await {
                Ok(()) => self.read_on().await,
                Err(failure) => Err(failure),
            };
            match read {
                Ok(()) => {
                    self.ended = Some(Instant::now());
                    return Ok(());
                }
                Err(failure @ (ChatFailure::Partial | ChatFailure::Frame)) => return Err(failure),
                Err(_) => sleep(TRY_AGAIN).await,
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), ChatFailure> {
        self.reader.watch().await?;
        self.reader.read().await
    }
}
