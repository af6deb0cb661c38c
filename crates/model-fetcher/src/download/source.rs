//! Where bytes may come from: the Hub first, then the mirrors in their order.
//!
//! A mirror is not trusted: it never gets the token, and what it sends counts only when it has the digest that is known
//! from elsewhere. A source that was left is not asked again while the same bytes are on their way.

use std::sync::atomic::{AtomicUsize, Ordering};

use url::Url;

use crate::config::Fetch;
use crate::error::Error;
use crate::http::{HttpClient, name_of};
use crate::hub::{Hub, Remote, size_at};
use crate::names::FileName;
use crate::retry::Trouble;

/// The number of the Hub among the sources; the mirrors follow.
pub(crate) const HUB: usize = 0;

/// All sources of one run, and the one that is in use.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    settings: &'a Fetch,
    hub: &'a Hub<'a>,
    home: &'a HttpClient,
    away: &'a HttpClient,
    revision: &'a str,
    current: AtomicUsize,
}

impl<'a> Sources<'a> {
    /// The Hub through `home`, the mirrors through `away`, which has no token; `first` is the one to begin with.
    pub(crate) fn new(
        settings: &'a Fetch,
        hub: &'a Hub<'a>,
        home: &'a HttpClient,
        away: &'a HttpClient,
        commit: Option<&'a str>,
        first: usize,
    ) -> Self {
        let revision = commit.unwrap_or(&settings.revision);
        Self {
            settings,
            hub,
            home,
            away,
            revision,
            current: AtomicUsize::new(first),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        1 + self.settings.mirrors.len()
    }

    /// The one in use.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Whether there is another one after `source`.
    pub(crate) fn has_next(&self, source: usize) -> bool {
        source + 1 < self.count()
    }

    /// Goes on to the source after `source`; `false` when that was the last one.
    pub(crate) fn leave(&self, source: usize) -> bool {
        let left = self.has_next(source);
        if left {
            self.current.store(source + 1, Ordering::Relaxed);
        }
        left
    }

    /// Begins again, not with the source whose bytes were wrong where there is another one.
    pub(crate) fn begin_again(&self) {
        self.current
            .store((self.current() + 1) % self.count(), Ordering::Relaxed);
    }

    /// Who moves the bytes of `source`.
    pub(crate) fn transport(&self, source: usize) -> &'a HttpClient {
        if source == HUB { self.home } else { self.away }
    }

    /// Its name, for people.
    pub(crate) fn name(&self, source: usize, remote: &Remote) -> String {
        self.mirror(source, &remote.file)
            .map_or_else(|| self.hub.name(), |url| name_of(&url))
    }

    /// Whether the Hub is asked anew where the bytes are once an address is refused; a mirror's address is fixed.
    pub(crate) fn moves(&self, source: usize) -> bool {
        source == HUB
    }

    /// Where `source` has the file. Cancel-safe.
    pub(crate) async fn locate(&self, source: usize, remote: &Remote) -> Result<Url, Trouble> {
        match self.mirror(source, &remote.file) {
            Some(url) => Ok(url),
            None => self.hub.locate(self.revision, remote).await,
        }
    }

    /// What it means that `source` is given up with `error`: a store of bytes that refuses every address which the Hub has
    /// signed for a file of its Xet storage has it only there.
    pub(crate) fn explain(
        &self,
        source: usize,
        remote: &Remote,
        is_refused: bool,
        error: Error,
    ) -> Error {
        match error {
            Error::Unreachable { .. } if is_refused && remote.is_xet && source == HUB => {
                self.hub.only_xet(&remote.file)
            }
            error => error,
        }
    }

    fn mirror(&self, source: usize, file: &FileName) -> Option<Url> {
        let mirror = self.settings.mirrors.get(source.checked_sub(1)?)?;
        Some(mirror.address(&self.settings.repository, self.revision, file))
    }
}

/// The size that the first mirror to answer says `file` has. Cancel-safe.
///
/// # Errors
///
/// That of the last mirror, when none answers.
pub(crate) async fn size_at_mirrors(
    settings: &Fetch,
    away: &HttpClient,
    file: &FileName,
    unreachable: Error,
) -> Result<u64, Error> {
    for mirror in &settings.mirrors {
        let url = mirror.address(&settings.repository, &settings.revision, file);
        match size_at(away, &url).await {
            Ok(size) => return Ok(size),
            Err(trouble) => {
                tracing::warn!(
                    mirror = name_of(&url),
                    ?trouble,
                    "the mirror does not have the file"
                );
            }
        }
    }
    Err(unreachable)
}
