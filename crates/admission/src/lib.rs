//! The queue before the slots: fair across keys, bounded, never more in flight than slots.
//!
//! A [`Permit`] is one slot of one upstream; dropping it frees the slot for the next in line. Who is next is decided
//! in `queue`, whose slot it gets in `slots`, both when a slot is free and not before. A caller that stops waiting is
//! out of the queue at once. It knows nothing of HTTP, and holds no lock while anyone waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub mod placement;
mod queue;
mod slots;

use placement::{Counted, Placed, Prefix, UpstreamId};
pub use queue::{Asking, Forecast};
use queue::{Grant, Now, Place, Queue, Spent};
pub use slots::Ours;
use slots::Slots;

/// The longest `Retry-After`, in seconds.
const MAX_RETRY_AFTER_SECONDS: u64 = 600;

/// The queue and the count of busy slots. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
}

/// How much waits and runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// What those take of the memory, in bytes.
    pub waiting_bytes: usize,
    /// Requests that hold a slot.
    pub in_flight: usize,
    /// Slots of all upstreams that answer.
    pub slots: usize,
}

/// One key's lane, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The key's name.
    pub caller: String,
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests with a slot.
    pub running: usize,
    /// How long a further request of this key would wait.
    pub wait: Duration,
}

/// What an upstream counted of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCount {
    /// All tokens of the prompt.
    pub n_prompt_tokens: u64,
    /// Those of them that the upstream still had, when it says so.
    pub n_cached_tokens: Option<u64>,
    /// Tokens of the completion.
    pub n_completion_tokens: u64,
    /// How long the uncached part of the prompt took; zero when it does not say so.
    pub prefill: Duration,
    /// How long the answer took after its first token; zero when it does not say so.
    pub decode: Duration,
}

#[derive(Debug)]
struct Inner {
    /// Where the queue's clock begins.
    epoch: Instant,
    slots: Slots,
    queue: Queue<Waiter>,
}

/// What is kept of a request that waits.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<Permit, Refused>>,
    prefix: Prefix,
    /// The estimate, until the upstream has counted.
    n_prompt_tokens: u64,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No upstream answers.
    NoUpstream,
    /// As many requests wait as may, or as many bytes of them.
    Full {
        /// When a further request of the same key would have its slot.
        retry_after_seconds: u64,
    },
    /// The wait was longer than the deadline.
    Timeout {
        /// When a further request of the same key would have its slot.
        retry_after_seconds: u64,
    },
}

/// What became of a request at once.
pub enum Entered {
    /// It has its slot.
    Admitted(Permit),
    /// It has a place in the queue.
    Waiting(Waiting),
}

impl Entered {
    /// Waits for the slot, at most until `deadline` from now. A dropped wait leaves the queue.
    pub async fn permit(self, deadline: Duration) -> Result<Permit, Refused> {
        match self {
            Self::Admitted(permit) => Ok(permit),
            Self::Waiting(waiting) => waiting.permit(deadline).await,
        }
    }
}

impl Admission {
    /// A queue of at most `max_requests` requests and `max_bytes` of them, before upstreams that are yet to come.
    pub fn new(max_requests: usize, max_bytes: usize) -> Self {
        let inner = Inner {
            epoch: Instant::now(),
            slots: Slots::default(),
            queue: Queue::new(max_requests, max_bytes),
        };
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
            }),
        }
    }

    /// How many slots an upstream has; 0 when it does not answer. What is in flight there goes on. When none is left
    /// anywhere, everybody who waits is refused at once.
    pub fn set_slots(&self, upstream: UpstreamId, slots: usize) {
        let mut inner = self.shared.lock();
        inner.slots.set(upstream, slots);
        let refused = inner.refused();
        drop(inner);
        refuse_all(refused);
        self.shared.dispatch();
    }

    /// Our own requests at an upstream.
    pub fn ours_at(&self, upstream: UpstreamId) -> Ours {
        self.shared.lock().slots.ours_at(upstream)
    }

    /// Whether somebody could start now if a slot were free.
    #[must_use]
    pub fn is_short_of_slots(&self) -> bool {
        self.shared.lock().queue.first().is_some()
    }

    /// How much waits and runs now.
    #[must_use]
    pub fn load(&self) -> Load {
        let inner = self.shared.lock();
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
        let inner = self.shared.lock();
        let any_free = inner.slots.any_free();
        inner.queue.lanes(inner.now(), any_free)
    }

    /// How many slots of an upstream others have taken, who ask it directly, and how many requests may start there
    /// before the next call; `None` when that does not matter.
    pub fn set_others(&self, upstream: UpstreamId, n_others: usize, spare: Option<usize>) {
        self.shared
            .lock()
            .slots
            .set_others(upstream, n_others, spare);
        self.shared.dispatch();
    }

    /// The upstream is a member no longer. What is in flight there goes on. When none is left, everybody who waits is
    /// refused at once.
    pub fn forget(&self, upstream: UpstreamId) {
        let mut inner = self.shared.lock();
        inner.slots.forget(upstream);
        let refused = inner.refused();
        drop(inner);
        refuse_all(refused);
    }

    /// Waits again, in the place that `permit` had: its upstream took nothing of the request.
    pub async fn admit_again(
        &self,
        permit: Permit,
        asking: &Asking<'_>,
        prefix: Prefix,
        deadline: Duration,
    ) -> Result<Permit, Refused> {
        let place = permit.grant.place;
        drop(permit);
        self.enter_at(Some(place), asking, prefix)?
            .permit(deadline)
            .await
    }

    /// Takes a slot or a place in the queue.
    pub fn enter(&self, asking: &Asking<'_>, prefix: Prefix) -> Result<Entered, Refused> {
        self.enter_at(None, asking, prefix)
    }

    fn enter_at(
        &self,
        place: Option<Place>,
        asking: &Asking<'_>,
        prefix: Prefix,
    ) -> Result<Entered, Refused> {
        let (answer, mut answered) = oneshot::channel();
        let mut inner = self.shared.lock();
        if inner.slots.total() == 0 {
            return Err(Refused::NoUpstream);
        }
        let waiter = Waiter {
            answer,
            prefix,
            n_prompt_tokens: asking.n_prompt_tokens,
        };
        let place = match place {
            Some(place) => {
                inner.queue.enter_at(place, asking, waiter);
                place
            }
            None => inner.queue.enter(asking, waiter),
        };
        // As a rule that is the newcomer or nobody; but it may have told of a higher limit of its key, for which others
        // have waited.
        let granted: Vec<_> = std::iter::from_fn(|| inner.next()).collect();
        let dropped = inner.queue.trim(place);
        let refusals: Vec<_> = dropped
            .into_iter()
            .map(|(place, waiter)| {
                let retry_after_seconds = inner.retry_after_seconds(place);
                (
                    waiter,
                    Refused::Full {
                        retry_after_seconds,
                    },
                )
            })
            .collect();
        drop(inner);
        granted
            .into_iter()
            .for_each(|granted| self.shared.hand_over(granted));
        for (waiter, refused) in refusals {
            let _left = waiter.answer.send(Err(refused));
        }
        match answered.try_recv() {
            Ok(answer) => answer.map(Entered::Admitted),
            Err(_) => Ok(Entered::Waiting(Waiting {
                place: Held {
                    shared: Arc::clone(&self.shared),
                    place,
                },
                answered,
            })),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free slots to those who wait, the next in line first.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut inner = self.lock();
            let granted = inner.next();
            drop(inner);
            let Some(granted) = granted else { return };
            self.hand_over(granted);
        }
    }

    fn hand_over(self: &Arc<Self>, (waiter, grant, placed): Granted) {
        let permit = Permit {
            shared: Arc::clone(self),
            placed,
            grant,
            since: Instant::now(),
            spent: Spent {
                n_prompt_tokens: waiter.n_prompt_tokens,
                ..Spent::default()
            },
            has_begun: false,
            has_token: false,
        };
        // A waiter that has just left drops the permit, and that frees the slot for the next one.
        let _left = waiter.answer.send(Ok(permit));
    }
}

type Granted = (Waiter, Grant, Placed);

/// Tells those who waited that no upstream is left. Not to be called under the lock.
fn refuse_all(waiters: Vec<Waiter>) {
    for waiter in waiters {
        // Whoever has just left needs no answer.
        waiter.answer.send(Err(Refused::NoUpstream)).ok();
    }
}

impl Inner {
    /// The next in line, and the slot it gets.
    fn next(&mut self) -> Option<Granted> {
        let placed = self.slots.take(&self.queue.first()?.prefix)?;
        let (grant, waiter) = self.queue.grant(self.epoch.elapsed())?;
        Some((waiter, grant, placed))
    }

    /// Everybody who waits, once there is nothing left to wait for.
    fn refused(&mut self) -> Vec<Waiter> {
        match self.slots.total() {
            0 => self.queue.take_all(),
            _ => Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            time: self.epoch.elapsed(),
            n_slots: self.slots.total(),
        }
    }

    /// When a further request of the same key would have its slot.
    fn retry_after_seconds(&self, place: Place) -> u64 {
        let wait = self.queue.wait_of_another(place, self.now());
        (wait.as_secs_f64().ceil() as u64).clamp(1, MAX_RETRY_AFTER_SECONDS)
    }
}

/// A request that waits; dropping it gives its place up.
pub struct Waiting {
    place: Held,
    answered: oneshot::Receiver<Result<Permit, Refused>>,
}

impl Waiting {
    async fn permit(self, deadline: Duration) -> Result<Permit, Refused> {
        let Self { place, answered } = self;
        let waited = tokio::time::timeout(deadline, answered).await;
        if let Ok(Ok(answer)) = waited {
            return answer;
        }
        let (shared, at) = (Arc::clone(&place.shared), place.place);
        drop(place);
        let retry_after_seconds = shared.lock().retry_after_seconds(at);
        Err(Refused::Timeout {
            retry_after_seconds,
        })
    }

    /// For looking at the place while [`Waiting::permit`] waits.
    pub fn watch(&self) -> Watch {
        Watch {
            shared: Arc::clone(&self.place.shared),
            place: self.place.place,
        }
    }
}

/// Sees how a place in the queue moves, without holding it.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    place: Place,
}

impl Watch {
    /// What the caller may expect; `None` once it waits no longer.
    pub fn forecast(&self) -> Option<Forecast> {
        let inner = self.shared.lock();
        inner.queue.forecast(self.place, inner.now())
    }
}

struct Held {
    shared: Arc<Shared>,
    place: Place,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        let left = inner.queue.leave(self.place);
        drop(inner);
        drop(left);
    }
}

/// One slot of one upstream, held until the answer's last byte or the caller's going.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    placed: Placed,
    grant: Grant,
    since: Instant,
    spent: Spent,
    has_begun: bool,
    has_token: bool,
}

impl Permit {
    /// Whose slot it is.
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

    /// What the upstream counted. Tokens that it still had cost their key nothing.
    pub fn counted(&mut self, count: UpstreamCount) {
        let n_cached = count.n_cached_tokens.unwrap_or(0);
        self.spent.n_prompt_tokens = count.n_prompt_tokens.saturating_sub(n_cached);
        self.spent.n_completion_tokens = self
            .spent
            .n_completion_tokens
            .max(count.n_completion_tokens);
        if count.n_cached_tokens.is_some() {
            let counted = Counted {
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
        inner
            .queue
            .finish(self.grant, self.has_begun.then_some(self.spent));
        drop(inner);
        self.shared.dispatch();
    }
}

#[cfg(test)]
mod tests;
