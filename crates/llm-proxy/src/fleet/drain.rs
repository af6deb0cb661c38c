//! Upstreams that an operator drains before their llama-server is stopped: they get no new requests, and the answers that
//! run there end.
//!
//! While one is drained, requests that find no other upstream wait in the queue, because its successor is expected. An
//! address may be drained before an upstream is there, and so may all that are still to join, for a successor that is to be
//! tried first. Nothing of it outlives the process.

use std::collections::BTreeSet;
use std::str::FromStr;

use admission::placement::UpstreamId;
use llama_client::Upstream;

use super::member::Member;
use super::{Fleet, Roll};

/// Addresses that may be drained at once.
const MAX_DRAINED: usize = 64;

/// No further address can be drained.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_DRAINED} addresses are drained already: resume those that are no longer needed")]
pub(crate) struct TooManyDrained;

/// What an operator drains or resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DrainTarget {
    /// Every upstream that joins from now on; to resume them, those that have joined so.
    New,
    /// The upstream with this address.
    One(Upstream),
}

/// What is drained.
#[derive(Debug, Default)]
pub(super) struct DrainedSet {
    /// `HOST:PORT`, in lower case. Not all of them need be members.
    addresses: BTreeSet<String>,
    /// Whether members that join are drained.
    takes_new: bool,
    /// Those that joined so. They are members.
    joined: BTreeSet<UpstreamId>,
}

impl FromStr for DrainTarget {
    type Err = ();

    /// `new` or `http://HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.parse::<Upstream>() {
            _ if text == "new" => Ok(Self::New),
            Ok(upstream) if !upstream.is_name() => Ok(Self::One(upstream)),
            _ => Err(()),
        }
    }
}

impl DrainedSet {
    /// Whether nobody drains anything.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && !self.takes_new && self.joined.is_empty()
    }

    /// A member joins.
    pub(super) fn joins(&mut self, id: UpstreamId) {
        if self.takes_new {
            self.joined.insert(id);
        }
    }

    /// A member leaves. Its address stays drained if an operator named it.
    pub(super) fn leaves(&mut self, id: UpstreamId) {
        self.joined.remove(&id);
    }
}

impl Roll {
    /// Whether an operator drains it.
    pub(super) fn is_drained(&self, member: &Member) -> bool {
        !self.drained.is_empty()
            && (self.drained.joined.contains(&member.id)
                || self.drained.addresses.contains(&name(&member.upstream)))
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
    /// Gives the target no new requests until it is resumed.
    ///
    /// # Errors
    ///
    /// When too many are drained.
    pub(crate) fn drain(&self, target: &DrainTarget) -> Result<(), TooManyDrained> {
        let mut roll = self.roll();
        match target {
            DrainTarget::New => roll.drained.takes_new = true,
            DrainTarget::One(upstream) => {
                let addresses = &mut roll.drained.addresses;
                let name = name(upstream);
                if addresses.len() >= MAX_DRAINED && !addresses.contains(&name) {
                    return Err(TooManyDrained);
                }
                if addresses.insert(name) {
                    tracing::info!(
                        upstream = upstream.authority(),
                        "the upstream is drained: it gets no new requests"
                    );
                }
            }
        }
        self.tell_admission(&roll);
        // Names are asked more often now.
        self.lost_one.send_replace(());
        Ok(())
    }

    /// Gives the target requests again; everything without one.
    pub(crate) fn resume(&self, target: Option<&DrainTarget>) {
        let mut roll = self.roll();
        match target {
            Some(DrainTarget::New) => {
                roll.drained.takes_new = false;
                roll.drained.joined.clear();
            }
            Some(DrainTarget::One(upstream)) => {
                let Roll {
                    members, drained, ..
                } = &mut *roll;
                let name = name(upstream);
                drained.addresses.remove(&name);
                drained.joined.retain(|id| {
                    let member = members.get(id);
                    member.is_some_and(|member| self::name(&member.upstream) != name)
                });
                tracing::info!(
                    upstream = upstream.authority(),
                    "the upstream gets requests again"
                );
            }
            None => {
                roll.drained = DrainedSet::default();
                tracing::info!("no upstream is drained any more");
            }
        }
        self.tell_admission(&roll);
    }

    /// The addresses that are drained, and `new` while those are that join.
    pub(crate) fn drained_names(&self) -> Vec<String> {
        let roll = self.roll();
        let mut names = roll.drained.addresses.clone();
        let joined = roll
            .drained
            .joined
            .iter()
            .filter_map(|id| roll.members.get(id));
        names.extend(joined.map(|member| name(&member.upstream)));
        names.extend(roll.drained.takes_new.then(|| "new".to_owned()));
        names.into_iter().collect()
    }

    /// Has `admission` know what is drained.
    pub(super) fn tell_admission(&self, roll: &Roll) {
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
