//! Small files that are read again and again, because editors, secret mounts and network disks tell nobody of a change.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How often a file is read.
pub(super) const READ_EVERY: Duration = Duration::from_secs(2);
/// The most of a file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// How often a trouble that stays is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Reads a small file.
///
/// # Errors
///
/// When it cannot be read, is no file, or is too large.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::other(problem));
    }
    Ok(bytes)
}

/// As [`read`], for a disk that may be slow.
pub(super) async fn read_slowly(path: PathBuf) -> io::Result<Vec<u8>> {
    let reading = spawn_blocking(move || read(&path));
    reading.await.map_err(io::Error::other)?
}

/// Says when a trouble is to be told: when it begins or changes, and once a minute while it stays.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<(String, Instant)>);

impl Complaint {
    /// Whether to tell `problem` now.
    pub(super) fn is_due(&mut self, problem: &str) -> bool {
        let is_told = self
            .0
            .as_ref()
            .is_some_and(|(told, since)| told == problem && since.elapsed() < TELL_EVERY);
        if !is_told {
            self.0 = Some((problem.to_owned(), Instant::now()));
        }
        !is_told
    }

    /// All is well. Returns whether that is news.
    pub(super) fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}
