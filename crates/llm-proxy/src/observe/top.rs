//! `llm-proxy top`: `/status` of a running llm-proxy, printed anew each second until Ctrl-C.
//!
//! It changes nothing in the terminal but what it prints, so there is nothing to put back.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::uri::Authority;
use tokio::time::MissedTickBehavior;

use crate::observe::status::ProxyStatus;

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Empties the terminal: the cursor goes home, and everything behind it goes.
const CLEAR: &str = "\x1b[H\x1b[J";

/// How [`top`] shows the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As a page, anew each second. Without a terminal it is one page.
    Live,
    /// As one page.
    Once,
    /// As one document of JSON.
    Json,
}

/// Shows how the llm-proxy is doing whose admin listener is at `admin`, as `HOST:PORT` or `http://HOST:PORT`.
///
/// # Errors
///
/// In a sentence: that `admin` is no address, that it cannot be asked, or that nothing can be printed.
pub async fn top(admin: &str, view: View) -> Result<(), String> {
    let address = address_of(admin)?;
    let is_terminal = stdout().is_terminal();
    match view {
        View::Json => {
            let status = serde_json::to_string(&ask(address).await?);
            print(&status.map_err(|error| error.to_string())?)?;
            return print("\n");
        }
        View::Once => return print(&ask(address).await?.text(is_terminal)),
        View::Live if !is_terminal => return print(&ask(address).await?.text(false)),
        View::Live => {}
    }
    let mut seconds = tokio::time::interval(PAUSE);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let page = match ask(address).await {
            Ok(status) => status.text(true),
            Err(problem) => format!("{problem}\ntrying again\n"),
        };
        print(&format!("{CLEAR}{page}"))?;
    }
}

/// The `HOST:PORT` of `--admin`.
///
/// # Errors
///
/// A sentence, when there is none.
pub(crate) fn address_of(admin: &str) -> Result<&str, String> {
    let address = admin.trim_start_matches("http://").trim_end_matches('/');
    let authority: Option<Authority> = address.parse().ok();
    if authority.is_none_or(|authority| authority.port_u16().is_none()) {
        return Err(format!(
            "--admin {admin} has no HOST:PORT: it must look like http://127.0.0.1:9081"
        ));
    }
    Ok(address)
}

/// The status of the llm-proxy whose admin listener is at `address`.
///
/// # Errors
///
/// A sentence, when it cannot be asked.
pub(crate) async fn ask(address: &str) -> Result<ProxyStatus, String> {
    let (status, body) = common::admin::document(address, "/status").await?;
    if status != StatusCode::OK {
        return Err(format!(
            "{address} answers {status}: is it llm-proxy's admin listener?"
        ));
    }
    serde_json::from_slice(&body)
        .map_err(|error| format!("{address} is of another version: {error}"))
}

fn print(page: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    out.write_all(page.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot print: {error}"))
}
