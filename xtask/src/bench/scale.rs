//! `cargo xtask bench scale`: one, two and four gateways over one PostgreSQL and one Valkey, beside one gateway with SQLite, in
//! one run. Load, mock, gateways and servers share the machine, so only rows of one table can be compared.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::fetch::{load, machine};
use super::gateway::cells::{GatewayTable, cpu, failures, mebibytes, millis, share_of_load};
use super::gateway::result_of;
use crate::say;
use crate::settings::Settings;

mod shared;
mod site;

use site::{ScaleSite, SiteKind};

/// Percent of the chats that a second socket watches, at another gateway where there is one.
const WATCHED: usize = 20;
/// Milliseconds of the aims: a watcher's 99th percentile beyond its owner's.
const MAX_ADDED_MILLIS: f64 = 100.0;
/// How much slower than the base an owner's 99th percentile may be.
const MAX_SLOWER: f64 = 1.1;
/// Within so many milliseconds of a gateway's death everybody knows what became of their answer.
const MAX_TOLD_MILLIS: f64 = 10_000.0;

/// What `bench scale` measures.
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleBenchOptions {
    /// Only with so many gateways, beside the base; may be repeated.
    #[arg(long = "gateways", value_name = "N")]
    gateways: Vec<usize>,
    /// Chats at once.
    #[arg(long, default_value_t = 1000)]
    chats: usize,
    /// Milliseconds between two tokens of an answer.
    #[arg(long, default_value_t = 100)]
    pace: u64,
    /// How long the chats of a row run, in seconds.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// A short run: 100 chats, 10 seconds each.
    #[arg(long)]
    quick: bool,
}

struct ScaleBench<'a> {
    settings: &'a Settings,
    chats: usize,
    pace: u64,
    seconds: f64,
}

/// Measures and prints, table by table.
///
/// # Errors
///
/// When a server is missing or does not start.
pub(crate) async fn run(settings: &Settings, options: &ScaleBenchOptions) -> Result<()> {
    let mut bench = ScaleBench {
        settings,
        chats: options.chats,
        pace: options.pace.max(1),
        seconds: options.seconds,
    };
    if options.quick {
        bench.chats = bench.chats.min(100);
        bench.seconds = bench.seconds.min(10.0);
    }
    let gateways = if options.gateways.is_empty() {
        vec![1, 2, 4]
    } else {
        options.gateways.clone()
    };
    println!(
        "{}, which load, mock, gateways and servers share; {}\n",
        machine(),
        shared::versions()?
    );
    bench.tokens(&gateways).await?;
    bench.deaths(&gateways).await
}

impl ScaleBench<'_> {
    async fn tokens(&self, gateways: &[usize]) -> Result<()> {
        let mut delays = GatewayTable::new(&[
            "whole answers",
            "owner p50 ms",
            "p99 ms",
            "max ms",
            "watchers, whole",
            "watcher p50 ms",
            "p99 ms",
            "max ms",
            "added by the bus, p50 / p99 ms",
            "gateways' CPU per token",
            "load's share",
            "load after it",
            "failures",
        ]);
        let mut costs = GatewayTable::new(&[
            "gateways: CPU, memory",
            "PostgreSQL: CPU, memory",
            "its database",
            "its WAL",
            "Valkey: CPU, memory",
            "its data at the end",
            "SQLite's files",
        ]);
        let base = std::iter::once(SiteKind::Base);
        let kinds = base.chain(gateways.iter().map(|n| SiteKind::Shared(*n)));
        let mut base_p99 = None;
        for kind in kinds {
            let site = ScaleSite::start(self.settings, kind).await;
            let name = kind.to_string();
            let seen = match site {
                Ok(site) => {
                    let seen = self.chats_at(&site);
                    site.stop().await;
                    seen
                }
                Err(error) => Err(error),
            };
            if kind == SiteKind::Base {
                base_p99 = seen.as_ref().ok().and_then(owner_p99);
            }
            let loses = seen.as_ref().is_ok_and(|seen| is_slow(seen, base_p99));
            let row = seen.as_ref().map(|seen| self.delay_cells(seen));
            delays.row(&bold(&name, loses), row.map_err(copy));
            let row = seen.as_ref().map(|seen| self.cost_cells(seen));
            costs.row(&name, row.map_err(copy));
        }
        println!(
            "\n### {} chats at {:.0} tokens a second, {WATCHED} % of them watched at another gateway: from the mock's write to \
             the client\n\nBold: not whole, an owner's p99 more than {MAX_SLOWER} times the base's, or more than \
             {MAX_ADDED_MILLIS:.0} ms added.\n\n{}",
            self.chats,
            1e3 / self.pace as f64,
            delays.text()
        );
        println!(
            "\n### What it costs for 1,000 chats, from the same rows\n\nCPU in seconds of each minute; memory of which shared \
             pages count once; bytes for the whole answers.\n\n{}",
            costs.text()
        );
        Ok(())
    }

    async fn deaths(&self, gateways: &[usize]) -> Result<()> {
        let mut table = GatewayTable::new(&[
            "sockets of the gateway that dies",
            "read on elsewhere",
            "p50 ms",
            "p99 ms",
            "max ms",
            "told `interrupted`",
            "p50 ms",
            "p99 ms",
            "max ms",
            "whole to the byte",
            "tries",
            "snapshots",
            "load after it",
            "failures",
        ]);
        let several = gateways.iter().copied().filter(|n| *n > 1);
        let mut rows: Vec<(usize, usize)> = several.map(|n| (n, self.chats / n)).collect();
        if gateways.contains(&2) {
            rows.push((2, self.chats));
        }
        for (n, readers) in rows {
            let kind = SiteKind::Shared(n);
            let site = ScaleSite::start(self.settings, kind).await;
            let seen = match site {
                Ok(site) => {
                    let seen = self.death_at(&site, readers);
                    site.stop().await;
                    seen
                }
                Err(error) => Err(error),
            };
            let loses = seen.as_ref().is_ok_and(is_late);
            let name = bold(&kind.to_string(), loses);
            table.row(&name, seen.map(|seen| death_cells(&seen)));
        }
        println!(
            "\n### A gateway gets SIGKILL; half of the answers at its sockets are its own\n\nFrom the death on; each reader \
             comes back at once, and tries again every 100 ms. Bold: not everybody read on or was told within \
             {:.0} s.\n\n{}",
            MAX_TOLD_MILLIS / 1e3,
            table.text()
        );
        Ok(())
    }

    /// Paced chats at all gateways, with what the servers wrote meanwhile.
    fn chats_at(&self, site: &ScaleSite) -> Result<Value> {
        let before = site.written()?;
        let seen = self.ask(
            site,
            &[
                "paced".to_owned(),
                format!("--chats={}", self.chats),
                format!("--pace={}", self.pace),
                format!("--watched={WATCHED}"),
            ],
        )?;
        let after = site.written()?;
        let mut seen = seen;
        seen["written"] = json!({
            "database": after.database.saturating_sub(before.database),
            "wal": after.wal.saturating_sub(before.wal),
            "valkey": after.valkey,
            "files": after.files.saturating_sub(before.files),
        });
        seen["load"] = load().into();
        Ok(seen)
    }

    fn death_at(&self, site: &ScaleSite, readers: usize) -> Result<Value> {
        let pid = site.first_process().context("the gateway has ended")?;
        let mut seen = self.ask(
            site,
            &[
                "fallen".to_owned(),
                format!("--readers={readers}"),
                format!("--kill={pid}"),
                format!("--pace={}", self.pace),
            ],
        )?;
        seen["load"] = load().into();
        Ok(seen)
    }

    fn ask(&self, site: &ScaleSite, load: &[String]) -> Result<Value> {
        say::line(format_args!("{}: {}", site.kind, load.join(" ")));
        let mut command = Command::new(self.settings.target("release/bench_chat"));
        command
            .args(site.addresses())
            .arg("--dialect=v2")
            .arg(format!("--seconds={}", self.seconds))
            .args(site.processes())
            .args(load);
        result_of(command)
    }

    fn delay_cells(&self, seen: &Value) -> Vec<String> {
        let chats = &seen["chats"];
        let watchers = &chats["watchers"];
        let owner = &chats["micros"];
        let watcher = &watchers["micros"];
        let seconds = chats["cost_seconds"].as_f64().unwrap_or_default();
        let n_tokens = self.chats as f64 * seconds * 1e3 / self.pace as f64;
        let added = ["p50", "p99"].map(|part| millis(&added(seen, part)));
        let mut cells = vec![format!("{} of {}", chats["whole"], chats["chats"])];
        cells.extend(["p50", "p99", "max"].map(|part| millis(&owner[part])));
        cells.push(format!("{} of {}", watchers["whole"], watchers["sockets"]));
        cells.extend(["p50", "p99", "max"].map(|part| millis(&watcher[part])));
        cells.push(added.join(" / "));
        cells.push(cpu(chats, "gateway", n_tokens));
        cells.push(share_of_load(chats));
        cells.push(seen["load"].as_str().unwrap_or_default().to_owned());
        cells.push(format!("{} / {}", failures(chats), failures(watchers)));
        cells
    }

    fn cost_cells(&self, seen: &Value) -> Vec<String> {
        let chats = &seen["chats"];
        let written = &seen["written"];
        let times = 1e3 / self.chats.max(1) as f64;
        let seconds = chats["cost_seconds"].as_f64().unwrap_or_default();
        let [gateways, postgres, valkey] = ["gateway", "postgres", "valkey"].map(|name| {
            let cost = &chats["costs"][name];
            let cpu = cost["cpu_seconds"].as_f64()?;
            let each_minute = cpu / seconds.max(1e-9) * 60.0 * times;
            let memory = mebibytes(&cost["pss_kib"]);
            Some(format!("{each_minute:.1} s, {memory}"))
        });
        let [database, wal, data, files] = ["database", "wal", "valkey", "files"].map(|name| {
            let bytes = written[name].as_f64().filter(|bytes| *bytes > 0.0);
            bytes.map(|bytes| format!("{:.1} MiB", bytes * times / 1_048_576.0))
        });
        let cells = [gateways, postgres, database, wal, valkey, data, files];
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
        cells.into()
    }
}

/// What a watcher waits longer than an owner, in microseconds.
fn added(seen: &Value, part: &str) -> Value {
    let owner = seen["chats"]["micros"][part].as_f64();
    let watcher = seen["chats"]["watchers"]["micros"][part].as_f64();
    json!(owner.zip(watcher).map(|(owner, watcher)| watcher - owner))
}

/// In microseconds.
fn owner_p99(seen: &Value) -> Option<f64> {
    seen["chats"]["micros"]["p99"].as_f64()
}

fn is_slow(seen: &Value, base_p99: Option<f64>) -> bool {
    let chats = &seen["chats"];
    let watchers = &chats["watchers"];
    let p99 = chats["micros"]["p99"].as_f64();
    let is_slower = p99
        .zip(base_p99)
        .is_some_and(|(p99, base)| p99 > MAX_SLOWER * base);
    let is_whole = chats["whole"] == chats["chats"] && watchers["whole"] == watchers["sockets"];
    let added = added(seen, "p99").as_f64().unwrap_or_default();
    !is_whole || is_slower || added > MAX_ADDED_MILLIS * 1e3
}

fn is_late(seen: &Value) -> bool {
    let latest = ["read_on_micros", "told_micros"].map(|name| seen[name]["max"].as_f64());
    let latest = latest.into_iter().flatten().fold(0.0, f64::max);
    let n_known = [&seen["read_on"], &seen["interrupted"]].map(|n| n.as_u64().unwrap_or_default());
    seen["readers"].as_u64() != Some(n_known.iter().sum()) || latest > MAX_TOLD_MILLIS * 1e3
}

fn death_cells(seen: &Value) -> Vec<String> {
    let mut cells = vec![seen["readers"].to_string()];
    for (count, micros) in [
        ("read_on", "read_on_micros"),
        ("interrupted", "told_micros"),
    ] {
        cells.push(seen[count].to_string());
        cells.extend(["p50", "p99", "max"].map(|part| millis(&seen[micros][part])));
    }
    cells.push(seen["whole"].to_string());
    cells.push(seen["tries"].to_string());
    cells.push(seen["snapshots"].to_string());
    cells.push(seen["load"].as_str().unwrap_or_default().to_owned());
    cells.push(failures(seen));
    cells
}

fn bold(name: &str, loses: bool) -> String {
    if loses {
        format!("**{name}**")
    } else {
        name.to_owned()
    }
}

/// The same error once more, for another table.
fn copy(error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{added, is_late, is_slow};

    #[test]
    fn a_row_loses_that_is_slow_not_whole_or_late() {
        let row = |whole: u64, owner: u64, watcher: u64| {
            json!({"chats": {"whole": whole, "chats": 10, "micros": {"p99": owner},
                "watchers": {"whole": 2, "sockets": 2, "micros": {"p99": watcher}}}})
        };
        assert_eq!(added(&row(10, 1000, 3500), "p99"), json!(2500.0));
        assert!(!is_slow(&row(10, 1000, 3500), Some(1000.0)));
        assert!(is_slow(&row(9, 1000, 3500), Some(1000.0)));
        assert!(is_slow(&row(10, 1000, 3500), Some(900.0)));
        assert!(is_slow(&row(10, 1000, 102_000), Some(1000.0)));
        let death = |read_on: u64, told: u64| {
            json!({"readers": 10, "read_on": read_on, "interrupted": 5, "read_on_micros": {"max": 4000},
                "told_micros": {"max": told}})
        };
        assert!(!is_late(&death(5, 7_000_000)));
        assert!(is_late(&death(4, 7_000_000)));
        assert!(is_late(&death(5, 10_000_001)));
    }
}
