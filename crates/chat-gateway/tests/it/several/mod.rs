//! Several gateways that share a database and a bus: what a user is shown and may do does not depend on which of them a
//! socket is at, and the death of one loses nothing that was acknowledged.

mod answers;
mod hosts;
mod killed;
mod losses;
mod news;

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use testkit::fake_llama::FakeLlama;
use testkit::postgres::{PostgresDatabase, server};
use testkit::v2_client::V2Client;
use testkit::valkey::ValkeyServer;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::store::prepare;

/// How long everybody may take to learn that a gateway has died.
const NEWS_OF_DEATH: Duration = Duration::from_secs(10);

/// The gateway.
const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-gateway");

/// What gateways share.
struct Shared {
    valkey: ValkeyServer,
    database: PostgresDatabase,
}

impl Shared {
    /// `None` where a program is missing: the test is then counted as skipped, and returns at once.
    async fn start() -> Option<Self> {
        let valkey = ValkeyServer::start().await?;
        let database = server()?.copy_of("corral_template", prepare).await;
        Some(Self { valkey, database })
    }
}

/// Gateways as processes, in front of one model.
struct Cluster {
    llama: FakeLlama,
    shared: Shared,
}

impl Cluster {
    async fn start() -> Option<Self> {
        let shared = Shared::start().await?;
        let llama = FakeLlama::start().await;
        llama.set_slots(64);
        Some(Self { llama, shared })
    }

    /// Another gateway, once a message sent to it would be answered.
    async fn member(&self) -> Member {
        let mut command = Command::new(PROGRAM);
        command.env_clear().envs([
            ("GATEWAY_LISTEN", "127.0.0.1:0"),
            ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("LLM_BASE_URL", &*format!("{}/v1", self.llama.url())),
            ("GATEWAY_STORE", &self.shared.database.url()),
            ("GATEWAY_BUS", &self.shared.valkey.url()),
        ]);
        Member::start(command).await
    }
}

/// A gateway as a process of its own.
struct Member {
    child: Child,
    public: String,
    admin: String,
    #[expect(dead_code, reason = "it is held, not read")]
    folder: TempDir,
}

impl Member {
    /// Starts a gateway, which `command` tells its addresses and those of its peers. It is ready then.
    async fn start(mut command: Command) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = command
            .envs([
                ("LOG_FORMAT", "json"),
                ("LLM_API_KEY", "key"),
                ("LLM_MODEL", "fake-model"),
                ("GATEWAY_MESSAGES_PER_MINUTE", "0"),
                ("GATEWAY_ANSWERS_PER_USER", "0"),
                ("GATEWAY_SOCKETS_PER_ADDRESS", "0"),
            ])
            .env("GATEWAY_DATA", data.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let [mut public, mut admin] = [String::new(), String::new()];
        while public.is_empty() || admin.is_empty() {
            let line = lines.next_line().await.unwrap().expect("the gateway runs");
            let event: Value = serde_json::from_str(&line).unwrap();
            let address = event["address"].as_str().unwrap_or_default();
            match event["listener"].as_str() {
                Some("public") => address.clone_into(&mut public),
                Some("admin") => address.clone_into(&mut admin),
                _ => {}
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a full pipe would stop the gateway, and the task ends with it"
        )]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let member = Self {
            child,
            public,
            admin,
            folder: data,
        };
        member.until_ready().await;
        member
    }

    fn chat_url(&self) -> String {
        format!("ws://{}/api/v1/ws/chat", self.public)
    }

    async fn chat(&self) -> V2Client {
        V2Client::connect(&self.chat_url()).await.unwrap()
    }

    /// The same user at this gateway.
    async fn also(&self, chat: &V2Client) -> V2Client {
        chat.again(&self.chat_url()).await.unwrap()
    }

    /// The running answer of a conversation of this user, over HTTP.
    async fn stream(&self, chat: &V2Client, conversation: &str) -> reqwest::Response {
        let url = format!("http://{}/api/v1/chat/{conversation}/stream", self.public);
        let request = reqwest::Client::new().get(url);
        let request = request.header("cookie", chat.cookie().unwrap());
        request.send().await.unwrap()
    }

    async fn admin(&self, path: &str) -> String {
        let asked = reqwest::get(format!("http://{}{path}", self.admin)).await;
        asked.unwrap().text().await.unwrap()
    }

    async fn until_ready(&self) {
        self.until("/metrics", "chat_gateway_bus_up 1").await;
        self.until("/readyz", "ready").await;
    }

    /// Waits until an admin route has this line.
    async fn until(&self, path: &str, line: &str) {
        let asking = async {
            while !self.admin(path).await.lines().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking)
            .await
            .unwrap_or_else(|_| panic!("{path} never had the line {line:?}"));
    }

    /// As a power cut does.
    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().unwrap().try_into().unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}
