//! The upstreams: which of them answer, how many slots each has, what is wrong with the others.
//!
//! A task per upstream reads `/props` with the key, because llama-server's `/health` says nothing about slots or keys.
//! What it learns goes to `admission`; a change is logged once. Prefix affinity will be decided here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use common::shutdown::Shutdown;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::config::{Config, Upstream};
use crate::error::Error;
use crate::metrics::{Member as MemberLabel, Metrics};
use crate::placement::UpstreamId;
use crate::upstream::Client;

/// How long `/props` may take; a busy machine is slow, not down.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);
/// Looks in a row that must time out before an upstream that answered counts as gone.
const MAX_SLOW_PROBES: u32 = 3;

/// What is known of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not asked yet.
    Unknown,
    /// It answers.
    Up { slots: usize, n_ctx: u64 },
    /// It listens, its model loads.
    Loading,
    /// It does not take our key.
    WrongKey,
    /// Nobody listens, or nobody answers.
    Unreachable,
    /// It answers something that is not llama-server's `/props`.
    NotLlama,
}

#[derive(Debug)]
struct Member {
    id: UpstreamId,
    upstream: Upstream,
    status: Mutex<Status>,
    look_again: Notify,
}

/// All upstreams.
#[derive(Debug)]
pub(crate) struct Fleet {
    members: Mutex<BTreeMap<UpstreamId, Arc<Member>>>,
    client: Client,
    admission: Admission,
    metrics: Arc<Metrics>,
    probe_up: Duration,
    probe_down: Duration,
}

impl Fleet {
    pub(crate) fn new(
        config: &Config,
        client: Client,
        admission: Admission,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let member = |(number, upstream): (u64, &Upstream)| {
            let id = UpstreamId(number);
            let upstream = upstream.clone();
            let (status, look_again) = (Mutex::new(Status::Unknown), Notify::new());
            (id, Arc::new(Member { id, upstream, status, look_again }))
        };
        let members = Mutex::new((0..).zip(&config.upstreams).map(member).collect());
        let (probe_up, probe_down) = (config.probe_up, config.probe_down);
        Arc::new(Self { members, client, admission, metrics, probe_up, probe_down })
    }

    /// Watches every upstream until the drain begins.
    pub(crate) fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        for member in self.members() {
            let (fleet, draining) = (Arc::clone(self), shutdown.clone());
            shutdown.spawn(async move {
                tokio::select! {
                    () = draining.draining() => {}
                    () = fleet.watch_one(&member) => {}
                }
            });
        }
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn member(&self, id: UpstreamId) -> Option<Arc<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    async fn watch_one(&self, member: &Member) {
        let mut slow = 0;
        loop {
            let before = member.status();
            let seen = match tokio::time::timeout(PROBE_DEADLINE, self.probe(member)).await {
                Ok(seen) => {
                    slow = 0;
                    seen
                }
                Err(_) if slow + 1 < MAX_SLOW_PROBES && matches!(before, Status::Up { .. }) => {
                    slow += 1;
                    before
                }
                Err(_) => Status::Unreachable,
            };
            self.set(member, seen);
            let up = matches!(seen, Status::Up { .. });
            let pause = if up { self.probe_up } else { self.probe_down };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = member.look_again.notified() => {}
            }
        }
    }

    async fn probe(&self, member: &Member) -> Status {
        match self.client.get(&member.upstream, "/props").await {
            Err(error) => {
                tracing::debug!(upstream = member.upstream.authority(), %error, "/props");
                Status::Unreachable
            }
            Ok((StatusCode::OK, body)) => Props::parse(&body).map_or(Status::NotLlama, |props| Status::Up {
                slots: props.total_slots,
                n_ctx: props.default_generation_settings.n_ctx,
            }),
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => Status::Loading,
            Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)) => Status::WrongKey,
            Ok(_) => Status::NotLlama,
        }
    }

    fn set(&self, member: &Member, seen: Status) {
        let before =
            std::mem::replace(&mut *member.status.lock().unwrap_or_else(PoisonError::into_inner), seen);
        if before == seen {
            return;
        }
        let slots = if let Status::Up { slots, .. } = seen { slots } else { 0 };
        let label = MemberLabel { upstream: member.id.0 };
        self.metrics.upstream_up.get_or_create(&label).set(i64::from(slots > 0));
        let upstream = member.upstream.authority();
        match seen {
            Status::Up { slots, n_ctx } => tracing::info!(upstream, slots, n_ctx, "the upstream is ready"),
            Status::WrongKey => tracing::error!(
                upstream,
                "the upstream refuses our key: PROXY_UPSTREAM_API_KEY (or LLM_API_KEY) must be llama-server's key"
            ),
            Status::Unknown | Status::Loading | Status::Unreachable | Status::NotLlama => {
                tracing::warn!(upstream, "the upstream is not ready: {}", seen.sentence());
            }
        }
        self.admission.set_slots(member.id, slots);
    }

    /// A request found its upstream in this state: it gets no further ones until it has answered `/props` again.
    pub(crate) fn found(&self, upstream: UpstreamId, status: Status) {
        if let Some(member) = self.member(upstream) {
            self.set(&member, status);
            member.look_again.notify_one();
        }
    }

    /// Where a member is.
    pub(crate) fn upstream(&self, id: UpstreamId) -> Option<Upstream> {
        Some(self.member(id)?.upstream.clone())
    }

    /// The context of one slot, in tokens: the smallest of all upstreams that answer.
    pub(crate) fn n_ctx(&self) -> Option<u64> {
        let n_ctx = |status| if let Status::Up { n_ctx, .. } = status { Some(n_ctx) } else { None };
        self.members().iter().filter_map(|member| n_ctx(member.status())).min()
    }

    /// Why a request sent now would not be served, for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.n_ctx().is_some() {
            return Ok(());
        }
        let members = self.members();
        let sentences = members
            .iter()
            .map(|member| format!("{}: {}", member.upstream.authority(), member.status().sentence()));
        Err(sentences.collect::<Vec<_>>().join("; "))
    }

    /// The same for a caller, when no upstream answers.
    pub(crate) fn error(&self) -> Error {
        let members = self.members();
        let any = |status| members.iter().any(|member| member.status() == status);
        if any(Status::Loading) {
            Error::ModelLoading
        } else if any(Status::WrongKey) {
            Error::UpstreamKey
        } else {
            Error::UpstreamUnavailable
        }
    }
}

impl Member {
    fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "not asked yet",
            Self::Up { .. } => "it answers",
            Self::Loading => "it is loading its model",
            Self::WrongKey => "it refuses PROXY_UPSTREAM_API_KEY",
            Self::Unreachable => "it cannot be reached or does not answer",
            Self::NotLlama => "what answers there is not a llama-server with a model",
        }
    }
}

/// What is read of llama-server's `/props`.
#[derive(Debug, Deserialize)]
struct Props {
    total_slots: usize,
    default_generation_settings: Settings,
}

#[derive(Debug, Deserialize)]
struct Settings {
    n_ctx: u64,
}

impl Props {
    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|props: &Self| props.total_slots > 0)
    }
}
