//! Each limit from both sides, to the nanosecond, on clocks that only the test moves.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use tokio::time::Instant;

use super::{KeyLimits, KeyUsage, Limit, LimitClocks, Reached, Reservation, Standing};

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Noon of some day, on both clocks.
struct Noon {
    monotonic: Instant,
    wall: SystemTime,
}

impl Noon {
    fn new() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + 43_200),
        }
    }

    fn after(&self, duration: Duration) -> LimitClocks {
        LimitClocks {
            monotonic: self.monotonic + duration,
            wall: self.wall + duration,
        }
    }

    fn now(&self) -> LimitClocks {
        self.after(Duration::ZERO)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits(requests: Option<u32>, tokens: Option<u32>, day: Option<u64>) -> KeyLimits {
    KeyLimits {
        requests_at_once: None,
        requests_at_once_per_user: None,
        requests_per_minute: requests.and_then(NonZeroU32::new),
        tokens_per_minute: tokens.and_then(NonZeroU32::new),
        tokens_per_day: day.and_then(NonZeroU64::new),
    }
}

fn refused(limit: Limit, allowed: u64, retry_after: Duration) -> Result<(), Reached> {
    Err(Reached {
        limit,
        allowed,
        retry_after,
    })
}

/// Asks for `n` tokens and leaves.
fn ask(usage: &Arc<KeyUsage>, limits: &KeyLimits, n: u64, now: LimitClocks) -> Result<(), Reached> {
    usage.reserve(limits, n, now).map(drop)
}

/// Reserves and uses `n` at once.
fn spend(
    usage: &Arc<KeyUsage>,
    limits: &KeyLimits,
    n: u64,
    now: LimitClocks,
) -> Result<(), Reached> {
    let mut reservation = usage.reserve(limits, n, now)?;
    end(&mut reservation, n, now);
    Ok(())
}

/// Ends a request that has used `n`.
fn end(reservation: &mut Reservation, n: u64, now: LimitClocks) {
    reservation.used(n);
    reservation.settle(now.monotonic);
}

#[test]
fn a_minutes_requests_pass_at_once_and_the_next_when_its_share_has_come() {
    let usage = KeyUsage::default();
    let limits = limits(Some(60), None, None);
    let clock = Noon::new();
    for _ in 0..60 {
        assert_eq!(usage.request(&limits, clock.now()), Ok(()));
    }
    let per_minute = Limit::RequestsPerMinute;
    assert_eq!(
        usage.request(&limits, clock.now()),
        refused(per_minute, 60, seconds(1))
    );
    assert_eq!(
        usage.request(&limits, clock.after(seconds(1) - NANOSECOND)),
        refused(per_minute, 60, NANOSECOND)
    );
    assert_eq!(usage.request(&limits, clock.after(seconds(1))), Ok(()));
    assert_eq!(
        usage.request(&limits, clock.after(seconds(1))),
        refused(per_minute, 60, seconds(1))
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
    let usage = KeyUsage::default();
    let limits = limits(Some(1), None, None);
    let clock = Noon::new();
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
    let usage = Arc::new(KeyUsage::default());
    let limits = limits(None, Some(6000), None);
    let clock = Noon::new();
    let mut held = usage.reserve(&limits, 4000, clock.now()).unwrap();
    assert_eq!(
        ask(&usage, &limits, 2001, clock.now()),
        refused(Limit::TokensPerMinute, 6000, Duration::from_millis(10))
    );
    end(&mut held, 1000, clock.now());
    assert_eq!(spend(&usage, &limits, 5000, clock.now()), Ok(()));
    assert!(spend(&usage, &limits, 1, clock.now()).is_err());
    assert_eq!(spend(&usage, &limits, 100, clock.after(seconds(1))), Ok(()));
    assert!(spend(&usage, &limits, 1, clock.after(seconds(1))).is_err());
}

#[test]
fn more_tokens_than_were_reserved_are_a_debt_that_time_pays() {
    let usage = Arc::new(KeyUsage::default());
    let limits = limits(None, Some(60), None);
    let clock = Noon::new();
    let mut held = usage.reserve(&limits, 10, clock.now()).unwrap();
    end(&mut held, 90, clock.now());
    for (after, answer) in [
        (
            Duration::ZERO,
            refused(Limit::TokensPerMinute, 60, seconds(31)),
        ),
        (
            seconds(31) - NANOSECOND,
            refused(Limit::TokensPerMinute, 60, NANOSECOND),
        ),
        (seconds(31), Ok(())),
    ] {
        assert_eq!(ask(&usage, &limits, 1, clock.after(after)), answer);
    }
}

#[test]
fn a_reservation_that_was_never_used_costs_nothing() {
    let usage = Arc::new(KeyUsage::default());
    let limits = limits(None, Some(60), Some(60));
    let clock = Noon::new();
    end(
        &mut usage.reserve(&limits, 60, clock.now()).unwrap(),
        0,
        clock.now(),
    );
    let standing = Standing {
        allowed: 60,
        remaining: 60,
        reset: Duration::ZERO,
    };
    assert_eq!(usage.tokens(&limits, clock.now()), Some(standing));
    assert_eq!(spend(&usage, &limits, 60, clock.now()), Ok(()));
}

#[test]
fn a_request_above_the_whole_limit_passes_when_nothing_else_was_used() {
    let clock = Noon::new();
    for limits in [limits(None, Some(100), None), limits(None, None, Some(100))] {
        let usage = Arc::new(KeyUsage::default());
        let mut held = usage.reserve(&limits, 5000, clock.now()).unwrap();
        assert!(usage.reserve(&limits, 1, clock.now()).is_err());
        end(&mut held, 0, clock.now());
        spend(&usage, &limits, 1, clock.now()).unwrap();
        assert!(usage.reserve(&limits, 5000, clock.now()).is_err());
    }
}

#[test]
fn a_request_above_the_whole_limit_is_charged_in_full_while_it_runs() {
    let clock = Noon::new();
    let limits = limits(None, Some(100), Some(10_000));
    let usage = Arc::new(KeyUsage::default());
    let mut held = usage.reserve(&limits, 300, clock.now()).unwrap();
    // The 300 flow back in three minutes; the first of the hundred that may be used comes after two.
    for (after, wait) in [(0, 123), (122, 1)] {
        assert_eq!(
            ask(&usage, &limits, 5, clock.after(seconds(after))),
            refused(Limit::TokensPerMinute, 100, seconds(wait))
        );
    }
    let later = clock.after(seconds(10));
    end(&mut held, 200, later);
    assert_eq!(
        ask(&usage, &limits, 5, later),
        refused(Limit::TokensPerMinute, 100, seconds(53))
    );
}

#[test]
fn a_refund_gives_back_at_most_what_is_left_of_its_own_charge() {
    let limits = limits(None, Some(1000), None);
    let usage = Arc::new(KeyUsage::default());
    let clock = Noon::new();
    let mut first = usage.reserve(&limits, 1000, clock.now()).unwrap();
    let mut second = usage
        .reserve(&limits, 1000, clock.after(seconds(61)))
        .unwrap();
    // All of the first charge has flowed back, and the second has taken it.
    end(&mut first, 0, clock.after(seconds(61)));
    assert_eq!(
        ask(&usage, &limits, 1000, clock.after(seconds(61))),
        refused(Limit::TokensPerMinute, 1000, seconds(60))
    );
    // Half of the second has flowed back when it ends.
    end(&mut second, 0, clock.after(seconds(91)));
    assert_eq!(ask(&usage, &limits, 1000, clock.after(seconds(91))), Ok(()));
}

#[test]
fn a_refund_brings_later_charges_back_sooner() {
    let limits = limits(None, Some(6000), None);
    let usage = Arc::new(KeyUsage::default());
    let clock = Noon::new();
    let mut first = usage.reserve(&limits, 3000, clock.now()).unwrap();
    let mut second = usage.reserve(&limits, 3000, clock.now()).unwrap();
    // Without the first charge the second flows back in the first 30 seconds. Ten of them are left at 20.
    end(&mut first, 0, clock.now());
    let later = clock.after(seconds(20));
    let third = usage.reserve(&limits, 3000, later).unwrap();
    end(&mut second, 0, later);
    let standing = Standing {
        allowed: 6000,
        remaining: 3000,
        reset: seconds(30),
    };
    assert_eq!(usage.tokens(&limits, later), Some(standing));
    drop(third);
}

#[test]
fn what_many_requests_at_once_did_not_use_all_comes_back_in_any_order() {
    let limits = limits(None, Some(6000), None);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let usage = Arc::new(KeyUsage::default());
        let clock = Noon::new();
        let mut held: Vec<Reservation> = (0..4)
            .map(|_| usage.reserve(&limits, 1500, clock.now()).unwrap())
            .collect();
        // A second brings 100 tokens back, of the first charge.
        let later = clock.after(seconds(1));
        for n in order {
            end(&mut held[n], 100, later);
        }
        let standing = usage.tokens(&limits, later).unwrap();
        assert_eq!(standing.remaining, 6000 - 300, "{order:?}");
    }
}

#[test]
fn a_reservation_is_corrected_once() {
    let limits = limits(None, Some(60), Some(60));
    let usage = Arc::new(KeyUsage::default());
    let clock = Noon::new();
    let mut held = usage.reserve(&limits, 30, clock.now()).unwrap();
    end(&mut held, 20, clock.now());
    drop(held);
    assert_eq!(usage.tokens(&limits, clock.now()).unwrap().remaining, 40);
}

#[test]
fn a_days_tokens_last_until_midnight_utc() {
    let usage = Arc::new(KeyUsage::default());
    let limits = limits(None, None, Some(1000));
    let clock = Noon::new();
    spend(&usage, &limits, 1000, clock.now()).unwrap();
    assert_eq!(
        spend(&usage, &limits, 1, clock.now()),
        refused(Limit::TokensPerDay, 1000, seconds(43_200))
    );
    assert_eq!(
        spend(&usage, &limits, 1, clock.after(seconds(43_199))),
        refused(Limit::TokensPerDay, 1000, seconds(1))
    );
    assert_eq!(
        spend(&usage, &limits, 1000, clock.after(seconds(43_200))),
        Ok(())
    );
}

#[test]
fn an_answer_over_midnight_counts_for_the_day_it_began_on() {
    let usage = Arc::new(KeyUsage::default());
    let limits = limits(None, None, Some(1000));
    let clock = Noon::new();
    let mut held = usage.reserve(&limits, 900, clock.now()).unwrap();
    let tomorrow = clock.after(seconds(43_200));
    spend(&usage, &limits, 100, tomorrow).unwrap();
    end(&mut held, 500, tomorrow);
    assert_eq!(usage.tokens(&limits, tomorrow).unwrap().remaining, 900);
}

#[test]
fn a_wall_clock_that_jumps_moves_no_minute_and_keeps_nobody_out() {
    let limits = limits(Some(60), Some(60), Some(1000));
    let usage = Arc::new(KeyUsage::default());
    let clock = Noon::new();
    for _ in 0..60 {
        usage.request(&limits, clock.now()).unwrap();
    }
    spend(&usage, &limits, 60, clock.now()).unwrap();
    for jump in [3600_i64, -3600, 86_400, -86_400, 400 * 86_400] {
        let wall = match u64::try_from(jump) {
            Ok(ahead) => clock.wall + seconds(ahead),
            Err(_) => clock.wall - seconds(jump.unsigned_abs()),
        };
        let now = LimitClocks {
            monotonic: clock.monotonic,
            wall,
        };
        let later = LimitClocks {
            monotonic: clock.monotonic + seconds(60),
            wall,
        };
        assert_eq!(
            usage.request(&limits, now),
            refused(Limit::RequestsPerMinute, 60, seconds(1))
        );
        assert_eq!(
            ask(&usage, &limits, 1, now),
            refused(Limit::TokensPerMinute, 60, seconds(1))
        );
        assert_eq!(ask(&usage, &limits, 60, later), Ok(()));
    }
}

#[test]
fn a_limit_that_was_changed_applies_to_what_was_used_before() {
    let usage = KeyUsage::default();
    let clock = Noon::new();
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
    let usage = Arc::new(KeyUsage::default());
    let clock = Noon::new();
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
    assert_eq!(usage.tokens(&KeyLimits::default(), clock.now()), None);
    assert_eq!(usage.requests(&KeyLimits::default(), clock.now()), None);
}

/// A step of a history: first some time passes, then a request comes, and one of those that run may end.
#[derive(Clone, Debug)]
struct Step {
    millis: u64,
    estimate: u64,
    /// Of the estimate, in thousandths.
    used: u64,
    /// Which of those that run ends.
    ends: Option<prop::sample::Index>,
}

fn step() -> impl Strategy<Value = Step> {
    let ends = prop::option::of(any::<prop::sample::Index>());
    (0_u64..40_000, 1_u64..1500, 0_u64..=1000, ends).prop_map(|(millis, estimate, used, ends)| {
        Step {
            millis,
            estimate,
            used,
            ends,
        }
    })
}

proptest! {
    /// In any span of time, by the moments at which they came, requests use at most a minute's worth, what flows back in
    /// that time, and what one request may owe.
    #[test]
    fn no_span_of_time_sees_more_than_the_limit_and_what_one_request_may_owe(
        rate in 1_u32..1000,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let limits = limits(None, Some(rate), None);
        let usage = Arc::new(KeyUsage::default());
        let clock = Noon::new();
        let mut elapsed = Duration::ZERO;
        let mut running = Vec::new();
        let mut passed = Vec::new();
        for step in steps {
            elapsed += Duration::from_millis(step.millis);
            let now = clock.after(elapsed);
            if let Ok(reservation) = usage.reserve(&limits, step.estimate, now) {
                let n_used = step.estimate * step.used / 1000;
                running.push((reservation, n_used));
                passed.push((elapsed, n_used));
            }
            if let Some(index) = step.ends.filter(|_| !running.is_empty()) {
                let (mut reservation, n_used) = running.swap_remove(index.index(running.len()));
                end(&mut reservation, n_used, now);
            }
        }
        let rate = u64::from(rate);
        for (first, (from, _)) in passed.iter().enumerate() {
            let mut used = 0;
            for (to, n_used) in &passed[first..] {
                used += n_used;
                let flowed = rate as f64 * (*to - *from).as_secs_f64() / 60.0;
                let owed = n_used.saturating_sub(rate);
                let bound = (rate + owed) as f64 + flowed;
                prop_assert!(used as f64 <= bound + 0.001, "{used} of {bound}");
            }
        }
        for (reservation, _) in &mut running {
            end(reservation, 0, clock.after(elapsed));
        }
    }
}
