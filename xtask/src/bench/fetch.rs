//! `cargo xtask bench fetch`: model-fetcher compared with curl, aria2c and `hf download`. One Hub on this machine serves a
//! made-up model from its memory. The tools take turns, each in an empty folder of the same file system. The file that a
//! tool leaves is compared with the digest, whatever the tool says.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::hub::{BenchHub, Count};
use super::measure::{Cost, measure};
use super::table::{HEAD, Run, refusal, row};
use super::tools::{Care, Tool, all};
use crate::call::{create, tail};
use crate::say;
use crate::settings::Settings;

/// Bytes per second and connection of a slow line.
const SLOW: u64 = 50_000_000;
/// Bytes after which a bad line cuts a connection.
const CUT_EVERY: u64 = 100_000_000;

/// What `bench fetch` measures.
#[derive(Debug, clap::Args)]
pub(crate) struct FetchBenchOptions {
    /// The model's size, as in 64MiB or 4GiB; may be repeated.
    #[arg(long = "size", value_name = "SIZE", value_parser = parse_size, default_values = ["1GiB", "4GiB"])]
    sizes: Vec<u64>,
    /// Only this scenario; may be repeated.
    #[arg(long = "scenario", value_enum)]
    scenarios: Vec<FetchScenario>,
    /// Only tools whose name contains this, as in curl or model-fetcher; may be repeated.
    #[arg(long = "tool", value_name = "WORD")]
    tools: Vec<String>,
    /// Runs of each tool; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FetchScenario {
    /// As fast as it goes.
    Unthrottled,
    /// Everything is in place already.
    Again,
    /// 50 MB/s for each connection.
    Slow,
    /// A connection is cut every 100 MB.
    Cut,
    /// SIGKILL when half of the file was sent, then the same command again.
    Killed,
}

/// Measures and prints, table by table.
///
/// # Errors
///
/// When the Hub does not start or the disk is full. A tool that fails has a row that says so.
pub(crate) async fn run(settings: &Settings, options: &FetchBenchOptions) -> Result<()> {
    let folder = settings.target("bench");
    let mut tools = all(settings).await?;
    tools.retain(|tool| {
        options.tools.is_empty() || options.tools.iter().any(|word| tool.name.contains(word))
    });
    ensure!(
        !tools.is_empty(),
        "--tool {}: there is no such tool",
        options.tools.join(" --tool ")
    );
    let every = [
        FetchScenario::Unthrottled,
        FetchScenario::Again,
        FetchScenario::Slow,
        FetchScenario::Cut,
        FetchScenario::Killed,
    ];
    let scenarios = if options.scenarios.is_empty() {
        every.as_slice()
    } else {
        &options.scenarios
    };
    println!("{}, the Hub on the same machine over loopback", machine());
    for size in &options.sizes {
        for scenario in scenarios {
            let load = load();
            let rows = measure_all(settings, &folder, &tools, *scenario, *size, options.runs)?;
            println!(
                "\n{} MiB, {scenario} (load {load} before, {} after)\n\n{HEAD}",
                size >> 20,
                self::load()
            );
            rows.iter().for_each(|row| println!("{row}"));
        }
    }
    Ok(())
}

/// The rows of one table.
fn measure_all(
    settings: &Settings,
    folder: &Path,
    tools: &[Tool],
    scenario: FetchScenario,
    size: u64,
    n_runs: usize,
) -> Result<Vec<String>> {
    let flags = match scenario {
        FetchScenario::Slow => vec!["--bytes-per-second".to_owned(), SLOW.to_string()],
        FetchScenario::Cut => vec!["--cut-every".to_owned(), CUT_EVERY.to_string()],
        FetchScenario::Unthrottled | FetchScenario::Again | FetchScenario::Killed => Vec::new(),
    };
    let hub = BenchHub::start(settings, size, &flags)?;
    let mut results: Vec<_> = tools
        .iter()
        .filter(|tool| scenario != FetchScenario::Again || tool.notices)
        .map(|tool| (tool, Ok(Vec::new())))
        .collect();
    for round in 1..=n_runs {
        for (tool, runs) in &mut results {
            if let (Ok(done), None) = (&mut *runs, tool.missing()) {
                say::line(format_args!(
                    "{scenario}, round {round} of {n_runs}: {}",
                    tool.name
                ));
                let empty = Empty::new(folder)?;
                match one_run(tool, scenario, &hub, &empty) {
                    Ok(run) => done.push(run),
                    Err(error) => *runs = Err(error),
                }
            }
        }
    }
    let rows = results
        .into_iter()
        .map(|(tool, runs)| match (tool.missing(), runs) {
            (Some(advice), _) => refusal(&tool.name, advice),
            (None, Ok(runs)) => row(&tool.name, tool.verifies, runs),
            (None, Err(error)) => {
                say::line(format_args!("{}: {error:#}", tool.name));
                refusal(&tool.name, &format!("failed: {}", error.root_cause()))
            }
        });
    Ok(rows.collect())
}

/// One run of `tool` into an empty folder.
fn one_run(tool: &Tool, scenario: FetchScenario, hub: &BenchHub, empty: &Empty) -> Result<Run> {
    let mut before = hub.count()?;
    let mut cost = Cost::default();
    match scenario {
        FetchScenario::Killed => {
            cost = call(
                tool,
                hub,
                empty,
                Care::Doomed,
                Some(&|| {
                    let count = hub.count();
                    count.is_ok_and(|count| count.served - before.served >= hub.place.size / 2)
                }),
            )?;
        }
        FetchScenario::Again => {
            call(tool, hub, empty, Care::Once, None)?;
            before = hub.count()?;
        }
        FetchScenario::Unthrottled | FetchScenario::Slow | FetchScenario::Cut => {}
    }
    let care = if scenario == FetchScenario::Cut {
        Care::Stubborn
    } else {
        Care::Once
    };
    let cost = cost.and(call(tool, hub, empty, care, None)?);
    let after = hub.count()?;
    check(&Tool::goal(&empty.0), &hub.place.sha256)?;
    let count = Count {
        requests: after.requests - before.requests,
        served: after.served - before.served,
    };
    Ok(Run { cost, count })
}

/// Calls `tool` once, until it ends or is killed.
fn call(
    tool: &Tool,
    hub: &BenchHub,
    empty: &Empty,
    care: Care,
    kill: Option<&(dyn Fn() -> bool + Sync)>,
) -> Result<Cost> {
    let log = empty.0.with_extension("log");
    let output = create(&log)?;
    let mut command = tool.command(&hub.place, &empty.0, care);
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let (cost, status) = measure(command, || kill.is_some_and(|kill| kill()))?;
    ensure!(
        kill.is_some() || status.success(),
        "{status}\n{}",
        tail(&log)
    );
    Ok(cost)
}

/// Compares the file that a tool left with the digest.
fn check(goal: &Path, sha256: &str) -> Result<()> {
    let mut file = File::open(goal).context("it left no file")?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n_bytes => hash.update(&piece[..n_bytes]),
        }
    }
    let found: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        found == sha256,
        "it left WRONG BYTES and said that all is well"
    );
    Ok(())
}

/// An empty folder, after the disk has written back everything from before. Dropping it removes its content.
struct Empty(PathBuf);

impl Empty {
    fn new(parent: &Path) -> Result<Self> {
        let folder = parent.join("run");
        drop(Self(folder.clone()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        rustix::fs::sync();
        Ok(Self(folder))
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        // It may not be there.
        fs::remove_dir_all(&self.0).ok();
    }
}

impl fmt::Display for FetchScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unthrottled => "unthrottled",
            Self::Again => "run again with everything in place",
            Self::Slow => "50 MB/s per connection",
            Self::Cut => "a connection cut every 100 MB",
            Self::Killed => "killed at half, then run again (both runs together)",
        })
    }
}

/// The machine, without its name.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1));
    format!("{cores} cores, {}", model.unwrap_or("unknown processor"))
}

/// The load of the last minute.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, *shift)))
        .unwrap_or((text, 0));
    let bytes = number
        .trim()
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "it must be a size, as in 64MiB or 4GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1000"), Ok(1000));
        for text in ["", "GiB", "0", "-1MiB", "99999999999GiB", "1 GB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
