//! Clients that go before their answer is complete, and how long the upstream takes to see it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench::samples::spread;
use bench::stamps::now;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Target;
use crate::client::LoadClient;

/// After this long the upstream is taken to work to its end.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a client waits before it leaves, where there is no token to wait for.
const BEFORE: Duration = Duration::from_millis(100);

/// Where the answer is when its client goes: its name, what is asked for, whether a stream is.
const PHASES: [(&str, &str, bool); 3] = [
    ("streaming", "tokens=400,pace=10", true),
    ("before the header", "tokens=1,pace=1,first=4000", true),
    ("whole answer", "tokens=400,pace=10", false),
];

pub(crate) async fn run(to: &Target, upstream: SocketAddr, rounds: u64) -> Value {
    let mut phases = serde_json::Map::new();
    let mut id = u64::from(std::process::id()) << 16;
    for (name, order, stream) in PHASES {
        let mut micros = Vec::new();
        let mut never = 0;
        let mut failed = 0;
        for _ in 0..rounds {
            id += 1;
            let request = to.request(&format!("{order},id={id}"), stream);
            let Some(left) = leave(to.to, &request, name == "streaming").await else {
                failed += 1;
                continue;
            };
            match seen(upstream, id).await {
                Some(at) => {
                    micros.push(u32::try_from(at.saturating_sub(left) / 1000).unwrap_or(u32::MAX));
                }
                None => never += 1,
            }
            // One that nobody stops costs its time each round; a few are enough.
            if never == 3 {
                break;
            }
        }
        let phase = json!({"micros": spread(&mut micros), "seen": micros.len(), "never": never, "failed": failed});
        phases.insert(name.to_owned(), phase);
    }
    Value::Object(phases)
}

/// Asks, waits for the first token where there is one, goes. When it went, in nanoseconds since 1970.
async fn leave(to: SocketAddr, request: &[u8], for_a_token: bool) -> Option<u128> {
    if for_a_token {
        let mut client = LoadClient::connect(to).await.ok()?;
        client.send(request).await.ok()?;
        let mut bytes = 0;
        while bytes < 2000 {
            client
                .next(&mut |part: &[u8]| bytes += part.len())
                .await
                .ok()?;
        }
        let left = now();
        drop(client);
        return Some(left);
    }
    let mut stream = TcpStream::connect(to).await.ok()?;
    stream.write_all(request).await.ok()?;
    tokio::time::sleep(BEFORE).await;
    let left = now();
    drop(stream);
    Some(left)
}

/// When the upstream saw that the client of request `id` had gone.
async fn seen(upstream: SocketAddr, id: u64) -> Option<u128> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        let mut stream = TcpStream::connect(upstream).await.ok()?;
        let mut answer = Vec::new();
        stream
            .write_all(b"GET /bench HTTP/1.1\r\n\r\n")
            .await
            .ok()?;
        let body = loop {
            stream.read_buf(&mut answer).await.ok().filter(|n| *n > 0)?;
            let at = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let body = at.and_then(|at| serde_json::from_slice::<Value>(&answer[at + 4..]).ok());
            if let Some(body) = body {
                break body;
            }
        };
        let left = body["left"].as_array().into_iter().flatten();
        let mut left = left
            .filter(|left| left[0] == id)
            .filter_map(|left| left[1].as_number()?.as_u128());
        if let Some(at) = left.next() {
            return Some(at);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    None
}
