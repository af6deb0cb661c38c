//! `models.lock` in the models' folder: which files each request stood for, with sizes and digests.
//!
//! Version 1 is a JSON object `{"version": 1, "models": [...]}`. A model has `repository`, `revision`, `wanted` (the
//! HF_FILENAME that was asked for), `projector` (HF_MMPROJ), `commit` (null when unknown) and `files`, each with `file`,
//! `size` in bytes and `sha256`; the file for llama-server is the first. Models are sorted, so that versions compare well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Fetch;
use crate::digest::Digest;
use crate::error::Error;
use crate::hub::{Remote, Resolved};
use crate::judge::publish::replace;
use crate::names::FileName;
use crate::names::choice::{Choice, has_tag};

const LOCK_FILE: &str = "models.lock";
const VERSION: u32 = 1;

/// All models that were fetched into a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelsLock {
    version: u32,
    models: Vec<LockedModel>,
}

/// One request, and what it stood for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedModel {
    /// The repository, as `owner/name`.
    pub repository: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The file or quantisation that was asked for.
    pub wanted: String,
    /// Whether the projector was asked for too.
    pub projector: bool,
    /// What the revision pointed to.
    pub commit: Option<String>,
    /// The files, the one for llama-server first.
    pub files: Vec<LockedFile>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// Its name in the repository and below the folder.
    pub file: FileName,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

impl ModelsLock {
    /// Reads the folder's lock; an empty one when there is none.
    ///
    /// # Errors
    ///
    /// When there is one that cannot be understood: it is never overwritten.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = Self::path(folder);
        let wrong = |reason: String| {
            let path = path.display();
            Error::Settings(format!(
                "cannot use {path}: {reason}; restore it, or remove it to have it made anew"
            ))
        };
        let text = match fs::read(&path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Self {
                    version: VERSION,
                    models: Vec::new(),
                });
            }
            read => read.map_err(|error| wrong(error.to_string()))?,
        };
        let lock: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if lock.version != VERSION {
            return Err(wrong(format!(
                "its version is {}, not {VERSION}",
                lock.version
            )));
        }
        match lock.models.iter().find(|model| model.files.is_empty()) {
            Some(model) => Err(wrong(format!("{} has no files in it", model.repository))),
            None => Ok(lock),
        }
    }

    /// All models.
    #[must_use]
    pub fn models(&self) -> &[LockedModel] {
        &self.models
    }

    /// What the request of `settings` stood for.
    ///
    /// A tag is also answered by the one model that was asked for by name and has the tag, and a name by the one that was
    /// asked for by tag.
    pub(crate) fn find(&self, settings: &Fetch) -> Option<&LockedModel> {
        if let Some(model) = self.models.iter().find(|model| model.is_for(settings)) {
            return Some(model);
        }
        let mut answers = self.models.iter().filter(|model| model.answers(settings));
        let first = answers.next()?;
        answers
            .all(|other| other.files == first.files)
            .then_some(first)
    }

    /// Puts `model` in the place of what was known of its request, and writes the lock.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn record(&mut self, folder: &Path, model: LockedModel) -> Result<(), Error> {
        if self.models.contains(&model) {
            return Ok(());
        }
        self.models
            .retain(|known| known.request() != model.request());
        self.models.push(model);
        self.models
            .sort_by(|one, other| one.request().cmp(&other.request()));
        let mut text = serde_json::to_vec_pretty(self).expect("a lock has only string keys");
        text.push(b'\n');
        replace(&Self::path(folder), &text)
    }

    /// Whether it names that file with that digest.
    pub(crate) fn has(&self, file: &FileName, sha256: Digest) -> bool {
        let mut files = self.models.iter().flat_map(|model| &model.files);
        files.any(|known| known.file == *file && known.sha256 == sha256)
    }

    /// What is known of the request of `model`.
    pub(crate) fn same_request(&self, model: &LockedModel) -> Option<&LockedModel> {
        let mut models = self.models.iter();
        models.find(|known| known.request() == model.request())
    }

    /// Notes that a request now stands for imported files, unless it did so before.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn record_import(&mut self, folder: &Path, model: LockedModel) -> Result<(), Error> {
        match self.same_request(&model) {
            Some(known) if known.files == model.files => Ok(()),
            _ => self.record(folder, model),
        }
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join(LOCK_FILE)
    }
}

impl LockedModel {
    /// What the request of `settings` stands for.
    pub(crate) fn new(settings: &Fetch, resolved: &Resolved) -> Self {
        let Fetch {
            repository,
            revision,
            choice,
            projector,
            ..
        } = settings;
        Self {
            repository: repository.to_string(),
            revision: revision.clone(),
            wanted: choice.to_string(),
            projector: *projector,
            commit: resolved.commit.clone(),
            files: resolved.files.iter().map(LockedFile::from).collect(),
        }
    }

    /// Whether its first file is what `settings` ask for.
    fn answers(&self, settings: &Fetch) -> bool {
        let is_the_choice = match &settings.choice {
            Choice::File(file) => self.files[0].file == *file,
            Choice::Quantisation(tag) => has_tag(&self.files[0].file, tag),
        };
        is_the_choice
            && self.repository == settings.repository.to_string()
            && self.revision == settings.revision
            && self.projector == settings.projector
    }

    fn is_for(&self, settings: &Fetch) -> bool {
        let Fetch {
            repository,
            revision,
            choice,
            projector,
            ..
        } = settings;
        let repository = repository.to_string();
        let wanted = choice.to_string();
        self.request()
            == (
                repository.as_str(),
                revision.as_str(),
                wanted.as_str(),
                *projector,
            )
    }

    fn request(&self) -> (&str, &str, &str, bool) {
        (
            &self.repository,
            &self.revision,
            &self.wanted,
            self.projector,
        )
    }
}

impl From<&Remote> for LockedFile {
    fn from(remote: &Remote) -> Self {
        Self {
            file: remote.file.clone(),
            size: remote.size,
            sha256: remote.sha256,
        }
    }
}
