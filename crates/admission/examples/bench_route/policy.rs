//! The ways to choose an upstream that are compared. All share one queue: a request leaves it when a slot
//! is free, and the policy says whose slot it gets.

use admission::placement::{Placed, Placement, Prefix, PromptCount, Seat, UpstreamId};

use super::chance::Chance;

/// What peers hash: so many bytes of the prompt.
const HASHED_BYTES: usize = 2048;

/// A way to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Random,
    RoundRobin,
    LeastBusy,
    /// By the prompt's first bytes, the next one when that has no free slot.
    HashOfPrefix,
    Ours,
}

impl Policy {
    pub(crate) const ALL: [Self; 5] = [
        Self::Random,
        Self::RoundRobin,
        Self::LeastBusy,
        Self::HashOfPrefix,
        Self::Ours,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round robin",
            Self::LeastBusy => "least busy",
            Self::HashOfPrefix => "hash of the prefix",
            Self::Ours => "ours",
        }
    }
}

/// A policy with what it remembers.
#[derive(Debug)]
pub(crate) struct Chooser {
    policy: Policy,
    chance: Chance,
    last: u64,
    placement: Placement,
}

impl Chooser {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            chance: Chance::new(1),
            last: 0,
            placement: Placement::default(),
        }
    }

    /// Chooses among `free`, which is not empty and in the order of the upstreams.
    pub(crate) fn choose(&mut self, body: &[u8], free: &[Seat]) -> (usize, Option<Placed>) {
        let seat = match self.policy {
            Policy::Random => &free[self.chance.below(free.len() as u64) as usize],
            Policy::RoundRobin => from(free, self.last + 1),
            Policy::LeastBusy => least_busy(free, &mut self.chance),
            Policy::HashOfPrefix => from(
                free,
                hash(&body[..body.len().min(HASHED_BYTES)]) % (1 + free[free.len() - 1].upstream.0),
            ),
            Policy::Ours => {
                let placed = self
                    .placement
                    .place(&Prefix::of(body), free)
                    .expect("a slot is free");
                return (placed.upstream().0 as usize, Some(placed));
            }
        };
        self.last = seat.upstream.0;
        (seat.upstream.0 as usize, None)
    }

    pub(crate) fn prefilled(&mut self, placed: Option<&Placed>) {
        if let Some(placed) = placed {
            self.placement.prefilled(placed);
        }
    }

    pub(crate) fn counted(&mut self, placed: Option<&Placed>, counted: PromptCount) {
        if let Some(placed) = placed {
            self.placement.counted(placed, counted);
        }
    }

    pub(crate) fn released(&mut self, placed: Option<&Placed>) {
        if let Some(placed) = placed {
            self.placement.release(placed);
        }
    }
}

/// Any of the least busy: the first one of them would be a policy of its own.
fn least_busy<'a>(free: &'a [Seat], chance: &mut Chance) -> &'a Seat {
    let least = free.iter().map(|seat| seat.in_flight).min().unwrap_or(0);
    let n = free.iter().filter(|seat| seat.in_flight == least).count() as u64;
    let at = chance.below(n) as usize;
    free.iter()
        .filter(|seat| seat.in_flight == least)
        .nth(at)
        .unwrap_or(&free[0])
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// For a seat's name.
pub(crate) fn upstream(number: usize) -> UpstreamId {
    UpstreamId(number as u64)
}

/// The first upstream of `free` that has at least this number; after the last comes the first.
fn from(free: &[Seat], number: u64) -> &Seat {
    free.iter()
        .find(|seat| seat.upstream.0 >= number)
        .unwrap_or(&free[0])
}
