//! Which upstream a request goes to: a pure decision, without clock, lock or I/O.
//!
//! The one that has most of the prompt, unless it is busier than the least busy by more than one request, or by one and
//! the prompt is not worth it; otherwise the least busy. `admission` asks when a slot is free and says when it is free
//! again; nothing here knows of HTTP. The simulation of `cargo xtask bench route` runs this very code.

use std::collections::HashMap;
use std::time::Duration;

mod mirror;
mod pace;
mod prefix;

use mirror::{Outlook, SlotMirror};
use pace::FleetPace;
pub use prefix::Prefix;

/// An upstream for as long as it is a member; no other one ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u64);

/// An upstream with a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Whose slot it is.
    pub upstream: UpstreamId,
    /// How many it has.
    pub slots: usize,
    /// How many of them are busy.
    pub in_flight: usize,
}

/// A decision: which upstream. [`Placement::release`] must hear of its end.
#[derive(Debug)]
pub struct Placed {
    upstream: UpstreamId,
    prompt: Prefix,
    outlook: Option<Outlook>,
}

/// What llama-server counted of one prompt, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptCount {
    /// Tokens that were still there from an earlier prompt.
    pub n_cached: u64,
    /// All tokens of the prompt, the cached ones included.
    pub n_prompt: u64,
    /// How long the others took.
    pub prefill: Duration,
    /// How long the answer took after its first token.
    pub decode: Duration,
}

/// What is known of all upstreams.
#[derive(Debug, Default)]
pub struct Placement {
    mirrors: HashMap<UpstreamId, SlotMirror>,
    pace: FleetPace,
    /// Placements and releases so far.
    now: u64,
}

impl Placement {
    /// Chooses among upstreams with a free slot, of which each upstream has at most one entry in `free`. An empty prompt
    /// stands for one that need not be looked for, because there is no choice.
    pub fn place(&mut self, prompt: &Prefix, free: &[Seat]) -> Option<Placed> {
        let least = free.iter().map(|seat| seat.in_flight).min()?;
        let near = free.iter().filter(|seat| seat.in_flight <= least + 1);
        let mut best: Option<Candidate> = None;
        for seat in near {
            let candidate = self.candidate(prompt, seat);
            if best.as_ref().is_none_or(|best| candidate.is_better(best)) {
                best = Some(candidate);
            }
        }
        let Candidate {
            upstream, outlook, ..
        } = best?;
        self.now += 1;
        if let (Some(outlook), Some(mirror)) = (&outlook, self.mirrors.get_mut(&upstream)) {
            mirror.take(outlook, prompt, self.now);
        }
        Some(Placed {
            upstream,
            prompt: prompt.clone(),
            outlook,
        })
    }

    fn candidate(&mut self, prompt: &Prefix, seat: &Seat) -> Candidate {
        let mut outlook = None;
        if prompt.n_bytes() > 0 {
            let mirror = self
                .mirrors
                .entry(seat.upstream)
                .or_insert_with(SlotMirror::new);
            mirror.resize(seat.slots);
            outlook = mirror.outlook(prompt);
        }
        let n_cached = outlook.map_or(0, |outlook| outlook.n_cached_bytes);
        Candidate {
            upstream: seat.upstream,
            in_flight: seat.in_flight,
            cost: self.pace.cost(prompt.n_bytes() - n_cached, seat.in_flight),
            outlook,
        }
    }

    /// The upstream has computed the whole prompt: its slot holds it now.
    pub fn prefilled(&mut self, placed: &Placed) {
        if let (Some(outlook), Some(mirror)) =
            (&placed.outlook, self.mirrors.get_mut(&placed.upstream))
        {
            mirror.prefilled(outlook);
        }
    }

    /// The upstream said how much of the prompt it still had.
    pub fn counted(&mut self, placed: &Placed, counted: PromptCount) {
        let share = counted.n_cached as f64 / counted.n_prompt.max(1) as f64;
        let n_cached_bytes = (share * placed.prompt.n_bytes() as f64) as usize;
        self.pace.learn(
            placed.prompt.n_bytes() - n_cached_bytes.min(placed.prompt.n_bytes()),
            counted.prefill,
            counted.decode,
        );
        if let (Some(outlook), Some(mirror)) =
            (&placed.outlook, self.mirrors.get_mut(&placed.upstream))
        {
            mirror.counted(outlook, &placed.prompt, n_cached_bytes);
        }
    }

    /// The slot is free again.
    pub fn release(&mut self, placed: &Placed) {
        self.now += 1;
        if let (Some(outlook), Some(mirror)) =
            (&placed.outlook, self.mirrors.get_mut(&placed.upstream))
        {
            mirror.release(outlook, self.now);
        }
    }

    /// The upstream is a member no longer.
    pub fn forget(&mut self, upstream: UpstreamId) {
        self.mirrors.remove(&upstream);
    }
}

/// An upstream that could take the request, and what that would cost.
struct Candidate {
    upstream: UpstreamId,
    in_flight: usize,
    cost: f64,
    outlook: Option<Outlook>,
}

impl Candidate {
    /// The cheaper one is better. Ties go to the upstream with the fewest busy slots, then to the least recently used
    /// slot and upstream.
    fn is_better(&self, other: &Self) -> bool {
        let by_cost = self.cost.total_cmp(&other.cost);
        by_cost.then_with(|| self.rank().cmp(&other.rank())).is_lt()
    }

    fn rank(&self) -> (usize, (u64, u64), UpstreamId) {
        let used_at = self
            .outlook
            .map_or((u64::MAX, u64::MAX), |outlook| outlook.used_at);
        (self.in_flight, used_at, self.upstream)
    }
}

impl Placed {
    /// Where the request goes.
    #[must_use]
    pub fn upstream(&self) -> UpstreamId {
        self.upstream
    }
}

#[cfg(test)]
mod tests;
