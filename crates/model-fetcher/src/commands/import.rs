//! Taking a model from a disk instead of the network, with the same checks and the same publication.
//!
//! Without a digest to compare with, the file's own is computed and recorded, and it is said that nobody checked it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::config::Import;
use crate::digest::Digest;
use crate::error::{Error, megabytes};
use crate::folder::lock::FolderLock;
use crate::folder::manifest::{Entry, Manifest, modified_ns};
use crate::folder::models_lock::{LockedFile, ModelsLock};
use crate::judge::disk;
use crate::judge::hash::PIECE_BYTES;
use crate::judge::header::check_gguf;
use crate::judge::memory;
use crate::judge::publish::{prepare, publish};

const DRAFT_FILE: &str = ".import.part";

/// Copies the file into the folder and returns what is known of it.
///
/// # Errors
///
/// When it is no GGUF file, has another digest than the pinned one, or the disk does not take it.
pub async fn import(settings: &Import, stop: &CancellationToken) -> Result<Entry, Error> {
    let Import {
        from,
        folder,
        repository,
        revision,
        file,
        pin,
        ..
    } = settings;
    let size = match fs::metadata(from) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => {
            return Err(Error::Settings(format!(
                "{} is not a file: name a GGUF file",
                from.display()
            )));
        }
        Err(error) => {
            return Err(Error::Settings(format!(
                "cannot read {}: {error}",
                from.display()
            )));
        }
    };
    let what = from.display().to_string();
    let header = check_gguf(from, size, size).await.map_err(|problem| {
        let advice = "name the GGUF file itself";
        Error::NotGguf {
            what: what.clone(),
            problem,
            advice,
        }
    })?;
    memory::compare(&header, size, None);
    prepare(folder, file)?;
    let _lock = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        lock = FolderLock::acquire(folder, settings.tuning.lock_wait) => lock?,
    };
    disk::check(folder, size, disk::free(folder)?)?;
    let mut models_lock = ModelsLock::load(folder)?;
    let goal = file.below(folder);
    let draft = goal.with_file_name(DRAFT_FILE);
    let copied = {
        let (from, draft, stop) = (from.clone(), draft.clone(), stop.clone());
        tokio::task::spawn_blocking(move || copy(&from, &draft, &stop)).await
    };
    let published = copied.expect("copying does not panic and is not aborted").and_then(|(copy, actual)| {
        if let Some(expected) = pin.filter(|pin| *pin != actual) {
            let advice = "the copy is damaged or of another version: copy it again, or correct the digest";
            return Err(Error::WrongDigest { what, expected, actual, advice });
        }
        publish(&copy, &draft, &goal)?;
        Ok(actual)
    });
    let sha256 = published.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    let found = fs::symlink_metadata(&goal).map_err(|error| Error::io("read", &goal, error))?;
    let entry = Entry {
        file: file.to_string(),
        repository: repository.as_ref().map(ToString::to_string),
        revision: revision.clone(),
        commit: None,
        size: found.len(),
        sha256,
        checked: pin.is_some() || models_lock.has(file, sha256),
        modified_ns: modified_ns(&found),
    };
    if let Some(repository) = repository {
        let imported = LockedFile {
            file: file.clone(),
            size: entry.size,
            sha256,
        };
        models_lock.record_import(folder, (repository, revision), imported)?;
    }
    let mut manifest = Manifest::load(folder);
    manifest.note(entry.clone());
    manifest.save(folder)?;
    let (path, size, architecture) = (goal.display(), megabytes(entry.size), header.architecture);
    if entry.checked {
        tracing::info!(%path, size, architecture, %sha256, "imported and verified");
    } else {
        tracing::warn!(
            %path, size, architecture, %sha256,
            "imported; the digest was computed, not checked: compare it with the one that the model's page shows"
        );
    }
    Ok(entry)
}

/// Copies `from` to `draft` and hashes what was written.
fn copy(from: &Path, draft: &Path, stop: &CancellationToken) -> Result<(File, Digest), Error> {
    let unreadable = |error| Error::Settings(format!("cannot read {}: {error}", from.display()));
    let unwritable = |error| Error::io("write", draft, error);
    let mut source = File::open(from).map_err(unreadable)?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(draft)
        .map_err(unwritable)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        match source.read(&mut piece) {
            Ok(0) => return Ok((copy, Digest::of(hash))),
            Ok(n_bytes) => {
                hash.update(&piece[..n_bytes]);
                copy.write_all(&piece[..n_bytes]).map_err(unwritable)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}
