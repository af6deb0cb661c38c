//! `llm-proxy drain` and `llm-proxy resume`: an operator takes an upstream out of use, so that its llama-server can be
//! stopped without a cut, and puts it back.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use clap::Args;
use common::admin;
use llama_client::Upstream;
use tokio::time::Instant;

use crate::observe::status::ProxyStatus;
use crate::observe::top::{address_of, ask};

/// Between two looks at what still runs.
const LOOK: Duration = Duration::from_millis(200);

/// Which upstream to drain, and how long to wait.
#[derive(Args)]
pub struct DrainCommand {
    /// The llama-server, as HOST:PORT or http://HOST:PORT; `llm-proxy top` shows them.
    upstream: String,
    /// How long to wait until no answer runs there, in seconds; 0: do not wait.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    wait: u64,
    /// The admin listener of the running llm-proxy.
    #[arg(long, default_value = "http://127.0.0.1:9081", value_name = "URL")]
    admin: String,
}

/// Which upstream to resume.
#[derive(Args)]
pub struct ResumeCommand {
    /// The llama-server, as HOST:PORT or http://HOST:PORT; all that are drained unless given.
    upstream: Option<String>,
    /// The admin listener of the running llm-proxy.
    #[arg(long, default_value = "http://127.0.0.1:9081", value_name = "URL")]
    admin: String,
}

impl DrainCommand {
    /// Drains it and waits until no answer of this llm-proxy runs there.
    ///
    /// # Errors
    ///
    /// A sentence: that llm-proxy cannot be asked, or that answers still run.
    pub async fn run(&self) -> Result<(), String> {
        let admin = address_of(&self.admin)?;
        let upstream = upstream(&self.upstream)?;
        let name = upstream.authority().to_ascii_lowercase();
        change(Method::PUT, admin, Some(&upstream)).await?;
        let status = ask(admin).await?;
        if running(&status, &name).is_none() {
            eprintln!(
                "{name} is drained; it is no upstream now. Upstreams: {}",
                names(&status)
            );
        } else if !status.upstreams.iter().any(|upstream| upstream.up) {
            eprintln!("no other upstream works: requests wait in the queue until one does");
        }
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        let mut said = 0;
        loop {
            let n_running = running(&ask(admin).await?, &name).unwrap_or(0);
            if n_running == 0 {
                eprintln!("{name} is drained: no answer runs there");
                return Ok(());
            }
            if self.wait == 0 {
                eprintln!("{name} is drained: {n_running} answers still run there");
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "after {} s {n_running} answers still run at {name}, which stays drained",
                    self.wait
                ));
            }
            if n_running != said {
                eprintln!("{name} is drained: waiting for {n_running} answers to end");
                said = n_running;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl ResumeCommand {
    /// Has it get requests again.
    ///
    /// # Errors
    ///
    /// A sentence: that llm-proxy cannot be asked.
    pub async fn run(&self) -> Result<(), String> {
        let admin = address_of(&self.admin)?;
        let upstream = self.upstream.as_deref().map(upstream).transpose()?;
        change(Method::DELETE, admin, upstream.as_ref()).await
    }
}

fn upstream(text: &str) -> Result<Upstream, String> {
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    url.parse()
        .map_err(|_| format!("{text} must look like HOST:PORT or http://HOST:PORT"))
}

async fn change(method: Method, admin: &str, upstream: Option<&Upstream>) -> Result<(), String> {
    let path = match upstream {
        Some(upstream) => format!("/drained?upstream=http://{}", upstream.authority()),
        None => "/drained".to_owned(),
    };
    match admin::send(method, admin, &path).await? {
        (StatusCode::NO_CONTENT, _) => Ok(()),
        (status, body) => Err(format!(
            "{admin} answers {status}: {}",
            String::from_utf8_lossy(&body).trim()
        )),
    }
}

/// How many answers run at the upstream `name`; `None` when it is no upstream.
fn running(status: &ProxyStatus, name: &str) -> Option<usize> {
    let upstream = status
        .upstreams
        .iter()
        .find(|upstream| upstream.upstream.eq_ignore_ascii_case(name))?;
    Some(upstream.busy)
}

fn names(status: &ProxyStatus) -> String {
    let names: Vec<&str> = status
        .upstreams
        .iter()
        .map(|upstream| upstream.upstream.as_str())
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}
