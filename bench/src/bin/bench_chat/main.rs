//! The load of `cargo xtask bench gateway`: one thread, plain sockets, every answer checked. Prints one line of JSON.
//!
//! `unpaced` shows what a gateway can do; `paced` what a token waits on its way and what sockets cost in memory;
//! `returning` what watchers cost and how soon readers are back. Each tells the processor time of every process, its own too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bench::process::WatchedProcess;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

mod dialect;
mod paced;
mod returning;
mod socket;
mod unpaced;

use dialect::ChatVersion;
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
    /// The version that is spoken.
    #[arg(long, value_enum, default_value = "v1")]
    dialect: ChatVersion,
    /// A process whose cost is told, as NAME=PID; may be repeated. The first is the gateway, whose memory is read too.
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
}

impl GatewayTarget {
    /// Who opens socket `number`, as a new user.
    fn caller(&self, number: usize) -> ChatCaller {
        ChatCaller {
            to: self.to,
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
struct Costs(BTreeMap<String, WatchedProcess>);

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
        self.0.values_mut().for_each(WatchedProcess::look);
    }

    fn end(self) -> Value {
        let costs = self.0.into_iter().map(|(name, cost)| (name, cost.end()));
        json!(costs.collect::<BTreeMap<_, _>>())
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
        ChatLoad::Paced { chats, idle, pace } => paced::run(&to, chats, idle, pace).await,
        ChatLoad::Returning {
            answers,
            readers,
            pace,
        } => returning::run(&to, answers, readers, pace).await,
    };
    println!("{result}");
}
