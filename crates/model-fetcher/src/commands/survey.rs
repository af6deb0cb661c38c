//! What is in the folder: as the manifest says it (`status`), or by reading every byte again (`verify`).
//!
//! Neither touches the network or changes a file.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, megabytes};
use crate::folder::manifest::{Entry, FileState, Manifest};
use crate::judge::hash::sha256;

/// What is in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The folder.
    pub folder: PathBuf,
    /// Files that were verified once, and how they compare now.
    pub files: Vec<Found>,
    /// Downloads that were interrupted and will go on.
    pub unfinished: Vec<Unfinished>,
}

/// One file that was verified once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How it compares now.
    pub state: FileState,
    /// What was recorded of it.
    #[serde(flatten)]
    pub entry: Entry,
}

/// An interrupted download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The hidden file.
    pub path: PathBuf,
    /// Bytes of the disk that it holds.
    pub allocated: u64,
}

/// What is in `folder`, by size and time of change.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn status(folder: &Path) -> Result<Status, Error> {
    let manifest = Manifest::load(folder);
    let files = manifest
        .files()
        .iter()
        .map(|entry| Found {
            state: entry.state(folder),
            entry: entry.clone(),
        })
        .collect();
    let mut unfinished = Vec::new();
    let items = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        items => Some(items.map_err(|error| Error::io("read", folder, error))?),
    };
    for item in items.into_iter().flatten() {
        let path = item
            .map_err(|error| Error::io("read", folder, error))?
            .path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden && path.extension().is_some_and(|end| end == "part") {
            let allocated = fs::symlink_metadata(&path).map_or(0, |found| found.blocks() * 512);
            unfinished.push(Unfinished { path, allocated });
        }
    }
    Ok(Status {
        folder: folder.to_owned(),
        files,
        unfinished,
    })
}

/// Reads every file of `folder` again, and returns how each compares with its digest.
///
/// # Errors
///
/// When a file cannot be read, or [`Error::Stopped`].
pub async fn verify(folder: &Path, stop: &CancellationToken) -> Result<Vec<Found>, Error> {
    let mut files = Vec::new();
    for entry in Manifest::load(folder).files() {
        let mut state = entry.state(folder);
        if state != FileState::Missing {
            let same = sha256(&folder.join(&entry.file), stop).await? == entry.sha256;
            state = if same {
                FileState::Verified
            } else {
                FileState::Changed
            };
        }
        files.push(Found {
            state,
            entry: entry.clone(),
        });
    }
    Ok(files)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry {
            file,
            repository,
            revision,
            commit,
            source: came_from,
            size,
            sha256,
            checked,
            ..
        } = &self.entry;
        let state = match self.state {
            FileState::Verified => "verified",
            FileState::Changed => "CHANGED ",
            FileState::Missing => "MISSING ",
        };
        let source = repository.as_deref().unwrap_or("no repository");
        let commit = commit
            .as_deref()
            .map(|commit| commit.get(..8).unwrap_or(commit));
        let origin = match (commit, came_from) {
            (Some(commit), Some(name)) => format!("{commit} from {name}"),
            (Some(commit), None) => commit.to_owned(),
            (None, Some(name)) => format!("from {name}"),
            (None, None) => "imported".to_owned(),
        };
        let doubt = if *checked {
            ""
        } else {
            "  (digest computed, not checked)"
        };
        write!(
            f,
            "{state}  {file}  {}  {source}@{revision} ({origin})  sha256 {sha256}{doubt}",
            megabytes(*size)
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.files.is_empty() {
            writeln!(f, "{} holds no verified model yet", self.folder.display())?;
        }
        self.files
            .iter()
            .try_for_each(|found| writeln!(f, "{found}"))?;
        self.unfinished.iter().try_for_each(|part| {
            writeln!(
                f,
                "unfinished  {}  {} of the disk",
                part.path.display(),
                megabytes(part.allocated)
            )
        })
    }
}
