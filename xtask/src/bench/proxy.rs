//! `cargo xtask bench proxy`: llm-proxy compared with nginx and other gateways, in one run, in front of mocks of
//! llama-server. For each load all servers take turns. Load, mock and server share the machine, so only rows of one table
//! can be compared.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::fetch::{load, machine};
use crate::say;
use crate::settings::Settings;

mod peers;
mod table;

use peers::{BEFORE, KEY, Server};
use table::Table;

/// Bytes of text in one token of the mock.
const TOKEN_BYTES: usize = 4;

/// What `bench proxy` measures.
#[derive(Debug, clap::Args)]
pub(crate) struct ProxyBenchOptions {
    /// Only this scenario; may be repeated.
    #[arg(long = "scenario", value_enum)]
    scenarios: Vec<ProxyScenario>,
    /// Only servers whose name contains this, and the mock itself; may be repeated.
    #[arg(long = "only", value_name = "NAME")]
    only: Vec<String>,
    /// Seconds of each load on each server. Paced streams run three times as long.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// An older llm-proxy binary to measure as one more server: before and after in one table.
    #[arg(long, value_name = "BINARY")]
    before: Option<PathBuf>,
    /// A short run of a minute: one second each, only 32 connections and 200 streams.
    #[arg(long)]
    quick: bool,
    /// Installs missing peers first, below target/bench (a gigabyte from PyPI, minutes of compiling).
    #[arg(long)]
    install_peers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ProxyScenario {
    /// Whole answers of 1 KiB and 16 KiB, on 1, 32 and 256 connections.
    Plain,
    /// Streams of 64 unpaced tokens, on 32 connections.
    Stream,
    /// 200 and 1,000 streams at 20 tokens a second: the delay of a token, and memory.
    Paced,
    /// Four answers of one request (`n: 4`), whole and streamed, on 32 connections.
    Several,
    /// Embeddings of 768 numbers on 32 connections.
    Embeddings,
    /// Clients that leave: how soon the upstream notices.
    Leave,
}

/// Measures and prints, table by table.
///
/// # Errors
///
/// When the mock or llm-proxy does not start. A peer that is missing or fails has a row that says so.
pub(crate) async fn run(settings: &Settings, options: &ProxyBenchOptions) -> Result<()> {
    if options.install_peers {
        peers::install(settings).await?;
    }
    let servers = peers::start(settings, &options.only, options.before.as_deref()).await?;
    println!(
        "{}, which load, mock and the server under load share\n",
        machine()
    );
    servers
        .iter()
        .for_each(|server| println!("- {}: {}", server.name, server.what()));
    let every = [
        ProxyScenario::Plain,
        ProxyScenario::Stream,
        ProxyScenario::Paced,
        ProxyScenario::Several,
        ProxyScenario::Embeddings,
        ProxyScenario::Leave,
    ];
    let scenarios = if options.scenarios.is_empty() {
        every.as_slice()
    } else {
        &options.scenarios
    };
    let bench = Bench {
        settings,
        servers: &servers,
        seconds: if options.quick { 1.0 } else { options.seconds },
    };
    for scenario in scenarios {
        match scenario {
            ProxyScenario::Plain => {
                let connections: &[usize] = if options.quick { &[32] } else { &[1, 32, 256] };
                for size in [1024, 16 * 1024] {
                    connections
                        .iter()
                        .try_for_each(|connections| bench.plain(size, *connections))?;
                }
            }
            ProxyScenario::Stream => bench.streams(32, 64, 1)?,
            ProxyScenario::Several => {
                bench.several(1024, 32, 4)?;
                bench.streams(32, 64, 4)?;
            }
            ProxyScenario::Embeddings => bench.embeddings(768, 32)?,
            ProxyScenario::Paced => {
                let streams: &[usize] = if options.quick { &[200] } else { &[200, 1000] };
                streams
                    .iter()
                    .try_for_each(|streams| bench.paced(*streams))?;
            }
            ProxyScenario::Leave => bench.leave(if options.quick { 3 } else { 20 })?,
        }
    }
    Ok(())
}

struct Bench<'a> {
    settings: &'a Settings,
    servers: &'a [Server],
    seconds: f64,
}

impl Bench<'_> {
    fn plain(&self, size: usize, connections: usize) -> Result<()> {
        let mut table = Table::throughput("answers/s", "CPU per answer");
        for server in self.servers {
            // llm-proxy always asks for a stream; llama-server sends an event for each token.
            let ways: &[(usize, &str)] = match server.name {
                "llm-proxy" | BEFORE => &[
                    (size / TOKEN_BYTES, ", an event per token"),
                    (1, ", all in one event"),
                ],
                _ => &[(1, "")],
            };
            for (events, way) in ways {
                let name = format!("{}{way}", server.name);
                let args = [format!("--size={size}"), format!("--events={events}")];
                let load = [
                    &["plain".to_owned(), format!("--connections={connections}")],
                    args.as_slice(),
                ]
                .concat();
                table.throughput_row(&name, self.ask(server, self.seconds, &load), 1.0);
            }
        }
        let title = format!(
            "Whole answers of {} KiB, {connections} connections",
            size / 1024
        );
        self.print(&title, &table)
    }

    fn several(&self, size: usize, connections: usize, answers: usize) -> Result<()> {
        let mut table = Table::throughput("answers/s", "CPU per answer");
        for server in self.servers {
            let load = [
                "plain".to_owned(),
                format!("--connections={connections}"),
                format!("--size={size}"),
                format!("--answers={answers}"),
            ];
            let seen = self.ask(server, self.seconds, &load);
            table.throughput_row(server.name, seen, answers as f64);
        }
        let title = format!(
            "{answers} whole answers of {} KiB to each request, {connections} connections",
            size / 1024
        );
        self.print(&title, &table)
    }

    fn embeddings(&self, dimensions: usize, connections: usize) -> Result<()> {
        let mut table = Table::throughput("answers/s", "CPU per answer");
        for server in self.servers {
            let load = [
                "embeddings".to_owned(),
                format!("--connections={connections}"),
                format!("--dimensions={dimensions}"),
            ];
            table.throughput_row(server.name, self.ask(server, self.seconds, &load), 1.0);
        }
        let title = format!("Embeddings of {dimensions} numbers, {connections} connections");
        self.print(&title, &table)
    }

    fn streams(&self, connections: usize, tokens: usize, answers: usize) -> Result<()> {
        let mut table = Table::throughput("tokens/s", "CPU per token");
        for server in self.servers {
            let load = [
                "stream".to_owned(),
                format!("--connections={connections}"),
                format!("--tokens={tokens}"),
                format!("--answers={answers}"),
            ];
            let seen = self.ask(server, self.seconds, &load);
            table.throughput_row(server.name, seen, (tokens * answers) as f64);
        }
        let title = if answers == 1 {
            format!("Streams of {tokens} unpaced tokens, {connections} connections")
        } else {
            format!(
                "Streams of {answers} answers of {tokens} unpaced tokens to each request, {connections} connections"
            )
        };
        self.print(&title, &table)
    }

    fn paced(&self, streams: usize) -> Result<()> {
        let mut table = Table::paced();
        for server in self.servers {
            let load = ["paced".to_owned(), format!("--streams={streams}")];
            table.paced_row(server.name, self.ask(server, self.seconds * 3.0, &load));
        }
        self.print(
            &format!(
                "{streams} streams at 20 tokens a second: from the upstream's write to the client"
            ),
            &table,
        )
    }

    fn leave(&self, rounds: usize) -> Result<()> {
        let mut table = Table::leave();
        for server in self.servers {
            let load = [
                "leave".to_owned(),
                format!("--upstream={}", server.upstream),
                format!("--rounds={rounds}"),
            ];
            table.leave_row(server.name, self.ask(server, self.seconds, &load));
        }
        self.print("From a client's going to the upstream's seeing it", &table)
    }

    /// Runs one load on one server, unless the server does not run.
    fn ask(&self, server: &Server, seconds: f64, load: &[String]) -> Result<Value> {
        ensure!(server.why_not.is_none(), "not measured");
        say::line(format_args!("{}: {}", server.name, load.join(" ")));
        let mut command = Command::new(self.settings.target("release/bench_load"));
        command
            .arg(format!("--to={}", server.address))
            .arg(format!("--seconds={seconds}"));
        command.arg(format!("--key={KEY}"));
        command
            .args(server.pid().map(|pid| format!("--process={pid}")))
            .args(load);
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("the load cannot be started")?;
        serde_json::from_slice(&output.stdout).context("the load printed no result")
    }

    fn print(&self, title: &str, table: &Table) -> Result<()> {
        println!(
            "\n### {title}\n\nLoad {} after {} s each.\n\n{table}",
            load(),
            self.seconds
        );
        Ok(())
    }
}

/// Whether the server at `address` answers a chat request.
fn answers(address: SocketAddr) -> bool {
    asked(address).unwrap_or(false)
}

fn asked(address: SocketAddr) -> std::io::Result<bool> {
    let body = r#"{"model":"bench","messages":[{"role":"user","content":"bench:tokens=1;"}]}"#;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
