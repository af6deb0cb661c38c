//! `llm-proxy top`: `/status` of a running llm-proxy, painted anew each second until `q` or Ctrl-C.
//!
//! It draws with a handful of escape sequences and turns the terminal back to what it was, however it ends. Without a
//! terminal, or with `--once`, it prints the page once.

use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::time::Duration;

use axum::http::StatusCode;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use crate::status::Status;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// The other screen of the terminal, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Shows how the llm-proxy is doing whose admin listener is at `admin`, as `HOST:PORT` or `http://HOST:PORT`.
///
/// # Errors
///
/// In a sentence: with `once` that it cannot be asked, otherwise that the terminal cannot be drawn on.
pub async fn top(admin: &str, once: bool) -> Result<(), String> {
    let address = admin.trim_start_matches("http://").trim_end_matches('/');
    if once || !stdout().is_terminal() {
        let page = look(address).await?.text(stdout().is_terminal());
        return write(&page);
    }
    let _screen = Screen::enter()?;
    let mut quit = quits();
    let mut seconds = tokio::time::interval(PAUSE);
    loop {
        tokio::select! {
            _ = quit.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = seconds.tick() => {
                let page = match look(address).await {
                    Ok(status) => status.text(true),
                    Err(problem) => format!("{problem}\ntrying again\n"),
                };
                // Each line is painted over its old self, and what is below goes: nothing flickers.
                let page = page.replace('\n', "\x1b[K\r\n");
                write(&format!("\x1b[H{page}\x1b[K\r\nq quits\x1b[K\x1b[J"))?;
            }
        }
    }
}

async fn look(address: &str) -> Result<Status, String> {
    let (status, body) = common::admin::document(address, "/status").await?;
    if status != StatusCode::OK {
        return Err(format!("{address} answers {status}: is it llm-proxy's admin listener?"));
    }
    serde_json::from_slice(&body).map_err(|error| format!("{address} is of another version: {error}"))
}

fn write(page: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    out.write_all(page.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot print: {error}"))
}

/// Says when `q` was pressed. The thread ends with the process: nothing else wakes a read of the terminal.
fn quits() -> mpsc::Receiver<()> {
    let (quit, quits) = mpsc::channel(1);
    std::thread::spawn(move || {
        let asked = stdin().lock().bytes().any(|byte| byte.is_ok_and(|byte| byte == b'q'));
        // Without a keyboard it goes on until it is interrupted.
        if asked { drop(quit) } else { std::mem::forget(quit) }
    });
    quits
}

/// The terminal while it is ours.
struct Screen(Option<Termios>);

impl Screen {
    fn enter() -> Result<Self, String> {
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            let _lines_then = tcsetattr(stdin(), OptionalActions::Now, &keys);
        }
        write(ENTER)?;
        Ok(Self(before))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = write(LEAVE);
        if let Some(before) = &self.0 {
            let _gone = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
