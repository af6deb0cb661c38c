//! The menu of faults, one after another. Each says which ends of requests it excuses while it lasts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::large;
use crate::load::{Callers, Class};
use crate::stage::{KEYS, SoakStage};
use crate::watch;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SoakFault {
    Restart,
    Killed,
    Stopped,
    AllKilled,
    Resets,
    Stalls,
    Keys,
    Burst,
    BigBodies,
    Starved,
    SlowReaders,
    HugeAnswer,
    StaleConnections,
    DrippingHeads,
    StuckLog,
}

impl SoakFault {
    /// All of them. A new process of llm-proxy comes first, so that its memory can be watched from then on.
    pub(crate) const ALL: [Self; 15] = [
        Self::Restart,
        Self::Killed,
        Self::Stopped,
        Self::AllKilled,
        Self::Resets,
        Self::Stalls,
        Self::Keys,
        Self::Burst,
        Self::BigBodies,
        Self::Starved,
        Self::SlowReaders,
        Self::HugeAnswer,
        Self::StaleConnections,
        Self::DrippingHeads,
        Self::StuckLog,
    ];
    /// Those for a minute.
    pub(crate) const FEW: [Self; 5] = [
        Self::Restart,
        Self::Killed,
        Self::Resets,
        Self::Keys,
        Self::Burst,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Restart => "llm-proxy: SIGTERM, start",
            Self::Killed => "one upstream: SIGKILL, back after 3 s",
            Self::Stopped => "one upstream: SIGSTOP for 8 s",
            Self::AllKilled => "all upstreams: SIGKILL, back after 2 s",
            Self::Resets => "60 answers reset after 5 tokens",
            Self::Stalls => "12 answers stall after 5 tokens",
            Self::Keys => "20 reloads of the keys, one key out and in",
            Self::Burst => "400 requests at once",
            Self::BigBodies => "1,000 bodies of 1 MiB at once",
            Self::Starved => "8 threads that spin for 10 s",
            Self::SlowReaders => "200 slow readers",
            Self::HugeAnswer => "an answer of a gigabyte",
            Self::StaleConnections => {
                "10,000 requests 150 to 250 ms apart, connections closed after 200 ms"
            }
            Self::DrippingHeads => "5,000 heads that drip",
            Self::StuckLog => "a log that nobody reads",
        }
    }

    /// What may happen to requests meanwhile, beside being served.
    pub(crate) const fn excuses(self) -> &'static [Class] {
        match self {
            Self::Restart => &[Class::NotConnected, Class::Unavailable],
            Self::Killed | Self::AllKilled | Self::Resets => {
                &[Class::Bad, Class::ErrorEvent, Class::Unavailable]
            }
            Self::Stopped | Self::Stalls => &[Class::Late, Class::ErrorEvent, Class::Unavailable],
            Self::Burst | Self::SlowReaders => &[Class::Full, Class::Unavailable],
            Self::BigBodies => &[Class::Unavailable],
            Self::Keys
            | Self::Starved
            | Self::HugeAnswer
            | Self::StaleConnections
            | Self::DrippingHeads
            | Self::StuckLog => &[],
        }
    }

    /// Happens, and is over when this returns. What it found out, in a few words.
    pub(crate) async fn happen(
        self,
        stage: &mut SoakStage,
        callers: &Callers,
    ) -> anyhow::Result<String> {
        match self {
            Self::Restart => {
                let began = Instant::now();
                stage.restart_proxy().await?;
                return Ok(format!(
                    "ready again after {:.1} s",
                    began.elapsed().as_secs_f64()
                ));
            }
            Self::Killed => {
                stage.upstreams[0].kill().await?;
                sleep(Duration::from_secs(3)).await;
                stage.upstreams[0].start_again()?;
            }
            Self::Stopped => {
                stage.upstreams[1].signal("-STOP").await?;
                sleep(Duration::from_secs(8)).await;
                stage.upstreams[1].signal("-CONT").await?;
            }
            Self::AllKilled => {
                for upstream in &mut stage.upstreams {
                    upstream.kill().await?;
                }
                sleep(Duration::from_secs(2)).await;
                stage
                    .upstreams
                    .iter_mut()
                    .try_for_each(super::stage::MockUpstream::start_again)?;
            }
            Self::Resets => return wave(callers, 60, "tokens=20,pace=5,cut=5").await,
            Self::Stalls => return wave(callers, 12, "tokens=20,pace=5,stall=5").await,
            Self::Keys => return keys(stage, callers).await,
            Self::Burst => return burst(callers).await,
            Self::BigBodies => return big_bodies(stage, callers).await,
            Self::Starved => return starved(stage, callers).await,
            Self::HugeAnswer => return large::answer(stage, callers).await,
            Self::StaleConnections => return large::stale_connections(stage).await,
            Self::DrippingHeads => return large::dripping_heads(stage, callers).await,
            Self::StuckLog => return large::stuck_log(stage).await,
            Self::SlowReaders => {
                let began = Instant::now();
                let all = join_all((0..200).map(|_| callers.slow())).await;
                all.iter().for_each(|class| callers.counts.add(*class));
                let whole = all.iter().filter(|class| **class == Class::Ok).count();
                return Ok(format!(
                    "{whole} whole after {:.1} s",
                    began.elapsed().as_secs_f64()
                ));
            }
        }
        let began = Instant::now();
        stage.all_up().await?;
        Ok(format!(
            "all slots back after {:.1} s",
            began.elapsed().as_secs_f64()
        ))
    }
}

/// Requests whose answers all break: as streams with an error event, as whole answers with a status.
async fn wave(callers: &Callers, n: usize, order: &str) -> anyhow::Result<String> {
    let asked =
        (0..n).map(|number| callers.chat(order, number.is_multiple_of(2), KEYS[number % 3]));
    let classes = join_all(asked).await;
    for class in classes {
        callers.counts.add(class);
        ensure!(class != Class::Ok, "an answer that broke looks whole");
    }
    Ok("none looked whole".to_owned())
}

async fn keys(stage: &SoakStage, callers: &Callers) -> anyhow::Result<String> {
    let last = KEYS[KEYS.len() - 1];
    for _ in 0..20 {
        stage.keys(KEYS.len())?;
        sleep(Duration::from_millis(100)).await;
    }
    let mut words = Vec::new();
    for (n, expected) in [
        (KEYS.len() - 1, Class::Unauthorized),
        (KEYS.len(), Class::Ok),
    ] {
        stage.keys(n)?;
        let began = Instant::now();
        while callers.chat("tokens=1,pace=1", false, last).await != expected {
            ensure!(
                began.elapsed() < Duration::from_secs(5),
                "a key that was changed did not become {expected:?}"
            );
        }
        words.push(format!(
            "{expected:?} after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
    }
    Ok(words.join(", "))
}

async fn burst(callers: &Callers) -> anyhow::Result<String> {
    let began = Instant::now();
    let asked = (0..400).map(async |number: usize| {
        let class = callers
            .chat("tokens=20,pace=20", true, KEYS[number % 3])
            .await;
        (class, began.elapsed())
    });
    let all = join_all(asked).await;
    let mut n_served = 0;
    let mut n_refused = 0;
    let mut slowest = Duration::ZERO;
    for (class, after) in all {
        callers.counts.add(class);
        match class {
            Class::Ok => n_served += 1,
            Class::Full => {
                n_refused += 1;
                slowest = slowest.max(after);
            }
            _ => {}
        }
    }
    Ok(format!(
        "{n_served} served, {n_refused} refused within {:.2} s",
        slowest.as_secs_f64()
    ))
}

/// Bodies four times as large as may be. Some callers only see the connection close: they write while it is refused.
async fn big_bodies(stage: &SoakStage, callers: &Callers) -> anyhow::Result<String> {
    let body = vec![b'x'; 1 << 20];
    let pid = stage.pid()?;
    let sent = (0..1000).map(|number: usize| send_body(callers.to, KEYS[number % 3], &body));
    let all = join_all(sent).await;
    let peak_mib = watch::rss_kib(pid) / 1024;
    let refused = all
        .iter()
        .flatten()
        .filter(|status| matches!(status, 413 | 503))
        .count();
    let others = all.iter().flatten().count() - refused;
    ensure!(others == 0, "{others} bodies of 1 MiB were not refused");
    ensure!(refused > 0, "nobody was told why");
    ensure!(peak_mib < 128, "llm-proxy has {peak_mib} MiB");
    Ok(format!(
        "{refused} told, {} closed, {peak_mib} MiB",
        1000 - refused
    ))
}

/// The status that a request with `body` is answered with, if its sender gets to see one.
async fn send_body(to: SocketAddr, key: &str, body: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (mut reader, mut writer) = stream.split();
    let write = async {
        // It may be refused meanwhile; what counts is what is read.
        writer.write_all(head.as_bytes()).await.ok();
        writer.write_all(body).await.ok();
        std::future::pending::<()>().await;
    };
    let mut status = [0; 12];
    tokio::select! {
        read = timeout(Duration::from_secs(20), reader.read_exact(&mut status)) => {
            read.ok()?.ok()?;
            String::from_utf8_lossy(&status[9..]).parse::<u16>().ok()
        }
        () = write => None,
    }
}

/// More than all processors' worth of other work. Nothing may count as gone for it.
async fn starved(stage: &SoakStage, callers: &Callers) -> anyhow::Result<String> {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        })
        .collect();
    let mut slowest = Duration::ZERO;
    let mut slots = f64::INFINITY;
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let began = Instant::now();
        let health = callers
            .http
            .get(format!("http://{}/health", callers.to))
            .send()
            .await;
        slowest = slowest.max(began.elapsed());
        if !health.is_ok_and(|health| health.status() == 200) {
            bail!("/health is not 200 while other work takes the processors");
        }
        slots = slots.min(stage.gauge("llm_proxy_slots").await.unwrap_or_default());
        sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let panicked = threads
        .into_iter()
        .filter_map(|thread| thread.join().err())
        .count();
    ensure!(
        panicked == 0 && slots >= 72.0,
        "an upstream counted as gone: {slots} slots"
    );
    Ok(format!(
        "/health within {:.2} s, no upstream ejected",
        slowest.as_secs_f64()
    ))
}
