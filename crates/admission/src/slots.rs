//! The slots of all upstreams: how many there are, how many are taken, and which of the free ones a request gets.

use std::collections::BTreeMap;

use crate::placement::{Placed, Placement, Prefix, PromptCount, Seat, UpstreamId};

/// One upstream's slots: how many there are, 0 while it does not answer, how many are ours, and how many others took.
#[derive(Clone, Copy, Debug, Default)]
struct UpstreamLoad {
    slots: usize,
    in_flight: usize,
    others: usize,
}

impl UpstreamLoad {
    fn is_free(self) -> bool {
        self.in_flight + self.others < self.slots
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
    pub(super) fn set_others(&mut self, upstream: UpstreamId, others: usize) {
        if let Some(load) = self.upstreams.get_mut(&upstream) {
            load.others = others;
        }
    }

    pub(super) fn forget(&mut self, upstream: UpstreamId) {
        self.upstreams.remove(&upstream);
        self.placement.forget(upstream);
    }

    pub(super) fn total(&self) -> usize {
        self.upstreams.values().map(|load| load.slots).sum()
    }

    /// How many requests hold a slot there.
    pub(super) fn in_flight_at(&self, upstream: UpstreamId) -> usize {
        self.upstreams
            .get(&upstream)
            .map_or(0, |load| load.in_flight)
    }

    /// How many slots others hold there.
    pub(super) fn others_at(&self, upstream: UpstreamId) -> usize {
        self.upstreams.get(&upstream).map_or(0, |load| load.others)
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
        self.upstreams
            .entry(placed.upstream())
            .or_default()
            .in_flight += 1;
        Some(placed)
    }

    pub(super) fn give_back(&mut self, placed: &Placed) {
        // It may have left the fleet meanwhile.
        if let Some(load) = self.upstreams.get_mut(&placed.upstream()) {
            load.in_flight -= 1;
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
