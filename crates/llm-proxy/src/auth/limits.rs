//! How much a key may ask: requests and tokens per minute, and tokens per UTC day.
//!
//! The minutes are smooth: a bucket holds one minute's worth and fills evenly (GCRA). They follow the monotonic clock;
//! the day follows the wall clock. Tokens are reserved by estimate before the work, and the real number replaces the
//! reservation after it. The lock is never held across an await.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const SECONDS_PER_DAY: u64 = 86_400;

/// What bounds a key. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyLimits {
    /// Requests that may hold a slot at the same time; further ones wait their turn.
    pub(crate) requests_at_once: Option<NonZeroUsize>,
    /// The same for each user that the key names.
    pub(crate) requests_at_once_per_user: Option<NonZeroUsize>,
    pub(crate) requests_per_minute: Option<NonZeroU32>,
    /// Of prompts and completions together.
    pub(crate) tokens_per_minute: Option<NonZeroU32>,
    /// Of prompts and completions together, from midnight to midnight UTC.
    pub(crate) tokens_per_day: Option<NonZeroU64>,
}

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitClocks {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl LimitClocks {
    pub(crate) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn since_1970(self) -> u64 {
        let since = self.wall.duration_since(UNIX_EPOCH);
        since.map(|since| since.as_secs()).unwrap_or_default()
    }

    /// Days since 1970.
    fn day(self) -> u64 {
        self.since_1970() / SECONDS_PER_DAY
    }

    fn until_midnight(self) -> Duration {
        Duration::from_secs(SECONDS_PER_DAY - self.since_1970() % SECONDS_PER_DAY)
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    RequestsPerMinute,
    TokensPerMinute,
    TokensPerDay,
}

impl Limit {
    /// The field of the keys file that sets it.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
        }
    }
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

/// How much of one limit is left, for the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) allowed: u64,
    pub(crate) remaining: u64,
    /// Until the full limit is available again.
    pub(crate) reset: Duration,
}

/// What a key has used, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsageReport {
    /// Requests since midnight UTC that the limit per minute let pass.
    pub(crate) requests_today: u64,
    /// Tokens since midnight UTC, with what running answers have reserved.
    pub(crate) tokens_today: u64,
    /// Each limit over time that the key has.
    pub(crate) limits: Vec<(Limit, Standing)>,
}

/// What a key has used. It outlives changes of the keys file.
#[derive(Debug, Default)]
pub(crate) struct KeyUsage(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    requests: Bucket,
    tokens: Bucket,
    /// The day that the two below belong to.
    day: u64,
    requests_today: u64,
    tokens_today: u64,
}

impl KeyUsage {
    /// Counts a request.
    pub(crate) fn request(&self, limits: &KeyLimits, now: LimitClocks) -> Result<(), Reached> {
        let mut used = self.lock();
        if let Some(rate) = limits.requests_per_minute {
            let bucket = &mut used.requests;
            let cost = bucket.check(Limit::RequestsPerMinute, 1, rate, now.monotonic)?;
            bucket.take(cost, now.monotonic);
        }
        used.turn_to(now.day());
        used.requests_today = used.requests_today.saturating_add(1);
        Ok(())
    }

    /// Reserves `n_tokens`. A request larger than a whole limit passes when nothing else was used. It is charged in
    /// full all the same, so that no second one passes on the same minute or day.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        limits: &KeyLimits,
        n_tokens: u64,
        now: LimitClocks,
    ) -> Result<Reservation, Reached> {
        let mut used = self.lock();
        used.turn_to(now.day());
        let per_minute = match limits.tokens_per_minute {
            Some(rate) => {
                Some(
                    used.tokens
                        .check(Limit::TokensPerMinute, n_tokens, rate, now.monotonic)?,
                )
            }
            None => None,
        };
        if let Some(allowed) = limits.tokens_per_day.map(NonZeroU64::get)
            && used.tokens_today.saturating_add(n_tokens.min(allowed)) > allowed
        {
            return Err(Reached {
                limit: Limit::TokensPerDay,
                allowed,
                retry_after: now.until_midnight(),
            });
        }
        let number = per_minute.map(|cost| used.tokens.open(cost, now.monotonic));
        used.tokens_today = used.tokens_today.saturating_add(n_tokens);
        Ok(Reservation {
            usage: Arc::clone(self),
            charge: Some(Charge {
                per_minute: limits.tokens_per_minute.zip(number),
                day: used.day,
                n_tokens,
            }),
            n_used: 0,
        })
    }

    /// What is left of the requests.
    pub(crate) fn requests(&self, limits: &KeyLimits, now: LimitClocks) -> Option<Standing> {
        limits
            .requests_per_minute
            .map(|rate| self.lock().requests.standing(rate, now.monotonic))
    }

    /// What is left of the tokens, by the tighter of the two limits.
    pub(crate) fn tokens(&self, limits: &KeyLimits, now: LimitClocks) -> Option<Standing> {
        let mut used = self.lock();
        used.turn_to(now.day());
        let minute = limits
            .tokens_per_minute
            .map(|rate| used.tokens.standing(rate, now.monotonic));
        let day = limits
            .tokens_per_day
            .map(|allowed| used.standing_today(allowed, now));
        let both = minute.into_iter().chain(day);
        both.min_by_key(|standing| standing.remaining)
    }

    /// What the key has used of each of its limits, and today.
    pub(crate) fn report(&self, limits: &KeyLimits, now: LimitClocks) -> UsageReport {
        let mut used = self.lock();
        used.turn_to(now.day());
        let requests = limits
            .requests_per_minute
            .map(|rate| used.requests.standing(rate, now.monotonic));
        let tokens = limits
            .tokens_per_minute
            .map(|rate| used.tokens.standing(rate, now.monotonic));
        let today = limits
            .tokens_per_day
            .map(|allowed| used.standing_today(allowed, now));
        let all = [
            (Limit::RequestsPerMinute, requests),
            (Limit::TokensPerMinute, tokens),
            (Limit::TokensPerDay, today),
        ];
        UsageReport {
            requests_today: used.requests_today,
            tokens_today: used.tokens_today,
            limits: all
                .into_iter()
                .filter_map(|(limit, standing)| Some((limit, standing?)))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    /// Begins another day, also an earlier one: a clock that was set right must not keep anybody out.
    fn turn_to(&mut self, day: u64) {
        if self.day != day {
            self.day = day;
            self.requests_today = 0;
            self.tokens_today = 0;
        }
    }

    fn standing_today(&self, allowed: NonZeroU64, now: LimitClocks) -> Standing {
        Standing {
            allowed: allowed.get(),
            remaining: allowed.get().saturating_sub(self.tokens_today),
            reset: now.until_midnight(),
        }
    }
}

/// Tokens that were charged before they were used; dropping it corrects the charge.
#[derive(Debug)]
pub(crate) struct Reservation {
    usage: Arc<KeyUsage>,
    /// `None` once it is corrected.
    charge: Option<Charge>,
    n_used: u64,
}

#[derive(Debug)]
struct Charge {
    /// The limit it was charged at, and the charge's number in the bucket.
    per_minute: Option<(NonZeroU32, u64)>,
    day: u64,
    n_tokens: u64,
}

impl Reservation {
    /// How many tokens were used in fact. Until this is called, none.
    pub(crate) fn used(&mut self, n_tokens: u64) {
        self.n_used = n_tokens;
    }

    fn settle(&mut self, now: Instant) {
        let Some(charge) = self.charge.take() else {
            return;
        };
        let mut used = self.usage.lock();
        if let Some((rate, number)) = charge.per_minute {
            used.tokens.correct(
                number,
                cost(charge.n_tokens, rate),
                cost(self.n_used, rate),
                now,
            );
        }
        // A new day owes nothing for an answer that began on the day before.
        if used.day == charge.day {
            used.tokens_today = used
                .tokens_today
                .saturating_sub(charge.n_tokens)
                .saturating_add(self.n_used);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(Instant::now());
    }
}

/// A minute's worth that fills evenly. Amounts are the time that they take to flow back.
#[derive(Debug, Default)]
struct Bucket {
    /// When it is full again. At most a minute ahead, unless there is a debt.
    full_at: Option<Instant>,
    /// The charges that may still be corrected, by number: when the last part of each flows back.
    open: BTreeMap<u64, Instant>,
    n_opened: u64,
}

impl Bucket {
    /// What `n` cost at `rate`, when the bucket has that much or is full.
    fn check(
        &self,
        limit: Limit,
        n: u64,
        rate: NonZeroU32,
        now: Instant,
    ) -> Result<Duration, Reached> {
        let cost = cost(n, rate);
        let retry_after = (self.until_full(now) + cost.min(MINUTE)).saturating_sub(MINUTE);
        if retry_after.is_zero() {
            return Ok(cost);
        }
        Err(Reached {
            limit,
            allowed: rate.get().into(),
            retry_after,
        })
    }

    /// Charges `cost`. Returns when the last part of it flows back.
    fn take(&mut self, cost: Duration, now: Instant) -> Instant {
        *self.full_at.insert(now + self.until_full(now) + cost)
    }

    /// Charges `cost` until [`Bucket::correct`] is told the real one. Returns the charge's number.
    fn open(&mut self, cost: Duration, now: Instant) -> u64 {
        let end = self.take(cost, now);
        self.n_opened += 1;
        self.open.insert(self.n_opened, end);
        self.n_opened
    }

    /// Replaces a charge by the real cost. Charges flow back one after the other. What has flowed back of this one may
    /// have been given to somebody else by now, so only the rest of it can be given back.
    fn correct(&mut self, number: u64, charged: Duration, cost: Duration, now: Instant) {
        let end = self.open.remove(&number);
        if cost > charged {
            self.take(cost - charged, now);
            return;
        }
        let rest = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        let refund = rest.min(charged - cost);
        self.full_at = self.full_at.map(|at| at - refund);
        for (_, end) in self.open.range_mut(number..) {
            *end -= refund;
        }
    }

    fn until_full(&self, now: Instant) -> Duration {
        let wait = self.full_at.map(|at| at.saturating_duration_since(now));
        wait.unwrap_or_default()
    }

    fn standing(&self, rate: NonZeroU32, now: Instant) -> Standing {
        let allowed = u64::from(rate.get());
        let reset = self.until_full(now);
        let left = MINUTE.saturating_sub(reset).as_nanos();
        let remaining = left * u128::from(allowed) / MINUTE.as_nanos();
        Standing {
            allowed,
            remaining: u64::try_from(remaining).unwrap_or(allowed),
            reset,
        }
    }
}

/// How long a bucket of `rate` takes to fill by `n`.
fn cost(n: u64, rate: NonZeroU32) -> Duration {
    let nanos = u128::from(n) * MINUTE.as_nanos() / u128::from(rate.get());
    // Six centuries are as good as for ever.
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
