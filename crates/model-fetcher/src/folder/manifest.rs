//! What is here and was verified: `.corral.json` in the models' folder.
//!
//! An entry is believed only while the file has the size and the time of change that it had when it was verified; a
//! manifest that cannot be read counts as empty, which costs a second look at the files and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::folder::models_lock::LockedFile;
use crate::judge::publish::replace;
use crate::names::{FileName, RepositoryId};

const MANIFEST_FILE: &str = ".corral.json";
const VERSION: u32 = 1;

/// One verified file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name below the folder, which is its name in the repository.
    pub file: String,
    /// The repository, when it is known.
    pub repository: Option<String>,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that this was at the time; unknown for a file that was imported.
    pub commit: Option<String>,
    /// Who sent the last of its bytes; unknown for a file that was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Whether the digest was compared with one from elsewhere; an import without a digest only computes it.
    pub checked: bool,
    /// Its time of change when it was verified, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// How a file on disk compares with its entry, by size and time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// As it was verified.
    Verified,
    /// Another size or time of change.
    Changed,
    /// Not there.
    Missing,
}

/// All verified files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    files: Vec<Entry>,
}

impl Manifest {
    /// Reads the folder's manifest; one that cannot be read counts as empty.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        Self::read(folder).unwrap_or_else(|error| {
            let path = folder.join(MANIFEST_FILE);
            tracing::warn!(path = %path.display(), %error, "the manifest is not readable; files will be hashed again");
            Some(Self::default())
        }).unwrap_or_default()
    }

    /// Reads the folder's manifest, if there is one.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(folder.join(MANIFEST_FILE)) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let manifest: Self = serde_json::from_slice(&text)?;
        if manifest.version == VERSION {
            Ok(Some(manifest))
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// The files, in the order in which they came.
    #[must_use]
    pub fn files(&self) -> &[Entry] {
        &self.files
    }

    /// The entry for that file of that revision.
    pub(crate) fn find(
        &self,
        repository: &RepositoryId,
        revision: &str,
        file: &FileName,
    ) -> Option<&Entry> {
        self.files.iter().find(|entry| {
            entry.file == file.as_str()
                && entry.repository.as_deref() == Some(repository.to_string().as_str())
                && entry.revision == revision
        })
    }

    /// The entry for that file with that digest, wherever it is from.
    pub(crate) fn find_exactly(&self, known: &LockedFile) -> Option<&Entry> {
        self.files
            .iter()
            .find(|entry| entry.file == known.file.as_str() && entry.sha256 == known.sha256)
    }

    /// Puts `entry` in the place of what was known of its file.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.files.retain(|known| known.file != entry.file);
        self.files.push(entry);
    }

    /// Writes the manifest.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn save(&mut self, folder: &Path) -> Result<(), Error> {
        self.version = VERSION;
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest has only string keys");
        text.push(b'\n');
        replace(&folder.join(MANIFEST_FILE), &text)
    }
}

impl Entry {
    /// How the file below `folder` compares with this entry.
    #[must_use]
    pub fn state(&self, folder: &Path) -> FileState {
        match fs::symlink_metadata(folder.join(&self.file)) {
            Ok(found)
                if found.is_file()
                    && found.len() == self.size
                    && modified_ns(&found) == self.modified_ns =>
            {
                FileState::Verified
            }
            Ok(_) => FileState::Changed,
            Err(_) => FileState::Missing,
        }
    }
}

/// A file's time of change in nanoseconds since 1970.
pub(crate) fn modified_ns(metadata: &fs::Metadata) -> i64 {
    metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec())
}
