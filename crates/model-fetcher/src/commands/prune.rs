//! Removing what nothing wants: models that neither the manifest nor `models.lock` names, and leftovers of downloads.
//!
//! What one of the two names is never removed, nor the part of a download that may still go on. A folder without records
//! of ours is left alone, and so is one whose records cannot be read.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::config::Tuning;
use crate::digest::Digest;
use crate::error::{Error, megabytes};
use crate::folder::lock::FolderLock;
use crate::folder::manifest::{FileState, Manifest};
use crate::folder::models_lock::ModelsLock;

/// How long an interrupted download may rest before it counts as given up.
const STALE_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;
/// Drafts of records, which are nobody's while the folder is locked.
const DRAFTS: [&str; 2] = [".corral.json.part", ".models.lock.part"];

/// One file that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the disk that it holds.
    pub allocated: u64,
    /// Why it goes.
    pub why: &'static str,
}

/// Removes what nothing in `folder` wants, or only says what that would be.
///
/// # Errors
///
/// When the folder has no records, they cannot be read, or a file cannot be removed.
pub async fn prune(
    folder: &Path,
    dry_run: bool,
    stop: &CancellationToken,
) -> Result<Vec<Unwanted>, Error> {
    let shown = folder.display();
    let manifest =
        Manifest::read(folder).map_err(|error| Error::io("read the manifest in", folder, error))?;
    let lock = ModelsLock::load(folder)?;
    if manifest.is_none() && lock.models().is_empty() {
        return Err(Error::Settings(format!(
            "{shown} holds no model that model-fetcher fetched or imported, so nothing in it is ours to remove: check MODELS_DIR"
        )));
    }
    let _lock = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        lock = FolderLock::acquire(folder, Tuning::default().lock_wait) => lock?,
    };
    // What was recorded while waiting counts too.
    let manifest = Manifest::read(folder)
        .map_err(|error| Error::io("read the manifest in", folder, error))?
        .unwrap_or_default();
    let wanted = Wanted::of(folder, &manifest, &ModelsLock::load(folder)?);
    let mut unwanted = Vec::new();
    wanted.look(folder, 0, &mut unwanted)?;
    unwanted.sort_by(|one, other| one.path.cmp(&other.path));
    if !dry_run {
        for Unwanted { path, .. } in &unwanted {
            fs::remove_file(path).map_err(|error| Error::io("remove", path, error))?;
        }
    }
    Ok(unwanted)
}

struct Wanted {
    files: HashSet<PathBuf>,
    /// Digests of files that are there, whose parts are leftovers.
    here: HashSet<String>,
    /// Digests of files that are still to come.
    to_come: HashSet<String>,
}

impl Wanted {
    fn of(folder: &Path, manifest: &Manifest, lock: &ModelsLock) -> Self {
        let locked = || lock.models().iter().flat_map(|model| &model.files);
        let mut files: HashSet<PathBuf> = manifest
            .files()
            .iter()
            .map(|entry| folder.join(&entry.file))
            .collect();
        files.extend(locked().map(|known| known.file.below(folder)));
        let is_here =
            |entry: &&crate::folder::manifest::Entry| entry.state(folder) == FileState::Verified;
        let here: HashSet<String> = manifest
            .files()
            .iter()
            .filter(is_here)
            .map(|entry| entry.sha256.to_string())
            .collect();
        let to_come = locked()
            .map(|known| known.sha256.to_string())
            .filter(|digest| !here.contains(digest))
            .collect();
        Self {
            files,
            here,
            to_come,
        }
    }

    fn look(&self, folder: &Path, depth: usize, unwanted: &mut Vec<Unwanted>) -> Result<(), Error> {
        let wrong = |error| Error::io("read", folder, error);
        for item in fs::read_dir(folder).map_err(wrong)? {
            let path = item.map_err(wrong)?.path();
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            if found.is_dir() && depth < MAX_DEPTH {
                self.look(&path, depth + 1, unwanted)?;
            } else if found.is_file()
                && let Some(why) = self.why_not(&path, &found)
            {
                unwanted.push(Unwanted {
                    path,
                    allocated: found.blocks().saturating_mul(512),
                    why,
                });
            }
        }
        Ok(())
    }

    /// Why the file is not wanted, if it is a file of ours and not wanted.
    fn why_not(&self, path: &Path, found: &Metadata) -> Option<&'static str> {
        let name = path.file_name()?.to_str()?;
        let is_import = name.starts_with(".import") && name.ends_with(".part");
        if is_import || DRAFTS.contains(&name) {
            return Some("a draft that was never finished");
        }
        let Some(hidden) = name.strip_prefix('.') else {
            let is_model = path
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
            let unknown = is_model && !self.files.contains(path);
            return unknown.then_some("in neither the manifest nor models.lock");
        };
        let digest = hidden
            .strip_suffix(".part")
            .or_else(|| hidden.strip_suffix(".journal"))?;
        digest.parse::<Digest>().ok()?;
        if self.here.contains(digest) {
            return Some("left over from a download that is complete");
        }
        if self.to_come.contains(digest) {
            return None;
        }
        let other = path.with_extension(if name.ends_with(".part") {
            "journal"
        } else {
            "part"
        });
        let newest = [Some(found.clone()), fs::symlink_metadata(other).ok()]
            .into_iter()
            .filter_map(|found| found?.modified().ok())
            .max()?;
        let age = SystemTime::now().duration_since(newest).unwrap_or_default();
        (age >= STALE_AFTER).then_some("a download that rested for more than 7 days")
    }
}

impl fmt::Display for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}  {}  ({})",
            megabytes(self.allocated),
            self.path.display(),
            self.why
        )
    }
}
