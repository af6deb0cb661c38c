//! A client of version 2 of the chat protocol: it says hello, pairs replies with requests, and joins answers.
//!
//! It checks what every client may rely on: each delta continues exactly where the one before ended, and an answer ends
//! once for each time it was begun.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::ws_client::WsClient;

/// The WebSocket subprotocol.
const SUBPROTOCOL: &str = "chat.v2";

/// One answer as a client has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinedAnswer {
    /// Its text.
    pub text: String,
    /// The model's thoughts.
    pub reasoning: String,
    /// The last position.
    pub position: u64,
    /// How it ended.
    pub done: Option<Value>,
    /// How many deltas it came in.
    pub n_deltas: u64,
}

/// A socket that said hello.
#[derive(Debug)]
pub struct V2Client {
    /// The socket.
    pub socket: WsClient,
    /// The reply to hello.
    pub welcome: Value,
    /// The answers that were seen, by id.
    pub answers: HashMap<String, JoinedAnswer>,
    /// All other frames, in order.
    pub others: Vec<Value>,
    requests: u64,
    name: String,
}

impl V2Client {
    /// Opens a socket as a new anonymous user.
    ///
    /// # Errors
    ///
    /// When the server does not welcome it.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Self::connect_with(url, &[]).await
    }

    /// Opens another socket of the same user.
    ///
    /// # Errors
    ///
    /// As [`V2Client::connect`].
    pub async fn again(&self, url: &str) -> anyhow::Result<Self> {
        let cookie = self.cookie().context("the user has a cookie")?;
        Self::connect_with(url, &[("cookie", &cookie)]).await
    }

    /// Opens a socket with further header fields.
    ///
    /// # Errors
    ///
    /// As [`V2Client::connect`].
    pub async fn connect_with(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut all = vec![("sec-websocket-protocol", SUBPROTOCOL)];
        all.extend_from_slice(headers);
        let mut socket = WsClient::connect_with(url, &all).await?;
        socket
            .send_json(&json!({"type": "hello", "version": 2}))
            .await?;
        let welcome = socket.next_json().await?;
        ensure!(welcome["type"] == "welcome", "not a welcome: {welcome}");
        let given = headers.iter().find(|(name, _)| *name == "cookie");
        let given = given.map(|(_, value)| (*value).to_owned());
        let set = socket.opened_with("set-cookie");
        let set = set.map(|set| set.split(';').next().unwrap_or_default().to_owned());
        Ok(Self {
            name: set.or(given).unwrap_or_default(),
            socket,
            welcome,
            answers: HashMap::new(),
            others: Vec::new(),
            requests: 0,
        })
    }

    /// The cookie that names this user.
    #[must_use]
    pub fn cookie(&self) -> Option<String> {
        Some(self.name.clone()).filter(|name| !name.is_empty())
    }

    /// Sends a message and returns what `accepted` says. `more` is merged into the frame.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn say(&mut self, content: &str, more: &Value) -> anyhow::Result<Value> {
        let mut frame = json!({"type": "send", "content": content});
        if let (Some(frame), Some(more)) = (frame.as_object_mut(), more.as_object()) {
            frame.extend(more.clone());
        }
        let reply = self.request(frame).await?;
        ensure!(reply["type"] == "accepted", "refused: {reply}");
        Ok(reply)
    }

    /// Sends a frame, gives it an id unless it has one, and returns its reply.
    ///
    /// # Errors
    ///
    /// When the socket closes first.
    pub async fn request(&mut self, mut frame: Value) -> anyhow::Result<Value> {
        if frame["id"].is_null() {
            self.requests += 1;
            frame["id"] = format!("r{}-{}", self.requests, uuid::Uuid::now_v7()).into();
        }
        let id = frame["id"].clone();
        self.socket.send_json(&frame).await?;
        loop {
            let frame = self.next().await?;
            if frame["re"] == id {
                return Ok(frame);
            }
        }
    }

    /// Reads one frame and joins it to its answer.
    ///
    /// # Errors
    ///
    /// When the socket closes, or a frame breaks a promise.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        let frame = self.socket.next_json().await?;
        let id = frame["answer"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "delta" => {
                let answer = self.answers.entry(id).or_default();
                ensure!(answer.done.is_none(), "a delta after the end: {frame}");
                let text = frame["text"].as_str().unwrap_or_default();
                let reasoning = frame["reasoning"].as_str().unwrap_or_default();
                answer.text.push_str(text);
                answer.reasoning.push_str(reasoning);
                answer.position += (text.len() + reasoning.len()) as u64;
                answer.n_deltas += 1;
                let position = frame["position"].as_u64();
                ensure!(position == Some(answer.position), "a gap: {frame}");
            }
            "snapshot" => {
                let answer = self.answers.entry(id).or_default();
                frame["text"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut answer.text);
                let reasoning = frame["reasoning"].as_str().unwrap_or_default();
                reasoning.clone_into(&mut answer.reasoning);
                answer.position = frame["position"].as_u64().unwrap_or_default();
            }
            "done" => {
                let answer = self.answers.entry(id).or_default();
                ensure!(answer.done.is_none(), "a second end: {frame}");
                let position = frame["position"].as_u64();
                ensure!(
                    position == Some(answer.position),
                    "an end elsewhere: {frame}"
                );
                answer.done = Some(frame.clone());
            }
            "queued" | "progress" | "context" => {
                // Another tab let it go on: it may end again.
                if let Some(answer) = self.answers.get_mut(&id) {
                    answer.done = None;
                }
                self.others.push(frame.clone());
            }
            "accepted" => {
                // An answer that goes on may end again.
                let id = id_of(&frame);
                self.answers.entry(id).or_default().done = None;
                self.others.push(frame.clone());
            }
            _ => self.others.push(frame.clone()),
        }
        Ok(frame)
    }

    /// Reads on until this answer has ended.
    ///
    /// # Errors
    ///
    /// As [`V2Client::next`].
    pub async fn until_done(&mut self, answer: &str) -> anyhow::Result<JoinedAnswer> {
        loop {
            if let Some(joined) = self
                .answers
                .get(answer)
                .filter(|joined| joined.done.is_some())
            {
                return Ok(joined.clone());
            }
            self.next().await?;
        }
    }

    /// Reads on until this answer has as many bytes.
    ///
    /// # Errors
    ///
    /// As [`V2Client::next`], and when it ends before.
    pub async fn until_position(&mut self, answer: &str, position: u64) -> anyhow::Result<()> {
        loop {
            let joined = self.answers.get(answer);
            if joined.is_some_and(|joined| joined.position >= position) {
                return Ok(());
            }
            if joined.is_some_and(|joined| joined.done.is_some()) {
                bail!("the answer ended before");
            }
            self.next().await?;
        }
    }

    /// Watches a conversation, going on from what this client has of its answers.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn watch(&mut self, conversation: &str) -> anyhow::Result<()> {
        let open = self
            .answers
            .iter()
            .filter(|(_, joined)| joined.done.is_none());
        let answers: Vec<Value> = open
            .map(|(id, joined)| json!({"message": id, "position": joined.position}))
            .collect();
        let frame = json!({"type": "watch", "conversation": conversation, "answers": answers});
        let reply = self.request(frame).await?;
        ensure!(reply["type"] == "ok", "refused: {reply}");
        Ok(())
    }
}

fn id_of(frame: &Value) -> String {
    frame["answer"].as_str().unwrap_or_default().to_owned()
}
