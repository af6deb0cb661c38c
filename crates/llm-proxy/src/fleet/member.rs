//! One upstream of the fleet: what the last probe showed, what is doubted, what runs there, how long it is left alone.
//!
//! It decides nothing about other members; `fleet` does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admission::placement::UpstreamId;
use llama_client::{TemplateFacts, Upstream};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::breaker::Breaker;
use super::others::OtherClients;
use super::poison::EngineLife;
use super::probe::PROPS_DEADLINE;

/// What is known of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberStatus {
    /// Not asked yet.
    Unknown,
    /// It answers.
    Up {
        slots: usize,
        /// The context of one slot, in tokens.
        n_ctx: u64,
        sees_images: bool,
        /// Whether the model's alias there is our name for it.
        is_named_so: bool,
        template: TemplateFacts,
    },
    /// It listens, its model loads.
    Loading,
    /// It does not take our key.
    WrongKey,
    /// Nobody listens there.
    Gone,
    /// No connection, or one that breaks at once, which may have nothing to do with its engine.
    Unreachable,
    /// It does not answer in time.
    Silent,
    /// It answers, its engine does not.
    Stuck,
    /// It answers something that is not llama-server's `/props`.
    NotLlama,
}

/// Why `/props` is not enough to believe that an upstream works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A token did not come in time.
    Silent,
    /// One answer after another failed.
    Failing,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: UpstreamId,
    pub(super) upstream: Upstream,
    /// Has it probed again when it may be asked.
    pub(super) probe_again: Notify,
    /// Has it probed again at once.
    probe_now: Notify,
    /// When the last probe that ended began.
    probed: watch::Sender<Instant>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) status: MemberStatus,
    pub(super) doubt: Option<Doubt>,
    pub(super) breaker: Breaker,
    pub(super) others: OtherClients,
    pub(super) life: EngineLife,
    /// Whether an engine was seen there that is not known to have died.
    pub(super) has_engine: bool,
    /// Answers in a row that failed.
    pub(super) n_failed: u32,
}

impl Member {
    pub(super) fn new(id: UpstreamId, upstream: Upstream) -> Self {
        let state = State {
            status: MemberStatus::Unknown,
            doubt: None,
            breaker: Breaker::default(),
            others: OtherClients::default(),
            life: EngineLife::default(),
            has_engine: false,
            n_failed: 0,
        };
        Self {
            id,
            upstream,
            probe_again: Notify::new(),
            probe_now: Notify::new(),
            probed: watch::Sender::new(Instant::now()),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MemberStatus {
        self.state().status
    }

    pub(super) fn is_up(&self) -> bool {
        self.status().is_up()
    }

    /// How long it is still left alone.
    pub(super) fn rest(&self) -> Duration {
        self.state().breaker.rest(Instant::now())
    }

    /// A probe that began at `began` has ended.
    pub(super) fn was_probed(&self, began: Instant) {
        self.probed.send_replace(began);
    }

    /// Waits until somebody wants a probe at once. Cancel-safe.
    pub(super) async fn wanted_now(&self) {
        self.probe_now.notified().await;
    }

    /// Has it probed now and waits for the result, as long as a probe may take. Cancel-safe.
    pub(super) async fn probe_now(&self) {
        let now = Instant::now();
        let mut probed = self.probed.subscribe();
        self.probe_now.notify_one();
        let waited = probed.wait_for(|began| *began >= now);
        // Without a result the request ends as it would have.
        drop(tokio::time::timeout(PROPS_DEADLINE, waited).await);
    }
}

impl MemberStatus {
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Whether an engine that was there has died. A name without an address or a lost route proves no death.
    pub(super) fn is_death(self) -> bool {
        matches!(self, Self::Gone | Self::Loading)
    }

    /// The context of one slot, in tokens.
    pub(super) fn n_ctx(self) -> Option<u64> {
        match self {
            Self::Up { n_ctx, .. } => Some(n_ctx),
            _ => None,
        }
    }

    pub(super) fn template(self) -> Option<TemplateFacts> {
        match self {
            Self::Up { template, .. } => Some(template),
            _ => None,
        }
    }

    pub(super) fn sees_images(self) -> bool {
        matches!(
            self,
            Self::Up {
                sees_images: true,
                ..
            }
        )
    }

    /// How many requests may run there.
    pub(super) fn slots(self) -> usize {
        if let Self::Up { slots, .. } = self {
            slots
        } else {
            0
        }
    }

    /// For an operator.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "not asked yet",
            Self::Up { .. } => "it answers",
            Self::Loading => "it is loading its model",
            Self::WrongKey => "it refuses PROXY_UPSTREAM_API_KEY",
            Self::Gone | Self::Unreachable => "it cannot be reached",
            Self::Silent => "it does not answer in time",
            Self::Stuck => "it answers, but its engine computes nothing",
            Self::NotLlama => "what answers there is not a llama-server with a model",
        }
    }
}
