//! The real [`Admission`] as a simulation uses it: who waits at it, who has just got a slot, and what its calls cost.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use admission::placement::{Prefix, UpstreamId};
use admission::{Admission, Asking, NotAdmitted, Permit, QueuePlace, Ticket};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;

/// Nobody gives up.
const PATIENCE: Duration = Duration::from_secs(1 << 30);
/// The one key, which asks for all people, as chat-gateway's does.
const KEY: &str = "chat";

/// What came of a wait, and whose it was.
type Admitted = (usize, Result<Permit, NotAdmitted>);

/// See the file's head.
pub(crate) struct Door {
    pub(crate) admission: Admission,
    pub(crate) meter: DoorMeter,
    at_once: usize,
    waiting: FuturesUnordered<Pin<Box<dyn Future<Output = Admitted>>>>,
}

/// The wall time that calls took, in nanoseconds. Reading the clock is part of it: about 50 ns.
#[derive(Debug, Default)]
pub(crate) struct DoorMeter {
    /// Of each call of `enter`.
    pub(crate) enter: Vec<u32>,
    /// Of each end of a permit, with the choice of who is next and where.
    pub(crate) release: Vec<u32>,
    /// Of each other call.
    pub(crate) other: Vec<u32>,
}

/// A request, as far as the queue sees it.
pub(crate) struct PersonAsking<'a> {
    /// The number under which it is told of its slot.
    pub(crate) number: usize,
    pub(crate) user: &'a str,
    pub(crate) n_prompt_tokens: u64,
    pub(crate) prefix: &'a Prefix,
}

impl Door {
    /// A door to `engines`, each with `slots`. Any number may wait, and `at_once` requests of one person hold a slot.
    pub(crate) fn new(engines: usize, slots: usize, at_once: usize) -> Self {
        let admission = Admission::new(usize::MAX, usize::MAX);
        for engine in 0..engines {
            admission.set_slots(upstream(engine), slots);
        }
        Self {
            admission,
            meter: DoorMeter::default(),
            at_once,
            waiting: FuturesUnordered::new(),
        }
    }

    /// Asks for a slot. [`Door::admitted`] tells what came of it. `None` when no engine is there.
    pub(crate) fn enter(&mut self, person: &PersonAsking<'_>) -> Option<QueuePlace> {
        let asking = Asking {
            caller: KEY,
            weight: NonZeroU32::MIN,
            max_in_flight: usize::MAX,
            user: person.user,
            max_in_flight_of_user: self.at_once,
            n_prompt_tokens: person.n_prompt_tokens,
            max_completion_tokens: 1024,
            n_bytes: person.prefix.n_bytes(),
            prefix: person.prefix,
        };
        let began = std::time::Instant::now();
        let entered = self.admission.enter(&asking);
        self.meter.enter.push(nanos(began));
        let ticket = entered.ok()?;
        let place = ticket.place();
        self.waiting.push(Box::pin(wait(ticket, person.number)));
        Some(place)
    }

    /// The next who has got a slot or was refused; `None` when nobody has.
    pub(crate) fn admitted(&mut self) -> Option<Admitted> {
        self.waiting.next().now_or_never().flatten()
    }

    /// Gives a slot back.
    pub(crate) fn release(&mut self, permit: Permit) {
        let began = std::time::Instant::now();
        drop(permit);
        self.meter.release.push(nanos(began));
    }

    /// Calls what is neither a beginning nor an end, and counts its time.
    pub(crate) fn tell(&mut self, call: impl FnOnce(&Admission)) {
        let began = std::time::Instant::now();
        call(&self.admission);
        self.meter.other.push(nanos(began));
    }
}

impl DoorMeter {
    /// The time of all calls together, in seconds. The longest hundredth is left out: in those the kernel gave the core to
    /// somebody else.
    pub(crate) fn seconds(&mut self) -> f64 {
        let mut nanos = 0;
        for calls in [&mut self.enter, &mut self.release, &mut self.other] {
            calls.sort_unstable();
            let n = calls.len() - calls.len() / 100;
            nanos += calls[..n].iter().map(|call| u64::from(*call)).sum::<u64>();
        }
        nanos as f64 / 1e9
    }
}

async fn wait(mut ticket: Ticket, number: usize) -> Admitted {
    let permit = ticket.permit(Instant::now() + PATIENCE).await;
    (number, permit)
}

/// The wall time since `began`.
pub(crate) fn nanos(began: std::time::Instant) -> u32 {
    u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

/// An engine's name.
pub(crate) fn upstream(engine: usize) -> UpstreamId {
    UpstreamId(engine as u64)
}
