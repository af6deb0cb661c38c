//! `cargo xtask bench gateway`: chat-gateway with both versions of its protocol, directly and through llm-proxy, and the least
//! gateway in Python, in one run. Load, mock and gateway share the machine, so only rows of one table can be compared.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::fetch::{load, machine};
use crate::say;
use crate::settings::Settings;

pub(super) mod cells;
pub(super) mod servers;

use cells::{GatewayTable, count, cpu, each, failures, mebibytes, millis, share_of_load};
use servers::{Contestant, GatewayUnderLoad};

/// Milliseconds between two tokens of a paced answer.
const PACE_MS: u64 = 50;
/// How much longer paced answers run than an unpaced load.
const PACED_TIMES: f64 = 4.0;
/// Chats, and tokens of each answer. A client of version 2 may send 20 frames a second, and each answer is kept on the disk,
/// so answers must be long where text is measured.
const UNPACED: [(usize, usize); 3] = [(1, 16_384), (32, 2048), (256, 2048)];

/// What `bench gateway` measures.
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayBenchOptions {
    /// Only this scenario; may be repeated.
    #[arg(long = "scenario", value_enum)]
    scenarios: Vec<GatewayScenario>,
    /// Only gateways whose name contains this, as in `v2` or `FastAPI`; may be repeated.
    #[arg(long = "only", value_name = "NAME")]
    only: Vec<String>,
    /// Seconds of each load on each gateway. Paced answers run four times as long.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// A short run: one second each, a tenth of the sockets.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum GatewayScenario {
    /// 500 chats at 20 tokens a second beside 10,000 idle sockets: the delay of a token, and memory.
    Paced,
    /// 1, 32 and 256 chats on a mock that does not wait: tokens a second.
    Unpaced,
    /// 5,000 readers of 500 answers whose connections break all at once. Version 2 only.
    Returning,
}

/// Measures and prints, table by table.
///
/// # Errors
///
/// When a gateway does not start, or the load prints no result.
pub(crate) async fn run(settings: &Settings, options: &GatewayBenchOptions) -> Result<()> {
    let wanted = Contestant::ALL.into_iter().filter(|contestant| {
        let name = contestant.name();
        options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
    });
    let wanted: Vec<Contestant> = wanted.collect();
    if wanted.contains(&Contestant::FastApi) {
        servers::install(settings).await?;
    }
    println!("{}, which load, mock and gateway share\n", machine());
    let bench = GatewayBench {
        settings,
        wanted: &wanted,
        seconds: if options.quick { 1.0 } else { options.seconds },
        share: if options.quick { 10 } else { 1 },
    };
    let every = [
        GatewayScenario::Paced,
        GatewayScenario::Unpaced,
        GatewayScenario::Returning,
    ];
    let scenarios = if options.scenarios.is_empty() {
        every.as_slice()
    } else {
        &options.scenarios
    };
    for scenario in scenarios {
        match scenario {
            GatewayScenario::Paced => bench.paced().await?,
            GatewayScenario::Unpaced => bench.unpaced().await?,
            GatewayScenario::Returning => bench.returning().await?,
        }
    }
    Ok(())
}

struct GatewayBench<'a> {
    settings: &'a Settings,
    wanted: &'a [Contestant],
    seconds: f64,
    /// The part of the sockets that is opened.
    share: usize,
}

impl GatewayBench<'_> {
    async fn paced(&self) -> Result<()> {
        let seconds = self.seconds * PACED_TIMES;
        let chats = 500 / self.share;
        let idle = 10_000 / self.share;
        let mut table = GatewayTable::new(&[
            "whole answers",
            "token p50 ms",
            "p99 ms",
            "max ms",
            "CPU per token",
            "load's share",
            "sockets opened in",
            "per idle socket",
            "per chat",
            "failures",
        ]);
        for (number, contestant) in self.wanted.iter().enumerate() {
            // A fresh one each time: what was freed before would hide what sockets take.
            let server = servers::start(self.settings, *contestant).await?;
            if number == 0 {
                let seen = self.straight(&server, seconds, chats);
                table.row(
                    "the mock, asked straight",
                    seen.map(|seen| straight_cells(&seen)),
                );
            }
            let load = [
                "paced".to_owned(),
                format!("--chats={chats}"),
                format!("--idle={idle}"),
                format!("--pace={PACE_MS}"),
            ];
            let seen = self.ask(&server, seconds, &load);
            table.row(&contestant.name(), seen.map(|seen| paced_cells(&seen)));
        }
        let title = format!(
            "{chats} chats at {} tokens a second beside {} idle sockets: from the mock's write to the client",
            1000 / PACE_MS,
            count(idle as f64)
        );
        print(&title, &table);
        Ok(())
    }

    async fn unpaced(&self) -> Result<()> {
        let mut servers = Vec::new();
        for contestant in self.wanted {
            servers.push(servers::start(self.settings, *contestant).await?);
        }
        for (chats, tokens) in UNPACED {
            for (way, flag) in [("at once", Some("--at-once")), ("one by one", None)] {
                let mut table = GatewayTable::new(&[
                    "tokens/s",
                    "tokens per frame",
                    "CPU per token",
                    "llm-proxy's",
                    "load's share",
                    "memory",
                    "failures",
                ]);
                for server in &servers {
                    let load = [
                        "unpaced".to_owned(),
                        format!("--chats={chats}"),
                        format!("--tokens={tokens}"),
                    ];
                    let load: Vec<String> =
                        load.into_iter().chain(flag.map(str::to_owned)).collect();
                    let seen = self.ask(server, self.seconds, &load);
                    let name = server.contestant.name();
                    table.row(&name, seen.map(|seen| unpaced_cells(&seen)));
                }
                let noun = if chats == 1 { "chat" } else { "chats" };
                let title = format!(
                    "{chats} {noun}, answers of {tokens} tokens that the mock writes {way}"
                );
                print(&title, &table);
            }
        }
        Ok(())
    }

    async fn returning(&self) -> Result<()> {
        let seconds = (self.seconds * PACED_TIMES).max(12.0);
        let answers = 500 / self.share;
        let readers = 5000 / self.share;
        let mut table = GatewayTable::new(&[
            "open again in",
            "reads on after p50 ms",
            "p99 ms",
            "max ms",
            "whole to the byte",
            "per socket",
            "per watcher",
            "failures",
        ]);
        let v2 = self
            .wanted
            .iter()
            .filter(|contestant| contestant.dialect() == "v2");
        for contestant in v2 {
            let server = servers::start(self.settings, *contestant).await?;
            let load = [
                "returning".to_owned(),
                format!("--answers={answers}"),
                format!("--readers={readers}"),
            ];
            let seen = self.ask(&server, seconds, &load);
            table.row(&contestant.name(), seen.map(|seen| returning_cells(&seen)));
        }
        let title = format!(
            "{} readers of {answers} answers, whose connections break at once: 5 tokens a second",
            count(readers as f64)
        );
        print(&title, &table);
        Ok(())
    }

    /// Runs one load on one gateway.
    fn ask(&self, server: &GatewayUnderLoad, seconds: f64, load: &[String]) -> Result<Value> {
        say::line(format_args!(
            "{}: {}",
            server.contestant.name(),
            load.join(" ")
        ));
        let mut command = Command::new(self.settings.target("release/bench_chat"));
        command
            .arg(format!("--to={}", server.address))
            .arg(format!("--dialect={}", server.contestant.dialect()))
            .arg(format!("--seconds={seconds}"))
            .args(
                server
                    .processes()
                    .iter()
                    .map(|process| format!("--process={process}")),
            )
            .args(load);
        result_of(command)
    }

    /// The same paced answers over HTTP, without a gateway.
    fn straight(&self, server: &GatewayUnderLoad, seconds: f64, chats: usize) -> Result<Value> {
        let mut command = Command::new(self.settings.target("release/bench_load"));
        command
            .arg(format!("--to={}", server.upstream))
            .arg(format!("--seconds={seconds}"))
            .args([
                "paced",
                &format!("--streams={chats}"),
                &format!("--pace={PACE_MS}"),
            ]);
        result_of(command)
    }
}

/// Runs a load, and reads the one line of JSON that it prints.
pub(super) fn result_of(mut command: Command) -> Result<Value> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("the load cannot be started")?;
    serde_json::from_slice(&output.stdout).context("the load printed no result")
}

fn straight_cells(seen: &Value) -> Vec<String> {
    let micros = &seen["micros"];
    let whole = format!("{} of {}", seen["whole"], seen["streams"]);
    let times = [&micros["p50"], &micros["p99"], &micros["max"]].map(millis);
    let mut cells = vec![whole];
    cells.extend(times);
    cells.extend(["–"; 5].map(str::to_owned));
    cells.push(failures(seen));
    cells
}

fn paced_cells(seen: &Value) -> Vec<String> {
    let idle = &seen["idle"];
    let chats = &seen["chats"];
    let micros = &chats["micros"];
    let n_chats = chats["chats"].as_f64().unwrap_or_default();
    let n_sockets = idle["sockets"].as_f64().unwrap_or_default();
    let seconds = chats["cost_seconds"].as_f64().unwrap_or_default();
    let n_tokens = n_chats * seconds * 1e3 / PACE_MS as f64;
    let memory = &chats["costs"]["gateway"]["rss_kib"];
    let whole = format!("{} of {}", chats["whole"], chats["chats"]);
    let opened = idle["seconds"].as_f64().unwrap_or_default();
    vec![
        whole,
        millis(&micros["p50"]),
        millis(&micros["p99"]),
        millis(&micros["max"]),
        cpu(chats, "gateway", n_tokens),
        share_of_load(chats),
        format!("{opened:.2} s"),
        each(&idle["rss_kib_before"], &idle["rss_kib_after"], n_sockets),
        each(&idle["rss_kib_after"], memory, n_chats),
        format!("{} / {}", failures(idle), failures(chats)),
    ]
}

fn unpaced_cells(seen: &Value) -> Vec<String> {
    let n_tokens = seen["tokens"].as_f64().unwrap_or_default();
    let n_frames = seen["frames"].as_f64().unwrap_or_default();
    let per_second = seen["per_second"].as_f64().unwrap_or_default();
    vec![
        count(per_second),
        format!("{:.0}", n_tokens / n_frames.max(1.0)),
        cpu(seen, "gateway", n_tokens),
        cpu(seen, "proxy", n_tokens),
        share_of_load(seen),
        mebibytes(&seen["costs"]["gateway"]["rss_kib"]),
        failures(seen),
    ]
}

fn returning_cells(seen: &Value) -> Vec<String> {
    let micros = &seen["read_on_micros"];
    let n_readers = seen["readers"].as_f64().unwrap_or_default();
    let memory = &seen["rss_kib"];
    let opened = seen["opened_seconds"].as_f64().unwrap_or_default();
    vec![
        format!("{opened:.2} s"),
        millis(&micros["p50"]),
        millis(&micros["p99"]),
        millis(&micros["max"]),
        format!("{} of {}", seen["whole"], seen["readers"]),
        each(&memory[0], &memory[1], n_readers),
        each(&memory[1], &memory[2], n_readers),
        failures(seen),
    ]
}

fn print(title: &str, table: &GatewayTable) {
    println!(
        "\n### {title}\n\nLoad {} after it.\n\n{}",
        load(),
        table.text()
    );
}
