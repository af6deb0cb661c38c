//! The keys that are in force together: from a digest to its caller.
//!
//! A ring never changes; a reload replaces it. What a key has used goes from one ring to the next by the key's name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::auth::caller::Caller;
use crate::auth::file::KeyEntry;
use crate::auth::key::KeyDigest;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring {
    callers: HashMap<KeyDigest, Arc<Caller>>,
    /// Keys of the file.
    pub(super) n_named: usize,
}

impl Ring {
    pub(super) fn get(&self, digest: KeyDigest) -> Option<&Arc<Caller>> {
        self.callers.get(&digest)
    }

    /// One caller for each name, by name: a key has as many callers as digests.
    pub(super) fn by_name(&self) -> BTreeMap<Arc<str>, Arc<Caller>> {
        let callers = self.callers.values();
        callers
            .map(|caller| (Arc::clone(&caller.name), Arc::clone(caller)))
            .collect()
    }

    /// The key of `LLM_API_KEY` alone.
    pub(super) fn of(fixed: Option<&Arc<Caller>>) -> Self {
        let callers = fixed.map(|caller| (caller.digest, Arc::clone(caller)));
        Self {
            callers: callers.into_iter().collect(),
            n_named: 0,
        }
    }

    /// The key of `LLM_API_KEY` and those of the file, which go on from what they have used in `before`.
    ///
    /// # Errors
    ///
    /// When the file names the key of `LLM_API_KEY` again.
    pub(super) fn new(
        fixed: Option<&Arc<Caller>>,
        entries: Vec<KeyEntry>,
        before: &Self,
    ) -> Result<Self, String> {
        let mut ring = Self::of(fixed);
        ring.n_named = entries.len();
        let callers = before.callers.values();
        let used: HashMap<&str, &Arc<Caller>> =
            callers.map(|caller| (&*caller.name, caller)).collect();
        for KeyEntry {
            digests,
            mut caller,
        } in entries
        {
            if fixed
                .is_some_and(|fixed| fixed.name == caller.name || digests.contains(&fixed.digest))
            {
                let name = &caller.name;
                return Err(format!(
                    "the key \"{name}\" has the name or the digest of LLM_API_KEY: keep it in one place"
                ));
            }
            if let Some(before) = used.get(&*caller.name) {
                caller.usage = Arc::clone(&before.usage);
            }
            for digest in digests {
                let caller = Caller {
                    digest,
                    ..caller.clone()
                };
                ring.callers.insert(digest, Arc::new(caller));
            }
        }
        Ok(ring)
    }
}
