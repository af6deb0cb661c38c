//! SHA-256 of files: the digest as a value, and reading a file once to get it, whole or while it is still being written.
//!
//! What is judged is always read back from the file, whatever order its bytes came in and however many runs it took;
//! nothing that an earlier run knew of it is believed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::part::Part;

/// Bytes that are read and hashed at a time: few enough to stay in a core's own cache between the two.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// Bytes that are waited for before a part is read on.
const STEP_BYTES: u64 = 4 << 20;

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of what `hash` has seen.
    pub(crate) fn of(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || "it must be a SHA-256: 64 hexadecimal digits".to_owned();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(problem());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| problem())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| problem())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The digest of a whole file, read on a thread of its own until `stop`.
///
/// # Errors
///
/// When the file cannot be read, or [`Error::Stopped`].
pub(crate) async fn sha256(path: &Path, stop: &CancellationToken) -> Result<Digest, Error> {
    let (path, stop): (PathBuf, _) = (path.to_owned(), stop.clone());
    let task = tokio::task::spawn_blocking(move || {
        let mut file = File::open(&path).map_err(|error| Error::io("read", &path, error))?;
        let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
        loop {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            match file.read(&mut piece) {
                Ok(0) => return Ok(Digest::of(hash)),
                Ok(n_bytes) => hash.update(&piece[..n_bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &path, error)),
            }
        }
    });
    task.await
        .expect("hashing does not panic and is not aborted")
}

/// The digest of a part, read behind the writing and complete soon after it. Cancel-safe: when dropped, reading ends.
///
/// # Errors
///
/// When the part cannot be read, or [`Error::Stopped`].
pub(crate) async fn sha256_behind(part: &Part, stop: &CancellationToken) -> Result<Digest, Error> {
    let (size, mut frontier) = (part.size(), part.frontier());
    let stop = stop.child_token();
    let _no_longer_wanted = stop.clone().drop_guard();
    let mut behind = Behind {
        hash: Sha256::new(),
        n_bytes: 0,
        piece: vec![0; PIECE_BYTES],
    };
    while behind.n_bytes < size {
        let enough = size.min(behind.n_bytes + STEP_BYTES);
        tokio::select! {
            () = stop.cancelled() => return Err(Error::Stopped),
            there = frontier.wait_for(|end| *end >= enough) => drop(there.expect("the part is borrowed, and sends")),
        }
        let (part, frontier, stop) = (part.clone(), frontier.clone(), stop.clone());
        let task = tokio::task::spawn_blocking(move || behind.catch_up(&part, &frontier, &stop));
        behind = task
            .await
            .expect("hashing does not panic and is not aborted")?;
    }
    Ok(Digest::of(behind.hash))
}

/// A part as far as it was read.
struct Behind {
    hash: Sha256,
    n_bytes: u64,
    piece: Vec<u8>,
}

impl Behind {
    /// Reads on up to the first byte that is not written yet.
    fn catch_up(
        mut self,
        part: &Part,
        frontier: &watch::Receiver<u64>,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        loop {
            let end = *frontier.borrow();
            if end == self.n_bytes {
                return Ok(self);
            }
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let length = usize::try_from(end - self.n_bytes)
                .unwrap_or(usize::MAX)
                .min(PIECE_BYTES);
            let piece = &mut self.piece[..length];
            let read = part.file().read_exact_at(piece, self.n_bytes);
            read.map_err(|error| Error::io("read", part.path(), error))?;
            self.hash.update(&*piece);
            self.n_bytes += length as u64;
        }
    }
}
