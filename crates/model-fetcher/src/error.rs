//! What can end a run early: each variant says what failed, on what, and what to do, and has its exit code.
//!
//! The codes are those of sysexits.h, so that scripts can tell a misspelt name from a full disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::gguf;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Hub knows no such repository, or does not show it to this caller.
    #[error(
        "{endpoint} knows no repository {repository}: check the spelling of HF_REPO_ID. A private repository shows \
         itself only to a token of its owner: set HF_TOKEN or HF_TOKEN_FILE"
    )]
    RepositoryNotFound {
        /// The Hub's address.
        endpoint: String,
        /// `owner/name`.
        repository: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error(
        "{repository} has no revision {revision}: check HF_REVISION, or leave it unset for main"
    )]
    RevisionNotFound {
        /// `owner/name`.
        repository: String,
        /// The branch, tag or commit asked for.
        revision: String,
    },
    /// The repository has no such file.
    #[error(
        "{repository} has no file {file}: check HF_FILENAME; {}",
        choices(nearest)
    )]
    FileNotFound {
        /// `owner/name`.
        repository: String,
        /// The file asked for.
        file: String,
        /// The names nearest to it.
        nearest: Vec<String>,
    },
    /// The repository has nothing, or too much, of what was asked for.
    #[error("{repository} {problem}")]
    NoSuchChoice {
        /// `owner/name`.
        repository: String,
        /// What is wrong, and what to choose from.
        problem: String,
    },
    /// Settings that contradict each other or cannot be followed.
    #[error("{0}")]
    Settings(String),
    /// The source published no SHA-256 and none was pinned.
    #[error(
        "{endpoint} publishes no SHA-256 for {file}, so that nothing could tell a right copy from a wrong one: \
         set MODEL_SHA256 to the digest you expect, or use https://huggingface.co as HF_ENDPOINT"
    )]
    NoDigest {
        /// The Hub's address.
        endpoint: String,
        /// The file asked for.
        file: String,
    },
    /// The bytes are not those of the digest.
    #[error("{what} has SHA-256 {actual}, not {expected}: nothing was published; {advice}")]
    WrongDigest {
        /// Which bytes.
        what: String,
        /// The digest that was to be met.
        expected: Digest,
        /// The digest found.
        actual: Digest,
        /// What to do.
        advice: &'static str,
    },
    /// The bytes are no usable GGUF file.
    #[error("{what} {problem}: nothing was published; {advice}")]
    NotGguf {
        /// Which bytes.
        what: String,
        /// What is wrong with them.
        problem: gguf::Problem,
        /// What to do.
        advice: &'static str,
    },
    /// Files that were verified once are no longer what they were.
    #[error(
        "{0} of the files here are missing or not what was verified: run model-fetcher to fetch them again"
    )]
    Damaged(usize),
    /// The source cannot be reached, or answers nonsense.
    #[error("cannot fetch from {source_name}: {reason}. {advice}")]
    Unreachable {
        /// The source's address.
        source_name: String,
        /// The last failure.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The Hub does not give out the file over plain HTTPS, and Xet is not to be used.
    #[error(
        "{source_name} does not give out {file} over plain HTTPS, only through its Xet storage: {}; or name another source \
         of it in MODEL_MIRRORS; or choose another file: model-fetcher list {repository}",
        xet_advice(repository, file)
    )]
    OnlyXet {
        /// The Hub's address.
        source_name: String,
        /// `owner/name`.
        repository: String,
        /// The file asked for.
        file: String,
    },
    /// The Hub is out of reach, and only a mirror says which bytes are right.
    #[error("{0}")]
    OnlyMirrorKnows(String),
    /// The source must not be trusted with this answer.
    #[error("refused what {source_name} answered: {reason}")]
    Refused {
        /// The source's address.
        source_name: String,
        /// What was wrong.
        reason: String,
    },
    /// The caller may not have the file.
    #[error("{0}")]
    NotAllowed(String),
    /// Something cannot be read or written.
    #[error("cannot {action} {}: {source}{}", path.display(), permission_advice(source, path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is something else where the file goes.
    #[error("{} is {what}, and a model is never written through or over it: remove it", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// Not enough space.
    #[error(
        "the disk of {} is too full: {} are needed and {} are free; free {} or set MODELS_DIR to a larger disk",
        folder.display(), megabytes(*needed), megabytes(*free), megabytes(needed.saturating_sub(*free))
    )]
    DiskFull {
        /// The models' folder.
        folder: PathBuf,
        /// Bytes that the rest of the file takes, with a margin.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Another process works on the folder.
    #[error(
        "{} has been locked by {holder} for longer than {waited_seconds} s: wait for it, or stop it",
        folder.display()
    )]
    Locked {
        /// The models' folder.
        folder: PathBuf,
        /// Who holds the lock, in its own words.
        holder: String,
        /// How long this process waited.
        waited_seconds: u64,
    },
    /// A signal asked to stop. What was fetched is kept.
    #[error("stopped by a signal; what was fetched is kept, the next run goes on from there")]
    Stopped,
}

impl Error {
    /// Wraps an input or output error; a full disk keeps its own exit code.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// What failed, without what to do about it: for the log, when something else is done about it.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Unreachable {
                source_name,
                reason,
                ..
            } => format!("{source_name}: {reason}"),
            error => error.to_string(),
        }
    }

    /// Whether the source is to blame, so that another one may do better.
    pub(crate) fn is_of_source(&self) -> bool {
        match self {
            Self::RepositoryNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::NoDigest { .. }
            | Self::Unreachable { .. }
            | Self::OnlyXet { .. }
            | Self::OnlyMirrorKnows(_)
            | Self::Refused { .. }
            | Self::NotAllowed(_) => true,
            Self::NoSuchChoice { .. }
            | Self::Settings(_)
            | Self::WrongDigest { .. }
            | Self::NotGguf { .. }
            | Self::Damaged(_)
            | Self::Io { .. }
            | Self::InTheWay { .. }
            | Self::DiskFull { .. }
            | Self::Locked { .. }
            | Self::Stopped => false,
        }
    }

    /// The process's exit code; for [`Error::Stopped`] that of SIGTERM.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::RepositoryNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::NoSuchChoice { .. }
            | Self::Settings(_)
            | Self::NoDigest { .. } => common::env::EXIT_CONFIGURATION,
            Self::WrongDigest { .. } | Self::NotGguf { .. } | Self::Damaged(_) => 65,
            Self::Unreachable { .. }
            | Self::OnlyXet { .. }
            | Self::OnlyMirrorKnows(_)
            | Self::Refused { .. } => 69,
            Self::Io { source, .. } if is_disk_full(source) => 74,
            Self::Io { .. } | Self::InTheWay { .. } => 73,
            Self::DiskFull { .. } => 74,
            Self::Locked { .. } => 75,
            Self::NotAllowed(_) => 77,
            Self::Stopped => 143,
        }
    }
}

/// Bytes in megabytes, for people.
pub(crate) fn megabytes(n_bytes: u64) -> String {
    format!(
        "{}.{} MB",
        n_bytes / 1_000_000,
        n_bytes % 1_000_000 / 100_000
    )
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn permission_advice(error: &io::Error, path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let owner = path
                .ancestors()
                .find_map(|path| path.metadata().ok())
                .map(|metadata| metadata.uid());
            let user = rustix::process::getuid().as_raw();
            owner.map_or_else(String::new, |owner| {
                format!(
                    "; it belongs to user {owner} and this process runs as user {user}: give the folder to it \
                     (chown -R {user}), or set MODELS_DIR to one that it may write"
                )
            })
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; it is mounted read-only: mount it writable for model-fetcher".to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, or set MODELS_DIR to a larger disk. What was fetched is kept"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// How to get a file out of Xet storage.
fn xet_advice(repository: &str, file: &str) -> String {
    if cfg!(feature = "xet") {
        return "set MODEL_TRANSPORT to auto".to_owned();
    }
    format!(
        "this model-fetcher was built without Xet: use one that was not, or fetch the file elsewhere with `hf download \
         {repository} {file}` and bring it here with model-fetcher import FILE"
    )
}

fn choices(nearest: &[String]) -> String {
    match nearest {
        [] => "the repository holds no GGUF file".to_owned(),
        names => format!("it has {}", names.join(", ")),
    }
}
