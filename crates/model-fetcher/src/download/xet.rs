//! Ranges of a file out of the Hub's Xet storage, rebuilt from their chunks by hf-xet.
//!
//! hf-xet gets its settings from here and not from the environment, keeps no cache, reports to nobody and tries each
//! request once: budget, stall timer and digest are the engine's. It never sees the Hub's token. The storage has read
//! tokens of its own, which our client asks the Hub for.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Mutex;
use xet::XetError;
use xet::xet_session::{
    XetConfig, XetDownloadStream, XetDownloadStreamGroup, XetFileInfo, XetSession,
    XetSessionBuilder,
};

use crate::digest::Digest;
use crate::error::Error;
use crate::http::CONNECT_TIMEOUT;
use crate::hub::xet::XetHash;
use crate::hub::{Hub, Remote};
use crate::retry::SourceTrouble;

/// Where hf-xet makes its folders. It puts nothing in them when it only reads, so they are removed at once.
const FOLDER: &str = ".corral.xet";
/// A token is renewed when it is good for less than this: hf-xet stops using it half a minute before its end.
const LEAST_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Ranges through one group: it remembers each of them.
const RANGES_PER_GROUP: u32 = 1024;
/// The most of an error of hf-xet that is shown, in characters.
const MAX_REASON_CHARS: usize = 300;

/// The Hub's Xet storage, as one run needs it.
pub(crate) struct XetStorage<'a> {
    hub: &'a Hub<'a>,
    revision: &'a str,
    folder: PathBuf,
    stall: Duration,
    session: OnceLock<XetSession>,
    /// The hashes that the Hub was asked for here, by the files' digests.
    found: Mutex<Vec<(Digest, XetHash)>>,
    access: Mutex<Option<Access>>,
}

/// The right to read, for as long as its token lasts.
#[derive(Clone)]
struct Access {
    group: XetDownloadStreamGroup,
    renew_at: SystemTime,
    n_ranges: u32,
    number: u64,
}

/// A range on its way.
pub(crate) struct XetRange<'a> {
    storage: &'a XetStorage<'a>,
    stream: XetDownloadStream,
    access: u64,
}

impl<'a> XetStorage<'a> {
    /// Whether this program speaks Xet.
    pub(crate) const IS_BUILT_IN: bool = true;

    /// The storage of `hub`; `folder` is the models' folder, `stall` how long the storage may say nothing.
    pub(crate) fn new(hub: &'a Hub<'a>, revision: &'a str, folder: &Path, stall: Duration) -> Self {
        Self {
            hub,
            revision,
            folder: folder.join(FOLDER),
            stall,
            session: OnceLock::new(),
            found: Mutex::default(),
            access: Mutex::new(None),
        }
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> String {
        format!("the Xet storage of {}", self.hub.name())
    }

    /// Asks for `range` of the file. Cancel-safe.
    pub(crate) async fn open(
        &self,
        remote: &Remote,
        range: &Range<u64>,
    ) -> Result<XetRange<'_>, SourceTrouble> {
        let hash = self.hash(remote).await?;
        let Access { group, number, .. } = self.access().await?;
        let file = XetFileInfo::new(hash.as_str().to_owned(), remote.size);
        match group.download_stream(file, Some(range.clone())).await {
            Ok(stream) => Ok(XetRange {
                storage: self,
                stream,
                access: number,
            }),
            Err(error) => Err(self.give_up(number, &error).await),
        }
    }

    /// The file's hash; the Hub is asked where that was not done yet, and once.
    async fn hash(&self, remote: &Remote) -> Result<XetHash, SourceTrouble> {
        if let Some(hash) = &remote.xet_hash {
            return Ok(hash.clone());
        }
        let mut found = self.found.lock().await;
        if let Some((_, hash)) = found.iter().find(|(file, _)| *file == remote.sha256) {
            return Ok(hash.clone());
        }
        let hash = self.hub.xet_hash(self.revision, remote).await?;
        found.push((remote.sha256, hash.clone()));
        Ok(hash)
    }

    /// The access in use, or a new one.
    async fn access(&self) -> Result<Access, SourceTrouble> {
        let mut place = self.access.lock().await;
        let number = place.as_ref().map_or(0, |access| access.number);
        if let Some(access) = place.as_mut()
            && SystemTime::now() < access.renew_at
            && access.n_ranges < RANGES_PER_GROUP
        {
            access.n_ranges += 1;
            return Ok(access.clone());
        }
        let token = self.hub.xet_token(self.revision).await?;
        let renew_at = UNIX_EPOCH + Duration::from_secs(token.expires);
        let session = self.session()?;
        let group = session.new_download_stream_group();
        let built = group
            .map_err(|error| trouble(&error))?
            .with_endpoint(token.cas_url.as_str().trim_end_matches('/'))
            .with_token_info(token.text.expose(), token.expires)
            .build()
            .await;
        remove(&self.folder)?;
        let access = Access {
            group: built.map_err(|error| trouble(&error))?,
            renew_at: renew_at - LEAST_TOKEN_LIFE,
            n_ranges: 1,
            number: number + 1,
        };
        Ok(place.insert(access).clone())
    }

    /// What all groups share: one client, and the runtime that this program has already.
    fn session(&self) -> Result<&XetSession, Error> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let session = XetSessionBuilder::new_with_config(config(self.stall))
            .with_cache_dir(&self.folder)
            .build()
            .map_err(|error| Error::Settings(format!("cannot set up Xet: {error}")))?;
        Ok(self.session.get_or_init(|| session))
    }

    /// After a failure the token is asked for anew: hf-xet does not say whether it was to blame.
    async fn give_up(&self, number: u64, error: &XetError) -> SourceTrouble {
        let mut place = self.access.lock().await;
        if let Some(access) = place.as_mut().filter(|access| access.number == number) {
            access.renew_at = UNIX_EPOCH;
        }
        trouble(error)
    }
}

impl fmt::Debug for XetStorage<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("XetStorage").finish_non_exhaustive()
    }
}

impl XetRange<'_> {
    /// The next bytes; `None` at the end of the range. Dropping the body ends the work behind it.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, SourceTrouble> {
        match self.stream.next().await {
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(self.storage.give_up(self.access, &error).await),
        }
    }
}

/// Nothing from the environment, no reports, no attempts of its own.
fn config(stall: Duration) -> XetConfig {
    let mut config = XetConfig::default();
    config.telemetry.enabled = false;
    config.client.retry_max_attempts = 0;
    config.client.connect_timeout = CONNECT_TIMEOUT;
    config.client.read_timeout = stall;
    config
}

/// Removes what hf-xet made, which is empty.
fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", folder, error))
        }
        _ => Ok(()),
    }
}

/// An error of hf-xet without the addresses in it, which are signed.
fn trouble(error: &XetError) -> SourceTrouble {
    let text = error.to_string();
    let words = text.split_whitespace().map(|word| {
        if word.contains("://") {
            "(address)"
        } else {
            word
        }
    });
    let reason = words.collect::<Vec<_>>().join(" ");
    SourceTrouble::again(reason.chars().take(MAX_REASON_CHARS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::config;

    #[test]
    fn hf_xet_reports_nothing_retries_nothing_and_waits_no_longer_than_a_stall() {
        let stall = Duration::from_secs(7);
        let config = config(stall);
        assert!(!config.telemetry.enabled);
        assert_eq!(config.client.retry_max_attempts, 0);
        assert_eq!(config.client.read_timeout, stall);
        assert_eq!(config.client.unix_socket_path, None);
    }
}
