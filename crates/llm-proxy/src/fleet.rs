//! The upstreams: which of them answer, how many slots each has, what is wrong with the others.
//!
//! A task per upstream reads `/props` with the key, because llama-server's `/health` says nothing about slots or keys.
//! Members come and go with their names. One that fails is left alone for a while and comes back through one look,
//! which goes down to its engine when the engine is doubted. What is learnt goes to `admission`; a change is logged once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::observe::metrics::{Member as MemberLabel, Metrics};
use crate::observe::status::Upstream as UpstreamStatus;
use admission::Admission;
use admission::placement::UpstreamId;
use llama_client::{Client, Upstream};

mod breaker;
mod member;
mod names;
mod probe;

use member::{Doubt, Member, Status};

/// Looks in a row that must time out before an upstream that answered counts as gone.
const MAX_SLOW_LOOKS: u32 = 3;
/// Answers in a row that must fail before the engine is doubted.
const MAX_FAILED_ANSWERS: u32 = 3;

/// All upstreams.
#[derive(Debug)]
pub(crate) struct Fleet {
    roll: Mutex<Roll>,
    /// Wakes those who resolve names.
    lost_one: watch::Sender<()>,
    client: Client,
    admission: Admission,
    metrics: Arc<Metrics>,
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
}

impl Fleet {
    /// A fleet whose members join with [`Fleet::watch`].
    pub(crate) fn new(
        config: &Config,
        client: Client,
        admission: Admission,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            roll: Mutex::default(),
            lost_one: watch::Sender::new(()),
            client,
            admission,
            metrics,
            upstreams: config.upstreams.clone(),
            model: Arc::clone(&config.model),
            probe_up: config.probe_up,
            probe_down: config.probe_down,
            probe_engine: config.probe_engine,
        })
    }

    /// Watches every upstream until the drain begins.
    pub(crate) fn watch(self: &Arc<Self>, shutdown: &Shutdown) {
        for upstream in &self.upstreams {
            if upstream.is_name() {
                let following = names::follow(Arc::clone(self), upstream.clone(), shutdown.clone());
                until_draining(shutdown, following);
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
        drop(roll);
        let fleet = Arc::clone(self);
        until_draining(shutdown, async move { fleet.watch_one(&member).await });
        Some(id)
    }

    /// The member gets no further requests; those that run there go on.
    fn leave(&self, id: UpstreamId) {
        let Some(member) = self.roll().members.remove(&id) else {
            return;
        };
        tracing::info!(upstream = member.upstream.authority(), "the upstream left");
        self.metrics.upstream_up.remove(&label(&member));
        self.metrics.upstream_ejected.remove(&label(&member));
        self.admission.forget(id);
        member.look_again.notify_one();
    }

    async fn watch_one(&self, member: &Member) {
        let (mut n_slow, mut counted_at) = (0, None::<Instant>);
        while self.member(member.id).is_some() {
            let began = Instant::now();
            let doubt = member.state().doubt;
            match probe::look(self, &member.upstream, doubt).await {
                None if n_slow + 1 < MAX_SLOW_LOOKS && member.is_up() => n_slow += 1,
                None => self.saw(member, Status::Unreachable),
                // A doubt that arose meanwhile was not looked into.
                Some(status) if status.is_up() && member.state().doubt != doubt => {}
                Some(status) => {
                    n_slow = 0;
                    self.saw(member, status);
                    // However often a failure makes us look again: `/slots` goes through the engine's queue, and asked
                    // every second it keeps llama-server from seeing clients that leave.
                    let is_due = counted_at.is_none_or(|at| at + self.probe_up <= began);
                    if status.is_up() && doubt.is_none() && is_due {
                        counted_at = Some(began);
                        self.count_others(member).await;
                    }
                }
            }
            let soon = began + self.probe_down.mul_f64(0.8 + chance() / 5.0);
            let calm = member.is_up() && n_slow == 0 && member.state().doubt.is_none();
            let due = if calm {
                began + self.probe_up
            } else {
                self.due(member, soon)
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = member.look_again.notified() => {
                    tokio::time::sleep_until(self.due(member, soon)).await;
                }
            }
        }
    }

    /// When a member that failed may be asked again: not while it is left alone, unless there is no other.
    fn due(&self, member: &Member, soon: Instant) -> Instant {
        if self.others_are_up(member) {
            soon.max(Instant::now() + member.rest())
        } else {
            soon
        }
    }

    /// Somebody else may ask the upstream too. Ours come and go while it is looked at, so only what was there in two
    /// looks is believed.
    async fn count_others(&self, member: &Member) {
        let ours_before = self.admission.in_flight_at(member.id);
        let n_busy = probe::n_busy(&self.client, &member.upstream).await;
        let ours = ours_before.max(self.admission.in_flight_at(member.id));
        let others = n_busy.map_or(0, |n_busy| n_busy.saturating_sub(ours));
        let before = std::mem::replace(&mut member.state().n_others, others);
        self.admission.set_others(member.id, others.min(before));
    }

    /// What a look showed.
    fn saw(&self, member: &Member, status: Status) {
        let mut state = member.state();
        let before = std::mem::replace(&mut state.status, status);
        if status.is_up() {
            (state.doubt, state.n_failed) = (None, 0);
            state.breaker.close(Instant::now());
        } else if matches!(status, Status::Unreachable | Status::Stuck) && before.is_up() {
            state.breaker.trip(Instant::now(), chance());
        }
        drop(state);
        if before != status {
            self.changed(member, before, status);
        }
    }

    fn changed(&self, member: &Member, before: Status, status: Status) {
        // Whoever left meanwhile must not come back to `admission`.
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
        self.admission.set_slots(member.id, member.status().slots());
        if before.is_up() && !roll.members.values().any(|other| other.is_up()) {
            // Nobody is left: those that are left alone are better than none.
            roll.members
                .values()
                .for_each(|other| other.look_again.notify_one());
        }
        drop(roll);
        if before.is_up() {
            self.lost_one.send_replace(());
        }
        let upstream = member.upstream.authority();
        match status {
            Status::Up {
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
            Status::WrongKey => tracing::error!(
                upstream,
                "the upstream refuses our key: PROXY_UPSTREAM_API_KEY (or LLM_API_KEY) must be llama-server's key"
            ),
            Status::Unknown
            | Status::Loading
            | Status::Unreachable
            | Status::Stuck
            | Status::NotLlama => {
                tracing::warn!(upstream, "the upstream is not ready: {}", status.sentence());
            }
        }
    }

    /// A request to this upstream ended so.
    pub(crate) fn failed(&self, upstream: UpstreamId, error: &Error) {
        let Some(member) = self.member(upstream) else {
            return;
        };
        match error {
            Error::UpstreamUnavailable | Error::ConnectTimeout => {
                self.found(&member, Status::Unreachable)
            }
            Error::ModelLoading => self.found(&member, Status::Loading),
            Error::UpstreamKey => self.found(&member, Status::WrongKey),
            Error::FirstTokenTimeout | Error::TokenTimeout => self.doubt(&member, Doubt::Silent),
            Error::UpstreamDisconnected
            | Error::UpstreamTruncated
            | Error::UpstreamInvalid
            | Error::UpstreamFailed => {
                let mut state = member.state();
                state.n_failed += 1;
                let too_many = state.n_failed >= MAX_FAILED_ANSWERS;
                drop(state);
                // A bad one is better than none.
                if too_many && self.others_are_up(&member) {
                    self.doubt(&member, Doubt::Failing);
                } else if !matches!(error, Error::UpstreamFailed) {
                    member.look_again.notify_one();
                }
            }
            // What the caller did, or what has nothing to do with this upstream.
            _ => {}
        }
    }

    /// A token came from this upstream.
    pub(crate) fn served(&self, upstream: UpstreamId) {
        if let Some(member) = self.member(upstream) {
            member.state().n_failed = 0;
        }
    }

    /// Gives it no further requests until it has answered a look.
    fn found(&self, member: &Member, status: Status) {
        self.saw(member, status);
        member.look_again.notify_one();
    }

    /// Looks at its engine; meanwhile others are asked, if there are any.
    fn doubt(&self, member: &Member, doubt: Doubt) {
        member.state().doubt.get_or_insert(doubt);
        if self.others_are_up(member) && member.is_up() {
            self.saw(member, Status::Stuck);
        }
        member.look_again.notify_one();
    }

    /// Where a member is.
    pub(crate) fn upstream(&self, id: UpstreamId) -> Option<Upstream> {
        Some(self.member(id)?.upstream.clone())
    }

    /// One that answers, for what takes no slot.
    pub(crate) fn any(&self) -> Option<(UpstreamId, Upstream)> {
        self.roll()
            .members
            .values()
            .find(|member| member.is_up())
            .map(|member| (member.id, member.upstream.clone()))
    }

    /// Whether there is a choice.
    pub(crate) fn is_several(&self) -> bool {
        self.roll().members.len() > 1
    }

    /// The context of one slot, in tokens: the smallest of all upstreams that answer.
    pub(crate) fn n_ctx(&self) -> Option<u64> {
        let n_ctx = |member: &Arc<Member>| match member.status() {
            Status::Up { n_ctx, .. } => Some(n_ctx),
            _ => None,
        };
        self.roll().members.values().filter_map(n_ctx).min()
    }

    /// Whether every upstream that answers reads text only.
    pub(crate) fn is_blind(&self) -> bool {
        let roll = self.roll();
        let mut up = roll
            .members
            .values()
            .map(|member| member.status())
            .filter(|status| status.is_up())
            .peekable();
        up.peek().is_some()
            && up.all(|status| {
                matches!(
                    status,
                    Status::Up {
                        sees_images: false,
                        ..
                    }
                )
            })
    }

    /// Every member, for an operator.
    pub(crate) fn status(&self) -> Vec<UpstreamStatus> {
        let members: Vec<_> = self.roll().members.values().cloned().collect();
        let status = |member: Arc<Member>| {
            let status = member.status();
            let n_ctx = if let Status::Up { n_ctx, .. } = status {
                Some(n_ctx)
            } else {
                None
            };
            UpstreamStatus {
                upstream: member.upstream.authority().to_owned(),
                up: status.is_up(),
                state: status.sentence().to_owned(),
                slots: status.slots(),
                busy: self.admission.in_flight_at(member.id),
                n_ctx,
                ejected_seconds: member.rest().as_secs_f64().ceil() as u64,
            }
        };
        members.into_iter().map(status).collect()
    }

    /// Whether it is known of the upstreams what they are, good or bad.
    pub(crate) fn has_looked(&self) -> bool {
        let roll = self.roll();
        let known = |member: &Arc<Member>| member.status() != Status::Unknown;
        roll.members.values().any(|member| member.is_up())
            || (!roll.members.is_empty() && roll.members.values().all(known))
    }

    /// Why a request sent now would not be served, for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let roll = self.roll();
        if roll.members.values().any(|member| member.is_up()) {
            return Ok(());
        }
        let sentence = |member: &Arc<Member>| {
            format!(
                "{}: {}",
                member.upstream.authority(),
                member.status().sentence()
            )
        };
        let sentences: Vec<String> = roll.members.values().map(sentence).collect();
        if sentences.is_empty() {
            return Err("PROXY_UPSTREAMS: no name was resolved to an address yet".to_owned());
        }
        Err(sentences.join("; "))
    }

    /// The same for a caller, when no upstream answers.
    pub(crate) fn error(&self) -> Error {
        let roll = self.roll();
        let any = |status| {
            roll.members
                .values()
                .any(|member| member.status() == status)
        };
        if any(Status::Loading) {
            Error::ModelLoading
        } else if any(Status::WrongKey) {
            Error::UpstreamKey
        } else {
            Error::UpstreamUnavailable
        }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, id: UpstreamId) -> Option<Arc<Member>> {
        self.roll().members.get(&id).cloned()
    }

    fn others_are_up(&self, member: &Member) -> bool {
        self.roll()
            .members
            .values()
            .any(|other| other.id != member.id && other.is_up())
    }
}

fn until_draining(shutdown: &Shutdown, task: impl Future<Output = ()> + Send + 'static) {
    let draining = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = draining.draining() => {}
            () = task => {}
        }
    });
}

fn label(member: &Member) -> MemberLabel {
    MemberLabel {
        upstream: member.upstream.authority().to_owned(),
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() % 1_000) as f64 / 999.0
}
