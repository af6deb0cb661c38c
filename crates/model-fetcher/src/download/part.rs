//! The unfinished file: `.<sha256>.part` beside its goal, with a journal of what is in it.
//!
//! It is keyed by content, so that a killed run, another revision or another source goes on where the last one stopped.
//! A byte is written once and never again, so that its digest can be taken while the rest is on its way. Bytes are
//! flushed before the journal speaks of them.

use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, OFlags};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use crate::digest::Digest;
use crate::download::journal::{Journal, Ranges};
use crate::error::Error;
use crate::folder::lock::FolderLock;

/// An unfinished file. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Part(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    size: u64,
    /// Held by the one write that is going on, also when nobody waits for it any more. The file system would let no two
    /// go on at once either, and would have them spin.
    turn: Arc<tokio::sync::Mutex<()>>,
    bytes: Mutex<Bytes>,
    /// Up to where every byte is written.
    frontier: watch::Sender<u64>,
    /// Held while the disk flushes.
    journal: Mutex<Journal>,
    /// Somebody wants a checkpoint.
    wanted: Notify,
    /// The number of the last checkpoint that is complete.
    safe: watch::Sender<u64>,
    /// Nobody else may open the part while a write that was left behind goes on.
    _lock: Arc<FolderLock>,
}

#[derive(Debug)]
struct Bytes {
    /// What is in the file, and stays as it is.
    written: Ranges,
    /// What of it the journal does not speak of yet.
    unnoted: Vec<Range<u64>>,
    /// The number of the last checkpoint that was begun.
    checkpoint: u64,
}

impl Part {
    /// Where the part of the file with that digest is in `folder`.
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
    pub(crate) fn open(
        folder: &Path,
        sha256: Digest,
        size: u64,
        lock: &Arc<FolderLock>,
    ) -> Result<Self, Error> {
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
        let (journal, written) = Journal::open(&journal_path, sha256, size)
            .map_err(|error| Error::io("write", &journal_path, error))?;
        let frontier = watch::Sender::new(written.first_gap());
        Ok(Self(Arc::new(Inner {
            file,
            path,
            size,
            turn: Arc::default(),
            bytes: Mutex::new(Bytes {
                written,
                unnoted: Vec::new(),
                checkpoint: 0,
            }),
            frontier,
            journal: Mutex::new(journal),
            wanted: Notify::new(),
            safe: watch::Sender::new(0),
            _lock: Arc::clone(lock),
        })))
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

    /// What of `wanted` is not written yet.
    pub(crate) fn missing(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        self.bytes().written.missing(wanted)
    }

    /// How many bytes are written.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.bytes().written.n_bytes()
    }

    /// Up to where every byte is written, as it moves on.
    pub(crate) fn frontier(&self) -> watch::Receiver<u64> {
        self.0.frontier.subscribe()
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

    /// Writes what is not written yet of `bytes` at `offset`, and gives them back. When dropped, the write may still
    /// happen.
    pub(crate) async fn write<B>(&self, offset: u64, bytes: B) -> Result<B, Error>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        let part = self.clone();
        let task = spawn_blocking(move || {
            let _turn = turn;
            let all = bytes.as_ref();
            for gap in part.missing(offset..offset + all.len() as u64) {
                let place =
                    |at: u64| usize::try_from(at - offset).expect("a gap is within the buffer");
                part.0
                    .file
                    .write_all_at(&all[place(gap.start)..place(gap.end)], gap.start)
                    .map_err(|error| Error::io("write", &part.0.path, error))?;
                part.note_written(gap);
            }
            Ok(bytes)
        });
        task.await
            .expect("writing does not panic and is not aborted")
    }

    fn note_written(&self, range: Range<u64>) {
        let mut bytes = self.bytes();
        bytes.unnoted.push(range.clone());
        bytes.written.insert(range);
        let end = bytes.written.first_gap();
        drop(bytes);
        self.0
            .frontier
            .send_if_modified(|frontier| std::mem::replace(frontier, end) != end);
    }

    /// Flushes the file and notes in the journal what has been written until now. Once it has failed, so does every later
    /// one. When dropped, it may still happen.
    pub(crate) async fn checkpoint(&self) -> Result<(), Error> {
        let part = self.clone();
        let task = spawn_blocking(move || {
            let mut journal = part.journal();
            let (ranges, number) = {
                let mut bytes = part.bytes();
                bytes.checkpoint += 1;
                (std::mem::take(&mut bytes.unnoted), bytes.checkpoint)
            };
            let noted = journal.note(&ranges, || part.0.file.sync_data());
            noted.map_err(|error| Error::io("write", &part.0.path, error))?;
            part.0.safe.send_replace(number);
            Ok(())
        });
        task.await
            .expect("flushing does not panic and is not aborted")
    }

    /// Makes checkpoints whenever somebody wants one, one for all who want it at the same time. It ends when one fails.
    pub(crate) async fn keep_safe(&self) -> Result<Infallible, Error> {
        loop {
            self.0.wanted.notified().await;
            self.checkpoint().await?;
        }
    }

    /// Asks for a checkpoint of what has been written until now; its number is for [`Part::until_safe`].
    pub(crate) fn want_checkpoint(&self) -> u64 {
        let next = self.bytes().checkpoint + 1;
        self.0.wanted.notify_one();
        next
    }

    /// Waits for that checkpoint, which somebody has to keep. Cancel-safe.
    pub(crate) async fn until_safe(&self, checkpoint: u64) {
        let there = self
            .0
            .safe
            .subscribe()
            .wait_for(|safe| *safe >= checkpoint)
            .await
            .is_ok();
        debug_assert!(there, "the part is borrowed, and sends");
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

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0
            .journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner)
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
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::Part;
    use crate::download::behind::sha256_behind;
    use crate::folder::lock::FolderLock;

    async fn part(folder: &Path, size: u64) -> Part {
        let lock = FolderLock::acquire(folder, Duration::ZERO).await.unwrap();
        let sha256 = "ab".repeat(32).parse().unwrap();
        Part::open(folder, sha256, size, &Arc::new(lock)).unwrap()
    }

    #[tokio::test]
    async fn a_byte_that_was_written_is_never_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let part = part(folder.path(), 12).await;
        part.write(2, b"aaaa").await.unwrap();
        assert_eq!(
            (part.missing(0..12), *part.frontier().borrow()),
            (vec![0..2, 6..12], 0)
        );
        part.write(0, b"bbbbbbbb").await.unwrap();
        assert_eq!(
            (part.missing(0..12), *part.frontier().borrow()),
            (part.missing(8..12), 8)
        );
        assert_eq!(part.n_bytes(), 8);
        assert_eq!(std::fs::read(part.path()).unwrap(), b"bbaaaabb\0\0\0\0");
    }

    #[tokio::test]
    async fn the_digest_is_that_of_the_file_in_whatever_order_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        let size = bytes.len() as u64;
        let part = part(folder.path(), size).await;
        let write = async {
            for number in [3_u64, 0, 1, 4, 2] {
                let start = number * size / 5;
                let end = (number + 1) * size / 5;
                let piece =
                    bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].to_vec();
                part.write(start, piece).await?;
            }
            Ok(())
        };
        let stop = CancellationToken::new();
        let (digest, ()) = tokio::try_join!(sha256_behind(&part, &stop), write).unwrap();
        let (whole, ()) = (
            crate::judge::hash::sha256(part.path(), &stop)
                .await
                .unwrap(),
            part.checkpoint().await.unwrap(),
        );
        assert_eq!(digest, whole);
        assert_eq!(part.n_bytes(), size);
    }
}
