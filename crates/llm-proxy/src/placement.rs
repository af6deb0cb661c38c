//! Which upstream a request goes to: a pure decision, without clock, lock or I/O.
//!
//! `admission` asks when a slot is free and says when it is free again; nothing here knows of HTTP. The simulation of
//! `cargo xtask bench route` runs this very code.

mod prefix;

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
}

/// What llama-server counted of one prompt, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Tokens that were still there from an earlier prompt.
    pub n_cached: u64,
    /// All tokens of the prompt, the cached ones included.
    pub n_prompt: u64,
}

/// What is known of all upstreams.
#[derive(Debug, Default)]
pub struct Placement {}

impl Placement {
    /// Chooses among upstreams with a free slot, of which each upstream has at most one entry in `free`.
    pub fn place(&mut self, prefix: &Prefix, free: &[Seat]) -> Option<Placed> {
        let _ = prefix;
        let seat = free.iter().min_by_key(|seat| (seat.in_flight, seat.upstream))?;
        Some(Placed { upstream: seat.upstream })
    }

    /// The upstream has computed the whole prompt: its slot holds it now.
    pub fn prefilled(&mut self, placed: &Placed) {
        let _ = placed;
    }

    /// The upstream said how much of the prompt it still had.
    pub fn counted(&mut self, placed: &Placed, counted: Counted) {
        let _ = (placed, counted);
    }

    /// The slot is free again.
    pub fn release(&mut self, placed: &Placed) {
        let _ = placed;
    }

    /// The upstream is a member no longer.
    pub fn forget(&mut self, upstream: UpstreamId) {
        let _ = upstream;
    }
}

impl Placed {
    /// Where the request goes.
    #[must_use]
    pub fn upstream(&self) -> UpstreamId {
        self.upstream
    }
}
