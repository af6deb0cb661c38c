//! What ModelScope says of a repository's files: paths, sizes and SHA-256s.
//!
//! It is a mirror: what it says of a digest finds the file and spares a useless download, and is never believed over the
//! Hub, `MODEL_SHA256` or `models.lock`.

use serde::Deserialize;
use url::Url;

use crate::digest::Digest;
use crate::error::Error;
use crate::http::{HttpClient, name_of};
use crate::names::mirror::{MODELSCOPE_BRANCH, modelscope_address};
use crate::names::{FileName, RepositoryId};
use crate::retry::SourceTrouble;

/// A repository on ModelScope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelScope<'a> {
    pub(crate) endpoint: &'a Url,
    pub(crate) repository: &'a RepositoryId,
}

/// One GGUF file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnModelScope {
    pub(crate) file: FileName,
    pub(crate) size: u64,
    /// What it says; `None` where it says nothing usable.
    pub(crate) sha256: Option<Digest>,
}

/// The answer to a question for files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilesAnswer {
    #[serde(default)]
    message: String,
    data: Option<FilesData>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilesData {
    #[serde(default)]
    files: Vec<ListedFile>,
}

/// A file or a folder.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedFile {
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    sha256: String,
}

impl ModelScope<'_> {
    /// All GGUF files. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it does not list them.
    pub(crate) async fn files(self, away: &HttpClient) -> Result<Vec<OnModelScope>, SourceTrouble> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .expect("the endpoint was checked to have a host")
            .pop_if_empty()
            .extend(["api", "v1", "models"])
            .extend([self.repository.owner(), self.repository.name()])
            .extend(["repo", "files"]);
        url.query_pairs_mut()
            .append_pair("Revision", MODELSCOPE_BRANCH)
            .append_pair("Recursive", "true");
        let (status, body) = away.whole(url).await?;
        let answer: FilesAnswer = serde_json::from_slice(&body).map_err(|error| {
            self.refuse(format!("what is no answer of its API ({status}): {error}"))
        })?;
        let Some(data) = answer.data.filter(|_| status.is_success()) else {
            let words: String = answer
                .message
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            let repository = self.repository;
            return Err(self
                .refuse(format!("{status} for {repository}: {words}"))
                .into());
        };
        let files = data.files.into_iter().filter_map(|listed| {
            Some(OnModelScope {
                file: listed.path.parse().ok()?,
                size: listed.size,
                sha256: listed.sha256.parse().ok(),
            })
        });
        Ok(files.collect())
    }

    /// Where it has the bytes with that digest, whatever the file is called there. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it has no such file, or says that it has other bytes under that name.
    pub(crate) async fn locate(
        self,
        away: &HttpClient,
        file: &FileName,
        sha256: Digest,
    ) -> Result<Url, SourceTrouble> {
        let found = self.find(away, file, Some(sha256)).await?;
        Ok(modelscope_address(
            self.endpoint,
            self.repository,
            &found.file,
        ))
    }

    /// The size of the file with that digest. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`ModelScope::locate`].
    pub(crate) async fn size_of(
        self,
        away: &HttpClient,
        file: &FileName,
        sha256: Option<Digest>,
    ) -> Result<u64, SourceTrouble> {
        Ok(self.find(away, file, sha256).await?.size)
    }

    async fn find(
        self,
        away: &HttpClient,
        file: &FileName,
        sha256: Option<Digest>,
    ) -> Result<OnModelScope, SourceTrouble> {
        let mut files = self.files(away).await?;
        let same = files
            .iter()
            .position(|known| sha256.is_some() && known.sha256 == sha256);
        if let Some(n) = same {
            return Ok(files.swap_remove(n));
        }
        let named = files.into_iter().find(|known| known.file == *file);
        let reason = match (named, sha256) {
            (Some(named), Some(sha256)) => match named.sha256 {
                Some(other) => format!("{file} with SHA-256 {other}, not {sha256}"),
                None => return Ok(named),
            },
            (Some(named), None) => return Ok(named),
            (None, _) => format!("that {} has no file {file}", self.repository),
        };
        Err(self.refuse(reason).into())
    }

    fn refuse(self, reason: String) -> Error {
        Error::Refused {
            source_name: name_of(self.endpoint),
            reason,
        }
    }
}
