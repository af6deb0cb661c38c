//! How much a key may ask: requests and tokens per minute, and tokens per UTC day.
//!
//! The minutes are smooth: a bucket that holds one minute's worth and fills evenly (GCRA). They follow the monotonic
//! clock, the day follows the wall clock. Tokens are reserved by estimate before the work and corrected by what was
//! used after it. No clock is read here, and the lock is never held across an await.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const SECONDS_PER_DAY: u64 = 86_400;

/// What bounds a key. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Requests that may hold a slot at the same time; further ones wait their turn.
    pub(crate) requests_at_once: Option<NonZeroUsize>,
    pub(crate) requests_per_minute: Option<NonZeroU32>,
    /// Of prompts and completions together.
    pub(crate) tokens_per_minute: Option<NonZeroU32>,
    /// Of prompts and completions together, from midnight to midnight UTC.
    pub(crate) tokens_per_day: Option<NonZeroU64>,
}

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn since_1970(self) -> u64 {
        self.wall
            .duration_since(UNIX_EPOCH)
            .map(|since| since.as_secs())
            .unwrap_or_default()
    }

    /// Days since 1970.
    fn day(self) -> u64 {
        self.since_1970() / SECONDS_PER_DAY
    }

    fn until_midnight(self) -> Duration {
        Duration::from_secs(SECONDS_PER_DAY - self.since_1970() % SECONDS_PER_DAY)
    }
}

/// Which limit stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    RequestsPerMinute,
    TokensPerMinute,
    TokensPerDay,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::TokensPerMinute => "tokens per minute",
            Self::TokensPerDay => "tokens per day (UTC)",
        })
    }
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) limit: Limit,
    /// How much the limit allows.
    pub(crate) allowed: u64,
    /// When the request would pass, if nothing else comes.
    pub(crate) retry_after: Duration,
}

/// Where one limit stands, for the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) allowed: u64,
    pub(crate) remaining: u64,
    /// Until all of it is there again.
    pub(crate) reset: Duration,
}

/// What a key has used. It outlives changes of the keys file.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    requests: Bucket,
    tokens: Bucket,
    /// Which day `tokens_today` is of.
    day: u64,
    tokens_today: u64,
}

impl Usage {
    /// Counts a request.
    pub(crate) fn request(&self, limits: &Limits, now: Now) -> Result<(), Reached> {
        let Some(rate) = limits.requests_per_minute else {
            return Ok(());
        };
        let mut used = self.lock();
        let cost = cost(1, rate);
        used.requests
            .wait(cost, now.monotonic)
            .map_err(|retry_after| Reached {
                limit: Limit::RequestsPerMinute,
                allowed: rate.get().into(),
                retry_after,
            })?;
        used.requests.take(cost, now.monotonic);
        Ok(())
    }

    /// Reserves `n_tokens`. What exceeds a whole limit is taken for the whole limit: such a request passes when nothing
    /// else was used, and what it really used is charged in the end.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        limits: &Limits,
        n_tokens: u64,
        now: Now,
    ) -> Result<Reservation, Reached> {
        let mut used = self.lock();
        used.turn_to(now.day());
        let per_minute = limits
            .tokens_per_minute
            .map(|rate| (rate, cost(n_tokens.min(rate.get().into()), rate)));
        if let Some((rate, cost)) = per_minute {
            used.tokens
                .wait(cost, now.monotonic)
                .map_err(|retry_after| Reached {
                    limit: Limit::TokensPerMinute,
                    allowed: rate.get().into(),
                    retry_after,
                })?;
        }
        let today = limits
            .tokens_per_day
            .map_or(n_tokens, |allowed| n_tokens.min(allowed.get()));
        if let Some(allowed) = limits.tokens_per_day
            && used.tokens_today.saturating_add(today) > allowed.get()
        {
            let allowed = allowed.get();
            return Err(Reached {
                limit: Limit::TokensPerDay,
                allowed,
                retry_after: now.until_midnight(),
            });
        }
        if let Some((_, cost)) = per_minute {
            used.tokens.take(cost, now.monotonic);
        }
        used.tokens_today = used.tokens_today.saturating_add(today);
        Ok(Reservation {
            usage: Arc::clone(self),
            per_minute,
            day: used.day,
            today,
            n_used: 0,
        })
    }

    /// Where the requests stand.
    pub(crate) fn requests(&self, limits: &Limits, now: Now) -> Option<Standing> {
        limits
            .requests_per_minute
            .map(|rate| self.lock().requests.standing(rate, now.monotonic))
    }

    /// Where the tokens stand: the minute's or the day's, whichever has fewer left.
    pub(crate) fn tokens(&self, limits: &Limits, now: Now) -> Option<Standing> {
        if limits.tokens_per_minute.is_none() && limits.tokens_per_day.is_none() {
            return None;
        }
        let mut used = self.lock();
        used.turn_to(now.day());
        let minute = limits
            .tokens_per_minute
            .map(|rate| used.tokens.standing(rate, now.monotonic));
        let day = limits.tokens_per_day.map(|allowed| Standing {
            allowed: allowed.get(),
            remaining: allowed.get().saturating_sub(used.tokens_today),
            reset: now.until_midnight(),
        });
        minute
            .into_iter()
            .chain(day)
            .min_by_key(|standing| standing.remaining)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    /// Another day, also one before: a clock that was set right must not keep anybody out.
    fn turn_to(&mut self, day: u64) {
        if self.day != day {
            (self.day, self.tokens_today) = (day, 0);
        }
    }
}

/// Tokens that were charged before they were used; dropping it corrects the charge.
#[derive(Debug)]
pub(crate) struct Reservation {
    usage: Arc<Usage>,
    /// The rate it was charged at, and the charge.
    per_minute: Option<(NonZeroU32, Duration)>,
    day: u64,
    today: u64,
    n_used: u64,
}

impl Reservation {
    /// How many tokens were used in fact; until this is said, none.
    pub(crate) fn used(&mut self, n_tokens: u64) {
        self.n_used = n_tokens;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut used = self.usage.lock();
        if let Some((rate, charged)) = self.per_minute {
            used.tokens.correct(charged, cost(self.n_used, rate));
        }
        // A new day owes nothing for an answer that began on the one before.
        if used.day == self.day {
            used.tokens_today = used
                .tokens_today
                .saturating_sub(self.today)
                .saturating_add(self.n_used);
        }
    }
}

/// A minute's worth that fills evenly.
#[derive(Debug, Default)]
struct Bucket {
    /// When it is full again; full already when that is past. Never more than a minute ahead, but for a debt.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Passes when `cost` is in the bucket; otherwise says how long until it is.
    fn wait(&self, cost: Duration, now: Instant) -> Result<(), Duration> {
        let wait = (self.until_full(now) + cost).saturating_sub(MINUTE);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    fn take(&mut self, cost: Duration, now: Instant) {
        self.full_at = Some(now + self.until_full(now) + cost);
    }

    fn correct(&mut self, charged: Duration, cost: Duration) {
        self.full_at = self.full_at.and_then(|at| (at + cost).checked_sub(charged));
    }

    fn until_full(&self, now: Instant) -> Duration {
        self.full_at
            .map(|at| at.saturating_duration_since(now))
            .unwrap_or_default()
    }

    fn standing(&self, rate: NonZeroU32, now: Instant) -> Standing {
        let (allowed, reset) = (u64::from(rate.get()), self.until_full(now));
        let left =
            MINUTE.saturating_sub(reset).as_nanos() * u128::from(allowed) / MINUTE.as_nanos();
        Standing {
            allowed,
            remaining: u64::try_from(left).unwrap_or(allowed),
            reset,
        }
    }
}

/// How long a bucket of `rate` takes to fill by `n`.
fn cost(n: u64, rate: NonZeroU32) -> Duration {
    let nanos = u128::from(n) * MINUTE.as_nanos() / u128::from(rate.get());
    // Centuries are for ever.
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
