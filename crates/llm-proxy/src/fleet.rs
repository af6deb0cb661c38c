//! The upstreams: which of them answer, how many slots each has, what is wrong with the others.
//!
//! A task per upstream probes it (`watch`). Members come and go with their names. One that fails is left alone for a
//! while and comes back through one probe, which goes down to its engine when the engine is doubted. How requests end is
//! heard in `verdict`. What is learnt goes to `admission`; a change is logged once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use admission::Admission;
use admission::placement::UpstreamId;
use common::shutdown::Shutdown;
use llama_client::{Client, Upstream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::observe::metrics::{ProxyMetrics, UpstreamLabel};

mod breaker;
mod drain;
mod member;
mod names;
mod others;
mod poison;
mod probe;
mod verdict;
mod view;
mod watch_one;

use member::{Member, MemberStatus};
use poison::Poison;

pub(crate) use drain::DrainTarget;
pub(crate) use poison::RequestDigest;
pub(crate) use verdict::SentRequest;

/// All upstreams.
#[derive(Debug)]
pub(crate) struct Fleet {
    roll: Mutex<Roll>,
    /// Wakes those who resolve names, when a member is lost or drained.
    lost_one: watch::Sender<()>,
    client: Client,
    admission: Admission,
    metrics: Arc<ProxyMetrics>,
    poison: Poison,
    upstreams: Vec<Upstream>,
    model: Arc<str>,
    probe_up: Duration,
    probe_down: Duration,
    probe_engine: Duration,
}

#[derive(Debug, Default)]
struct Roll {
    members: BTreeMap<UpstreamId, Arc<Member>>,
    next: u64,
    drained: drain::DrainedSet,
}

impl Fleet {
    /// A fleet whose members join with [`Fleet::watch`].
    pub(crate) fn new(
        config: &Config,
        client: Client,
        admission: Admission,
        metrics: Arc<ProxyMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            roll: Mutex::default(),
            lost_one: watch::Sender::new(()),
            client,
            admission,
            metrics,
            poison: Poison::default(),
            upstreams: config.upstreams.clone(),
            model: Arc::clone(&config.model),
            probe_up: config.probe_up,
            probe_down: config.probe_down,
            probe_engine: config.probe_engine,
        })
    }

    /// Watches every upstream until the drain begins, and those that are known then until nothing waits or runs.
    pub(crate) fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        for upstream in &self.upstreams {
            if upstream.is_name() {
                let following = names::follow(Arc::clone(self), upstream.clone(), shutdown.clone());
                let draining = shutdown.clone();
                shutdown.spawn(async move {
                    tokio::select! {
                        () = draining.draining() => {}
                        () = following => {}
                    }
                });
            } else {
                self.join(upstream.clone(), shutdown);
            }
        }
    }

    /// A new member, unless one has its address.
    fn join(self: &Arc<Self>, upstream: Upstream, shutdown: &Shutdown) -> Option<UpstreamId> {
        let mut roll = self.roll();
        if roll
            .members
            .values()
            .any(|member| member.upstream == upstream)
        {
            return None;
        }
        let id = UpstreamId(roll.next);
        roll.next += 1;
        tracing::debug!(upstream = upstream.authority(), "the upstream joins");
        let member = Arc::new(Member::new(id, upstream));
        roll.members.insert(id, Arc::clone(&member));
        roll.drained.joins(id);
        self.admission.set_slots(id, 0);
        drop(roll);
        let fleet = Arc::clone(self);
        let ending = shutdown.clone();
        shutdown.spawn(async move {
            tokio::select! {
                () = fleet.watch_one(&member) => {}
                () = fleet.drained(&ending) => {}
            }
        });
        Some(id)
    }

    /// The member gets no further requests; those that run there go on.
    fn leave(&self, id: UpstreamId) {
        let mut roll = self.roll();
        let Some(member) = roll.members.remove(&id) else {
            return;
        };
        roll.drained.leaves(id);
        self.admission.hold(!roll.drained.is_empty());
        drop(roll);
        tracing::info!(upstream = member.upstream.authority(), "the upstream left");
        self.metrics.upstream_up.remove(&label(&member));
        self.metrics.upstream_ejected.remove(&label(&member));
        self.admission.forget(id);
        member.probe_again.notify_one();
    }

    /// What a probe or a request showed.
    fn saw(&self, member: &Member, status: MemberStatus) {
        let mut state = member.state();
        let before = std::mem::replace(&mut state.status, status);
        if status.is_up() {
            state.doubt = None;
            state.has_engine = true;
            state.n_failed = 0;
            state.breaker.close(Instant::now());
        } else {
            state.others = Default::default();
            let is_down = matches!(
                status,
                MemberStatus::Gone
                    | MemberStatus::Unreachable
                    | MemberStatus::Silent
                    | MemberStatus::Stuck
            );
            if is_down && before.is_up() {
                state.breaker.trip(Instant::now(), chance());
            }
        }
        // Once for each engine, however long after it was last seen.
        let has_died = status.is_death() && std::mem::take(&mut state.has_engine);
        let died = has_died.then(|| state.life.died());
        drop(state);
        if let Some(digests) = died {
            self.died_under(member, digests);
        }
        if before != status {
            self.changed(member, before, status);
        }
        if !status.is_up() {
            // What was believed of others is forgotten on both sides. It comes after the slots are gone, so that nobody
            // starts there, and without the lock, as everything that `admission` is told.
            self.admission.set_others(member.id, 0, None);
        }
    }

    fn changed(&self, member: &Member, before: MemberStatus, status: MemberStatus) {
        // A member that left meanwhile must not come back to `admission`.
        let roll = self.roll();
        if !roll.members.contains_key(&member.id) {
            return;
        }
        self.metrics
            .upstream_up
            .get_or_create(&label(member))
            .set(i64::from(status.is_up()));
        let is_ejected = member.state().breaker.is_open();
        self.metrics
            .upstream_ejected
            .get_or_create(&label(member))
            .set(is_ejected.into());
        // Not `status`: another one may have been seen since.
        self.admission
            .set_slots(member.id, roll.usable_slots(member));
        if before.is_up() && !roll.members.values().any(|other| other.is_up()) {
            // With nobody else left, one that is left alone is better than none.
            roll.members
                .values()
                .for_each(|other| other.probe_again.notify_one());
        }
        drop(roll);
        if before.is_up() {
            self.lost_one.send_replace(());
        }
        let upstream = member.upstream.authority();
        match status {
            MemberStatus::Up {
                slots,
                n_ctx,
                is_named_so,
                ..
            } => {
                tracing::info!(upstream, slots, n_ctx, "the upstream is ready");
                if !is_named_so {
                    tracing::warn!(
                        upstream,
                        "the upstream's model has another name, which its answers will carry: start llama-server with \
                         `--alias` and LLM_MODEL"
                    );
                }
            }
            MemberStatus::WrongKey => tracing::error!(
                upstream,
                "the upstream refuses our key: PROXY_UPSTREAM_API_KEY (or LLM_API_KEY) must be llama-server's key"
            ),
            MemberStatus::Unknown
            | MemberStatus::Loading
            | MemberStatus::Gone
            | MemberStatus::Unreachable
            | MemberStatus::Silent
            | MemberStatus::Stuck
            | MemberStatus::NotLlama => {
                tracing::warn!(upstream, "the upstream is not ready: {}", status.sentence());
            }
        }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, id: UpstreamId) -> Option<Arc<Member>> {
        self.roll().members.get(&id).cloned()
    }

    fn others_are_up(&self, member: &Member) -> bool {
        let roll = self.roll();
        roll.members
            .values()
            .any(|other| other.id != member.id && other.is_up() && !roll.is_drained(other))
    }
}

fn label(member: &Member) -> UpstreamLabel {
    UpstreamLabel {
        upstream: member.upstream.authority().to_owned(),
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() % 1_000) as f64 / 999.0
}
