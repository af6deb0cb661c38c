//! Each limit from both sides, to the nanosecond, on clocks that only the test moves.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use tokio::time::Instant;

use super::{Limit, Limits, Now, Reached, Reservation, Standing, Usage};

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Noon of some day, on both clocks.
struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clock {
    fn new() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + 43_200),
        }
    }

    fn after(&self, duration: Duration) -> Now {
        Now {
            monotonic: self.monotonic + duration,
            wall: self.wall + duration,
        }
    }

    fn now(&self) -> Now {
        self.after(Duration::ZERO)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits(requests: Option<u32>, tokens: Option<u32>, day: Option<u64>) -> Limits {
    Limits {
        requests_at_once: None,
        requests_per_minute: requests.and_then(NonZeroU32::new),
        tokens_per_minute: tokens.and_then(NonZeroU32::new),
        tokens_per_day: day.and_then(NonZeroU64::new),
    }
}

fn reached(limit: Limit, allowed: u64, retry_after: Duration) -> Reached {
    Reached {
        limit,
        allowed,
        retry_after,
    }
}

/// Reserves and uses `n` at once.
fn spend(usage: &Arc<Usage>, limits: &Limits, n: u64, now: Now) -> Result<(), Reached> {
    usage
        .reserve(limits, n, now)
        .map(|mut reservation| reservation.used(n))
}

#[test]
fn a_minutes_worth_of_requests_passes_at_once_and_the_next_when_its_share_has_come_not_before() {
    let (usage, limits, clock) = (Usage::default(), limits(Some(60), None, None), Clock::new());
    for _ in 0..60 {
        assert_eq!(usage.request(&limits, clock.now()), Ok(()));
    }
    let full = |retry_after| Err(reached(Limit::RequestsPerMinute, 60, retry_after));
    assert_eq!(usage.request(&limits, clock.now()), full(seconds(1)));
    assert_eq!(
        usage.request(&limits, clock.after(seconds(1) - NANOSECOND)),
        full(NANOSECOND)
    );
    assert_eq!(usage.request(&limits, clock.after(seconds(1))), Ok(()));
    assert_eq!(
        usage.request(&limits, clock.after(seconds(1))),
        full(seconds(1))
    );
    let passed = (0..100).filter(|_| usage.request(&limits, clock.after(seconds(600))).is_ok());
    assert_eq!(
        passed.count(),
        60,
        "a bucket that was left alone holds a minute's worth and no more"
    );
}

#[test]
fn a_request_that_was_refused_costs_nothing() {
    let (usage, limits, clock) = (Usage::default(), limits(Some(1), None, None), Clock::new());
    usage.request(&limits, clock.now()).unwrap();
    for tenth in 1..600 {
        assert!(
            usage
                .request(&limits, clock.after(Duration::from_millis(100 * tenth)))
                .is_err()
        );
    }
    assert_eq!(usage.request(&limits, clock.after(seconds(60))), Ok(()));
}

#[test]
fn tokens_are_reserved_by_estimate_and_what_was_not_used_comes_back() {
    let (usage, limits, clock) = (
        Arc::new(Usage::default()),
        limits(None, Some(6000), None),
        Clock::new(),
    );
    let mut held = usage.reserve(&limits, 4000, clock.now()).unwrap();
    let refused = usage.reserve(&limits, 2001, clock.now()).unwrap_err();
    assert_eq!(
        refused,
        reached(Limit::TokensPerMinute, 6000, Duration::from_millis(10))
    );
    held.used(1000);
    drop(held);
    assert_eq!(spend(&usage, &limits, 5000, clock.now()), Ok(()));
    assert!(spend(&usage, &limits, 1, clock.now()).is_err());
    assert_eq!(spend(&usage, &limits, 100, clock.after(seconds(1))), Ok(()));
    assert!(spend(&usage, &limits, 1, clock.after(seconds(1))).is_err());
}

#[test]
fn more_tokens_than_were_reserved_are_a_debt_that_time_pays() {
    let (usage, limits, clock) = (
        Arc::new(Usage::default()),
        limits(None, Some(60), None),
        Clock::new(),
    );
    usage.reserve(&limits, 10, clock.now()).unwrap().used(90);
    let refused = |after| usage.reserve(&limits, 1, clock.after(after)).map(drop);
    assert_eq!(
        refused(Duration::ZERO),
        Err(reached(Limit::TokensPerMinute, 60, seconds(31)))
    );
    assert_eq!(
        refused(seconds(31) - NANOSECOND),
        Err(reached(Limit::TokensPerMinute, 60, NANOSECOND))
    );
    assert_eq!(refused(seconds(31)), Ok(()));
}

#[test]
fn a_reservation_that_was_never_used_costs_nothing() {
    let (usage, limits, clock) = (
        Arc::new(Usage::default()),
        limits(None, Some(60), Some(60)),
        Clock::new(),
    );
    drop::<Reservation>(usage.reserve(&limits, 60, clock.now()).unwrap());
    let standing = Standing {
        allowed: 60,
        remaining: 60,
        reset: Duration::ZERO,
    };
    assert_eq!(usage.tokens(&limits, clock.now()), Some(standing));
    assert_eq!(spend(&usage, &limits, 60, clock.now()), Ok(()));
}

#[test]
fn an_estimate_above_the_whole_limit_passes_when_nothing_else_was_used() {
    let clock = Clock::new();
    for limits in [limits(None, Some(100), None), limits(None, None, Some(100))] {
        let usage = Arc::new(Usage::default());
        let held = usage.reserve(&limits, 5000, clock.now()).unwrap();
        assert!(usage.reserve(&limits, 1, clock.now()).is_err());
        drop(held);
        spend(&usage, &limits, 1, clock.now()).unwrap();
        assert!(usage.reserve(&limits, 5000, clock.now()).is_err());
    }
}

#[test]
fn a_days_tokens_last_until_midnight_utc() {
    let (usage, limits, clock) = (
        Arc::new(Usage::default()),
        limits(None, None, Some(1000)),
        Clock::new(),
    );
    spend(&usage, &limits, 1000, clock.now()).unwrap();
    let full = |retry_after| Err(reached(Limit::TokensPerDay, 1000, retry_after));
    assert_eq!(
        spend(&usage, &limits, 1, clock.now()),
        full(seconds(43_200))
    );
    assert_eq!(
        spend(&usage, &limits, 1, clock.after(seconds(43_199))),
        full(seconds(1))
    );
    assert_eq!(
        spend(&usage, &limits, 1000, clock.after(seconds(43_200))),
        Ok(())
    );
}

#[test]
fn an_answer_over_midnight_is_of_the_day_it_began_on() {
    let (usage, limits, clock) = (
        Arc::new(Usage::default()),
        limits(None, None, Some(1000)),
        Clock::new(),
    );
    let mut held = usage.reserve(&limits, 900, clock.now()).unwrap();
    let tomorrow = clock.after(seconds(43_200));
    spend(&usage, &limits, 100, tomorrow).unwrap();
    held.used(500);
    drop(held);
    assert_eq!(usage.tokens(&limits, tomorrow).unwrap().remaining, 900);
}

#[test]
fn a_wall_clock_that_jumps_moves_no_minute_and_keeps_nobody_out() {
    let limits = limits(Some(60), Some(60), Some(1000));
    let (usage, clock) = (Arc::new(Usage::default()), Clock::new());
    for _ in 0..60 {
        usage.request(&limits, clock.now()).unwrap();
    }
    spend(&usage, &limits, 60, clock.now()).unwrap();
    for jump in [3600_i64, -3600, 86_400, -86_400, 400 * 86_400] {
        let wall = match u64::try_from(jump) {
            Ok(ahead) => clock.wall + seconds(ahead),
            Err(_) => clock.wall - seconds(jump.unsigned_abs()),
        };
        let at = |after| Now {
            monotonic: clock.monotonic + after,
            wall,
        };
        let minute = |limit| reached(limit, 60, seconds(1));
        assert_eq!(
            usage.request(&limits, at(Duration::ZERO)),
            Err(minute(Limit::RequestsPerMinute))
        );
        assert_eq!(
            usage.reserve(&limits, 1, at(Duration::ZERO)).map(drop),
            Err(minute(Limit::TokensPerMinute))
        );
        assert_eq!(
            usage.reserve(&limits, 60, at(seconds(60))).map(drop),
            Ok(())
        );
    }
}

#[test]
fn a_limit_that_was_changed_applies_to_what_was_used_before() {
    let (usage, clock) = (Usage::default(), Clock::new());
    for _ in 0..30 {
        usage
            .request(&limits(Some(60), None, None), clock.now())
            .unwrap();
    }
    let halved = limits(Some(30), None, None);
    let passed = (0..100).filter(|_| usage.request(&halved, clock.now()).is_ok());
    assert_eq!(
        passed.count(),
        15,
        "the half that was left of the minute is half of the new one"
    );
}

#[test]
fn where_the_limits_stand_is_what_would_pass() {
    let (usage, clock) = (Arc::new(Usage::default()), Clock::new());
    let limits = limits(Some(3), Some(600), Some(1000));
    usage.request(&limits, clock.now()).unwrap();
    spend(&usage, &limits, 500, clock.now()).unwrap();
    let requests = Standing {
        allowed: 3,
        remaining: 2,
        reset: seconds(20),
    };
    assert_eq!(usage.requests(&limits, clock.now()), Some(requests));
    let minute = Standing {
        allowed: 600,
        remaining: 100,
        reset: seconds(50),
    };
    assert_eq!(usage.tokens(&limits, clock.now()), Some(minute));
    let day = Standing {
        allowed: 1000,
        remaining: 500,
        reset: seconds(43_140),
    };
    assert_eq!(usage.tokens(&limits, clock.after(seconds(60))), Some(day));
    assert_eq!(usage.tokens(&Limits::default(), clock.now()), None);
    assert_eq!(usage.requests(&Limits::default(), clock.now()), None);
}

proptest! {
    #[test]
    fn over_any_time_no_more_passes_than_the_bucket_and_what_flowed_into_it(
        rate in 1_u32..1000,
        steps in prop::collection::vec((0_u64..20_000, 1_u64..300, 0_u64..300), 1..60),
    ) {
        let (usage, limits, clock) = (Arc::new(Usage::default()), limits(None, Some(rate), None), Clock::new());
        let (mut elapsed, mut used, mut held) = (Duration::ZERO, 0, Vec::new());
        for (millis, estimate, actual) in steps {
            elapsed += Duration::from_millis(millis);
            if let Ok(mut reservation) = usage.reserve(&limits, estimate, clock.after(elapsed)) {
                // Never more than was reserved, so that there is no debt.
                let actual = actual.min(estimate).min(rate.into());
                reservation.used(actual);
                used += actual;
                held.push(reservation);
                held.truncate(3);
            }
        }
        let flowed = f64::from(rate) * (1.0 + elapsed.as_secs_f64() / 60.0);
        prop_assert!(used as f64 <= flowed + 1.0, "{used} of {flowed}");
    }
}
