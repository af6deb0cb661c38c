//! The SHA-256 of a file. It is always read back from the disk: nothing that an earlier run knew of it is believed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::digest::Digest;
use crate::error::Error;

/// Bytes that are read and hashed at a time: few enough to stay in a core's own cache between the two.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// The digest of a whole file, read on a thread of its own until `stop`.
///
/// # Errors
///
/// When the file cannot be read, or [`Error::Stopped`].
pub(crate) async fn sha256(path: &Path, stop: &CancellationToken) -> Result<Digest, Error> {
    let (path, stop): (PathBuf, _) = (path.to_owned(), stop.clone());
    let task = tokio::task::spawn_blocking(move || {
        let mut file = File::open(&path).map_err(|error| Error::io("read", &path, error))?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
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
