//! Autobahn's cases against the real [`Wire`] with an echo behind it. `cargo xtask autobahn` installs kosoku, which plays
//! the cases, and runs this.
//!
//! Every case must end as Autobahn wants it, except where a bound of ours comes first: a binary message is closed with
//! 1003, and a message above [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES) with 1009.

use std::collections::BTreeMap;
use std::process::Stdio;

use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use common::server::{self, ListenerLimits, Refusals};
use common::shutdown::Shutdown;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{Heard, Wire, bounded};

/// All but 12 and 13, which are about compression. The gateway offers none.
const CASES: [&str; 9] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
];
/// How many cases these are.
const N_CASES: usize = 301;
/// Cases with binary messages of at most 128 KiB.
const BINARY: [&str; 3] = ["1.2.", "9.2.1", "9.8."];
/// Cases whose messages are small enough, among those that are larger.
const SMALL: [&str; 1] = ["9.1.1"];
/// Cases with larger messages.
const LARGE: [&str; 6] = ["9.1.", "9.2.", "9.3.", "9.4.", "9.5.", "9.6."];
/// What counts as kept: `NON-STRICT` is a rule that is kept later than it could be.
const KEPT: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];

/// The case that closes without a code, and gets the same back.
const CODELESS: &str = "7.3.1";

/// A case's result, as far as it is judged.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CaseResult {
    behavior: String,
    behavior_close: String,
    remote_close_code: Option<u16>,
}

impl CaseResult {
    /// Whether the case ended as it must.
    fn is_right(&self, case: &str) -> bool {
        let closed_with = if is_one_of(case, &BINARY) {
            Some(1003)
        } else if is_one_of(case, &LARGE) && !is_one_of(case, &SMALL) {
            Some(1009)
        } else {
            None
        };
        match closed_with {
            Some(code) => self.remote_close_code == Some(code),
            None => {
                let behaviors = [&self.behavior, &self.behavior_close];
                let has_code = self.remote_close_code.is_some() || case == CODELESS;
                // Autobahn would be content with a connection that just breaks. Browsers report that as 1006.
                has_code && behaviors.iter().all(|it| KEPT.contains(&it.as_str()))
            }
        }
    }
}

fn is_one_of(case: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| case.starts_with(start))
}

async fn open(upgrade: WebSocketUpgrade) -> Response {
    bounded(upgrade).on_upgrade(echo)
}

/// Sends every message back, and ends as the gateway's sockets end.
async fn echo(socket: WebSocket) {
    let mut wire = Wire::new(socket);
    loop {
        match wire.next().await {
            Heard::Text(text) => wire.send(text.to_string()),
            Heard::Room => {}
            Heard::Broken(close) => return wire.close(close).await,
            Heard::Stalled | Heard::Silent | Heard::Gone(_) => return wire.answer_close().await,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "set by cargo xtask autobahn for this test alone"
)]
fn kosoku() -> String {
    std::env::var("CORRAL_KOSOKU").expect("run this with `cargo xtask autobahn`")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kosoku: cargo xtask autobahn"]
async fn autobahn_finds_no_fault_in_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(server::serve(
        listener,
        Router::new().route("/", any(open)),
        ListenerLimits::default(),
        Refusals::of("echo"),
        shutdown.clone(),
    ));
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(kosoku());
    command.args(CASES.iter().flat_map(|cases| ["--include", cases]));
    command.args(["--parallelism", "4", "--outdir"]);
    command.arg(folder.path()).arg(address.to_string());
    // It fails where a bound of ours comes first; its report says what happened.
    let played = command.stdin(Stdio::null()).output().await.unwrap();
    let index = std::fs::read_to_string(folder.path().join("index.json"))
        .unwrap_or_else(|error| panic!("{error}: {played:?}"));
    let results: BTreeMap<String, BTreeMap<String, CaseResult>> =
        serde_json::from_str(&index).unwrap();
    let results: BTreeMap<String, CaseResult> = results.into_values().flatten().collect();
    assert_eq!(results.len(), N_CASES);
    let mut counts: BTreeMap<(&str, Option<u16>), usize> = BTreeMap::new();
    for result in results.values() {
        let key = (result.behavior.as_str(), result.remote_close_code);
        *counts.entry(key).or_default() += 1;
    }
    for ((behavior, code), n) in &counts {
        println!("{n:4} {behavior}, closed by us with {code:?}");
    }
    let wrong: BTreeMap<&String, &CaseResult> = results
        .iter()
        .filter(|(case, result)| !result.is_right(case))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
