//! `llm-proxy top`: `/status` of a running llm-proxy, painted anew each second until `q` or Ctrl-C.
//!
//! It draws with a handful of escape sequences, never beyond the terminal's size, and turns the terminal back to what it
//! was, whatever ends it. Without a terminal, or with `--once`, it prints the page once.

use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::uri::Authority;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use crate::observe::status::Status;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// The other screen of the terminal, without a cursor, and with long lines cut; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// What a terminal control character is set to that does nothing.
const DISABLED: u8 = 0;

/// Shows how the llm-proxy is doing whose admin listener is at `admin`, as `HOST:PORT` or `http://HOST:PORT`.
///
/// # Errors
///
/// In a sentence: that this is no address, with `once` that it cannot be asked, otherwise that the terminal cannot be
/// drawn on.
pub async fn top(admin: &str, once: bool) -> Result<(), String> {
    let address = admin.trim_start_matches("http://").trim_end_matches('/');
    // Trying again would not help.
    if address
        .parse()
        .ok()
        .and_then(|authority: Authority| authority.port_u16())
        .is_none()
    {
        return Err(format!(
            "--admin {admin} has no HOST:PORT: it must look like http://127.0.0.1:9081"
        ));
    }
    if once || !stdout().is_terminal() {
        let page = look(address).await?.text(stdout().is_terminal());
        return write(&page);
    }
    // Before the first byte: from then on an end that nobody waits for would leave the terminal as it is.
    let mut ends = Ends::new().map_err(|error| format!("signals cannot be received: {error}"))?;
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| format!("the terminal's size cannot be followed: {error}"))?;
    let _screen = Screen::enter()?;
    let mut seconds = tokio::time::interval(PAUSE);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut page = String::new();
    loop {
        tokio::select! {
            () = ends.next() => return Ok(()),
            _ = resized.recv() => {}
            new = next(&mut seconds, address) => page = new,
        }
        paint(&page)?;
    }
}

/// The page of the next second. Dropping the call waits for the one after.
async fn next(seconds: &mut Interval, address: &str) -> String {
    seconds.tick().await;
    match look(address).await {
        Ok(status) => status.text(true),
        Err(problem) => format!("{problem}\ntrying again\n"),
    }
}

/// Each line takes the place of its old self, and what is below goes, all in one write: nothing flickers. What has no
/// room is counted.
fn paint(page: &str) -> Result<(), String> {
    let n_rows = tcgetwinsize(stdout()).map_or(0, |size| usize::from(size.ws_row));
    // Without a size there is room for all; the last row says how to leave.
    let room = n_rows.checked_sub(1).unwrap_or(usize::MAX);
    let mut lines: Vec<&str> = page.lines().collect();
    let more = lines.len().saturating_sub(room);
    let last = if more > 0 {
        lines.truncate(room);
        format!("q quits   {more} more lines have no room")
    } else {
        if lines.len() < room {
            lines.push("");
        }
        "q quits".to_owned()
    };
    lines.push(&last);
    write(&format!("\x1b[H\x1b[2K{}\x1b[J", lines.join("\r\n\x1b[2K")))
}

async fn look(address: &str) -> Result<Status, String> {
    let (status, body) = common::admin::document(address, "/status").await?;
    if status != StatusCode::OK {
        return Err(format!(
            "{address} answers {status}: is it llm-proxy's admin listener?"
        ));
    }
    serde_json::from_slice(&body)
        .map_err(|error| format!("{address} is of another version: {error}"))
}

fn write(page: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    out.write_all(page.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot print: {error}"))
}

/// All that ends it, gathered from the beginning on, so that nothing is missed that comes while llm-proxy is asked.
struct Ends {
    quit: mpsc::Receiver<()>,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            quit: quits(),
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.quit.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Says when `q` was pressed. The thread ends with the process: nothing else wakes a read of the terminal.
fn quits() -> mpsc::Receiver<()> {
    let (quit, quits) = mpsc::channel(1);
    std::thread::spawn(move || {
        let asked = stdin()
            .lock()
            .bytes()
            .any(|byte| byte.is_ok_and(|byte| byte == b'q'));
        // Without a keyboard it goes on until it is interrupted.
        if asked {
            drop(quit)
        } else {
            std::mem::forget(quit)
        }
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
            // Ctrl-Z would leave the shell on this screen.
            keys.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            let _lines_then = tcsetattr(stdin(), OptionalActions::Now, &keys);
        }
        let screen = Self(before);
        write(ENTER)?;
        Ok(screen)
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
