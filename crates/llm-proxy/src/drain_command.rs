//! `llm-proxy drain` and `llm-proxy resume`: an operator takes an upstream out of use, so that its llama-server can be
//! stopped without a cut, and puts it back.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use clap::Args;
use common::admin;
use tokio::time::Instant;

use crate::fleet::DrainTarget;
use crate::observe::status::{ProxyStatus, UpstreamStatus};
use crate::observe::top::{address_of, ask};

/// Between two questions to llm-proxy.
const PAUSE: Duration = Duration::from_millis(200);

/// Which upstream to drain, and how long to wait.
#[derive(Args)]
pub struct DrainCommand {
    /// The llama-server, as HOST:PORT or http://HOST:PORT; `llm-proxy top` shows them. Or `new`: every llama-server that
    /// joins from now on, until it is resumed.
    upstream: String,
    /// The longest wait for running answers, in seconds; by default until all have ended.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// The admin listener of the running llm-proxy.
    #[arg(long, default_value = "http://127.0.0.1:9081", value_name = "URL")]
    admin: String,
}

/// Which upstream to resume, and how long to wait.
#[derive(Args)]
pub struct ResumeCommand {
    /// The llama-server, as HOST:PORT or http://HOST:PORT, or `new`; by default all that are drained, without a wait.
    upstream: Option<String>,
    /// The longest wait until it gets requests, in seconds; 0: its llama-server has gone for good.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
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
        let target = target(&self.upstream)?;
        change(Method::PUT, admin, Some(&target)).await?;
        let DrainTarget::One(upstream) = target else {
            eprintln!("upstreams that join get no requests until they are resumed");
            return Ok(());
        };
        let name = upstream.authority();
        let status = ask(admin).await?;
        if find(&status, name).is_none() {
            eprintln!("{name} is drained; at the moment it is no upstream");
            return Ok(());
        }
        if !status.upstreams.iter().any(|upstream| upstream.up) {
            eprintln!("no other upstream answers: requests wait in the queue until one does");
        }
        let begin = Instant::now();
        let mut said = 0;
        loop {
            let n_running = find(&ask(admin).await?, name).map_or(0, |upstream| upstream.busy);
            if n_running == 0 {
                eprintln!("{name} is drained: no answer runs there");
                return Ok(());
            }
            match self.wait {
                Some(0) => {
                    eprintln!("{name} is drained: {n_running} answers still run there");
                    return Ok(());
                }
                Some(wait) if begin.elapsed() >= Duration::from_secs(wait) => {
                    return Err(format!(
                        "after {wait} s {n_running} answers still run at {name}, which stays drained"
                    ));
                }
                _ => {}
            }
            if n_running != said {
                eprintln!("{name} is drained: waiting for {n_running} answers to end");
                said = n_running;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl ResumeCommand {
    /// Gives it requests again and waits until it can take them.
    ///
    /// # Errors
    ///
    /// A sentence: that llm-proxy cannot be asked, or that the upstream does not answer.
    pub async fn run(&self) -> Result<(), String> {
        let admin = address_of(&self.admin)?;
        let target = self.upstream.as_deref().map(target).transpose()?;
        change(Method::DELETE, admin, target.as_ref()).await?;
        let Some(DrainTarget::One(upstream)) = target.filter(|_| self.wait > 0) else {
            return Ok(());
        };
        let name = upstream.authority();
        let begin = Instant::now();
        loop {
            let status = ask(admin).await?;
            let found = find(&status, name);
            if found.is_some_and(|upstream| upstream.up) {
                return Ok(());
            }
            if begin.elapsed() >= Duration::from_secs(self.wait) {
                let state = found.map_or("it is no upstream", |upstream| &upstream.state);
                return Err(format!(
                    "after {} s {name} gets no requests yet: {state}",
                    self.wait
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn target(text: &str) -> Result<DrainTarget, String> {
    let target = match text == "new" || text.contains("://") {
        true => text.parse(),
        false => format!("http://{text}").parse(),
    };
    target.map_err(|()| format!("{text} must look like HOST:PORT or http://HOST:PORT, or be `new`"))
}

async fn change(method: Method, admin: &str, target: Option<&DrainTarget>) -> Result<(), String> {
    let path = match target {
        Some(DrainTarget::One(upstream)) => {
            format!("/drained?upstream=http://{}", upstream.authority())
        }
        Some(DrainTarget::New) => "/drained?upstream=new".to_owned(),
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

fn find<'a>(status: &'a ProxyStatus, name: &str) -> Option<&'a UpstreamStatus> {
    status
        .upstreams
        .iter()
        .find(|upstream| upstream.upstream.eq_ignore_ascii_case(name))
}
