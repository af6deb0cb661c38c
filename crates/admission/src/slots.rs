//! The slots of all upstreams: how many there are, how many are taken, and which of the free ones a request gets.

use std::collections::BTreeMap;

use crate::placement::{Placed, Placement, Prefix, PromptCount, Seat, UpstreamId};

/// One upstream's slots.
#[derive(Clone, Copy, Debug, Default)]
struct UpstreamLoad {
    /// How many there are; 0 while it does not answer.
    slots: usize,
    in_flight: usize,
    /// Those of ours that the upstream computes.
    computing: usize,
    /// How many it ever began to compute.
    begun: u64,
    /// Slots that others took, who ask it directly.
    others: usize,
    /// How many requests may start before others are looked for again; `None` while there are none.
    spare: Option<usize>,
}

/// Our own requests at an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// Those that hold a slot.
    pub in_flight: usize,
    /// Those of them that the upstream computes.
    pub computing: usize,
    /// How many it ever began to compute.
    pub begun: u64,
}

impl UpstreamLoad {
    fn is_free(self) -> bool {
        self.in_flight + self.others < self.slots && self.spare != Some(0)
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Slots {
    upstreams: BTreeMap<UpstreamId, UpstreamLoad>,
    placement: Placement,
}

impl Slots {
    pub(super) fn set(&mut self, upstream: UpstreamId, slots: usize) {
        self.upstreams.entry(upstream).or_default().slots = slots;
    }

    /// Nothing, for an upstream that has left.
    pub(super) fn set_others(&mut self, upstream: UpstreamId, others: usize, spare: Option<usize>) {
        if let Some(load) = self.upstreams.get_mut(&upstream) {
            load.others = others;
            load.spare = spare;
        }
    }

    pub(super) fn forget(&mut self, upstream: UpstreamId) {
        self.upstreams.remove(&upstream);
        self.placement.forget(upstream);
    }

    pub(super) fn total(&self) -> usize {
        self.upstreams.values().map(|load| load.slots).sum()
    }

    pub(super) fn ours_at(&self, upstream: UpstreamId) -> Ours {
        let load = self.upstreams.get(&upstream).copied().unwrap_or_default();
        Ours {
            in_flight: load.in_flight,
            computing: load.computing,
            begun: load.begun,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.upstreams.values().map(|load| load.in_flight).sum()
    }

    pub(super) fn any_free(&self) -> bool {
        self.upstreams.values().any(|load| load.is_free())
    }

    /// Takes a free slot, if there is one, of the upstream that suits best.
    pub(super) fn take(&mut self, prefix: &Prefix) -> Option<Placed> {
        let mut seats = Vec::with_capacity(self.upstreams.len());
        for (upstream, load) in &self.upstreams {
            if load.is_free() {
                seats.push(Seat {
                    upstream: *upstream,
                    slots: load.slots,
                    in_flight: load.in_flight + load.others,
                });
            }
        }
        let placed = self.placement.place(prefix, &seats)?;
        let load = self.upstreams.entry(placed.upstream()).or_default();
        load.in_flight += 1;
        load.spare = load.spare.map(|spare| spare.saturating_sub(1));
        Some(placed)
    }

    /// The upstream computes a request that holds a slot there.
    pub(super) fn begin(&mut self, placed: &Placed) {
        if let Some(load) = self.upstreams.get_mut(&placed.upstream()) {
            load.computing += 1;
            load.begun += 1;
        }
    }

    /// The slot is free for the next of ours at once, because nobody else had the time to take it.
    pub(super) fn give_back(&mut self, placed: &Placed, has_begun: bool) {
        // It may have left the fleet meanwhile.
        if let Some(load) = self.upstreams.get_mut(&placed.upstream()) {
            load.in_flight -= 1;
            load.computing -= usize::from(has_begun);
            load.spare = load.spare.map(|spare| spare + 1);
        }
        self.placement.release(placed);
    }

    pub(super) fn prefilled(&mut self, placed: &Placed) {
        self.placement.prefilled(placed);
    }

    pub(super) fn counted(&mut self, placed: &Placed, counted: PromptCount) {
        self.placement.counted(placed, counted);
    }
}
