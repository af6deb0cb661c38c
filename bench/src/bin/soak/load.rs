//! The callers: streams, whole answers, callers that leave in every phase, slow readers, bad requests, several keys. Every
//! request ends in one class, and a class says whether it needs a reason.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, timeout};

use crate::stage::KEYS;

/// Longer than any answer or any refusal takes here.
const PATIENCE: Duration = Duration::from_secs(40);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Whole.
    Ok,
    /// Its caller left, as it meant to.
    Left,
    /// Refused, as it should be.
    Refused,
    /// 401 to a key that was good.
    Unauthorized,
    /// 429 with a `Retry-After`.
    Full,
    /// 503 with a `Retry-After`.
    Unavailable,
    /// 502.
    Bad,
    /// 504.
    Late,
    /// A stream that ended with an error event and without `[DONE]`.
    ErrorEvent,
    /// No connection.
    NotConnected,
    /// A connection that broke before an answer's header.
    NotAnswered,
    /// An answer that broke off without a word, or looks whole and is not. Never excused.
    Truncated,
    /// Anything else. Never excused.
    Unexplained,
}

/// How many there were of each class since this was last taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassCounts(Arc<Mutex<BTreeMap<Class, u64>>>);

impl ClassCounts {
    pub(crate) fn add(&self, class: Class) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(class)
            .or_default() += 1;
    }

    pub(crate) fn take(&self) -> BTreeMap<Class, u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who asks, and whom.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) to: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) counts: ClassCounts,
    random: Arc<AtomicU64>,
}

impl Callers {
    pub(crate) fn new(to: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(5));
        let http = http.build().expect("a client without TLS needs nothing");
        Self {
            to,
            http,
            counts: ClassCounts::default(),
            random: Arc::new(AtomicU64::new(88_172_645_463_325_252)),
        }
    }

    /// A number below `end`. The order of callers is chance; the numbers need not be.
    fn below(&self, end: u64) -> u64 {
        self.random
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(shuffled(x)))
            .unwrap_or_default()
            % end
    }

    fn key(&self) -> &'static str {
        KEYS[usize::try_from(self.below(KEYS.len() as u64 - 1)).unwrap_or_default()]
    }

    /// Asks as callers of kind `kind` do, once.
    pub(crate) async fn once(&self, kind: usize) {
        let class = match kind % 8 {
            0..=2 => self.chat(&self.order(), true, self.key()).await,
            3 | 4 => self.chat(&self.order(), false, self.key()).await,
            5 => self.leave().await,
            6 => self.bad().await,
            _ => self.slow().await,
        };
        self.counts.add(class);
    }

    fn order(&self) -> String {
        format!(
            "tokens={},pace={},first={}",
            5 + self.below(40),
            5 + self.below(20),
            self.below(3) * 30
        )
    }

    fn body(order: &str, stream: bool) -> Value {
        json!({"model": "bench", "stream": stream, "messages": [{"role": "user", "content": format!("bench:{order};")}]})
    }

    fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.to)
    }

    /// An answer read to its end.
    pub(crate) async fn chat(&self, order: &str, stream: bool, key: &str) -> Class {
        let asked = self
            .http
            .post(self.url())
            .bearer_auth(key)
            .json(&Self::body(order, stream))
            .send();
        let response = match timeout(PATIENCE, asked).await {
            Err(_) => return Class::Unexplained,
            Ok(Err(error)) if error.is_connect() => return Class::NotConnected,
            Ok(Err(error)) => return not_answered(order, &error),
            Ok(Ok(response)) => response,
        };
        if response.status() != 200 {
            return refused(&response);
        }
        let Ok(Ok(text)) = timeout(PATIENCE, response.text()).await else {
            return Class::Truncated;
        };
        let wanted: usize = order
            .split([',', ';'])
            .find_map(|word| word.strip_prefix("tokens=")?.parse().ok())
            .unwrap_or(0);
        if stream {
            match (
                text.ends_with("data: [DONE]\n\n"),
                text.contains("data: {\"error\""),
            ) {
                (true, false) if text.matches("\"content\":\"").count() == wanted => Class::Ok,
                (false, true) => Class::ErrorEvent,
                _ => Class::Truncated,
            }
        } else {
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            let whole = answer["usage"]["completion_tokens"] == wanted
                && answer["choices"][0]["finish_reason"] == "stop";
            if whole { Class::Ok } else { Class::Truncated }
        }
    }

    /// A stream that has begun.
    pub(crate) async fn ask(&self, order: &str, key: &str) -> reqwest::Result<reqwest::Response> {
        self.http
            .post(self.url())
            .bearer_auth(key)
            .json(&Self::body(order, true))
            .send()
            .await
    }

    /// Goes at a moment of its own, whatever the answer has come to.
    async fn leave(&self) -> Class {
        let order = format!("tokens=100,pace=10,first={}", self.below(3) * 100);
        let stream = self.below(2) == 0;
        let asked = async {
            let response = self
                .http
                .post(self.url())
                .bearer_auth(self.key())
                .json(&Self::body(&order, stream))
                .send()
                .await?;
            let mut parts = response.error_for_status()?.bytes_stream();
            while let Some(part) = parts.next().await {
                part?;
            }
            Ok::<_, reqwest::Error>(())
        };
        // What came before it left is for the others to judge.
        timeout(Duration::from_millis(self.below(500)), asked)
            .await
            .ok();
        Class::Left
    }

    /// What must be refused is.
    async fn bad(&self) -> Class {
        let request = self.http.post(self.url());
        let good = Self::body("tokens=1", false);
        let (request, status) = match self.below(6) {
            0 => (
                request
                    .bearer_auth(self.key())
                    .header("content-type", "application/json")
                    .body("{"),
                400,
            ),
            1 => (request.bearer_auth("not-a-key").json(&good), 401),
            2 => (
                request
                    .bearer_auth(self.key())
                    .json(&json!({"model": "other", "messages": good["messages"]})),
                404,
            ),
            3 => (
                request
                    .bearer_auth(self.key())
                    .json(&json!({"pad": "x".repeat(300_000)})),
                413,
            ),
            4 => (
                request
                    .bearer_auth(self.key())
                    .header("content-type", "text/plain")
                    .body("hello"),
                415,
            ),
            _ => (
                self.http
                    .get(format!("http://{}/slots", self.to))
                    .bearer_auth(self.key()),
                404,
            ),
        };
        match timeout(PATIENCE, request.send()).await {
            Ok(Ok(response)) if response.status() == status => Class::Refused,
            Ok(Ok(response)) => refused(&response),
            Ok(Err(error)) if error.is_connect() => Class::NotConnected,
            // A body that is too large is refused while it is still being written, and this client then looks no more.
            Ok(Err(_)) if status == 413 => Class::Refused,
            Ok(Err(error)) => not_answered(status, &error),
            Err(_) => Class::Unexplained,
        }
    }

    /// Takes an answer of 600 KB a little at a time, with a small window.
    pub(crate) async fn slow(&self) -> Class {
        let Ok(socket) = TcpSocket::new_v4() else {
            return Class::NotConnected;
        };
        // With a larger window it is only less slow.
        socket.set_recv_buffer_size(4096).ok();
        let Ok(mut stream) = socket.connect(self.to).await else {
            return Class::NotConnected;
        };
        let body = Self::body("tokens=2000", true).to_string();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key(),
            body.len()
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            return Class::NotAnswered;
        }
        let mut text = Vec::new();
        let mut part = vec![0; 4096];
        let end = Instant::now() + PATIENCE;
        loop {
            match timeout(end - Instant::now().min(end), stream.read(&mut part)).await {
                Ok(Ok(0)) | Ok(Err(_)) => break,
                Ok(Ok(n)) => text.extend_from_slice(&part[..n]),
                Err(_) => return Class::Unexplained,
            }
            if text.len() < 200_000 {
                sleep(Duration::from_millis(40)).await;
            }
        }
        let text = String::from_utf8_lossy(&text);
        match text.get(9..12) {
            Some("200") if text.contains("data: [DONE]\n\n") && text.ends_with("0\r\n\r\n") => {
                Class::Ok
            }
            Some("200") if text.contains("data: {\"error\"") => Class::ErrorEvent,
            Some("200") => Class::Truncated,
            Some("429") => Class::Full,
            Some("502") => Class::Bad,
            Some("503") => Class::Unavailable,
            Some("504") => Class::Late,
            Some(_) => Class::Unexplained,
            None => Class::NotAnswered,
        }
    }
}

/// Says what the client says, because nothing else will.
fn not_answered(asked: impl std::fmt::Display, error: &reqwest::Error) -> Class {
    let sources =
        std::iter::successors(std::error::Error::source(error), |error| (*error).source());
    let why: Vec<String> = sources.map(ToString::to_string).collect();
    println!("not answered: {asked}: {error}: {}", why.join(": "));
    Class::NotAnswered
}

/// What a status means. One that asks to come back has to say when.
fn refused(response: &reqwest::Response) -> Class {
    let says_when = response.headers().contains_key("retry-after");
    match response.status().as_u16() {
        401 => Class::Unauthorized,
        429 if says_when => Class::Full,
        503 if says_when => Class::Unavailable,
        502 => Class::Bad,
        504 => Class::Late,
        _ => Class::Unexplained,
    }
}

/// The number after `x` in a row that looks like chance (xorshift).
fn shuffled(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}
