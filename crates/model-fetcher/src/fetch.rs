//! The one thing that model-fetcher is for: is the file here? If not, resolve, look before leaping, download, verify,
//! publish, record.
//!
//! A file that is in place costs no request. Until the digest has been met, the bytes have a hidden name.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use crate::config::Fetch;
use crate::disk;
use crate::download::Download;
use crate::error::{Error, megabytes};
use crate::gguf::{self, Problem};
use crate::hub::{Hub, Resolved};
use crate::lock::FolderLock;
use crate::manifest::{Entry, Manifest, State, modified_ns};
use crate::part::Part;
use crate::progress::Progress;
use crate::publish::{prepare, publish};
use crate::transport::Transport;
use crate::verify::{Digest, sha256};

/// How much is fetched before the header is looked at, in bytes.
const FIRST_LOOK_BYTES: u64 = 1 << 20;
/// How much is fetched at most to find the header's end; vocabularies of a quarter million words take 20 MB.
const MAX_HEADER_BYTES: u64 = 128 << 20;

/// Makes sure that the wanted file is in the folder, and returns what is known of it. When dropped, what was fetched is
/// kept up to the last checkpoint.
///
/// # Errors
///
/// Whatever keeps a verified file from being there.
pub async fn fetch(settings: &Fetch, stop: &CancellationToken) -> Result<Entry, Error> {
    let Fetch { folder, repository, revision, file, .. } = settings;
    if let Some(entry) = in_place(settings, &Manifest::load(folder)) {
        return Ok(entry);
    }
    prepare(folder, file)?;
    let _lock = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        lock = FolderLock::acquire(folder, settings.tuning.lock_wait) => lock?,
    };
    let mut manifest = Manifest::load(folder);
    if let Some(entry) = in_place(settings, &manifest) {
        return Ok(entry);
    }
    let goal = file.below(folder);
    let mut found = None;
    if let Some(entry) = manifest.find(repository, revision, file).cloned()
        && settings.pin.is_none_or(|pin| pin == entry.sha256)
        && size_of(&goal) == Some(entry.size)
    {
        let digest = sha256(&goal, stop).await?;
        if digest == entry.sha256 {
            tracing::info!(file = %file, "the file was touched and is still the verified one");
            return record(folder, &mut manifest, entry, &goal);
        }
        tracing::warn!(file = %file, "the file is no longer what was verified; fetching it again");
        found = Some(digest);
    }
    let transport = Transport::new(&settings.endpoint, settings.token.as_ref(), settings.tuning.stall)?;
    let hub = Hub::new(settings, &transport);
    let resolved = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        resolved = hub.resolve() => resolved?,
    };
    let Resolved { commit, size, sha256: wanted, .. } = &resolved;
    tracing::info!(repository = %repository, revision, commit, file = %file, size = megabytes(*size), "resolved");
    let mut here = false;
    if size_of(&goal) == Some(*size) {
        let digest = match found {
            Some(digest) => digest,
            None => sha256(&goal, stop).await?,
        };
        here = digest == *wanted;
    }
    if !here {
        download_and_publish(settings, &transport, &hub, &resolved, stop).await?;
    }
    let entry = Entry {
        file: file.to_string(),
        repository: Some(repository.to_string()),
        revision: revision.clone(),
        commit: Some(commit.clone()),
        size: *size,
        sha256: *wanted,
        checked: true,
        modified_ns: 0,
    };
    let entry = record(folder, &mut manifest, entry, &goal)?;
    let what = if here { "it was here already; verified" } else { "fetched and verified" };
    tracing::info!(path = %goal.display(), size = megabytes(*size), sha256 = %wanted, "{what}");
    Ok(entry)
}

/// The entry of the wanted file, when it is on the disk as it was verified.
fn in_place(settings: &Fetch, manifest: &Manifest) -> Option<Entry> {
    let Fetch { folder, repository, revision, file, pin, .. } = settings;
    let entry = manifest.find(repository, revision, file)?;
    let wanted = pin.is_none_or(|pin| pin == entry.sha256);
    (wanted && entry.state(folder) == State::Verified).then(|| {
        let path = file.below(folder);
        tracing::info!(path = %path.display(), sha256 = %entry.sha256, "the model is in place; nothing to do");
        entry.clone()
    })
}

/// Notes `entry` with the file's time of change.
fn record(folder: &Path, manifest: &mut Manifest, mut entry: Entry, goal: &Path) -> Result<Entry, Error> {
    let found = fs::symlink_metadata(goal).map_err(|error| Error::io("read", goal, error))?;
    entry.modified_ns = modified_ns(&found);
    manifest.record(folder, entry.clone())?;
    Ok(entry)
}

/// Downloads, and once more when the bytes turn out wrong.
async fn download_and_publish(
    settings: &Fetch,
    transport: &Transport,
    hub: &Hub<'_>,
    resolved: &Resolved,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let once = || try_once(settings, transport, hub, resolved, stop);
    match once().await {
        Err(error @ (Error::WrongDigest { .. } | Error::NotGguf { .. })) => {
            tracing::warn!(%error, "the download was discarded; fetching once more");
            once().await
        }
        done => done,
    }
}

async fn try_once(
    settings: &Fetch,
    transport: &Transport,
    hub: &Hub<'_>,
    resolved: &Resolved,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let goal = settings.file.below(&settings.folder);
    let beside = goal.parent().expect("a goal lies in a folder");
    let Resolved { commit, size, sha256: wanted, location } = resolved;
    let missing = size.saturating_sub(Part::allocated(beside, *wanted));
    disk::check(&settings.folder, missing, disk::free(&settings.folder)?)?;
    let part = Part::open(beside, *wanted, *size)?;
    let here = part.n_bytes();
    if here > 0 {
        tracing::info!("going on after {} of {}", megabytes(here), megabytes(*size));
    }
    let progress = Progress::new(*size, here, settings.tuning.report_every);
    let download = Download {
        hub,
        transport,
        commit,
        location: Mutex::new(Some(location.clone())),
        part: &part,
        progress: &progress,
        tuning: settings.tuning,
        stop,
        whole_files_only: AtomicBool::new(false),
    };
    let what = || format!("{} from {}", settings.file, settings.repository);
    let work = async {
        let header = look_before_leaping(&download).await?;
        if header.is_ok() {
            download.fetch(0..*size).await?;
        }
        Ok::<_, Error>(header)
    };
    let header = tokio::select! {
        header = work => header?,
        never = progress.report() => match never {},
    };
    drop(progress);
    if let Err(problem) = header {
        part.discard()?;
        let advice = "check HF_FILENAME, or whether a proxy stands between here and the Hub";
        return Err(Error::NotGguf { what: what(), problem, advice });
    }
    verify(&part, *wanted, &what(), stop).await?;
    publish(part.file(), part.path(), &goal)?;
    part.forget_journal()
}

/// Fetches the first bytes and checks the header and the tensor table against the file's size, so that a wrong file fails
/// in a second and not after gigabytes.
async fn look_before_leaping(download: &Download<'_>) -> Result<Result<gguf::Header, Problem>, Error> {
    let size = download.part.size();
    let mut look = FIRST_LOOK_BYTES.min(size);
    loop {
        download.fetch(0..look).await?;
        match check_gguf(download.part.path(), look, size).await {
            Err(Problem::NeedsMore) if look < size.min(MAX_HEADER_BYTES) => look = (look * 4).min(size),
            verdict => return Ok(verdict),
        }
    }
}

/// The whole part against its digest; a part that fails is discarded.
async fn verify(part: &Part, expected: Digest, what: &str, stop: &CancellationToken) -> Result<(), Error> {
    let actual = sha256(part.path(), stop).await?;
    if actual == expected {
        return Ok(());
    }
    part.clone().discard()?;
    let advice =
        "the source or something on the way to it changes bytes; try again later or from another network";
    Err(Error::WrongDigest { what: what.to_owned(), expected, actual, advice })
}

/// The header of the file at `path`, of which the first `n_bytes` are there.
pub(crate) async fn check_gguf(path: &Path, n_bytes: u64, size: u64) -> Result<gguf::Header, Problem> {
    let path = path.to_owned();
    let task = tokio::task::spawn_blocking(move || {
        let file = File::open(&path).map_err(Problem::Unreadable)?;
        gguf::check(BufReader::new(file.take(n_bytes)), size)
    });
    task.await.expect("the check does not panic and is not aborted")
}

/// The size of the plain file at `path`, if there is one.
fn size_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|found| found.len())
}
