//! How long an upstream that failed is left alone: growing, jittered pauses, forgotten after a good while.
//!
//! Pure: it is told the time and the chance. The caller decides what happens to the upstream meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause. Chance shortens every pause by up to a half.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// An upstream that was good for so long starts with the first pause again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// One upstream's failures.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    n_pauses: u32,
    /// Until when it is left alone; `None` while it is in use.
    until: Option<Instant>,
    in_use_since: Option<Instant>,
}

impl Breaker {
    /// It failed. The many requests that notice one failure make one pause. `chance` is from 0 to 1.
    pub(super) fn trip(&mut self, now: Instant, chance: f64) {
        if self.until.is_some() {
            return;
        }
        if self
            .in_use_since
            .is_some_and(|since| now - since >= FORGIVEN_AFTER)
        {
            self.n_pauses = 0;
        }
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.n_pauses.min(16))
            .min(MAX_PAUSE);
        self.until = Some(now + pause.mul_f64(0.5 + chance / 2.0));
        self.n_pauses += 1;
    }

    /// It answers again.
    pub(super) fn close(&mut self, now: Instant) {
        if self.until.take().is_some() || self.in_use_since.is_none() {
            self.in_use_since = Some(now);
        }
    }

    /// Whether it failed and has not answered since.
    pub(super) fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// How long it is still left alone.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Breaker, FORGIVEN_AFTER};

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_are_forgotten_after_a_good_while() {
        let mut breaker = Breaker::default();
        let mut pauses = Vec::new();
        let now = Instant::now();
        for chance in [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0] {
            breaker.trip(now, chance);
            breaker.trip(now, chance);
            pauses.push(breaker.rest(now).as_millis());
            breaker.close(now);
            assert_eq!(breaker.rest(now), Duration::ZERO);
        }
        assert_eq!(
            pauses,
            [500, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 15_000]
        );
        breaker.trip(now + FORGIVEN_AFTER, 1.0);
        assert_eq!(breaker.rest(now + FORGIVEN_AFTER), Duration::from_secs(1));
    }
}
