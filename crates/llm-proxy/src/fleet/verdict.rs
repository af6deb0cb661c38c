//! Whose fault it is when a request fails, and what that means for the upstream and for the request.
//!
//! An upstream pays for what is its own fault only. A failure that names no reason is the request's fault when the
//! engine works all the same. An engine that died is remembered with everything it worked on.

use std::collections::HashSet;
use std::sync::Arc;

use admission::placement::UpstreamId;

use super::member::{Doubt, Member, MemberStatus};
use super::poison::RequestDigest;
use super::{Fleet, probe};
use crate::error::Error;

/// Answers in a row that must fail before the engine is doubted.
const MAX_FAILED_ANSWERS: u32 = 3;

/// A request that was sent to an upstream. Dropped before it is over, the upstream may still work on it for a while.
#[derive(Debug)]
pub(crate) struct SentRequest {
    fleet: Arc<Fleet>,
    member: Arc<Member>,
    digest: RequestDigest,
    /// The engine's life in which it was sent.
    life: u64,
    has_slot: bool,
    is_over: bool,
}

impl SentRequest {
    /// The answer has come whole.
    pub(crate) fn complete(&mut self) {
        self.is_over = true;
    }

    /// The engine does not work on it, or does so without a caller.
    fn end(&mut self, is_over: bool) {
        if std::mem::replace(&mut self.is_over, true) || is_over {
            return;
        }
        if self.member.state().life.cut(self.life, self.digest) {
            self.fleet.died_under(&self.member, [self.digest].into());
        }
    }
}

impl Drop for SentRequest {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl Fleet {
    /// What a request to `path` is known by. All answers of one request share it.
    pub(crate) fn digest(&self, path: &str, body: &[u8]) -> RequestDigest {
        self.poison.digest(path, body)
    }

    /// Refuses a request under which engines died.
    pub(crate) fn check(&self, digest: RequestDigest) -> Result<(), Error> {
        self.poison.check(digest)
    }

    /// A request is sent to an upstream, in a slot or beside them. Keep the result until the upstream has ended its work.
    ///
    /// # Errors
    ///
    /// When the upstream has left, or engines died under the request while it waited.
    pub(crate) fn start(
        self: &Arc<Self>,
        upstream: UpstreamId,
        digest: RequestDigest,
        has_slot: bool,
    ) -> Result<SentRequest, Error> {
        self.check(digest)?;
        let member = self.member(upstream).ok_or(Error::UpstreamUnavailable)?;
        let life = member.state().life.number();
        Ok(SentRequest {
            fleet: Arc::clone(self),
            member,
            digest,
            life,
            has_slot,
            is_over: false,
        })
    }

    /// Settles how a request failed whose answer had not begun. Call it while the slot is held: to find out who is to
    /// blame it may ask the engine for a token.
    pub(crate) async fn judge(
        &self,
        running: &mut SentRequest,
        error: llama_client::Error,
    ) -> Error {
        if error == llama_client::Error::ConnectionRefused {
            // The caller need not know it, but only this and not every failure to connect proves a death.
            running.end(true);
            self.found(&running.member, MemberStatus::Gone);
            return Error::from(error);
        }
        let error = match error {
            llama_client::Error::Unexplained if self.survived(running).await => {
                Error::UpstreamRefused(llama_client::EngineRefusal::unexplained())
            }
            llama_client::Error::ConnectTimeout => Error::ConnectTimeout {
                has_others: self.others_are_up(&running.member),
            },
            error => Error::from(error),
        };
        self.failed(running, &error).await;
        error
    }

    /// A request failed. After a broken connection it waits until it is known whether the engine lives, so that a
    /// request that kills engines is known before its caller can repeat it.
    pub(crate) async fn failed(&self, running: &mut SentRequest, error: &Error) {
        match error {
            Error::UpstreamDisconnected => {
                running.member.probe_now().await;
                running.end(false);
            }
            // It was not taken, or the engine has answered it.
            Error::UpstreamUnavailable
            | Error::ConnectTimeout { .. }
            | Error::ModelLoading
            | Error::UpstreamKey
            | Error::UpstreamRefused(_)
            | Error::UpstreamFailed => running.end(true),
            _ => {}
        }
        self.count(&running.member, error);
    }

    /// A token came from this upstream.
    pub(crate) fn served(&self, running: &SentRequest) {
        running.member.state().n_failed = 0;
    }

    /// Whether the engine works, though it failed a request. Only a request with a slot may be asked to compute in it.
    async fn survived(&self, running: &SentRequest) -> bool {
        let doubt = match running.has_slot {
            true => Doubt::Failing,
            false => Doubt::Silent,
        };
        probe::works(self, &running.member.upstream, doubt).await
    }

    fn count(&self, member: &Member, error: &Error) {
        match error {
            Error::UpstreamUnavailable => self.found(member, MemberStatus::Unreachable),
            Error::ConnectTimeout { has_others: true } => self.found(member, MemberStatus::Silent),
            // A packet may have been lost. Those who wait have nowhere else to go, so only a probe sends them away.
            Error::ConnectTimeout { has_others: false } => member.probe_again.notify_one(),
            Error::ModelLoading => self.found(member, MemberStatus::Loading),
            Error::UpstreamKey => self.found(member, MemberStatus::WrongKey),
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
    fn found(&self, member: &Member, status: MemberStatus) {
        if self.member(member.id).is_some() {
            self.saw(member, status);
            member.probe_again.notify_one();
        }
    }

    /// Has its engine probed; meanwhile others are asked, if there are any.
    fn doubt(&self, member: &Member, doubt: Doubt) {
        member.state().doubt.get_or_insert(doubt);
        if self.others_are_up(member) && member.is_up() {
            self.saw(member, MemberStatus::Stuck);
        }
        member.probe_again.notify_one();
    }

    /// Its engine died while it worked on these requests.
    pub(super) fn died_under(&self, member: &Member, digests: HashSet<RequestDigest>) {
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
