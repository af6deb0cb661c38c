//! A fair, bounded queue for the slots of all upstreams.
//!
//! A request is described by an [`Asking`] and gets a [`Ticket`]. The ticket becomes a [`Permit`], which is one slot of
//! one upstream, or it is [`NotAdmitted`]. Dropping a ticket leaves the queue; dropping a permit frees the slot for the
//! next in line. `queue` decides who is next and [`placement`] decides whose slot that is, both when a slot is free and
//! not before. The crate knows nothing of HTTP or of metrics, and holds no lock while anyone waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

mod lane_status;
pub mod placement;
mod queue;
mod slots;

pub use lane_status::LaneStatus;
use placement::{Placed, Prefix, PromptCount, UpstreamId};
pub use queue::{Asking, Forecast, QueuePlace};
use queue::{FairQueue, Grant, QueueNow, Spent};
pub use slots::Ours;
use slots::Slots;

/// The longest `Retry-After`, in seconds.
const MAX_RETRY_AFTER_SECONDS: u64 = 600;

/// The queue and the count of busy slots. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission(Arc<AdmissionShared>);

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// No upstream answers.
    NoUpstream,
    /// The queue is full, by requests or by bytes.
    Full {
        /// When a further request of the same key would have its slot.
        retry_after_seconds: u64,
    },
    /// The wait was longer than its deadline.
    Timeout {
        /// When a further request of the same key would have its slot.
        retry_after_seconds: u64,
    },
}

/// How much waits and runs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// The memory that those take, in bytes.
    pub waiting_bytes: usize,
    /// Requests that hold a slot.
    pub in_flight: usize,
    /// Slots of all upstreams that answer.
    pub slots: usize,
}

/// What an upstream counted of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCount {
    /// All tokens of the prompt.
    pub n_prompt_tokens: u64,
    /// Those of them that the upstream had cached, if it says so.
    pub n_cached_tokens: Option<u64>,
    /// Tokens of the completion.
    pub n_completion_tokens: u64,
    /// How long the uncached part of the prompt took; zero if the upstream does not say so.
    pub prefill: Duration,
    /// How long the answer took after its first token; zero if the upstream does not say so.
    pub decode: Duration,
}

#[derive(Debug)]
struct AdmissionShared {
    inner: Mutex<AdmissionState>,
}

#[derive(Debug)]
struct AdmissionState {
    /// When the queue's clock began.
    epoch: Instant,
    slots: Slots,
    queue: FairQueue<Waiter>,
    /// Whether requests wait while no upstream has a slot.
    is_held: bool,
}

/// What is kept of a request that waits.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<Permit, NotAdmitted>>,
    prefix: Prefix,
    /// The estimate, until the upstream has counted.
    n_prompt_tokens: u64,
}

/// A waiter whose turn it is, and the slot it gets.
struct NextTurn {
    waiter: Waiter,
    grant: Grant,
    placed: Placed,
}

impl Admission {
    /// A queue of at most `max_requests` requests and `max_bytes` of them. It has no upstreams yet.
    #[must_use]
    pub fn new(max_requests: usize, max_bytes: usize) -> Self {
        let inner = AdmissionState {
            epoch: Instant::now(),
            slots: Slots::default(),
            queue: FairQueue::new(max_requests, max_bytes),
            is_held: false,
        };
        Self(Arc::new(AdmissionShared {
            inner: Mutex::new(inner),
        }))
    }

    /// Sets how many slots an upstream has; 0 while it does not answer. What runs there goes on. When no upstream has a
    /// slot left, everybody who waits is refused at once, unless [`Admission::hold`] has them wait on.
    pub fn set_slots(&self, upstream: UpstreamId, slots: usize) {
        self.0.lock().slots.set(upstream, slots);
        self.0.dispatch();
    }

    /// While `is_held`, requests wait also when no upstream has a slot, instead of being refused at once.
    pub fn hold(&self, is_held: bool) {
        self.0.lock().is_held = is_held;
        self.0.dispatch();
    }

    /// Sets how many slots of an upstream are taken by others, who ask it directly, and how many requests may start there
    /// before the next call; `None` where that does not matter.
    pub fn set_others(&self, upstream: UpstreamId, n_others: usize, spare: Option<usize>) {
        self.0.lock().slots.set_others(upstream, n_others, spare);
        self.0.dispatch();
    }

    /// Removes an upstream. What runs there goes on.
    pub fn forget(&self, upstream: UpstreamId) {
        self.0.lock().slots.forget(upstream);
        self.0.dispatch();
    }

    /// Our own requests at an upstream.
    #[must_use]
    pub fn ours_at(&self, upstream: UpstreamId) -> Ours {
        self.0.lock().slots.ours_at(upstream)
    }

    /// Whether a request could start now if a slot were free.
    #[must_use]
    pub fn is_short_of_slots(&self) -> bool {
        self.0.lock().queue.first().is_some()
    }

    /// How much waits and runs now.
    #[must_use]
    pub fn load(&self) -> Load {
        let inner = self.0.lock();
        Load {
            waiting: inner.queue.n_requests(),
            waiting_bytes: inner.queue.n_bytes(),
            in_flight: inner.slots.in_flight(),
            slots: inner.slots.total(),
        }
    }

    /// Each key that has something waiting or running.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneStatus> {
        let inner = self.0.lock();
        let any_free = inner.slots.any_free();
        inner.queue.lanes(inner.now(), any_free)
    }

    /// The place in the queue and the estimated wait; `None` when nobody waits there any longer.
    #[must_use]
    pub fn forecast(&self, place: QueuePlace) -> Option<Forecast> {
        let inner = self.0.lock();
        inner.queue.forecast(place, inner.now())
    }

    /// Takes a slot or a place in the queue.
    ///
    /// # Errors
    ///
    /// When no upstream answers, or when the queue is full.
    pub fn enter(&self, asking: &Asking<'_>) -> Result<Ticket, NotAdmitted> {
        self.0.enter(None, asking)
    }

    /// The same for several answers to one request: a ticket for each of them, or no ticket at all.
    ///
    /// # Errors
    ///
    /// When no upstream answers, or when the queue has no room for all of them.
    pub fn enter_all(
        &self,
        asking: &Asking<'_>,
        n_answers: usize,
    ) -> Result<Vec<Ticket>, NotAdmitted> {
        self.0.enter_all(&vec![None; n_answers], asking)
    }

    /// Keeps a place from being given to others, however full the queue is: others of the same answer have begun.
    pub fn keep(&self, place: QueuePlace) {
        self.0.lock().queue.keep(place);
    }

    /// Waits again, in the place that `permit` had: its upstream took nothing of the request.
    ///
    /// # Errors
    ///
    /// When no upstream answers, or when the queue is full.
    pub fn enter_again(&self, permit: Permit, asking: &Asking<'_>) -> Result<Ticket, NotAdmitted> {
        let place = permit.grant.place;
        drop(permit);
        self.0.enter(Some(place), asking)
    }
}

impl AdmissionShared {
    fn lock(&self) -> MutexGuard<'_, AdmissionState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(
        self: &Arc<Self>,
        old_place: Option<QueuePlace>,
        asking: &Asking<'_>,
    ) -> Result<Ticket, NotAdmitted> {
        let mut tickets = self.enter_all(&[old_place], asking)?;
        tickets.pop().ok_or(NotAdmitted::NoUpstream)
    }

    /// A ticket for each of `old_places`, where it is one.
    fn enter_all(
        self: &Arc<Self>,
        old_places: &[Option<QueuePlace>],
        asking: &Asking<'_>,
    ) -> Result<Vec<Ticket>, NotAdmitted> {
        let mut tickets = Vec::with_capacity(old_places.len());
        let mut inner = self.lock();
        if inner.waits_in_vain() {
            return Err(NotAdmitted::NoUpstream);
        }
        for old_place in old_places {
            let (answer, answered) = oneshot::channel();
            let waiter = Waiter {
                answer,
                prefix: asking.prefix.clone(),
                n_prompt_tokens: asking.n_prompt_tokens,
            };
            let place = match *old_place {
                Some(place) => inner.queue.enter_at(place, asking, waiter),
                None => inner.queue.enter(asking, waiter),
            };
            tickets.push(Ticket {
                shared: Arc::clone(self),
                place,
                answered,
                permit: None,
            });
        }
        // Usually this is the newcomer or nobody. But the newcomer may have brought a higher limit of its key, and
        // others of that key may have waited for it.
        let turns: Vec<NextTurn> = std::iter::from_fn(|| inner.next()).collect();
        let newcomers: Vec<QueuePlace> = tickets.iter().map(Ticket::place).collect();
        let dropped = inner.queue.trim(&newcomers);
        let mut refusals = Vec::with_capacity(dropped.len());
        for (place, waiter) in dropped {
            let retry_after_seconds = inner.retry_after_seconds(place);
            refusals.push((
                waiter,
                NotAdmitted::Full {
                    retry_after_seconds,
                },
            ));
        }
        drop(inner);
        for turn in turns {
            self.hand_over(turn);
        }
        for (waiter, refused) in refusals {
            waiter.refuse(refused);
        }
        let mut refusal = None;
        for ticket in &mut tickets {
            match ticket.answered.try_recv() {
                Ok(Ok(permit)) => ticket.permit = Some(permit),
                Ok(Err(refused)) => refusal = Some(refused),
                // It waits.
                Err(_) => {}
            }
        }
        match refusal {
            Some(refused) => Err(refused),
            None => Ok(tickets),
        }
    }

    /// Gives free slots to those who wait, the next in line first. Without any slot it refuses them all, unless they are
    /// held.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut inner = self.lock();
            if inner.waits_in_vain() {
                let waiters = inner.queue.clear();
                drop(inner);
                for waiter in waiters {
                    waiter.refuse(NotAdmitted::NoUpstream);
                }
                return;
            }
            let Some(turn) = inner.next() else {
                return;
            };
            drop(inner);
            self.hand_over(turn);
        }
    }

    /// Call it without the lock: a waiter that has just left drops the permit, and that takes the lock.
    fn hand_over(self: &Arc<Self>, turn: NextTurn) {
        let spent = Spent {
            n_prompt_tokens: turn.waiter.n_prompt_tokens,
            ..Spent::default()
        };
        let permit = Permit {
            shared: Arc::clone(self),
            placed: turn.placed,
            grant: turn.grant,
            since: Instant::now(),
            spent,
            has_begun: false,
            has_token: false,
        };
        drop(turn.waiter.answer.send(Ok(permit)));
    }
}

impl Waiter {
    fn refuse(self, refused: NotAdmitted) {
        // A waiter that has left needs no answer.
        self.answer.send(Err(refused)).ok();
    }
}

impl AdmissionState {
    /// Takes the next in line and the slot it gets.
    fn next(&mut self) -> Option<NextTurn> {
        let placed = self.slots.take(&self.queue.first()?.prefix)?;
        let (grant, waiter) = self.queue.grant(self.epoch.elapsed())?;
        Some(NextTurn {
            waiter,
            grant,
            placed,
        })
    }

    /// Whether no upstream has a slot, and none is expected.
    fn waits_in_vain(&self) -> bool {
        self.slots.total() == 0 && !self.is_held
    }

    fn now(&self) -> QueueNow {
        QueueNow {
            time: self.epoch.elapsed(),
            n_slots: self.slots.total(),
        }
    }

    /// When a further request of the same key would have its slot.
    fn retry_after_seconds(&self, place: QueuePlace) -> u64 {
        let wait = self.queue.wait_of_another(place, self.now());
        (wait.as_secs_f64().ceil() as u64).clamp(1, MAX_RETRY_AFTER_SECONDS)
    }
}

/// A request's place in the queue, or the permit that it got at once. Dropping it gives up both.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<AdmissionShared>,
    place: QueuePlace,
    answered: oneshot::Receiver<Result<Permit, NotAdmitted>>,
    permit: Option<Permit>,
}

impl Ticket {
    /// Whether it got no permit at once.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.permit.is_none()
    }

    /// Waits for the slot, at most until `deadline`. Call it until it returns. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the deadline passes, when others take the place in a full queue, or when the last upstream goes.
    pub async fn permit(&mut self, deadline: Instant) -> Result<Permit, NotAdmitted> {
        if let Some(permit) = self.permit.take() {
            return Ok(permit);
        }
        match tokio::time::timeout_at(deadline, &mut self.answered).await {
            Ok(Ok(answer)) => answer,
            // The queue answers everybody whom it removes, so only the deadline comes here.
            Ok(Err(_)) | Err(_) => {
                let mut inner = self.shared.lock();
                let left = inner.queue.leave(self.place);
                let retry_after_seconds = inner.retry_after_seconds(self.place);
                drop(inner);
                drop(left);
                Err(NotAdmitted::Timeout {
                    retry_after_seconds,
                })
            }
        }
    }

    /// Its place, for [`Admission::forecast`].
    #[must_use]
    pub fn place(&self) -> QueuePlace {
        self.place
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The fields drop afterwards and without the lock. One of them may hold a permit.
        let left = self.shared.lock().queue.leave(self.place);
        drop(left);
    }
}

/// One slot of one upstream, held until the answer's last byte or until the caller leaves.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<AdmissionShared>,
    placed: Placed,
    grant: Grant,
    since: Instant,
    spent: Spent,
    has_begun: bool,
    has_token: bool,
}

impl Permit {
    /// Whose slot it is.
    #[must_use]
    pub fn upstream(&self) -> UpstreamId {
        self.placed.upstream()
    }

    /// The upstream computes. A permit that never begins costs its key nothing.
    pub fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.shared.lock().slots.begin(&self.placed);
        }
    }

    /// A token came. With the first one the slot holds the whole prompt.
    pub fn token(&mut self) {
        if !std::mem::replace(&mut self.has_token, true) {
            self.shared.lock().slots.prefilled(&self.placed);
        }
        self.spent.n_completion_tokens += 1;
    }

    /// The upstream counted. Cached tokens cost their key nothing.
    pub fn counted(&mut self, count: UpstreamCount) {
        let n_cached = count.n_cached_tokens.unwrap_or(0);
        self.spent.n_prompt_tokens = count.n_prompt_tokens.saturating_sub(n_cached);
        self.spent.n_completion_tokens = self
            .spent
            .n_completion_tokens
            .max(count.n_completion_tokens);
        if count.n_cached_tokens.is_some() {
            let counted = PromptCount {
                n_cached,
                n_prompt: count.n_prompt_tokens,
                prefill: count.prefill,
                decode: count.decode,
            };
            self.shared.lock().slots.counted(&self.placed, counted);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.spent.time = self.since.elapsed();
        let mut inner = self.shared.lock();
        inner.slots.give_back(&self.placed, self.has_begun);
        let spent = self.has_begun.then_some(self.spent);
        inner.queue.finish(self.grant, spent);
        drop(inner);
        self.shared.dispatch();
    }
}

#[cfg(test)]
mod tests;
