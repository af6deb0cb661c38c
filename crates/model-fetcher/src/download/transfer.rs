//! From a resolved set of files to published ones: look before leaping, download, verify all, then publish all.
//!
//! Until the digest of every file has been met, the bytes have hidden names; the file that llama-server opens first gets
//! its name last.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::config::Fetch;
use crate::digest::Digest;
use crate::download::behind::sha256_behind;
use crate::download::part::Part;
use crate::download::progress::Progress;
use crate::download::ranges::Download;
use crate::download::source::{SourceKind, Sources};
use crate::error::{Error, megabytes};
use crate::folder::lock::FolderLock;
use crate::gguf::{self, Problem};
use crate::hub::Remote;
use crate::judge::disk;
use crate::judge::header::{check_gguf, fits_in_set};
use crate::judge::memory;
use crate::judge::publish::{Draft, publish_all};
use crate::names::FileName;

/// How much is fetched before the header is looked at, in bytes.
const FIRST_LOOK_BYTES: u64 = 1 << 20;
/// How much is fetched at most to find the header's end; vocabularies of a quarter million words take 20 MB.
const MAX_HEADER_BYTES: u64 = 128 << 20;

/// Fetches the missing files of one model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer<'a> {
    /// What is wanted.
    pub(crate) settings: &'a Fetch,
    /// Where it may come from.
    pub(crate) sources: &'a Sources<'a>,
    /// The size of all files of the model, also of those that are here, in bytes.
    pub(crate) weights: u64,
    /// The right to change the folder.
    pub(crate) lock: &'a Arc<FolderLock>,
    /// When to stop.
    pub(crate) stop: &'a CancellationToken,
}

impl Transfer<'_> {
    /// Downloads and publishes `files`. When bytes turn out wrong, once more, or once from each source.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being there; what is right of the bytes is kept.
    pub(crate) async fn run(&self, files: &[&Remote]) -> Result<(), Error> {
        for _ in 1..self.sources.count().max(2) {
            match self.once(files).await {
                Err(error @ (Error::WrongDigest { .. } | Error::NotGguf { .. })) => {
                    tracing::warn!(%error, "the download was discarded; fetching once more");
                    self.sources.begin_again();
                }
                done => return done,
            }
        }
        self.once(files).await
    }

    async fn once(&self, files: &[&Remote]) -> Result<(), Error> {
        let folder = &self.settings.folder;
        let beside = |remote: &Remote| {
            let goal = remote.file.below(folder);
            goal.parent().expect("a goal has a folder").to_owned()
        };
        let missing = |remote: &&Remote| {
            remote
                .size
                .saturating_sub(Part::allocated(&beside(remote), remote.sha256))
        };
        disk::check(folder, files.iter().map(missing).sum(), disk::free(folder)?)?;
        let open =
            |remote: &&Remote| Part::open(&beside(remote), remote.sha256, remote.size, self.lock);
        let parts = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let size = parts.iter().map(Part::size).sum();
        let here = parts.iter().map(Part::n_bytes).sum();
        if here > 0 {
            tracing::info!("going on after {} of {}", megabytes(here), megabytes(size));
        }
        let progress = Progress::new(
            size,
            here,
            self.settings.tuning.report_every,
            self.settings.json,
        );
        let downloads: Vec<_> = files
            .iter()
            .zip(&parts)
            .map(|(remote, part)| Download {
                sources: self.sources,
                remote,
                location: Mutex::new(remote.location.clone().map(|url| (SourceKind::Https, url))),
                part,
                progress: &progress,
                tuning: self.settings.tuning,
                stop: self.stop,
                whole_files_only: AtomicBool::new(false),
            })
            .collect();
        let work = async {
            for download in &downloads {
                let header = look_before_leaping(download).await?;
                if let Ok(header) = &header {
                    memory::compare(header, self.weights, self.settings.context);
                }
                if let Err(problem) = header {
                    download.part.clone().discard()?;
                    let advice =
                        "check HF_FILENAME, or whether a proxy between here and the Hub answers";
                    return Err(Error::NotGguf {
                        what: self.name(&download.remote.file),
                        problem,
                        advice,
                    });
                }
            }
            for download in &downloads {
                let Download { remote, part, .. } = download;
                let fetched = download.fetch(0..part.size());
                let (digest, ()) = tokio::try_join!(sha256_behind(part, self.stop), fetched)?;
                self.judge(remote, part, digest)?;
            }
            Ok(())
        };
        tokio::select! {
            done = work => done?,
            never = progress.report() => match never {},
        }
        drop(downloads);
        drop(progress);
        let goals: Vec<_> = files
            .iter()
            .map(|remote| remote.file.below(folder))
            .collect();
        let drafts: Vec<_> = parts
            .iter()
            .zip(&goals)
            .map(|(part, goal)| Draft {
                file: part.file(),
                path: part.path(),
                goal,
            })
            .collect();
        publish_all(&drafts)?;
        parts.iter().try_for_each(Part::forget_journal)
    }

    /// The `actual` digest of the whole part against the wanted one; a part that fails is discarded.
    fn judge(&self, remote: &Remote, part: &Part, actual: Digest) -> Result<(), Error> {
        let expected = remote.sha256;
        if actual == expected {
            return Ok(());
        }
        part.clone().discard()?;
        let advice = "the source or something on the way to it changes bytes; try again later or from another network";
        Err(Error::WrongDigest {
            what: self.name(&remote.file),
            expected,
            actual,
            advice,
        })
    }

    fn name(&self, file: &FileName) -> String {
        format!("{file} from {}", self.settings.repository)
    }
}

/// Fetches the first bytes and checks the header and the tensor table against the file's size, so that a wrong file fails
/// in a second and not after gigabytes.
async fn look_before_leaping(
    download: &Download<'_>,
) -> Result<Result<gguf::Header, Problem>, Error> {
    let size = download.part.size();
    let mut look = FIRST_LOOK_BYTES.min(size);
    loop {
        download.fetch(0..look).await?;
        let verdict = check_gguf(download.part.path(), look, size).await;
        match verdict {
            Err(Problem::NeedsMore) if look < size.min(MAX_HEADER_BYTES) => {
                look = (look * 4).min(size);
            }
            Ok(header) => return Ok(fits_in_set(header, download.remote.file.part())),
            Err(problem) => return Ok(Err(problem)),
        }
    }
}
