//! Taking a model from a disk instead of the network, with the same checks and the same publication.
//!
//! A model may be several files; it is published whole or not at all. Without a digest to compare with, a file's own is
//! computed and recorded, and the log says that nobody checked it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::commands::candidates::{Chosen, choose, gather};
use crate::config::Import;
use crate::digest::Digest;
use crate::error::{Error, megabytes};
use crate::folder::lock::FolderLock;
use crate::folder::manifest::{Entry, Manifest, modified_ns};
use crate::folder::models_lock::{LockedFile, LockedModel, ModelsLock};
use crate::judge::disk;
use crate::judge::hash::PIECE_BYTES;
use crate::judge::memory;
use crate::judge::publish::{Draft, prepare, publish_all};

/// A file that was copied and hashed.
#[derive(Debug)]
struct Copied {
    chosen: Chosen,
    draft: HiddenFile,
    file: File,
    goal: PathBuf,
    sha256: Digest,
}

/// A draft, which is removed unless it has got its final name.
#[derive(Debug)]
struct HiddenFile(PathBuf);

impl Drop for HiddenFile {
    fn drop(&mut self) {
        // After the publication there is nothing under this name; otherwise `prune` removes what cannot be removed now.
        fs::remove_file(&self.0).ok();
    }
}

/// Copies the model into the folder and returns what is known of its files, the one that llama-server opens first.
///
/// # Errors
///
/// When it is not whole, is no GGUF file, has another digest than the pinned one, or the disk does not take it. Then
/// nothing was published.
pub async fn import(settings: &Import, stop: &CancellationToken) -> Result<Vec<Entry>, Error> {
    let Import {
        from,
        folder,
        choice,
        projector,
        pin,
        ..
    } = settings;
    let place = place(from);
    let candidates = gather(from).await?;
    let chosen = choose(&place, choice, *projector, candidates)?;
    if pin.is_some() && chosen[0].file.part().1 > 1 {
        return Err(Error::Settings(format!(
            "--sha256 and MODEL_SHA256 are the digest of one file, and this model is split over several: leave them out. To \
             have every part checked, first copy the models.lock of the machine that fetched the model into {}",
            folder.display()
        )));
    }
    let size = chosen.iter().map(|chosen| chosen.size).sum();
    memory::compare(&chosen[0].header, size, None);
    for chosen in &chosen {
        prepare(folder, &chosen.file)?;
    }
    let _lock = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        lock = FolderLock::acquire(folder, settings.tuning.lock_wait) => lock?,
    };
    disk::check(folder, size, disk::free(folder)?)?;
    let mut models_lock = ModelsLock::load(folder)?;
    let mut copied = Vec::new();
    for (n, chosen) in chosen.into_iter().enumerate() {
        copied.push(copy(folder, n, chosen, stop).await?);
    }
    judge(settings, &models_lock, &copied)?;
    let drafts: Vec<_> = copied
        .iter()
        .map(|copied| Draft {
            file: &copied.file,
            path: &copied.draft.0,
            goal: &copied.goal,
        })
        .collect();
    publish_all(&drafts)?;
    record(settings, &mut models_lock, &copied)
}

/// Compares the digests with the pinned one, and with those of `models.lock`.
fn judge(settings: &Import, lock: &ModelsLock, copied: &[Copied]) -> Result<(), Error> {
    let first = &copied[0];
    if let Some(expected) = settings.pin.filter(|pin| *pin != first.sha256) {
        return Err(Error::WrongDigest {
            what: first.chosen.path.display().to_string(),
            expected,
            actual: first.sha256,
            advice: "the copy is damaged or of another version: copy it again, or correct the digest",
        });
    }
    let Some(known) = locked_model(settings, copied).and_then(|model| lock.same_request(&model))
    else {
        return Ok(());
    };
    // Another version differs in every part. Where some are the locked ones, the others are damaged.
    let mut different = Vec::new();
    for copied in copied {
        let locked = known
            .files
            .iter()
            .find(|locked| locked.file == copied.chosen.file);
        match locked {
            Some(locked) if locked.sha256 != copied.sha256 => different.push((copied, locked)),
            Some(_) | None => {}
        }
    }
    match different.first() {
        Some((copied, locked)) if different.len() < known.files.len() => Err(Error::WrongDigest {
            what: copied.chosen.path.display().to_string(),
            expected: locked.sha256,
            actual: copied.sha256,
            advice: "the other files of the model are those of models.lock, so this copy is damaged: copy it again",
        }),
        Some(_) | None => Ok(()),
    }
}

/// Notes what was published in the manifest and in `models.lock`, and says it.
fn record(
    settings: &Import,
    models_lock: &mut ModelsLock,
    copied: &[Copied],
) -> Result<Vec<Entry>, Error> {
    let folder = &settings.folder;
    let mut manifest = Manifest::load(folder);
    let mut entries = Vec::new();
    for (n, copied) in copied.iter().enumerate() {
        let goal = &copied.goal;
        let found = fs::symlink_metadata(goal).map_err(|error| Error::io("read", goal, error))?;
        let is_pinned = n == 0 && settings.pin.is_some();
        let entry = Entry {
            file: copied.chosen.file.to_string(),
            repository: settings.repository.as_ref().map(ToString::to_string),
            revision: settings.revision.clone(),
            commit: None,
            source: None,
            size: found.len(),
            sha256: copied.sha256,
            checked: is_pinned || models_lock.has(&copied.chosen.file, copied.sha256),
            modified_ns: modified_ns(&found),
        };
        manifest.note(entry.clone());
        entries.push(entry);
    }
    if let Some(model) = locked_model(settings, copied) {
        models_lock.record_import(folder, model)?;
    }
    manifest.save(folder)?;
    for (copied, entry) in copied.iter().zip(&entries) {
        let path = copied.goal.display();
        let size = megabytes(entry.size);
        let architecture = &copied.chosen.header.architecture;
        let sha256 = entry.sha256;
        if entry.checked {
            tracing::info!(%path, size, architecture, %sha256, "imported and verified");
        } else {
            tracing::warn!(
                %path, size, architecture, %sha256,
                "imported; the digest was computed, not checked: compare it with the one that the model's page shows"
            );
        }
    }
    Ok(entries)
}

/// What `models.lock` is to say; nothing when it is not known which repository the files stand for.
fn locked_model(settings: &Import, copied: &[Copied]) -> Option<LockedModel> {
    let files = copied.iter().map(|copied| LockedFile {
        file: copied.chosen.file.clone(),
        size: copied.chosen.size,
        sha256: copied.sha256,
    });
    Some(LockedModel {
        repository: settings.repository.as_ref()?.to_string(),
        revision: settings.revision.clone(),
        wanted: settings.choice.to_string(),
        projector: settings.projector,
        commit: None,
        files: files.collect(),
    })
}

/// What was named, for people.
fn place(from: &[PathBuf]) -> String {
    match from {
        [only] => only.display().to_string(),
        _ => "what was named".to_owned(),
    }
}

/// Copies the model's file number `n` beside its goal, under a hidden name, and hashes what was written.
async fn copy(
    folder: &Path,
    n: usize,
    chosen: Chosen,
    stop: &CancellationToken,
) -> Result<Copied, Error> {
    let goal = chosen.file.below(folder);
    let draft = HiddenFile(goal.with_file_name(format!(".import-{n}.part")));
    let stop = stop.clone();
    let task = tokio::task::spawn_blocking(move || {
        let (file, sha256) = copy_bytes(&chosen.path, &draft.0, &stop)?;
        Ok(Copied {
            chosen,
            draft,
            file,
            goal,
            sha256,
        })
    });
    task.await
        .expect("copying does not panic and is not aborted")
}

fn copy_bytes(
    from: &Path,
    draft: &Path,
    stop: &CancellationToken,
) -> Result<(File, Digest), Error> {
    let mut source = File::open(from).map_err(|error| unreadable(from, &error))?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(draft)
        .map_err(|error| Error::io("write", draft, error))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        match source.read(&mut piece) {
            Ok(0) => return Ok((copy, Digest::of(hash))),
            Ok(n_bytes) => {
                hash.update(&piece[..n_bytes]);
                copy.write_all(&piece[..n_bytes])
                    .map_err(|error| Error::io("write", draft, error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(from, &error)),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Settings(format!("cannot read {}: {error}", path.display()))
}
