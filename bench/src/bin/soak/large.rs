//! Faults that are too large for a test: a gigabyte, thousands of sockets, ten thousand requests.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::load::{Callers, Class};
use crate::stage::{KEYS, SoakStage};
use crate::{MAX_DESCRIPTORS_LEFT, watch};

const MEGABYTES: usize = 1_000;
/// What an answer may hold of llm-proxy's memory beside what the other load moves it by.
const MAX_ANSWER_KIB: u64 = 16 * 1024;
/// Callers at once, as many as fit slots and queue, and rounds of them: ten thousand requests.
const POSTS: (usize, u64) = (80, 125);
/// Those of them that may be answered 502.
const MAX_CROSSED: usize = 20;
/// Connections with half a head, what they may cost, and when the last of them must be closed.
const DRIPS: usize = 5_000;
const MAX_DRIPS_KIB: u64 = 160 * 1024;
const CLOSED_WITHIN: Duration = Duration::from_secs(11);
/// `/health` meanwhile.
const HEALTH_WITHIN: Duration = Duration::from_millis(50);

/// A gigabyte of tokens passes, and is never held.
pub(crate) async fn answer(stage: &SoakStage, callers: &Callers) -> anyhow::Result<String> {
    let pid = stage.pid()?;
    let began = Instant::now();
    let before = watch::rss_kib(pid);
    let response = callers
        .ask(&format!("megabytes={MEGABYTES}"), KEYS[0])
        .await?
        .error_for_status()?;
    let mut parts = response.bytes_stream();
    let mut n_bytes = 0;
    let mut next_look = 0;
    let mut peak = before;
    let mut end = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part?;
        n_bytes += part.len();
        end.extend_from_slice(&part);
        end.drain(..end.len().saturating_sub(64));
        if n_bytes >= next_look {
            peak = peak.max(watch::rss_kib(pid));
            next_look += 1_000_000;
        }
    }
    ensure!(n_bytes > MEGABYTES * 1_000_000, "{n_bytes} bytes came");
    ensure!(
        end.ends_with(b"data: [DONE]\n\n"),
        "the answer is not whole"
    );
    ensure!(
        peak <= before + MAX_ANSWER_KIB,
        "memory grew from {before} to {peak} KiB"
    );
    callers.counts.add(Class::Ok);
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "{} MB in {seconds:.1} s, at most {} KiB more",
        n_bytes / 1_000_000,
        peak - before
    ))
}

/// An upstream closes what waits for 200 ms, and callers come 150 to 250 ms after one another, over and over.
pub(crate) async fn stale_connections(stage: &SoakStage) -> anyhow::Result<String> {
    let beside = stage.beside("stale", &["--idle", "200"]).await?;
    let callers = Callers::new(beside.public);
    let mut failed = Vec::new();
    for round in 0..POSTS.1 {
        let gap = 150 + round * 100 / POSTS.1;
        let asked = (0..POSTS.0).map(|n| callers.chat("tokens=1,pace=1", n % 2 == 0, KEYS[0]));
        failed.extend(
            join_all(asked)
                .await
                .into_iter()
                .filter(|class| *class != Class::Ok),
        );
        sleep(Duration::from_millis(gap)).await;
    }
    let all = u64::try_from(POSTS.0)? * POSTS.1;
    // A request and a close may cross each other, and what may have been sent is not sent again. llama-server waits for
    // 5 s, and nothing is sent on a connection that waited for 3.
    let few = failed.len() <= MAX_CROSSED && failed.iter().all(|class| *class == Class::Bad);
    ensure!(
        few,
        "{} of {all} failed: {:?}",
        failed.len(),
        failed.first()
    );
    Ok(format!("{all} requests, {} crossed a close", failed.len()))
}

/// Thousands of heads that drip a byte a second, to a proxy of their own: what its heap keeps of them afterwards, for the
/// next thousands, would hide what another fault leaves behind.
pub(crate) async fn dripping_heads(stage: &SoakStage, callers: &Callers) -> anyhow::Result<String> {
    let beside = stage.beside("dripping", &[]).await?;
    let pid = beside.pid()?;
    let to = beside.public;
    let before = watch::rss_kib(pid);
    let descriptors = watch::descriptors(pid);
    let mut slow = Vec::new();
    let mut peak = before;
    let dripping = join_all((0..DRIPS).map(|_| drip(to)));
    let looking = async {
        loop {
            let began = Instant::now();
            let health = callers.http.get(format!("http://{to}/health")).send().await;
            slow.push(if health.is_ok_and(|health| health.status() == 200) {
                began.elapsed()
            } else {
                Duration::MAX
            });
            peak = peak.max(watch::rss_kib(pid));
            sleep(Duration::from_millis(20)).await;
        }
    };
    let all = tokio::select! {
        all = dripping => all,
        () = looking => unreachable!("it looks as long as there is something to see"),
    };
    let all = all.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    // At the earliest from its first packet on, at the latest from when it stood.
    let first = all
        .iter()
        .map(|(at_most, ..)| *at_most)
        .min()
        .unwrap_or_default();
    let last = all
        .iter()
        .map(|(_, at_least, _)| *at_least)
        .max()
        .unwrap_or_default();
    let told = all.iter().filter(|(.., told)| *told).count();
    slow.sort_unstable();
    let p99 = slow[slow.len() * 99 / 100];
    ensure!(
        first >= Duration::from_secs(9) && last <= CLOSED_WITHIN,
        "closed after {first:?} to {last:?}"
    );
    ensure!(told == DRIPS, "{} were closed without a word", DRIPS - told);
    ensure!(
        peak <= before + MAX_DRIPS_KIB,
        "memory grew from {before} to {peak} KiB"
    );
    ensure!(p99 <= HEALTH_WITHIN, "the 99th of 100 /health took {p99:?}");
    stage
        .until("its descriptors to be closed", async || {
            watch::descriptors(pid) <= descriptors + MAX_DESCRIPTORS_LEFT
        })
        .await?;
    let last = last.as_secs_f64();
    let more = (peak - before) / 1024;
    Ok(format!(
        "all told by {last:.1} s, /health p99 {:.1} ms, {more} MiB more",
        p99.as_secs_f64() * 1e3
    ))
}

/// Sends a head a byte a second until it is closed: since when at most, since when at least, and whether it was told why.
async fn drip(to: SocketAddr) -> anyhow::Result<(Duration, Duration, bool)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(to).await.context("no connection")?;
    let connected = Instant::now();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ")
        .await?;
    let (mut reader, mut writer) = stream.split();
    let drips = async {
        let mut seconds = interval(Duration::from_secs(1));
        while writer.write_all(b"x").await.is_ok() {
            seconds.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        read = timeout(Duration::from_secs(30), reader.read_to_end(&mut answer)) => {
            // A reset is an end too.
            read.context("was never closed")?.ok();
        }
        () = drips => {}
    }
    let told = answer.starts_with(b"HTTP/1.1 408");
    Ok((began.elapsed(), connected.elapsed(), told))
}

/// Two proxies beside each other, of which one has a log that nobody reads any more.
pub(crate) async fn stuck_log(stage: &SoakStage) -> anyhow::Result<String> {
    let read = stage.beside("read", &[]).await?;
    let unread = stage.with_unread_log().await?;
    let with = Callers::new(read.public);
    let without = Callers::new(unread.public);
    // Until the pipe is full, and lines are lost.
    while unread
        .gauge("llm_proxy_log_lines_lost_total")
        .await
        .unwrap_or_default()
        < 100.0
    {
        ensure!(
            without.chat("tokens=1,pace=1", false, KEYS[0]).await == Class::Ok,
            "a request failed"
        );
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        let mut read = Vec::new();
        let mut unread = Vec::new();
        for _ in 0..500 {
            for (callers, times) in [(&with, &mut read), (&without, &mut unread)] {
                let began = Instant::now();
                ensure!(
                    callers.chat("tokens=1", false, KEYS[0]).await == Class::Ok,
                    "a request failed"
                );
                times.push(began.elapsed());
            }
        }
        let read = p99_millis(&mut read);
        let unread = p99_millis(&mut unread);
        seen.push(format!("{unread:.2} ms, read {read:.2} ms"));
        // Other load moves a 99th by more than that, in either direction.
        if unread <= read * 1.1 {
            return Ok(format!("p99 {}", seen.join("; ")));
        }
    }
    anyhow::bail!("more than a tenth slower five times: {}", seen.join("; "))
}

fn p99_millis(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}
