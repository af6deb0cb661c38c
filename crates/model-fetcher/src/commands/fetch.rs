//! The one thing that model-fetcher is for: is the model here? If not, resolve, fetch what is missing, record.
//!
//! A model that is in place costs no request. What is not is the work of `transfer.rs`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::commands::resolve::{not_locked, resolve};
use crate::config::Fetch;
use crate::digest::Digest;
use crate::download::part::Part;
use crate::download::source::Sources;
use crate::download::transfer::Transfer;
use crate::error::{Error, megabytes};
use crate::folder::lock::FolderLock;
use crate::folder::manifest::{Entry, FileState, Manifest, modified_ns};
use crate::folder::models_lock::{LockedFile, LockedModel, ModelsLock};
use crate::http::HttpClient;
use crate::hub::{Hub, Place, Remote, Resolved};
use crate::judge::hash::sha256;
use crate::judge::publish::{make, prepare};
use crate::names::choice::Choice;

/// Makes sure that the wanted model is in the folder, and returns what is known of its files, the one that llama-server
/// opens first. When dropped, what was fetched is kept up to the last checkpoint.
///
/// # Errors
///
/// Whatever keeps a verified model from being there.
pub async fn fetch(settings: &Fetch, stop: &CancellationToken) -> Result<Vec<Entry>, Error> {
    let Fetch {
        folder,
        repository,
        revision,
        choice,
        ..
    } = settings;
    let lock = ModelsLock::load(folder)?;
    if settings.locked && lock.find(settings).is_none() {
        return Err(not_locked(settings));
    }
    if let Some(entries) = in_place(settings, &lock) {
        return Ok(entries);
    }
    make(folder)?;
    choice
        .known()
        .iter()
        .try_for_each(|file| prepare(folder, file))?;
    let folder_lock = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        lock = FolderLock::acquire(folder, settings.tuning.lock_wait) => Arc::new(lock?),
    };
    let mut lock = ModelsLock::load(folder)?;
    if let Some(entries) = in_place(settings, &lock) {
        return Ok(entries);
    }
    let mut hashed = HashMap::new();
    if let Some(entries) = look_again(settings, &lock, &mut hashed, stop).await? {
        return Ok(entries);
    }
    let transport = HttpClient::new(
        &settings.endpoint,
        settings.token.as_ref(),
        &settings.proxies,
        settings.tuning.stall,
    )?;
    let away = transport.without_token();
    let hub = Hub::new(Place::from(settings), settings.tuning, &transport);
    let (resolved, start) = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        resolved = resolve(settings, &lock, &hub, &away) => resolved?,
    };
    let Resolved { commit, files } = &resolved;
    let size = megabytes(files.iter().map(|remote| remote.size).sum());
    let n_files = files.len();
    let file = &files[0].file;
    tracing::info!(repository = %repository, revision, commit, file = %file, n_files, size, "resolved");
    let mut missing = Vec::new();
    for remote in files {
        prepare(folder, &remote.file)?;
        if is_here(folder, remote, &mut hashed, stop).await? {
            let goal = remote.file.below(folder);
            Part::forget(goal.parent().expect("a goal has a folder"), remote.sha256)?;
        } else {
            missing.push(remote);
        }
    }
    let mut manifest = Manifest::load(folder);
    let mut came_from = None;
    if !missing.is_empty() {
        let sources = Sources::new(settings, &hub, &transport, &away, &resolved, start);
        let weights = files.iter().map(|remote| remote.size).sum();
        Transfer {
            settings,
            sources: &sources,
            weights,
            lock: &folder_lock,
            stop,
        }
        .run(&missing)
        .await?;
        came_from = Some(sources.name(sources.current(), missing[0]));
    }
    let mut entries = Vec::new();
    for remote in files {
        let was_missing = missing.iter().any(|other| other.file == remote.file);
        let source = if was_missing {
            came_from.clone()
        } else {
            let known = LockedFile::from(remote);
            manifest
                .find_exactly(&known)
                .and_then(|entry| entry.source.clone())
        };
        let entry = Entry {
            file: remote.file.to_string(),
            repository: Some(repository.to_string()),
            revision: revision.clone(),
            commit: commit.clone(),
            source,
            size: remote.size,
            sha256: remote.sha256,
            checked: true,
            modified_ns: modified_at(&remote.file.below(folder))?,
        };
        manifest.note(entry.clone());
        entries.push(entry);
    }
    // The manifest last: it is what makes the next run look no further.
    lock.record(folder, LockedModel::new(settings, &resolved))?;
    manifest.save(folder)?;
    let what = if missing.is_empty() {
        "it was here already; verified"
    } else {
        "fetched and verified"
    };
    report(settings, &entries, what);
    Ok(entries)
}

/// The entries of the wanted model, when all its files are on the disk as they were verified.
fn in_place(settings: &Fetch, lock: &ModelsLock) -> Option<Vec<Entry>> {
    let entries = known(settings, lock)?;
    let verified = entries
        .iter()
        .all(|entry| entry.state(&settings.folder) == FileState::Verified);
    verified.then(|| {
        report(settings, &entries, "the model is in place; nothing to do");
        entries
    })
}

/// What was recorded of the wanted model, if all of it was.
fn known(settings: &Fetch, lock: &ModelsLock) -> Option<Vec<Entry>> {
    let Fetch {
        folder,
        repository,
        revision,
        choice,
        projector,
        pin,
        ..
    } = settings;
    let manifest = Manifest::load(folder);
    let entries: Vec<Entry> = match (lock.find(settings), choice) {
        (Some(model), _) => model
            .files
            .iter()
            .map(|known| manifest.find_exactly(known).cloned())
            .collect::<Option<_>>()?,
        (None, Choice::File(file)) if !projector => {
            let parts = file.parts();
            let entries: Vec<Entry> = parts
                .iter()
                .map(|part| manifest.find(repository, revision, part).cloned())
                .collect::<Option<_>>()?;
            let is_one_set = entries
                .iter()
                .all(|entry| entry.commit == entries[0].commit);
            is_one_set.then_some(entries)?
        }
        (None, Choice::File(_) | Choice::Quantisation(_)) => return None,
    };
    pin.is_none_or(|pin| entries.first().is_some_and(|entry| entry.sha256 == pin))
        .then_some(entries)
}

/// As [`in_place`], by the bytes of the files that were touched; what was read is noted in `hashed`.
async fn look_again(
    settings: &Fetch,
    lock: &ModelsLock,
    hashed: &mut HashMap<String, Digest>,
    stop: &CancellationToken,
) -> Result<Option<Vec<Entry>>, Error> {
    let folder = &settings.folder;
    let Some(mut entries) = known(settings, lock) else {
        return Ok(None);
    };
    let mut manifest = Manifest::load(folder);
    for entry in &mut entries {
        let path = folder.join(&entry.file);
        if entry.state(folder) == FileState::Verified {
            continue;
        }
        if size_of(&path) != Some(entry.size) {
            return Ok(None);
        }
        let digest = sha256(&path, stop).await?;
        hashed.insert(entry.file.clone(), digest);
        if digest != entry.sha256 {
            tracing::warn!(
                file = entry.file,
                "the file is no longer what was verified; fetching it again"
            );
            return Ok(None);
        }
        tracing::info!(
            file = entry.file,
            "the file was touched and is still the verified one"
        );
        entry.modified_ns = modified_at(&path)?;
        manifest.note(entry.clone());
    }
    manifest.save(folder)?;
    Ok(Some(entries))
}

/// Whether the bytes at the goal of `remote` are the wanted ones.
async fn is_here(
    folder: &Path,
    remote: &Remote,
    hashed: &mut HashMap<String, Digest>,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let goal = remote.file.below(folder);
    if size_of(&goal) != Some(remote.size) {
        return Ok(false);
    }
    let digest = match hashed.remove(remote.file.as_str()) {
        Some(digest) => digest,
        None => sha256(&goal, stop).await?,
    };
    Ok(digest == remote.sha256)
}

/// Says where the model is; where a name was not asked for literally, also what it is called now.
fn report(settings: &Fetch, entries: &[Entry], what: &str) {
    let Some(first) = entries.first() else { return };
    let path = settings.folder.join(&first.file);
    let n_files = entries.len();
    let size = megabytes(entries.iter().map(|entry| entry.size).sum());
    tracing::info!(path = %path.display(), n_files, size, sha256 = %first.sha256, "{what}");
    if let Choice::Quantisation(tag) = &settings.choice {
        let file = &first.file;
        tracing::info!(
            "tag :{tag} is the file {file}: llama-server, and Compose, need HF_FILENAME={file}"
        );
    }
}

fn modified_at(path: &Path) -> Result<i64, Error> {
    let found = fs::symlink_metadata(path).map_err(|error| Error::io("read", path, error))?;
    Ok(modified_ns(&found))
}

/// The size of the plain file at `path`, if there is one.
fn size_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)
        .map(|found| found.len())
}
