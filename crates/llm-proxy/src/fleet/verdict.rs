//! Whose fault it is when a request fails, and what that means for the upstream and for the request.
//!
//! An upstream pays for what is its own fault only. A failure that names no reason is the request's fault when the
//! engine works all the same. An engine that died is remembered with everything it worked on.

use std::collections::HashSet;

use admission::placement::UpstreamId;

use super::member::{Doubt, Member, Running, Status};
use super::poison::Digest;
use super::{Fleet, probe};
use crate::error::Error;

/// Answers in a row that must fail before the engine is doubted.
const MAX_FAILED_ANSWERS: u32 = 3;

impl Fleet {
    /// What a request to `path` is known by. All answers of one request share it.
    pub(crate) fn digest(&self, path: &str, body: &[u8]) -> Digest {
        self.poison.digest(path, body)
    }

    /// Refuses a request under which engines died.
    pub(crate) fn check(&self, digest: Digest) -> Result<(), Error> {
        self.poison.check(digest)
    }

    /// A request is sent to an upstream, in a slot or beside them. Keep the result until the upstream has ended its work.
    ///
    /// # Errors
    ///
    /// When the upstream has left, or engines died under the request while it waited.
    pub(crate) fn start(
        &self,
        upstream: UpstreamId,
        digest: Digest,
        has_slot: bool,
    ) -> Result<Running, Error> {
        self.check(digest)?;
        let member = self.member(upstream).ok_or(Error::UpstreamUnavailable)?;
        Ok(Running::new(member, digest, has_slot))
    }

    /// Settles how a request failed whose answer had not begun. Call it while the slot is held: to find out who is to
    /// blame it may ask the engine for a token.
    pub(crate) async fn judge(&self, running: &Running, error: llama_client::Error) -> Error {
        let error = match error {
            llama_client::Error::Unexplained if self.survived(running).await => {
                Error::UpstreamRefused(llama_client::Refusal::unexplained())
            }
            error => Error::from(error),
        };
        self.failed(running, &error).await;
        error
    }

    /// A request failed. After a broken connection it waits until it is known whether the engine lives, so that a
    /// request that kills engines is known before its caller can repeat it.
    pub(crate) async fn failed(&self, running: &Running, error: &Error) {
        if matches!(error, Error::UpstreamDisconnected) {
            running.member.probe_now().await;
        }
        self.count(&running.member, error);
    }

    /// A token came from this upstream.
    pub(crate) fn served(&self, running: &Running) {
        running.member.state().n_failed = 0;
    }

    /// Whether the engine works, though it failed a request. Only a request with a slot may be asked to compute in it.
    async fn survived(&self, running: &Running) -> bool {
        let doubt = match running.has_slot {
            true => Doubt::Failing,
            false => Doubt::Silent,
        };
        probe::works(self, &running.member.upstream, doubt).await
    }

    fn count(&self, member: &Member, error: &Error) {
        match error {
            Error::UpstreamUnavailable => self.found(member, Status::Gone),
            Error::ConnectTimeout => self.found(member, Status::Silent),
            Error::ModelLoading => self.found(member, Status::Loading),
            Error::UpstreamKey => self.found(member, Status::WrongKey),
            Error::FirstTokenTimeout | Error::TokenTimeout => self.doubt(member, Doubt::Silent),
            Error::UpstreamDisconnected
            | Error::UpstreamTruncated
            | Error::UpstreamInvalid
            | Error::UpstreamFailed => {
                let mut state = member.state();
                state.n_failed += 1;
                let is_too_many = state.n_failed >= MAX_FAILED_ANSWERS;
                drop(state);
                // A bad upstream is better than none.
                if is_too_many && self.others_are_up(member) {
                    self.doubt(member, Doubt::Failing);
                } else if matches!(error, Error::UpstreamTruncated | Error::UpstreamInvalid) {
                    member.probe_again.notify_one();
                }
            }
            // The caller's fault, or one that has nothing to do with this upstream.
            _ => {}
        }
    }

    /// Gives it no further requests until it has answered a probe.
    fn found(&self, member: &Member, status: Status) {
        if self.member(member.id).is_some() {
            self.saw(member, status);
            member.probe_again.notify_one();
        }
    }

    /// Has its engine probed; meanwhile others are asked, if there are any.
    fn doubt(&self, member: &Member, doubt: Doubt) {
        member.state().doubt.get_or_insert(doubt);
        if self.others_are_up(member) && member.is_up() {
            self.saw(member, Status::Stuck);
        }
        member.probe_again.notify_one();
    }

    /// Its engine died while it worked on these requests.
    pub(super) fn died_under(&self, member: &Member, digests: HashSet<Digest>) {
        let n_requests = digests.len();
        let n_quarantined = self.poison.died_under(digests);
        let upstream = member.upstream.authority();
        if n_quarantined > 0 {
            self.metrics.quarantined.inc_by(n_quarantined as u64);
            tracing::error!(
                upstream,
                n_quarantined,
                "a model server died again under the same requests: they are refused for ten minutes"
            );
        } else if n_requests > 0 {
            tracing::warn!(
                upstream,
                n_requests,
                "the model server died while it worked"
            );
        }
    }
}
