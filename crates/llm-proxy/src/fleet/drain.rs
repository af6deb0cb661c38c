//! Upstreams that an operator drains before their llama-server is stopped: they get no new requests, and the answers that
//! run there end.
//!
//! While one is drained, requests that find no other upstream wait in the queue, because its successor is expected. An
//! address may be drained before an upstream is there. Nothing of it outlives the process.

use llama_client::Upstream;

use super::member::Member;
use super::{Fleet, Roll};

/// Addresses that may be drained at once.
const MAX_DRAINED: usize = 64;

/// No further address can be drained.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_DRAINED} addresses are drained already: resume those that are no longer needed")]
pub(crate) struct TooManyDrained;

impl Roll {
    /// Whether an operator drains it.
    pub(super) fn is_drained(&self, member: &Member) -> bool {
        !self.drained.is_empty() && self.drained.contains(&name(&member.upstream))
    }

    /// How many requests may run there.
    pub(super) fn usable_slots(&self, member: &Member) -> usize {
        match self.is_drained(member) {
            true => 0,
            false => member.status().slots(),
        }
    }
}

impl Fleet {
    /// Gives the upstream no new requests until it is resumed.
    ///
    /// # Errors
    ///
    /// When too many are drained.
    pub(crate) fn drain(&self, upstream: &Upstream) -> Result<(), TooManyDrained> {
        let name = name(upstream);
        let mut roll = self.roll();
        if roll.drained.len() >= MAX_DRAINED && !roll.drained.contains(&name) {
            return Err(TooManyDrained);
        }
        if roll.drained.insert(name) {
            tracing::info!(
                upstream = upstream.authority(),
                "the upstream is drained: it gets no new requests"
            );
        }
        self.tell_admission(&roll);
        Ok(())
    }

    /// Gives the upstream requests again; all of them without one.
    pub(crate) fn resume(&self, upstream: Option<&Upstream>) {
        let mut roll = self.roll();
        let before = roll.drained.len();
        match upstream {
            Some(upstream) => drop(roll.drained.remove(&name(upstream))),
            None => roll.drained.clear(),
        }
        if roll.drained.len() < before {
            let upstream = upstream.map_or("all", Upstream::authority);
            tracing::info!(upstream, "the upstream gets requests again");
        }
        self.tell_admission(&roll);
    }

    /// The addresses that are drained.
    pub(crate) fn drained_addresses(&self) -> Vec<String> {
        self.roll().drained.iter().cloned().collect()
    }

    fn tell_admission(&self, roll: &Roll) {
        // Held first: those who wait must not be refused because the last slot is gone.
        if !roll.drained.is_empty() {
            self.admission.hold(true);
        }
        for member in roll.members.values() {
            self.admission
                .set_slots(member.id, roll.usable_slots(member));
        }
        self.admission.hold(!roll.drained.is_empty());
    }
}

fn name(upstream: &Upstream) -> String {
    upstream.authority().to_ascii_lowercase()
}
