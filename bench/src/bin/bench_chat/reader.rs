//! One reader of an answer of version 2, which checks that its text goes on exactly where it had stopped.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use crate::dialect::AcceptedAnswer;
use crate::socket::{ChatCaller, ChatFailure, ChatSocket};

/// A running answer and its user.
#[derive(Clone, Debug)]
pub(crate) struct BegunAnswer {
    pub(crate) caller: ChatCaller,
    accepted: AcceptedAnswer,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderEnd {
    /// It is whole.
    Done,
    /// Its gateway has gone, and what was kept of it can be continued.
    Interrupted,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct AnswerReader {
    pub(crate) running: BegunAnswer,
    pub(crate) socket: Option<ChatSocket>,
    position: u64,
    /// Whether a snapshot may replace what it has, and how often one did.
    pub(crate) takes_snapshots: bool,
    pub(crate) n_snapshots: usize,
    /// When it read something for the first time since it was opened.
    pub(crate) read_on: Option<Instant>,
    /// How the answer ended, as far as it was told.
    pub(crate) end: Option<ReaderEnd>,
}

impl BegunAnswer {
    /// Says `asked`, and leaves once the answer is begun. It runs on.
    pub(crate) async fn ask(mut caller: ChatCaller, asked: &str) -> Result<Self, ChatFailure> {
        let mut socket = ChatSocket::open(&caller).await?;
        caller.cookie = socket.cookie.take();
        socket.say(&[asked]).await?;
        let mut accepted = None;
        let mut is_refused = false;
        while accepted.is_none() && !is_refused {
            socket
                .next(&mut |frame: &[u8]| {
                    is_refused |= frame.starts_with(br#"{"type":"error""#);
                    if accepted.is_none() {
                        accepted = AcceptedAnswer::read(frame);
                    }
                })
                .await?;
        }
        let accepted = accepted.ok_or(ChatFailure::Error)?;
        Ok(Self { caller, accepted })
    }
}

impl AnswerReader {
    /// Opens a connection of the answer's user at the gateway `at`.
    pub(crate) async fn open(running: BegunAnswer, at: SocketAddr) -> Result<Self, ChatFailure> {
        let mut reader = Self {
            running,
            socket: None,
            position: 0,
            takes_snapshots: false,
            n_snapshots: 0,
            read_on: None,
            end: None,
        };
        reader.connect(at).await?;
        Ok(reader)
    }

    /// Opens a new connection and watches from its own position on.
    pub(crate) async fn come_back(mut self, at: SocketAddr) -> Result<Self, ChatFailure> {
        self.connect(at).await?;
        self.watch().await?;
        Ok(self)
    }

    pub(crate) async fn connect(&mut self, at: SocketAddr) -> Result<(), ChatFailure> {
        self.socket = None;
        self.read_on = None;
        let mut caller = self.running.caller.clone();
        caller.to = at;
        self.socket = Some(ChatSocket::open(&caller).await?);
        Ok(())
    }

    pub(crate) async fn watch(&mut self) -> Result<(), ChatFailure> {
        let frame = self.running.accepted.watch_from(self.position);
        let socket = self.socket.as_mut().ok_or(ChatFailure::Broken)?;
        socket.say(&[&frame]).await
    }

    /// Reads until the answer ends. Only an answer that was interrupted may be shorter than what was read before, or one of
    /// which a snapshot came.
    /// Cancel-safe unless the peer pings.
    pub(crate) async fn read(&mut self) -> Result<(), ChatFailure> {
        let socket = self.socket.as_mut().ok_or(ChatFailure::Broken)?;
        let mut failure = None;
        while self.end.is_none() && failure.is_none() {
            let now = &mut self.read_on;
            let position = &mut self.position;
            let takes_snapshots = self.takes_snapshots;
            let n_snapshots = &mut self.n_snapshots;
            let end = &mut self.end;
            socket
                .next(&mut |frame: &[u8]| {
                    let frame: Value = serde_json::from_slice(frame).unwrap_or_default();
                    let status = frame["status"].as_str().unwrap_or_default();
                    match frame["type"].as_str() {
                        Some("delta") => {
                            now.get_or_insert_with(Instant::now);
                            *position += frame["text"].as_str().unwrap_or_default().len() as u64;
                        }
                        Some("done") if status == "done" => *end = Some(ReaderEnd::Done),
                        Some("done" | "snapshot") if status == "interrupted" => {
                            *end = Some(ReaderEnd::Interrupted);
                            return;
                        }
                        Some("snapshot") if takes_snapshots => {
                            *n_snapshots += 1;
                            *position = frame["position"].as_u64().unwrap_or_default();
                        }
                        Some("done" | "error" | "snapshot") => failure = Some(ChatFailure::Error),
                        _ => return,
                    }
                    if failure.is_none() && frame["position"].as_u64() != Some(*position) {
                        failure = Some(ChatFailure::Partial);
                    }
                })
                .await?;
        }
        failure.map_or(Ok(()), Err)
    }
}
