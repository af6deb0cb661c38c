//! One process at a time works on a models' folder; the others wait and say for whom.
//!
//! The lock is the kernel's, on `.corral.lock`, and is gone with the process, however that ends. The file itself stays:
//! removing it would let two processes lock two different files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

const LOCK_FILE: &str = ".corral.lock";
/// How often a waiting process looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it says that it still waits.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// The most that is read of the holder's words, in bytes.
const MAX_HOLDER_BYTES: u64 = 200;

/// The right to change the folder, until dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _held: File,
}

impl FolderLock {
    /// Waits for the folder, at most `wait`. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be made, or [`Error::Locked`] after `wait`.
    pub(crate) async fn acquire(folder: &Path, wait: Duration) -> Result<Self, Error> {
        let path = folder.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::io("write", &path, error))?;
        let began = Instant::now();
        let mut said: Option<Instant> = None;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if began.elapsed() >= wait {
                let folder = folder.to_owned();
                let waited_seconds = wait.as_secs();
                return Err(Error::Locked {
                    folder,
                    holder: holder(&mut file),
                    waited_seconds,
                });
            }
            if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                said = Some(Instant::now());
                tracing::info!(
                    holder = holder(&mut file),
                    "another process works on the folder; waiting for it"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let words = format!("process {} on {}\n", std::process::id(), host.trim());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(words.as_bytes()));
        written.map_err(|error| Error::io("write", &path, error))?;
        Ok(Self { _held: file })
    }
}

/// Who holds the lock, in its own words, which are not trusted.
fn holder(file: &mut File) -> String {
    let mut words = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(MAX_HOLDER_BYTES).read_to_end(&mut words));
    let words = String::from_utf8_lossy(&words)
        .trim()
        .escape_debug()
        .to_string();
    if read.is_err() || words.is_empty() {
        "another process".to_owned()
    } else {
        words
    }
}
