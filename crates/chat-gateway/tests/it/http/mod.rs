//! The HTTP API at the wire.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::v2_client::V2Client;

use crate::gateway::Gateway;

mod embedded;
mod rest;
mod ui_stream;

/// Somebody who uses the API.
pub(crate) struct Somebody<'a> {
    gateway: &'a Gateway,
    client: reqwest::Client,
    cookie: String,
}

impl<'a> Somebody<'a> {
    /// A new anonymous user.
    pub(crate) async fn new(gateway: &'a Gateway) -> Self {
        let client = reqwest::Client::new();
        let url = format!("http://{}/api/v1/models", gateway.public);
        let response = client.get(url).send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self {
            gateway,
            client,
            cookie,
        }
    }

    /// The user of a socket.
    pub(crate) fn of(gateway: &'a Gateway, chat: &V2Client) -> Self {
        Self {
            gateway,
            client: reqwest::Client::new(),
            cookie: chat.cookie().unwrap(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/api/v1{path}", self.gateway.public);
        self.client
            .request(method, url)
            .header("cookie", &self.cookie)
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&body);
        (status, body.unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::PATCH, path).json(body))
            .await
    }

    /// Asks in a chat and reads the whole stream.
    pub(crate) async fn ask(&self, chat: &str, text: &str) -> Vec<Value> {
        let body = json!({"id": chat, "messages": [question(text)], "trigger": "submit-message"});
        let request = self.request(Method::POST, "/chat").json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        parts(&response.text().await.unwrap())
    }
}

/// A message as `useChat` sends it.
pub(crate) fn question(text: &str) -> Value {
    json!({"id": format!("id of {text}"), "role": "user", "parts": [{"type": "text", "text": text}]})
}

/// The parts of a stream.
pub(crate) fn parts(stream: &str) -> Vec<Value> {
    let events = stream.split_terminator("\n\n");
    let events = events.filter_map(|event| event.strip_prefix("data: "));
    events
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

pub(crate) fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap()
}
