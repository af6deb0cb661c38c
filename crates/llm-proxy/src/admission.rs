//! The queue before the slots: bounded, first come first served, never more in flight than slots.
//!
//! A [`Permit`] is one slot of one upstream; dropping it frees the slot for the next in line. A caller that stops
//! waiting is out of the queue at once. It knows nothing of HTTP, and holds no lock while anyone waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::placement::{Counted, Placed, Placement, Prefix, Seat, UpstreamId};

/// The longest `Retry-After`, in seconds.
const MAX_RETRY_AFTER_SECONDS: u64 = 600;
/// How long an answer is taken to last before one has been measured.
const FIRST_GUESS: Duration = Duration::from_secs(5);
/// The weight of the newest answer in the moving mean of their durations.
const NEWEST_WEIGHT: f64 = 0.2;

/// The queue and the count of busy slots. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    metrics: Arc<Metrics>,
    max_waiting: usize,
}

#[derive(Debug)]
struct Inner {
    upstreams: BTreeMap<UpstreamId, Load>,
    placement: Placement,
    waiting: VecDeque<Waiter>,
    next_ticket: u64,
    mean_duration: Duration,
}

/// One upstream's slots: how many there are, 0 while it does not answer, and how many are ours.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    slots: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    prefix: Prefix,
    grant: oneshot::Sender<Permit>,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No upstream answers.
    NoUpstream,
    /// As many requests wait as may.
    Full { retry_after_seconds: u64 },
    /// The wait was longer than the deadline.
    Timeout { retry_after_seconds: u64 },
}

impl Admission {
    /// A queue of at most `max_waiting` before upstreams that are yet to come.
    pub(crate) fn new(max_waiting: usize, metrics: Arc<Metrics>) -> Self {
        let inner = Inner {
            upstreams: BTreeMap::new(),
            placement: Placement::default(),
            waiting: VecDeque::new(),
            next_ticket: 0,
            mean_duration: FIRST_GUESS,
        };
        Self { shared: Arc::new(Shared { inner: Mutex::new(inner), metrics, max_waiting }) }
    }

    /// How many slots an upstream has; 0 when it does not answer. What is in flight there goes on.
    pub(crate) fn set_slots(&self, upstream: UpstreamId, slots: usize) {
        self.shared.lock().upstreams.entry(upstream).or_default().slots = slots;
        self.shared.dispatch();
    }

    /// The upstream is a member no longer. What is in flight there goes on.
    #[expect(dead_code, reason = "members leave once names are resolved again")]
    pub(crate) fn forget(&self, upstream: UpstreamId) {
        let mut inner = self.shared.lock();
        inner.upstreams.remove(&upstream);
        inner.placement.forget(upstream);
        self.shared.measure(&inner);
    }

    /// Waits for a slot, at most until `deadline` from now. Cancel-safe: a dropped wait leaves the queue.
    pub(crate) async fn admit(&self, prefix: Prefix, deadline: Duration) -> Result<Permit, Refused> {
        let (place, granted) = match self.shared.enter(prefix)? {
            Entered::Admitted(permit) => return Ok(permit),
            Entered::Waiting(place, granted) => (place, granted),
        };
        match tokio::time::timeout(deadline, granted).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                drop(place);
                let retry_after_seconds = self.shared.lock().retry_after_seconds();
                Err(Refused::Timeout { retry_after_seconds })
            }
        }
    }
}

enum Entered {
    Admitted(Permit),
    Waiting(Place, oneshot::Receiver<Permit>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, prefix: Prefix) -> Result<Entered, Refused> {
        let mut inner = self.lock();
        if inner.upstreams.values().all(|load| load.slots == 0) {
            return Err(Refused::NoUpstream);
        }
        if inner.waiting.is_empty()
            && let Some(placed) = inner.take(&prefix)
        {
            self.measure(&inner);
            return Ok(Entered::Admitted(self.permit(placed)));
        }
        if inner.waiting.len() >= self.max_waiting {
            return Err(Refused::Full { retry_after_seconds: inner.retry_after_seconds() });
        }
        let (grant, granted) = oneshot::channel();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiting.push_back(Waiter { ticket, prefix, grant });
        self.measure(&inner);
        Ok(Entered::Waiting(Place { shared: Arc::clone(self), ticket }, granted))
    }

    /// Gives free slots to those who wait, longest first.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut inner = self.lock();
            let next = inner.next();
            self.measure(&inner);
            drop(inner);
            let Some((waiter, placed)) = next else { return };
            // A waiter that has just left drops the permit, which comes back here for the next one.
            let _left = waiter.grant.send(self.permit(placed));
        }
    }

    fn permit(self: &Arc<Self>, placed: Placed) -> Permit {
        Permit { shared: Arc::clone(self), placed, since: Instant::now() }
    }

    fn measure(&self, inner: &Inner) {
        let sum = |part: fn(&Load) -> usize| inner.upstreams.values().map(part).sum::<usize>() as i64;
        self.metrics.queue_depth.set(inner.waiting.len() as i64);
        self.metrics.in_flight.set(sum(|load| load.in_flight));
        self.metrics.slots.set(sum(|load| load.slots));
    }
}

impl Inner {
    /// Takes a free slot for whoever waits longest.
    fn next(&mut self) -> Option<(Waiter, Placed)> {
        let waiter = self.waiting.pop_front()?;
        match self.take(&waiter.prefix) {
            Some(placed) => Some((waiter, placed)),
            None => {
                self.waiting.push_front(waiter);
                None
            }
        }
    }

    /// Takes a free slot, if there is one, of the upstream that suits best.
    fn take(&mut self, prefix: &Prefix) -> Option<Placed> {
        let free = self.upstreams.iter().filter(|(_, load)| load.in_flight < load.slots);
        let seat = |(upstream, load): (&UpstreamId, &Load)| Seat {
            upstream: *upstream,
            slots: load.slots,
            in_flight: load.in_flight,
        };
        let seats: Vec<Seat> = free.map(seat).collect();
        let placed = self.placement.place(prefix, &seats)?;
        self.upstreams.entry(placed.upstream()).or_default().in_flight += 1;
        Some(placed)
    }

    /// When a request that comes now would have its slot, if answers last as long as they did.
    fn retry_after_seconds(&self) -> u64 {
        let slots = self.upstreams.values().map(|load| load.slots).sum::<usize>().max(1);
        let turns = (self.waiting.len() + 1) as f64 / slots as f64;
        ((self.mean_duration.as_secs_f64() * turns).ceil() as u64).clamp(1, MAX_RETRY_AFTER_SECONDS)
    }
}

/// A place in the queue; dropping it gives it up.
struct Place {
    shared: Arc<Shared>,
    ticket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        if let Some(at) = inner.waiting.iter().position(|waiter| waiter.ticket == self.ticket) {
            inner.waiting.remove(at);
            self.shared.measure(&inner);
        }
    }
}

/// One slot of one upstream, held until the answer's last byte or the caller's going.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    placed: Placed,
    since: Instant,
}

impl Permit {
    /// Whose slot it is.
    pub(crate) fn upstream(&self) -> UpstreamId {
        self.placed.upstream()
    }

    /// The first token came: the slot holds the whole prompt.
    pub(crate) fn prefilled(&self) {
        self.shared.lock().placement.prefilled(&self.placed);
    }

    /// The upstream said how much of the prompt it still had.
    pub(crate) fn counted(&self, counted: Counted) {
        self.shared.lock().placement.counted(&self.placed, counted);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        // It may have left the fleet meanwhile.
        if let Some(load) = inner.upstreams.get_mut(&self.placed.upstream()) {
            load.in_flight -= 1;
        }
        inner.placement.release(&self.placed);
        let newest = self.since.elapsed().mul_f64(NEWEST_WEIGHT);
        inner.mean_duration = inner.mean_duration.mul_f64(1.0 - NEWEST_WEIGHT) + newest;
        drop(inner);
        self.shared.dispatch();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Admission, Refused};
    use crate::metrics::Metrics;
    use crate::placement::{Prefix, UpstreamId};

    const SHORT: Duration = Duration::from_secs(1);

    fn admission(max_waiting: usize) -> Admission {
        Admission::new(max_waiting, Arc::new(Metrics::new().0))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_served_in_the_order_they_came() {
        let admission = admission(8);
        admission.set_slots(UpstreamId(0), 1);
        let held = admission.admit(Prefix::default(), SHORT).await.unwrap();
        let order = std::sync::Mutex::new(Vec::new());
        let wait = |name| {
            let (admission, order) = (&admission, &order);
            async move {
                let permit = admission.admit(Prefix::default(), SHORT).await.unwrap();
                order.lock().unwrap().push(name);
                drop(permit);
            }
        };
        let release = async move { drop(held) };
        tokio::join!(wait(1), wait(2), wait(3), release);
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_a_long_wait_at_its_deadline() {
        let admission = admission(1);
        admission.set_slots(UpstreamId(0), 1);
        let _held = admission.admit(Prefix::default(), SHORT).await.unwrap();
        let began = Instant::now();
        let (waited, refused) = tokio::join!(
            admission.admit(Prefix::default(), SHORT),
            admission.admit(Prefix::default(), SHORT)
        );
        assert_eq!(refused.unwrap_err(), Refused::Full { retry_after_seconds: 10 });
        assert_eq!(waited.unwrap_err(), Refused::Timeout { retry_after_seconds: 5 });
        assert_eq!(began.elapsed(), SHORT);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_waiting_is_out_of_the_queue_at_once() {
        let admission = admission(1);
        admission.set_slots(UpstreamId(0), 1);
        let held = admission.admit(Prefix::default(), SHORT).await.unwrap();
        {
            let mut leaving = std::pin::pin!(admission.admit(Prefix::default(), SHORT));
            assert!(futures_util::poll!(leaving.as_mut()).is_pending());
            assert_eq!(admission.shared.metrics.queue_depth.get(), 1);
        }
        assert_eq!(admission.shared.metrics.queue_depth.get(), 0);
        drop(held);
        drop(admission.admit(Prefix::default(), SHORT).await.unwrap());
        assert_eq!(admission.shared.metrics.in_flight.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_busy_upstream_is_taken_and_one_that_is_down_is_not() {
        let admission = admission(0);
        assert_eq!(admission.admit(Prefix::default(), SHORT).await.unwrap_err(), Refused::NoUpstream);
        admission.set_slots(UpstreamId(0), 2);
        admission.set_slots(UpstreamId(1), 2);
        let mut held = Vec::new();
        for upstream in [0, 1, 0] {
            let permit = admission.admit(Prefix::default(), SHORT).await.unwrap();
            assert_eq!(permit.upstream(), UpstreamId(upstream));
            held.push(permit);
        }
        admission.set_slots(UpstreamId(1), 0);
        assert!(matches!(admission.admit(Prefix::default(), SHORT).await, Err(Refused::Full { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_that_come_back_serve_those_who_waited() {
        let admission = admission(4);
        admission.set_slots(UpstreamId(0), 1);
        let held = admission.admit(Prefix::default(), SHORT).await.unwrap();
        let waiting = admission.admit(Prefix::default(), SHORT);
        let restart = async {
            admission.set_slots(UpstreamId(0), 0);
            drop(held);
            admission.set_slots(UpstreamId(0), 3);
        };
        let (permit, ()) = tokio::join!(waiting, restart);
        assert_eq!(permit.unwrap().upstream(), UpstreamId(0));
    }
}
