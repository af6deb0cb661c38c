//! The load of `cargo xtask bench proxy`: one thread, plain sockets, every answer checked. Prints one line of JSON.
//!
//! Closed loops (`plain`, `stream`) show what a server can do, `paced` what each token waits on its way, `leave` how long
//! the upstream works for a client that has gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench::process::WatchedProcess;
use bench::samples::{micros, spread};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tokio::task::LocalSet;

mod client;
mod leave;
mod paced;

use client::{LoadClient, LoadFailure};

/// The load of `cargo xtask bench proxy`.
#[derive(Parser)]
struct LoadArguments {
    #[command(flatten)]
    to: Target,
    #[command(subcommand)]
    load: LoadKind,
}

/// Who is asked.
#[derive(Args, Clone, Debug)]
struct Target {
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// The key that it asks for.
    #[arg(long, default_value = "")]
    key: String,
    /// The model's name there.
    #[arg(long, default_value = "bench")]
    model: String,
    /// The server's process, whose memory and processor time are told.
    #[arg(long)]
    process: Option<u32>,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

#[derive(Subcommand)]
enum LoadKind {
    /// Answers one after another on each connection.
    Plain {
        #[arg(long)]
        connections: usize,
        /// Bytes of text in an answer.
        #[arg(long)]
        size: usize,
        /// Events in which the upstream sends it to whoever asks for a stream.
        #[arg(long, default_value_t = 1)]
        events: usize,
        /// Answers of one request.
        #[arg(long, default_value_t = 1)]
        answers: usize,
    },
    /// Streams one after another on each connection, all tokens of each at once.
    Stream {
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        tokens: usize,
        /// Answers of one request.
        #[arg(long, default_value_t = 1)]
        answers: usize,
    },
    /// Embeddings one after another on each connection.
    Embeddings {
        #[arg(long)]
        connections: usize,
        /// Numbers of an embedding.
        #[arg(long)]
        dimensions: usize,
    },
    /// Streams at once, their tokens paced.
    Paced {
        #[arg(long)]
        streams: usize,
        /// Milliseconds between two tokens.
        #[arg(long, default_value_t = 50)]
        pace: u64,
    },
    /// Clients that leave, one after another.
    Leave {
        /// The upstream, which knows when it saw them leave.
        #[arg(long)]
        upstream: SocketAddr,
        #[arg(long, default_value_t = 20)]
        rounds: u64,
    },
}

impl Target {
    /// A request for one answer as bytes. `order` is for the upstream.
    fn request(&self, order: &str, stream: bool) -> Vec<u8> {
        self.request_for(1, order, stream)
    }

    /// A request for `n` answers.
    fn request_for(&self, n: usize, order: &str, stream: bool) -> Vec<u8> {
        let messages = json!([{"role": "user", "content": format!("bench:{order};")}]);
        let mut body = json!({"model": self.model, "messages": messages, "stream": stream});
        if n > 1 {
            body["n"] = json!(n);
        }
        self.post("/v1/chat/completions", &body)
    }

    fn post(&self, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.to,
            self.key,
            body.len()
        );
        [head, body].concat().into_bytes()
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let LoadArguments { to, load } = LoadArguments::parse();
    let result = match load {
        LoadKind::Plain {
            connections,
            size,
            events,
            answers,
        } => {
            let order = format!("size={size},events={events}");
            let request = to.request_for(answers, &order, false);
            closed_loop(&to, &request, connections, move |body| {
                body.bytes >= size * answers
            })
            .await
        }
        LoadKind::Stream {
            connections,
            tokens,
            answers,
        } => {
            let request = to.request_for(answers, &format!("tokens={tokens}"), true);
            closed_loop(&to, &request, connections, move |body| {
                body.done && body.events > tokens * answers
            })
            .await
        }
        LoadKind::Embeddings {
            connections,
            dimensions,
        } => {
            let input = format!("bench:dimensions={dimensions};");
            let body = json!({"model": to.model, "input": input});
            let request = to.post("/v1/embeddings", &body);
            // A number has more than eight characters with its comma.
            closed_loop(&to, &request, connections, move |body| {
                body.bytes > dimensions * 8
            })
            .await
        }
        LoadKind::Paced { streams, pace } => paced::run(&to, streams, pace).await,
        LoadKind::Leave { upstream, rounds } => leave::run(&to, upstream, rounds).await,
    };
    println!("{result}");
    Ok(())
}

/// What the connections of a closed loop saw together.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    failures: Vec<LoadFailure>,
}

/// Asks on every connection again and again. An answer that is not `whole` is a failure.
async fn closed_loop(
    to: &Target,
    request: &[u8],
    connections: usize,
    whole: impl Fn(&client::BodySeen) -> bool + Copy + 'static,
) -> Value {
    let tasks = LocalSet::new();
    // A quarter of the time before the measurement is for warming up.
    let begin = Instant::now() + to.time() / 4;
    let end = begin + to.time();
    let mut connected = Vec::new();
    for _ in 0..connections {
        let address = to.to;
        let request = request.to_vec();
        connected.push(tasks.spawn_local(async move {
            let mut tally = Tally::default();
            let mut client = None;
            while Instant::now() < end {
                let sent = Instant::now();
                let answered =
                    tokio::time::timeout_at((end + Duration::from_secs(5)).into(), async {
                        let mut open = match client.take() {
                            Some(open) => open,
                            None => LoadClient::connect(address).await?,
                        };
                        let body = open.ask(&request).await?;
                        client = open.is_reusable().then_some(open);
                        if whole(&body) {
                            Ok(())
                        } else {
                            Err(LoadFailure::Partial)
                        }
                    });
                let answered = answered.await.unwrap_or(Err(LoadFailure::Late));
                if sent < begin || Instant::now() > end {
                    continue;
                }
                match answered {
                    Ok(()) => tally.micros.push(micros(sent.elapsed())),
                    Err(failure) => {
                        client = None;
                        tally.failures.push(failure);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
            tally
        }));
    }
    let run = async {
        tokio::time::sleep_until(begin.into()).await;
        let mut watched = WatchedProcess::begin(to.process);
        tokio::time::sleep_until((begin + to.time() / 2).into()).await;
        watched.look();
        tokio::time::sleep_until(end.into()).await;
        let cost = watched.end();
        let mut all = Tally::default();
        for task in connected {
            if let Ok(mut tally) = task.await {
                all.micros.append(&mut tally.micros);
                all.failures.append(&mut tally.failures);
            }
        }
        (all, cost)
    };
    let (mut all, cost) = tasks.run_until(run).await;
    let answers = all.micros.len();
    json!({"answers": answers, "per_second": answers as f64 / to.seconds, "micros": spread(&mut all.micros),
        "failures": LoadFailure::count(&all.failures), "cost": cost})
}
