//! Many streams at once whose tokens are the times at which they were written: what a token waits on its way.

use std::time::{Duration, Instant};

use bench::process::WatchedProcess;
use bench::samples::spread;
use bench::stamps;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::Target;
use crate::client::{LoadClient, LoadFailure};

/// How much longer than planned all streams may take together before they are given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one stream saw.
#[derive(Default)]
struct StreamSeen {
    micros: Vec<u32>,
    tokens: usize,
    outcome: Option<LoadFailure>,
}

/// Opens `streams`, spread over one pause between tokens, and lets each run for the time that is measured.
pub(crate) async fn run(to: &Target, streams: usize, pace: u64) -> Value {
    let tokens = usize::try_from(to.time().as_millis()).unwrap_or_default()
        / usize::try_from(pace.max(1)).unwrap_or(1);
    let request = to.request(&format!("tokens={tokens},pace={pace}"), true);
    let tasks = LocalSet::new();
    let begin = Instant::now();
    // Opening takes its time too: at most 500 a second.
    let opening = Duration::from_millis(2) * u32::try_from(streams).unwrap_or(u32::MAX);
    let end = begin + opening + to.time() + PATIENCE;
    let mut opened = Vec::new();
    for number in 0..streams {
        let address = to.to;
        let request = request.clone();
        let at = begin + opening.mul_f64(number as f64 / streams as f64);
        // What comes while others still connect is not counted.
        let from = begin + opening + Duration::from_millis(500);
        opened.push(tasks.spawn_local(async move {
            tokio::time::sleep_until(at.into()).await;
            let mut seen = StreamSeen::default();
            let ended =
                tokio::time::timeout_at(end.into(), watch(address, &request, from, &mut seen))
                    .await;
            seen.outcome = ended.unwrap_or(Err(LoadFailure::Late)).err();
            seen
        }));
    }
    let run = async {
        tokio::time::sleep_until((begin + opening).into()).await;
        let mut watched = WatchedProcess::begin(to.process);
        tokio::time::sleep(to.time().saturating_sub(opening) / 2).await;
        watched.look();
        tokio::time::sleep(to.time().saturating_sub(opening) / 2).await;
        let cost = watched.end();
        let mut micros = Vec::new();
        let mut failures = Vec::new();
        let mut n_tokens = 0;
        let mut whole = 0;
        for task in opened {
            let Ok(mut seen) = task.await else { continue };
            micros.append(&mut seen.micros);
            n_tokens += seen.tokens;
            match seen.outcome {
                Some(failure) => failures.push(failure),
                None if seen.tokens == tokens => whole += 1,
                None => failures.push(LoadFailure::Partial),
            }
        }
        json!({"whole": whole, "streams": streams, "tokens": n_tokens, "micros": spread(&mut micros),
            "samples": micros.len(), "failures": LoadFailure::count(&failures), "cost": cost,
            "cost_seconds": to.time().saturating_sub(opening).as_secs_f64(), "pace": pace})
    };
    tasks.run_until(run).await
}

async fn watch(
    to: std::net::SocketAddr,
    request: &[u8],
    from: Instant,
    seen: &mut StreamSeen,
) -> Result<(), LoadFailure> {
    let mut client = LoadClient::connect(to).await?;
    client.send(request).await?;
    let mut text = Vec::new();
    while client
        .next(&mut |part: &[u8]| {
            text.extend_from_slice(part);
            read_times(&mut text, from, seen);
        })
        .await?
    {}
    Ok(())
}

/// Takes the whole numbers out of `text`: the times at which the upstream wrote its tokens.
fn read_times(text: &mut Vec<u8>, from: Instant, seen: &mut StreamSeen) {
    let counts = Instant::now() >= from;
    let end = stamps::ages(text, |micros| {
        seen.tokens += 1;
        if counts {
            seen.micros.push(micros);
        }
    });
    // A number that is not whole yet stays.
    let used = end.max(text.len().saturating_sub(stamps::DIGITS));
    text.drain(..used);
}
