//! The unfinished file: `.<sha256>.part` beside its goal, with a journal of what is in it.
//!
//! It is keyed by content, so that a killed run, another revision or another source goes on where the last one stopped.
//! Bytes are flushed before the journal speaks of them.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, OFlags};

use crate::error::Error;
use crate::journal::Journal;
use crate::verify::Digest;

/// An unfinished file. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Part(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    size: u64,
    journal: Mutex<Journal>,
}

impl Part {
    /// Where the part of the file with that digest lies in `folder`.
    pub(crate) fn path_in(folder: &Path, sha256: Digest) -> PathBuf {
        folder.join(format!(".{sha256}.part"))
    }

    /// Bytes of the disk that a part in `folder` holds already.
    pub(crate) fn allocated(folder: &Path, sha256: Digest) -> u64 {
        fs::symlink_metadata(Self::path_in(folder, sha256))
            .map_or(0, |found| found.blocks().saturating_mul(512))
    }

    /// Goes on with the part in `folder`, or begins it with all its space reserved.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub(crate) fn open(folder: &Path, sha256: Digest, size: u64) -> Result<Self, Error> {
        let path = Self::path_in(folder, sha256);
        let journal_path = path.with_extension("journal");
        let wrong = |error| Error::io("write", &path, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(wrong)?;
        if file.metadata().map_err(wrong)?.len() != size {
            // Not what its journal speaks of.
            remove(&journal_path)?;
            file.set_len(0).map_err(wrong)?;
            reserve(&file, size).map_err(wrong)?;
        }
        let journal = Journal::open(&journal_path, sha256, size)
            .map_err(|error| Error::io("write", &journal_path, error))?;
        Ok(Self(Arc::new(Inner { file, path, size, journal: Mutex::new(journal) })))
    }

    /// Removes what a run left in `folder` that was killed while it published the file with that digest.
    ///
    /// # Errors
    ///
    /// When the disk does not let it.
    pub(crate) fn forget(folder: &Path, sha256: Digest) -> Result<(), Error> {
        let path = Self::path_in(folder, sha256);
        remove(&path)?;
        remove(&path.with_extension("journal"))
    }

    /// What of `wanted` is not on the disk yet.
    pub(crate) fn missing(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        self.journal().ranges().missing(wanted)
    }

    /// How many bytes are on the disk.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.journal().ranges().n_bytes()
    }

    /// The size of the finished file.
    pub(crate) fn size(&self) -> u64 {
        self.0.size
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.0.file
    }

    /// Writes `bytes` at `offset`, and gives the emptied buffer back. When dropped, the write may still happen.
    pub(crate) async fn write(&self, offset: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let part = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            part.0
                .file
                .write_all_at(&bytes, offset)
                .map_err(|error| Error::io("write", &part.0.path, error))?;
            bytes.clear();
            Ok(bytes)
        });
        task.await.expect("writing does not panic and is not aborted")
    }

    /// Flushes the file and notes `range` in the journal. When dropped, it may still happen.
    pub(crate) async fn checkpoint(&self, range: Range<u64>) -> Result<(), Error> {
        let part = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            part.0.file.sync_data().map_err(|error| Error::io("write", &part.0.path, error))?;
            let mut journal = part.journal();
            journal.note(range).map_err(|error| Error::io("write", journal.path(), error))
        });
        task.await.expect("flushing does not panic and is not aborted")
    }

    /// Removes the part and its journal.
    pub(crate) fn discard(self) -> Result<(), Error> {
        remove(&self.0.path)?;
        self.forget_journal()
    }

    /// Removes the journal of a part that has been published.
    pub(crate) fn forget_journal(&self) -> Result<(), Error> {
        remove(self.journal().path())
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives `file` its size and, where the file system can, the space for it.
fn reserve(file: &File, size: u64) -> std::io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOSPC) => Err(std::io::ErrorKind::StorageFull.into()),
        Err(_) => file.set_len(size),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
