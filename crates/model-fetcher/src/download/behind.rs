//! Hashing a part while it is still being written: the digest is complete soon after the last byte.
//!
//! What is hashed is read back from the file, in whatever order its bytes came and however many runs it took.

use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::digest::Digest;
use crate::download::part::Part;
use crate::error::Error;
use crate::judge::hash::PIECE_BYTES;

/// Bytes that are waited for before a part is read on.
const STEP_BYTES: u64 = 4 << 20;

/// The digest of a part, read behind the writing and complete soon after it. Cancel-safe: when dropped, reading ends.
///
/// # Errors
///
/// When the part cannot be read, or [`Error::Stopped`].
pub(crate) async fn sha256_behind(part: &Part, stop: &CancellationToken) -> Result<Digest, Error> {
    let size = part.size();
    let mut frontier = part.frontier();
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
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
        let part = part.clone();
        let frontier = frontier.clone();
        let stop = stop.clone();
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
