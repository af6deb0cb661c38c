//! The last minutes in numbers, for `/status`: what came in a minute, and how long first tokens took.
//!
//! Requests and tokens only add to a count; a task looks at the counts once a second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

/// How far back rates look.
const MINUTE: usize = 60;
/// How many first tokens are kept, and for how long.
const MAX_FIRST_TOKENS: usize = 512;
pub(crate) const FIRST_TOKENS_FOR: Duration = Duration::from_secs(300);

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default)]
struct RecentCounts {
    requests: u64,
    refused: u64,
    tokens: u64,
}

/// Events a second, over the last minute or, before there was one, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) requests: f64,
    pub(crate) refused: f64,
    pub(crate) tokens: f64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Recent {
    requests: AtomicU64,
    refused: AtomicU64,
    tokens: AtomicU64,
    looks: Mutex<VecDeque<(Instant, RecentCounts)>>,
    first_tokens: Mutex<VecDeque<(Instant, Duration)>>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            looks: Mutex::new([(Instant::now(), RecentCounts::default())].into()),
            first_tokens: Mutex::default(),
        }
    }

    pub(crate) fn request(&self, refused: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(refused.into(), Ordering::Relaxed);
    }

    pub(crate) fn token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn first_token(&self, now: Instant, after: Duration) {
        let mut kept = self
            .first_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_FIRST_TOKENS {
            kept.pop_front();
        }
        kept.push_back((now, after));
    }

    /// Keeps the counts of each second. Runs until aborted. Cancel-safe.
    pub(crate) async fn watch(&self) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = seconds.tick().await;
            let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            if looks.len() > MINUTE {
                looks.pop_front();
            }
            looks.push_back((now, self.counts()));
        }
    }

    fn counts(&self) -> RecentCounts {
        RecentCounts {
            requests: self.requests.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn rates(&self, now: Instant) -> Rates {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((then, before)) = looks.front() else {
            return Rates::default();
        };
        let after = self.counts();
        let seconds = (now - *then).as_secs_f64().max(1.0);
        Rates {
            requests: (after.requests - before.requests) as f64 / seconds,
            refused: (after.refused - before.refused) as f64 / seconds,
            tokens: (after.tokens - before.tokens) as f64 / seconds,
        }
    }

    /// The first tokens of the last minutes, shortest first.
    pub(crate) fn first_tokens(&self, now: Instant) -> Vec<Duration> {
        let kept = self
            .first_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lately = kept.iter().filter(|(at, _)| now - *at <= FIRST_TOKENS_FOR);
        let mut lately: Vec<Duration> = lately.map(|(_, after)| *after).collect();
        lately.sort_unstable();
        lately
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{FIRST_TOKENS_FOR, MAX_FIRST_TOKENS, Recent};

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_of_the_last_minute_and_older_first_tokens_are_forgotten() {
        let recent = Recent::new();
        let watch = async {
            tokio::select! {
                () = recent.watch() => {}
                () = async {
                    for second in 0..180_u32 {
                        // Two minutes of one request a second with three tokens, then a minute of silence.
                        if second < 120 {
                            recent.request(second % 2 == 0);
                            (0..3).for_each(|_| recent.token());
                            recent.first_token(Instant::now(), Duration::from_millis(second.into()));
                        }
                        if second == 119 {
                            let rates = recent.rates(Instant::now());
                            assert!((rates.requests - 1.0).abs() < 0.05, "{rates:?}");
                            assert!((rates.refused - 0.5).abs() < 0.05, "{rates:?}");
                            assert!((rates.tokens - 3.0).abs() < 0.1, "{rates:?}");
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                } => {}
            }
        };
        watch.await;
        let rates = recent.rates(Instant::now());
        assert!(rates.requests < 0.05 && rates.tokens < 0.1, "{rates:?}");
        assert_eq!(recent.first_tokens(Instant::now()).len(), 120);
        assert_eq!(
            recent.first_tokens(Instant::now() + FIRST_TOKENS_FOR),
            [Duration::ZERO; 0]
        );
        (0..2 * MAX_FIRST_TOKENS).for_each(|_| recent.first_token(Instant::now(), Duration::ZERO));
        assert_eq!(recent.first_tokens(Instant::now()).len(), MAX_FIRST_TOKENS);
    }
}
