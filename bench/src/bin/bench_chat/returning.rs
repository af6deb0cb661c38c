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

use crate::reader::{AnswerReader, BegunAnswer, ReaderEnd};
use crate::socket::ChatFailure;
use crate::{Costs, GatewayTarget};

/// Sockets that are being opened at the same time.
const OPENING: usize = 128;
/// How long a gateway may take to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the readers read before their connections break.
const READ_FIRST: Duration = Duration::from_secs(2);
/// How much longer than planned everything may take together.
const PATIENCE: Duration = Duration::from_secs(60);

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
        let mut opening = stream::iter(
            chosen.map(|running| AnswerReader::open(running.clone(), running.caller.to)),
        )
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
        let n_missed: usize = cut_off.iter().filter(|reader| reader.end.is_some()).count();

        let costs = Costs::begin(to);
        let broken = Instant::now();
        let coming = cut_off.into_iter().map(|reader| {
            let at = reader.running.caller.to;
            reader.come_back(at)
        });
        let mut opening = stream::iter(coming).buffer_unordered(OPENING);
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
            whole += usize::from(reader.end == Some(ReaderEnd::Done));
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
    let order = format!("tokens={tokens},pace={pace}");
    let asked = to.dialect.ask(&order, 0).concat();
    let asking = (0..answers).map(|number| BegunAnswer::ask(to.caller(number), &asked));
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
