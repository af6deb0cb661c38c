//! A backup put in the place of the database, while no service runs.
//!
//! The backup is judged before anything is touched. What was there is kept beside it, until the next restore.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::KEY_FILE;
use crate::store::FILE;
use crate::store::sqlite::open::{OpenError, inspect, is_known, lock, private_file, unusable};

/// What is added to the names of the files that a backup has replaced.
const REPLACED: &str = ".replaced";

/// Why a backup is not restored. Unless the folder itself failed, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no backup.
    #[error("there is no {}; name the folder that holds a backup", .0.display())]
    Missing(PathBuf),
    /// The file is no database of ours.
    #[error("{} is not a database of chat-gateway; name another backup", .0.display())]
    Foreign(PathBuf),
    /// The file is damaged.
    #[error("{} is damaged ({reason}); take an older backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// A newer gateway made it.
    #[error("a newer chat-gateway made {}; restore it with that one", .0.display())]
    Newer(PathBuf),
    /// The folder cannot be used, or a gateway runs.
    #[error(transparent)]
    Folder(OpenError),
}

/// Whether this gateway could work with the backup in the folder `from`. Changes nothing.
///
/// # Errors
///
/// When there is none, or it is damaged, foreign or newer.
pub async fn check(from: &Path) -> Result<(), RestoreError> {
    let file = from.join(FILE);
    if !file.exists() {
        return Err(RestoreError::Missing(file));
    }
    let judged = async {
        inspect(&file).await?;
        is_known(&file).await
    };
    judged.await.map_err(|error| match error {
        OpenError::Foreign(path) => RestoreError::Foreign(path),
        OpenError::Damaged { path, reason } => RestoreError::Damaged { path, reason },
        OpenError::Newer(path) => RestoreError::Newer(path),
        error => RestoreError::Folder(error),
    })
}

/// Puts the backup in the folder `from` into `dir`: the database and, if it is there, the key of anonymous users.
///
/// # Errors
///
/// As [`check`], and when a gateway runs or `dir` cannot be written.
pub async fn restore(dir: &Path, from: &Path) -> Result<(), RestoreError> {
    check(from).await?;
    fs::create_dir_all(dir).map_err(|error| RestoreError::Folder(unusable(dir, error)))?;
    let _lock = lock(dir).await.map_err(RestoreError::Folder)?;
    put_back(dir, from).map_err(|error| RestoreError::Folder(unusable(dir, error)))
}

fn put_back(dir: &Path, from: &Path) -> io::Result<()> {
    let database = copy_beside(dir, from, FILE)?;
    let has_key = from.join(KEY_FILE).exists();
    let key = has_key
        .then(|| copy_beside(dir, from, KEY_FILE))
        .transpose()?;
    keep(dir)?;
    fs::rename(database, dir.join(FILE))?;
    if let Some(key) = key {
        fs::rename(key, dir.join(KEY_FILE))?;
    }
    File::open(dir)?.sync_all()
}

/// Copies a file of the backup under a name that nobody looks at.
fn copy_beside(dir: &Path, from: &Path, name: &str) -> io::Result<PathBuf> {
    let path = dir.join(format!("{name}.restored"));
    remove(&path)?;
    let mut copy = private_file(&path)?;
    io::copy(&mut File::open(from.join(name))?, &mut copy)?;
    copy.sync_all()?;
    Ok(path)
}

/// Keeps the database of before under another name, together with its journal.
fn keep(dir: &Path) -> io::Result<()> {
    let file = dir.join(FILE);
    let kept = dir.join(format!("{FILE}{REPLACED}"));
    for path in [&kept, &dir.join(format!("{FILE}{REPLACED}-wal"))] {
        remove(path)?;
    }
    // The journal goes first: beside another database it would be played into that one.
    let journal = fs::rename(
        dir.join(format!("{FILE}-wal")),
        dir.join(format!("{FILE}{REPLACED}-wal")),
    );
    unless_missing(journal)?;
    remove(&dir.join(format!("{FILE}-shm")))?;
    // A second name, so that the rename that follows leaves no moment without a database.
    unless_missing(fs::hard_link(file, kept))
}

fn remove(path: &Path) -> io::Result<()> {
    unless_missing(fs::remove_file(path))
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
