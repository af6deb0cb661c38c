//! `cargo xtask soak`: mixed load on llm-proxy as built, a fault every so often, and at the end nothing left behind. Every
//! request is classified; outside of a fault none may fail. Prints as it goes, a table at the end; its exit code is the verdict.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

mod faults;
mod large;
mod load;
mod stage;
mod watch;

use faults::SoakFault;
use load::{Callers, Class};
use stage::SoakStage;

/// Callers at once; fewer than slots, so that nobody has to wait without a fault.
const CALLERS: usize = 24;
/// Between two requests of a caller.
const REST: Duration = Duration::from_millis(20);
/// What a fault leaves behind for a while: answers that run into a deadline, an upstream that is on probation.
const AFTERMATH: Duration = Duration::from_secs(6);
/// Ends that need no excuse.
const FINE: [Class; 3] = [Class::Ok, Class::Left, Class::Refused];
/// How much more memory the process may have at its end than when it had warmed up: what the heap does not give back.
const MAX_GROWTH_KIB: u64 = 16 * 1024;
/// Descriptors that may be open without load beyond those before it.
const MAX_DESCRIPTORS_LEFT: usize = 4;

/// Mixed load and faults on llm-proxy.
#[derive(Parser)]
struct SoakArguments {
    /// How long; below five, only a few faults.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let minutes = SoakArguments::parse().minutes;
    let menu: &[SoakFault] = if minutes < 5.0 {
        &SoakFault::FEW
    } else {
        &SoakFault::ALL
    };
    let every = Duration::from_secs_f64(minutes * 60.0) / u32::try_from(menu.len() + 1)?;
    let mut stage = SoakStage::start().await?;
    let callers = Callers::new(stage.public);
    let mut report = Report::default();
    let idle_descriptors = watch::descriptors(stage.pid()?);
    println!(
        "llm-proxy at {}, {} faults, one every {:.0} s",
        stage.public,
        menu.len(),
        every.as_secs_f64()
    );

    let load = TaskTracker::new();
    let stop = tokio_util::sync::CancellationToken::new();
    for kind in 0..CALLERS {
        let callers = callers.clone();
        let stop = stop.clone();
        load.spawn(async move {
            while !stop.is_cancelled() {
                callers.once(kind).await;
                sleep(REST).await;
            }
        });
    }
    load.close();

    let began = Instant::now();
    let mut warm_kib = 0;
    for (number, fault) in menu.iter().enumerate() {
        report
            .quiet(
                &stage,
                &callers,
                began,
                began + every * u32::try_from(number + 1)?,
            )
            .await?;
        if number == 1 {
            warm_kib = watch::rss_kib(stage.pid()?);
        }
        let found = fault.happen(&mut stage, &callers).await;
        sleep(AFTERMATH).await;
        report.fault(*fault, found, callers.counts.take());
    }
    report
        .quiet(
            &stage,
            &callers,
            began,
            began + every * u32::try_from(menu.len() + 1)?,
        )
        .await?;
    stop.cancel();
    load.wait().await;
    report.count("the end", callers.counts.take(), &[]);
    drop(callers);
    report
        .left_behind(&stage, idle_descriptors, warm_kib)
        .await?;
    Ok(report.finish())
}

/// What was seen, and what of it is wrong.
#[derive(Default)]
struct Report {
    rows: Vec<String>,
    total: BTreeMap<Class, u64>,
    problems: Vec<String>,
}

impl Report {
    /// Time without a fault, with a word every few seconds.
    async fn quiet(
        &mut self,
        stage: &SoakStage,
        callers: &Callers,
        began: Instant,
        until: Instant,
    ) -> anyhow::Result<()> {
        let mut all = BTreeMap::new();
        loop {
            sleep_until(until.min(Instant::now() + Duration::from_secs(5))).await;
            let counts = callers.counts.take();
            println!("{}", line(stage, began, &counts).await?);
            counts
                .into_iter()
                .for_each(|(class, n)| *all.entry(class).or_default() += n);
            if Instant::now() >= until {
                break;
            }
        }
        self.count("no fault", all, &[]);
        Ok(())
    }

    fn fault(
        &mut self,
        fault: SoakFault,
        found: anyhow::Result<String>,
        counts: BTreeMap<Class, u64>,
    ) {
        let found = found.unwrap_or_else(|error| {
            self.problems.push(format!("{}: {error:#}", fault.name()));
            format!("FAILED: {error:#}")
        });
        println!("{}: {found}; {}", fault.name(), words(&counts));
        self.rows.push(format!(
            "| {} | {found} | {} |",
            fault.name(),
            words(&counts)
        ));
        self.count(fault.name(), counts, fault.excuses());
    }

    fn count(&mut self, when: &str, counts: BTreeMap<Class, u64>, excused: &[Class]) {
        for (class, n) in counts {
            *self.total.entry(class).or_default() += n;
            if !FINE.contains(&class) && !excused.contains(&class) {
                self.problems
                    .push(format!("{when}: {n} {class:?} without a reason"));
            }
        }
    }

    /// Without load: no permit, no slot, no connection, no memory may be held.
    async fn left_behind(
        &mut self,
        stage: &SoakStage,
        descriptors: usize,
        warm_kib: u64,
    ) -> anyhow::Result<()> {
        let pid = stage.pid()?;
        for name in ["llm_proxy_requests_in_flight", "llm_proxy_queue_depth"] {
            if let Err(error) = stage
                .until(name, async || stage.gauge(name).await == Some(0.0))
                .await
            {
                self.problems.push(format!("{error:#} to be 0"));
            }
        }
        let idle = stage
            .until("the upstreams to be idle", async || {
                stage.running().await.is_ok_and(|running| running == 0)
            })
            .await;
        if let Err(error) = idle {
            self.problems.push(format!("{error:#}"));
        }
        let closed = stage
            .until("descriptors to be closed", async || {
                watch::descriptors(pid) <= descriptors + MAX_DESCRIPTORS_LEFT
            })
            .await;
        if closed.is_err() {
            let now = watch::descriptors(pid);
            self.problems.push(format!(
                "{now} descriptors are open without load, {descriptors} were before it"
            ));
        }
        let end_kib = watch::rss_kib(pid);
        let threads = watch::threads(pid);
        if end_kib > warm_kib + MAX_GROWTH_KIB {
            self.problems
                .push(format!("memory grew from {warm_kib} KiB to {end_kib} KiB"));
        }
        self.rows.push(format!(
            "| the end, without load | {} descriptors ({descriptors} before), {threads} threads, {} MiB ({} MiB when warm) | |",
            watch::descriptors(pid),
            end_kib / 1024,
            warm_kib / 1024
        ));
        Ok(())
    }

    fn finish(self) -> ExitCode {
        println!("\n| fault | what was found | how requests ended meanwhile |\n|---|---|---|");
        self.rows.iter().for_each(|row| println!("{row}"));
        println!("| all together | | {} |\n", words(&self.total));
        self.problems
            .iter()
            .for_each(|problem| println!("WRONG: {problem}"));
        if self.problems.is_empty() {
            println!("nothing wrong, nothing left behind");
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

async fn line(
    stage: &SoakStage,
    began: Instant,
    counts: &BTreeMap<Class, u64>,
) -> anyhow::Result<String> {
    let pid = stage.pid()?;
    let in_flight = stage
        .gauge("llm_proxy_requests_in_flight")
        .await
        .unwrap_or_default();
    Ok(format!(
        "{:4.0} s  {:5} KiB  {:3} descriptors  {in_flight:3} in flight  {}",
        began.elapsed().as_secs_f64(),
        watch::rss_kib(pid),
        watch::descriptors(pid),
        words(counts)
    ))
}

fn words(counts: &BTreeMap<Class, u64>) -> String {
    let words: Vec<String> = counts
        .iter()
        .map(|(class, n)| format!("{n} {class:?}"))
        .collect();
    words.join(", ")
}
