//! Requests under which engines died. The second death puts a request into quarantine.
//!
//! A request is known by a keyed digest of what was sent, never by its text; the key is random and ends with the process.
//! The copies of one request share a digest, and one death counts once for all of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// Deaths that put a request into quarantine.
const MAX_DEATHS: u32 = 2;
/// How long a request stays there after the last death.
const QUARANTINE: Duration = Duration::from_secs(600);
/// How long a death is remembered: after its quarantine a request gets one more try, not two.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Requests that are remembered; the one whose death is longest ago makes room.
const MAX_REMEMBERED: usize = 1024;
/// How long an engine may still work on a request whose caller has left.
const LINGERING: Duration = Duration::from_secs(10);
/// Requests without a caller that are remembered for each upstream.
const MAX_LINGERING: usize = 256;

/// What a request is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestDigest(u64);

/// The deaths of all engines, by request.
#[derive(Debug, Default)]
pub(super) struct Poison {
    key: RandomState,
    deaths: Mutex<HashMap<RequestDigest, Deaths>>,
}

#[derive(Clone, Copy, Debug)]
struct Deaths {
    n: u32,
    last: Instant,
}

impl Deaths {
    fn is_quarantined(self, now: Instant) -> bool {
        self.n >= MAX_DEATHS && now - self.last < QUARANTINE
    }
}

impl Poison {
    /// The digest of a request to `path`.
    pub(super) fn digest(&self, path: &str, body: &[u8]) -> RequestDigest {
        RequestDigest(self.key.hash_one((path, body)))
    }

    /// Refuses a request in quarantine.
    pub(super) fn check(&self, digest: RequestDigest) -> Result<(), Error> {
        let now = Instant::now();
        let deaths = self.lock().get(&digest).copied();
        match deaths.is_some_and(|deaths| deaths.is_quarantined(now)) {
            true => Err(Error::RequestQuarantined),
            false => Ok(()),
        }
    }

    /// One engine died under all of `digests`. Returns how many of them are in quarantine now.
    pub(super) fn died_under(&self, digests: impl IntoIterator<Item = RequestDigest>) -> usize {
        let now = Instant::now();
        let mut all = self.lock();
        let mut n_quarantined = 0;
        for digest in digests {
            all.retain(|_, deaths| now - deaths.last < REMEMBERED);
            if all.len() >= MAX_REMEMBERED && !all.contains_key(&digest) {
                let oldest = all.iter().min_by_key(|(_, deaths)| deaths.last);
                if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                    all.remove(&oldest);
                }
            }
            let deaths = all.entry(digest).or_insert(Deaths { n: 0, last: now });
            deaths.n += 1;
            deaths.last = now;
            n_quarantined += usize::from(deaths.is_quarantined(now));
        }
        n_quarantined
    }

    /// How many requests are in quarantine.
    pub(super) fn n_quarantined(&self) -> usize {
        let now = Instant::now();
        let all = self.lock();
        all.values()
            .filter(|deaths| deaths.is_quarantined(now))
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestDigest, Deaths>> {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one engine works on without a caller, from its start to its death, and whom its death was counted for.
#[derive(Debug, Default)]
pub(super) struct EngineLife {
    number: u64,
    /// Requests whose callers left before the answer was complete, the last at the end.
    lingering: VecDeque<(Instant, RequestDigest)>,
    /// The requests under which the life before this one ended.
    fallen: HashSet<RequestDigest>,
}

impl EngineLife {
    /// Which life it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// A request is over that was sent in `life`, and its answer was not complete. Returns whether the engine is known to
    /// have died under it, and this is the first to say so. While it lives, it may still work on the request.
    pub(super) fn cut(&mut self, life: u64, digest: RequestDigest) -> bool {
        if life + 1 == self.number {
            return self.fallen.insert(digest);
        }
        if life == self.number {
            if self.lingering.len() == MAX_LINGERING {
                self.lingering.pop_front();
            }
            self.lingering.push_back((Instant::now(), digest));
        }
        false
    }

    /// The engine died. Returns what it still worked on without a caller; the others are told by [`EngineLife::cut`].
    pub(super) fn died(&mut self) -> HashSet<RequestDigest> {
        let now = Instant::now();
        self.number += 1;
        let lingering = self.lingering.drain(..);
        let lingering = lingering.filter(|(left_at, _)| now - *left_at < LINGERING);
        self.fallen = lingering.map(|(_, digest)| digest).collect();
        self.fallen.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::{EngineLife, LINGERING, MAX_REMEMBERED, Poison, QUARANTINE, RequestDigest};
    use crate::error::Error;

    #[tokio::test(start_paused = true)]
    async fn the_second_death_refuses_a_request_for_ten_minutes() {
        let poison = Poison::default();
        let digest = poison.digest("/v1/chat/completions", b"{}");
        assert_eq!(poison.check(digest), Ok(()));
        assert_eq!(poison.died_under([digest]), 0);
        assert_eq!((poison.check(digest), poison.n_quarantined()), (Ok(()), 0));
        assert_eq!(poison.died_under([digest]), 1);
        tokio::time::advance(QUARANTINE - Duration::from_secs(1)).await;
        assert_eq!(
            (poison.check(digest), poison.n_quarantined()),
            (Err(Error::RequestQuarantined), 1)
        );
        assert_eq!(
            poison.check(poison.digest("/v1/completions", b"{}")),
            Ok(())
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((poison.check(digest), poison.n_quarantined()), (Ok(()), 0));
        // It was given another chance, and that was one.
        poison.died_under([digest]);
        assert_eq!(poison.check(digest), Err(Error::RequestQuarantined));
    }

    #[test]
    fn no_more_deaths_are_remembered_than_fit() {
        let poison = Poison::default();
        for n in 0..2 * MAX_REMEMBERED as u64 {
            poison.died_under([RequestDigest(n)]);
        }
        assert_eq!(poison.lock().len(), MAX_REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn one_death_counts_once_for_each_request_that_ran_or_was_left_a_moment_ago() {
        let mut engine = EngineLife::default();
        let life = engine.number();
        assert!(!engine.cut(life, RequestDigest(1)));
        assert_eq!(engine.died(), HashSet::from([RequestDigest(1)]));
        assert_eq!(
            [1, 2, 2].map(|n| engine.cut(life, RequestDigest(n))),
            [false, true, false]
        );
        // What its next life works on is another matter.
        let life = engine.number();
        assert!(!engine.cut(life, RequestDigest(3)));
        tokio::time::advance(LINGERING).await;
        assert_eq!(engine.died(), HashSet::new());
        engine.died();
        assert!(
            !engine.cut(life, RequestDigest(4)),
            "that was two lives ago"
        );
    }
}
