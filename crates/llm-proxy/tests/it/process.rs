//! The built binary as a process of its own, for what only a process has: standard output, signals, an exit code.

use std::process::Stdio;

use serde_json::Value;
use testkit::fake_llama::FakeLlama;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::{KEY, MODEL, UPSTREAM_KEY, question, until};

/// The built binary, with the line in which it named its public and its admin listener read.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) log: BufReader<ChildStdout>,
    pub(crate) public: String,
    pub(crate) admin: String,
}

impl Process {
    pub(crate) async fn start(llama: &FakeLlama, settings: &[(&str, &str)]) -> Self {
        llama.require_key(UPSTREAM_KEY);
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm-proxy"))
            .env_clear()
            .envs([
                ("PROXY_LISTEN", "127.0.0.1:0"),
                ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
                ("PROXY_UPSTREAMS", &llama.url()),
                ("PROXY_UPSTREAM_API_KEY", UPSTREAM_KEY),
                ("LLM_API_KEY", KEY),
                ("LLM_MODEL", MODEL),
                ("LOG_FORMAT", "json"),
            ])
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let (mut public, mut admin) = (String::new(), String::new());
        while public.is_empty() || admin.is_empty() {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).await.unwrap(), 0, "it ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            let address = || event["address"].as_str().unwrap().to_owned();
            match event["listener"].as_str() {
                Some("public") => public = address(),
                Some(_) => admin = address(),
                None => {}
            }
        }
        let this = Self {
            child,
            log,
            public,
            admin,
        };
        until("readiness", async || {
            reqwest::get(format!("http://{}/readyz", this.admin))
                .await
                .unwrap()
                .status()
                == 200
        })
        .await;
        this
    }

    pub(crate) async fn chat(&self, http: &reqwest::Client) -> u16 {
        let url = format!("http://{}/v1/chat/completions", self.public);
        let answer = http
            .post(url)
            .bearer_auth(KEY)
            .json(&question(true))
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
        status
    }

    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let metrics = reqwest::get(format!("http://{}/metrics", self.admin))
            .await
            .unwrap();
        let metrics = metrics.text().await.unwrap();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .await
                .unwrap()
                .success()
        );
    }
}
