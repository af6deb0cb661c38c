//! The audit: one line of JSON for each request, `audit.v1`, on a stream of its own.
//!
//! A line holds names, counts, times and ids, never words. It is left to a writer of its own and never waited for: a
//! reader that is stuck or a disk that is full costs lines, which are counted, and no request.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::lines::{Flush, LossyLines};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

mod file;

use file::AppendFile;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// Among the lines of the log, which they differ from by their `schema`.
    Stdout,
    /// To the end of a file.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            path if path.contains('/') => Ok(Self::File(path.into())),
            _ => Err("must be off, stdout, or a file's path, which holds a slash".to_owned()),
        }
    }
}

impl Destination {
    /// Whether lines can be written there.
    ///
    /// # Errors
    ///
    /// In words that name the path.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self::File(path) = self else {
            return Ok(());
        };
        let opened = AppendFile::open(path, Arc::default());
        opened.map(drop).map_err(|error| {
            let path = path.display();
            format!("{path} cannot be opened to append to: {error}; name a file that this user may write")
        })
    }
}

/// What is told of one request. Times are in milliseconds; `null` is what the request had not come to.
#[derive(Debug, Serialize)]
pub(crate) struct AuditLine<'a> {
    pub(crate) schema: &'static str,
    /// When the request ended.
    pub(crate) time: String,
    pub(crate) request_id: &'a str,
    /// The name of the key, never the key.
    pub(crate) key: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) route: &'static str,
    pub(crate) stream: Option<bool>,
    pub(crate) queue_ms: Option<f64>,
    pub(crate) first_token_ms: Option<f64>,
    pub(crate) total_ms: f64,
    /// Tokens of the prompt, as the upstream counts them.
    pub(crate) tokens_in: Option<u64>,
    /// Those of them that it did not have to compute.
    pub(crate) tokens_cached: Option<u64>,
    /// Tokens of the completion; of one that ended early, those that were seen.
    pub(crate) tokens_out: u64,
    /// `ok`, `client_left`, or an error's code.
    pub(crate) outcome: &'static str,
    pub(crate) status: Option<u16>,
    /// Bytes of the request's body and of the answer's.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// The version of [`AuditLine`].
pub(crate) const SCHEMA: &str = "audit.v1";

/// The way to the stream. Clones lead to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    lines: Option<LossyLines>,
    reopen: Arc<AtomicBool>,
}

impl Audit {
    /// Opens the stream; `lost` counts lines that did not get there.
    pub(crate) fn start(to: &Destination, lost: Counter) -> Result<(Self, Option<Flush>), String> {
        let reopen = Arc::new(AtomicBool::new(false));
        let started = match to {
            Destination::Off => None,
            Destination::Stdout => Some(Ok(LossyLines::start("audit", std::io::stdout(), lost))),
            Destination::File(path) => {
                let file = AppendFile::open(path, Arc::clone(&reopen));
                Some(file.map(|file| LossyLines::start("audit", file, lost)))
            }
        };
        let started = started
            .transpose()
            .map_err(|error| format!("PROXY_AUDIT: {error}"))?;
        let (lines, flush) = started.unzip();
        Ok((Self { lines, reopen }, flush))
    }

    /// Opens a file anew before the next line.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Leaves a line to be written; it is only put together when somebody wants it.
    pub(crate) fn tell<'a>(&self, line: impl FnOnce() -> AuditLine<'a>) {
        let Some(lines) = &self.lines else { return };
        if let Ok(mut text) = serde_json::to_vec(&line()) {
            text.push(b'\n');
            lines.push(&text);
        }
    }
}
