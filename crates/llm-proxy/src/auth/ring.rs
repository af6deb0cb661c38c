//! The keys that are in force together: from a digest to its caller.
//!
//! A ring never changes; a reload puts another in its place. What a key has used goes from one to the next by its name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::auth::caller::Caller;
use crate::auth::file::{Entry, Problems};
use crate::auth::key::Digest;

/// The key of `LLM_API_KEY`: it comes from the environment and stands beside those of the file.
pub(super) type Fixed = (Digest, Arc<Caller>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring(HashMap<Digest, Arc<Caller>>);

impl Ring {
    pub(super) fn get(&self, digest: Digest) -> Option<&Arc<Caller>> {
        self.0.get(&digest)
    }

    /// The fixed key alone.
    pub(super) fn of(fixed: Option<&Fixed>) -> Self {
        Self(
            fixed
                .map(|(digest, caller)| (*digest, Arc::clone(caller)))
                .into_iter()
                .collect(),
        )
    }

    /// The fixed key and those of the file, which go on from what they have used in `before`.
    pub(super) fn new(
        fixed: Option<&Fixed>,
        entries: Vec<Entry>,
        before: &Self,
    ) -> Result<Self, Problems> {
        let mut ring = Self::of(fixed).0;
        ring.reserve(entries.len());
        let used: HashMap<&str, &Arc<Caller>> = before
            .0
            .values()
            .map(|caller| (&*caller.name, caller))
            .collect();
        for Entry {
            digests,
            mut caller,
            line,
        } in entries
        {
            if let Some((digest, fixed)) = fixed
                && (fixed.name == caller.name || digests.contains(digest))
            {
                let what = if fixed.name == caller.name {
                    "name"
                } else {
                    "sha256"
                };
                let name = &caller.name;
                return Err(Problems::one(
                    line,
                    format!(
                        ", key \"{name}\": `{what}` is that of LLM_API_KEY; keep the key in one of the two places"
                    ),
                ));
            }
            if let Some(before) = used.get(&*caller.name) {
                caller.usage = Arc::clone(&before.usage);
            }
            let caller = Arc::new(caller);
            ring.extend(
                digests
                    .into_iter()
                    .map(|digest| (digest, Arc::clone(&caller))),
            );
        }
        Ok(Self(ring))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
