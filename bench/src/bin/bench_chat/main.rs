//! The load of `cargo xtask bench gateway`: one thread, plain sockets, every answer checked. Prints one line of JSON.
//!
//! `unpaced` shows what a gateway can do; `paced` what a token waits on its way and what sockets cost in memory;
//! `returning` what watchers cost and how soon readers are back; `fallen` what readers see of a gateway's death. Each tells
//! the processor time of every process, its own too. `cargo xtask bench scale` runs it against several gateways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bench::process::WatchedProcess;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

mod dialect;
mod fallen;
mod paced;
mod reader;
mod returning;
mod socket;
mod unpaced;

use dialect::ChatVersion;
use paced::PacedLoad;
use socket::ChatCaller;

/// The load of `cargo xtask bench gateway`.
#[derive(Parser)]
struct ChatArguments {
    #[command(flatten)]
    to: GatewayTarget,
    #[command(subcommand)]
    load: ChatLoad,
}

/// Which gateway, and for how long.
#[derive(Args, Clone, Debug)]
struct GatewayTarget {
    /// The gateway.
    #[arg(long)]
    to: SocketAddr,
    /// Another gateway beside it; may be repeated. Callers are spread over all of them.
    #[arg(long)]
    also: Vec<SocketAddr>,
    /// The version that is spoken.
    #[arg(long, value_enum, default_value = "v1")]
    dialect: ChatVersion,
    /// A process whose cost is told, as NAME=PID; may be repeated, and what has the same name is added up. The first is the
    /// gateway, whose memory is read too.
    #[arg(long = "process", value_name = "NAME=PID", value_parser = process)]
    processes: Vec<(String, u32)>,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

#[derive(Subcommand)]
enum ChatLoad {
    /// Chats that ask again as soon as their answer is there.
    Unpaced {
        #[arg(long)]
        chats: usize,
        /// Tokens of an answer.
        #[arg(long)]
        tokens: usize,
        /// The mock writes the whole answer at once, not each token by itself.
        #[arg(long)]
        at_once: bool,
    },
    /// Answers at once, their tokens paced, beside idle sockets.
    Paced {
        #[arg(long)]
        chats: usize,
        #[arg(long, default_value_t = 0)]
        idle: usize,
        /// Milliseconds between two tokens.
        #[arg(long, default_value_t = 50)]
        pace: u64,
        /// How many percent of the answers are watched by a second socket, at the next gateway. Version 2 only.
        #[arg(long, default_value_t = 0)]
        watched: usize,
    },
    /// Readers of running answers whose connections break all at once.
    Returning {
        #[arg(long)]
        answers: usize,
        #[arg(long)]
        readers: usize,
        /// Milliseconds between two tokens.
        #[arg(long, default_value_t = 200)]
        pace: u64,
    },
    /// Readers at the first gateway when it is killed, who come back at the others. Version 2 only.
    Fallen {
        /// Sockets at the first gateway.
        #[arg(long)]
        readers: usize,
        /// Its process, which gets SIGKILL.
        #[arg(long)]
        kill: u32,
        /// Milliseconds between two tokens.
        #[arg(long, default_value_t = 100)]
        pace: u64,
    },
}

impl GatewayTarget {
    /// The gateway of caller `number`.
    fn gateway_of(&self, number: usize) -> SocketAddr {
        let at = number % (1 + self.also.len());
        at.checked_sub(1).map_or(self.to, |at| self.also[at])
    }

    /// Who opens socket `number`, as a new user.
    fn caller(&self, number: usize) -> ChatCaller {
        ChatCaller {
            to: self.gateway_of(number),
            dialect: self.dialect,
            number,
            cookie: None,
        }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The process of the gateway.
    fn gateway(&self) -> Option<u32> {
        self.processes.first().map(|(_, pid)| *pid)
    }
}

fn process(text: &str) -> Result<(String, u32), String> {
    let pair = text.split_once('=');
    let process = pair.and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
    process.ok_or_else(|| "it must be NAME=PID".to_owned())
}

/// What every process cost while something was measured.
struct Costs(Vec<(String, WatchedProcess)>);

impl Costs {
    fn begin(to: &GatewayTarget) -> Self {
        let own = ("load".to_owned(), std::process::id());
        let all = to.processes.iter().cloned().chain([own]);
        Self(
            all.map(|(name, pid)| (name, WatchedProcess::begin(Some(pid))))
                .collect(),
        )
    }

    fn look(&mut self) {
        self.0.iter_mut().for_each(|(_, cost)| cost.look());
    }

    /// Of each name, the sums of what its processes cost.
    fn end(self) -> Value {
        let mut sums: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for (name, cost) in self.0 {
            let sum = sums.entry(name).or_default();
            for (what, value) in cost.end().as_object().into_iter().flatten() {
                *sum.entry(what.clone()).or_default() += value.as_f64().unwrap_or_default();
            }
        }
        json!(sums)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ChatArguments { to, load } = ChatArguments::parse();
    let result = match load {
        ChatLoad::Unpaced {
            chats,
            tokens,
            at_once,
        } => unpaced::run(&to, chats, tokens, at_once).await,
        ChatLoad::Paced {
            chats,
            idle,
            pace,
            watched,
        } => {
            let load = PacedLoad {
                chats,
                pace,
                watched,
            };
            paced::run(&to, idle, load).await
        }
        ChatLoad::Returning {
            answers,
            readers,
            pace,
        } => returning::run(&to, answers, readers, pace).await,
        ChatLoad::Fallen {
            readers,
            kill,
            pace,
        } => fallen::run(&to, readers, kill, pace).await,
    };
    println!("{result}");
}
