//! testkit's fake-hub as the Hub of a measurement: it has a made-up model in memory and counts its requests.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde::Deserialize;

use crate::call::{Call, Output, RunningCall};
use crate::settings::Settings;

/// The repository that it serves.
pub(super) const REPOSITORY: &str = "corral/bench-GGUF";
/// The file in it.
pub(super) const FILE: &str = "bench-Q4_0.gguf";

/// A running Hub; dropping it ends it.
pub(super) struct BenchHub {
    /// Its model and addresses.
    pub(super) place: ServedModel,
    process: RunningCall,
    lines: Mutex<BufReader<PipeReader>>,
    /// The CAS server behind it, for Xet.
    _cas: RunningCall,
}

/// The first line of a fake-cas's output.
#[derive(Deserialize)]
struct ServedChunks {
    upstream: String,
    hash: String,
}

/// The first line of a BenchHub's output.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServedModel {
    /// The value for `HF_ENDPOINT`.
    pub(super) hub: String,
    /// The file's size in bytes.
    pub(super) size: u64,
    /// The file's SHA-256.
    pub(super) sha256: String,
}

/// The requests to a Hub so far.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Count {
    /// Requests of every kind.
    pub(super) requests: u64,
    /// Bytes of files sent.
    pub(super) served: u64,
}

impl ServedModel {
    /// The file's URL, before the redirect.
    pub(super) fn url(&self) -> String {
        format!("{}/{REPOSITORY}/resolve/main/{FILE}", self.hub)
    }
}

impl BenchHub {
    /// Serves `n_bytes`; `flags` change how.
    pub(super) fn start(settings: &Settings, n_bytes: u64, flags: &[String]) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let cas = Call::new(settings.target("release/fake-cas"))
            .args(["--synthetic", &n_bytes.to_string()])
            .start(Output::Pipe(writer))?;
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line)?;
        let chunks: ServedChunks = serde_json::from_str(&line)
            .with_context(|| format!("fake-cas did not start: {line}"))?;
        let (reader, writer) = std::io::pipe()?;
        let process = Call::new(settings.target("release/fake-hub"))
            .args([
                "--repo",
                REPOSITORY,
                "--name",
                FILE,
                "--quiet",
                "--synthetic",
                &n_bytes.to_string(),
                "--xet",
                &format!("{},{}", chunks.upstream, chunks.hash),
            ])
            .args(flags)
            .start(Output::Pipe(writer))?;
        let mut lines = BufReader::new(reader);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let place = serde_json::from_str(&line)
            .with_context(|| format!("fake-hub did not start: {line}"))?;
        Ok(Self {
            place,
            process,
            lines: Mutex::new(lines),
            _cas: cas,
        })
    }

    /// The requests so far.
    pub(super) fn count(&self) -> Result<Count> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.process.signal(Signal::USR1);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("fake-hub gave no counts: {line}"))
    }
}
