//! A gateway in this process, in front of a FakeLlama of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use chat_gateway::{Config, Listeners, VARIABLES};
use common::env::Environment;
use common::shutdown::Shutdown;
use common::traces::{self, Traces};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::fake_llama::FakeLlama;
use testkit::ws_client::{PATIENCE, WsClient};

pub(crate) const KEY: &str = "a-key-for-tests";
const ANY_PORT: &str = "127.0.0.1:0";

/// A running gateway; it ends with the test's runtime.
pub(crate) struct Gateway {
    pub(crate) llama: FakeLlama,
    pub(crate) shutdown: Shutdown,
    pub(crate) traces: Traces,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) data: Arc<TempDir>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings beside those that the test needs anyway.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let llama = FakeLlama::start().await;
        llama.require_key(KEY);
        Self::before(llama, settings).await
    }

    /// In front of a given upstream.
    pub(crate) async fn before(llama: FakeLlama, settings: &[(&str, &str)]) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        Self::keeping(data, llama, settings).await
    }

    /// In front of a given upstream, with what another gateway has kept in this folder.
    pub(crate) async fn keeping(
        data: Arc<TempDir>,
        llama: FakeLlama,
        settings: &[(&str, &str)],
    ) -> Self {
        let folder = data.path().to_str().unwrap();
        let base_url = format!("{}/v1/", llama.url());
        let needed = [
            ("LLM_BASE_URL", &*base_url),
            ("LLM_API_KEY", KEY),
            ("LLM_MODEL", "fake-model"),
            ("GATEWAY_DATA", folder),
        ];
        let listen = [
            ("GATEWAY_LISTEN", ANY_PORT),
            ("GATEWAY_ADMIN_LISTEN", ANY_PORT),
        ];
        let pairs = needed
            .into_iter()
            .chain(listen)
            .chain(settings.iter().copied());
        let mut env = Environment::from_pairs("GATEWAY_", &[VARIABLES, traces::VARIABLES], pairs);
        let config = Config::read(&mut env);
        env.finish().unwrap();
        let listeners = Listeners::bind(&config).await.unwrap();
        let (public, admin) = (
            listeners.public.local_addr().unwrap(),
            listeners.admin.local_addr().unwrap(),
        );
        let shutdown = Shutdown::new();
        let traces = Traces::start("chat-gateway", "0", config.traces.as_ref()).unwrap();
        shutdown.spawn(chat_gateway::serve(
            config,
            listeners,
            traces.clone(),
            shutdown.clone(),
        ));
        Self {
            llama,
            shutdown,
            traces,
            public,
            admin,
            data,
        }
    }

    pub(crate) fn chat_url(&self) -> String {
        format!("ws://{}/api/v1/ws/chat", self.public)
    }

    pub(crate) async fn chat(&self) -> WsClient {
        WsClient::connect(&self.chat_url()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("http://{}{path}", self.public))
            .await
            .unwrap()
    }

    /// Status and body of an admin route.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.admin))
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Waits until `/readyz` answers with this status, and returns what it says.
    pub(crate) async fn readiness(&self, status: u16) -> String {
        let asking = async {
            loop {
                match self.admin("/readyz").await {
                    (now, body) if now == status => return body,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| panic!("/readyz never answered {status}"))
    }

    /// Waits until this line stands in the metrics.
    pub(crate) async fn metric(&self, line: &str) {
        let asking = async {
            while !self
                .admin("/metrics")
                .await
                .1
                .lines()
                .any(|found| found == line)
            {
                tokio::task::yield_now().await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, asking).await.is_ok(),
            "{line} was not counted"
        );
    }

    /// The messages of upstream request `number`, without the system prompt, as `role: content`.
    pub(crate) async fn asked(&self, number: usize) -> Vec<String> {
        let body = self.llama.request_started(number).await.body;
        let messages = body["messages"].as_array().unwrap();
        assert_eq!(messages[0]["role"], "system");
        let text = |message: &Value| {
            format!(
                "{}: {}",
                message["role"].as_str().unwrap(),
                message["content"].as_str().unwrap()
            )
        };
        messages[1..].iter().map(text).collect()
    }
}

pub(crate) async fn say(socket: &mut WsClient, content: &str) {
    socket
        .send_json(&json!({ "content": content }))
        .await
        .unwrap();
}

pub(crate) async fn reset(socket: &mut WsClient) {
    socket.send_json(&json!({"type": "reset"})).await.unwrap();
}

pub(crate) fn delta(content: &str) -> Value {
    json!({"type": "delta", "content": content})
}

pub(crate) fn done() -> Value {
    json!({"type": "done"})
}

pub(crate) fn error(message: &str) -> Value {
    json!({"type": "error", "message": message})
}
