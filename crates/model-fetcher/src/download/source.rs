//! Where bytes may come from: the Hub first, by its two transports, then the mirrors in their order.
//!
//! A mirror is not trusted: it never gets the token, and what it sends counts only when it has the digest that is known
//! from elsewhere. A source that was left is not asked again while the same bytes are on their way.

use std::sync::atomic::{AtomicUsize, Ordering};

use url::Url;

use crate::config::{Fetch, Transport};
use crate::download::XetStorage;
use crate::error::Error;
use crate::http::{HttpClient, name_of};
use crate::hub::modelscope::ModelScope;
use crate::hub::{Hub, Remote, Resolved, size_at};
use crate::names::mirror::Mirror;
use crate::names::{FileName, RepositoryId};
use crate::retry::SourceTrouble;

/// One way to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// From where the Hub redirects to, over plain HTTPS.
    Https,
    /// From the Hub's Xet storage.
    Xet,
    /// From the mirror of that number.
    Mirror(usize),
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the Hub.
    Hub,
    /// With the first mirror: the Hub was not to be reached.
    Mirrors,
}

/// All sources of one run, and the one that is in use.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    settings: &'a Fetch,
    hub: &'a Hub<'a>,
    home: &'a HttpClient,
    away: &'a HttpClient,
    revision: &'a str,
    xet: XetStorage<'a>,
    ways: Vec<SourceKind>,
    current: AtomicUsize,
}

impl<'a> Sources<'a> {
    /// The ways to the files of `resolved`: the Hub through `home`, the mirrors through `away`, which has no token.
    pub(crate) fn new(
        settings: &'a Fetch,
        hub: &'a Hub<'a>,
        home: &'a HttpClient,
        away: &'a HttpClient,
        resolved: &'a Resolved,
        start: Start,
    ) -> Self {
        let commit = resolved.commit.as_deref();
        let revision = commit.unwrap_or(&settings.revision);
        let stall = settings.tuning.stall;
        let xet = XetStorage::new(hub, revision, &settings.folder, stall);
        let mut ways = hub_ways(settings.transport, &resolved.files);
        let first = match start {
            Start::Hub => 0,
            Start::Mirrors => ways.len(),
        };
        ways.extend((0..settings.mirrors.len()).map(SourceKind::Mirror));
        Self {
            settings,
            hub,
            home,
            away,
            revision,
            xet,
            ways,
            current: AtomicUsize::new(first),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.ways.len()
    }

    /// What `source` is.
    pub(crate) fn way(&self, source: usize) -> SourceKind {
        self.ways[source]
    }

    /// What comes after `source`.
    pub(crate) fn after(&self, source: usize) -> Option<SourceKind> {
        self.ways.get(source + 1).copied()
    }

    /// The Hub's Xet storage.
    pub(crate) fn xet(&self) -> &XetStorage<'a> {
        &self.xet
    }

    /// The one in use.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Goes on to the source after `source`; `false` when that was the last one.
    pub(crate) fn leave(&self, source: usize) -> bool {
        let left = self.after(source).is_some();
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
    pub(crate) fn client(&self, source: usize) -> &'a HttpClient {
        match self.way(source) {
            SourceKind::Https | SourceKind::Xet => self.home,
            SourceKind::Mirror(_) => self.away,
        }
    }

    /// Its name, for people.
    pub(crate) fn name(&self, source: usize, remote: &Remote) -> String {
        match self.way(source) {
            SourceKind::Https => self.hub.name(),
            SourceKind::Xet => self.xet.name(),
            SourceKind::Mirror(number) => name_of(&self.mirror(number, &remote.file)),
        }
    }

    /// Whether the Hub is asked anew where the bytes are once an address is refused; a mirror's address is fixed.
    pub(crate) fn moves(&self, source: usize) -> bool {
        self.way(source) == SourceKind::Https
    }

    /// Where `source` has the file. Cancel-safe.
    pub(crate) async fn locate(
        &self,
        source: usize,
        remote: &Remote,
    ) -> Result<Url, SourceTrouble> {
        match self.way(source) {
            SourceKind::Https | SourceKind::Xet => self.hub.locate(self.revision, remote).await,
            SourceKind::Mirror(number) => match &self.settings.mirrors[number] {
                Mirror::ModelScope(endpoint, other) => {
                    let there = modelscope(self.settings, endpoint, other.as_ref());
                    there.locate(self.away, &remote.file, remote.sha256).await
                }
                Mirror::Hub(_) | Mirror::Address(_) => Ok(self.mirror(number, &remote.file)),
            },
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
            Error::Unreachable { .. }
                if is_refused
                    && remote.xet_hash.is_some()
                    && self.way(source) == SourceKind::Https =>
            {
                self.hub.only_xet(&remote.file)
            }
            error => error,
        }
    }

    fn mirror(&self, number: usize, file: &FileName) -> Url {
        let Fetch {
            mirrors,
            repository,
            ..
        } = self.settings;
        mirrors[number].address(repository, self.revision, file)
    }
}

/// The repository of the settings on ModelScope, where it may have another name.
pub(crate) fn modelscope<'a>(
    settings: &'a Fetch,
    endpoint: &'a Url,
    other: Option<&'a RepositoryId>,
) -> ModelScope<'a> {
    ModelScope {
        endpoint,
        repository: other.unwrap_or(&settings.repository),
    }
}

/// The ways to the Hub's bytes, in the order that `transport` wants. Xet is one when a file is known to be in that
/// storage, or was not asked for yet.
fn hub_ways(transport: Transport, files: &[Remote]) -> Vec<SourceKind> {
    let has_xet = XetStorage::IS_BUILT_IN && files.iter().any(may_be_in_xet);
    match (transport, has_xet) {
        (Transport::Auto, true) => vec![SourceKind::Https, SourceKind::Xet],
        (Transport::Xet, true) => vec![SourceKind::Xet, SourceKind::Https],
        (Transport::Xet, false) => {
            tracing::warn!(
                "MODEL_TRANSPORT is xet, but the Hub does not keep this model in its Xet storage: fetching over HTTPS"
            );
            vec![SourceKind::Https]
        }
        (Transport::Auto, false) | (Transport::Https, _) => vec![SourceKind::Https],
    }
}

/// Whether the Hub has the file in Xet storage, as far as it is known.
fn may_be_in_xet(remote: &Remote) -> bool {
    remote.xet_hash.is_some() || remote.location.is_none()
}

/// The size that the first mirror to answer says `file` has. There is a mirror. Cancel-safe.
///
/// # Errors
///
/// That of the last mirror, when none answers.
pub(crate) async fn size_at_mirrors(
    settings: &Fetch,
    away: &HttpClient,
    file: &FileName,
) -> Result<u64, Error> {
    let mut mirrors = settings.mirrors.iter().peekable();
    loop {
        let mirror = mirrors.next().expect("the last mirror ends the loop");
        let url = mirror.address(&settings.repository, &settings.revision, file);
        let size = match mirror {
            Mirror::ModelScope(endpoint, other) => {
                let there = modelscope(settings, endpoint, other.as_ref());
                there.size_of(away, file, settings.pin).await
            }
            Mirror::Hub(_) | Mirror::Address(_) => size_at(away, &url).await,
        };
        let error = match size {
            Ok(size) => return Ok(size),
            Err(trouble) => trouble.into_error(&name_of(&url)),
        };
        if mirrors.peek().is_none() {
            return Err(error);
        }
        tracing::warn!(reason = error.brief(), "the mirror does not have the file");
    }
}
