//! The slots that others hold, who ask a llama-server directly: another llm-proxy, or a client of its own.
//!
//! Pure: it is told what each look at `/slots` showed. Alone, our own requests come and go during a look, so only what
//! two looks show is believed. Beside others a slot is free only when two looks, shortly one after the other, showed it
//! idle: that one look alone may fall between two requests of theirs.

use std::time::Duration;

use admission::Ours;
use tokio::time::Instant;

/// How long others are expected back.
const NEAR: Duration = Duration::from_secs(60);
/// How old the look before may be.
const RECENT: Duration = Duration::from_millis(500);

/// Between two looks while somebody waits. llama-server, asked about its slots, is late to see clients that leave.
const AGAIN: Duration = Duration::from_millis(200);
/// Until a slot that one look showed idle is looked at again: longer than the gap between two requests of theirs.
const CONFIRM: Duration = Duration::from_millis(40);

/// What one look showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Slots that cannot be ours.
    at_least: usize,
    /// Slots that are not certain to be ours.
    at_most: usize,
}

impl Seen {
    /// With so many busy slots, and what was ours before and after.
    pub(super) fn of(n_busy: usize, before: Ours, after: Ours) -> Self {
        let n_begun = usize::try_from(after.begun - before.begun).unwrap_or(usize::MAX);
        let ours_throughout = after.computing.saturating_sub(n_begun);
        Self {
            at_least: n_busy.saturating_sub(before.in_flight.max(after.in_flight)),
            at_most: n_busy.saturating_sub(ours_throughout),
        }
    }
}

/// What is believed of one upstream.
#[derive(Debug, Default)]
pub(super) struct Others {
    last: Option<(Instant, Seen)>,
    seen_at: Option<Instant>,
    n: usize,
    is_near: bool,
    /// Whether the last look may show more idle slots than are believed.
    is_unconfirmed: bool,
}

impl Others {
    /// Takes a look in. Returns whether the free slots may be given out before the next one.
    pub(super) fn look(&mut self, now: Instant, seen: Seen) -> bool {
        let last = self.last.replace((now, seen));
        // Before the first look nothing was sent, so all that is busy is theirs.
        let sure = last.map_or(seen.at_least, |(_, last)| last.at_least.min(seen.at_least));
        if sure > 0 {
            self.seen_at = Some(now);
        }
        self.is_near = self.seen_at.is_some_and(|at| now - at < NEAR);
        if !self.is_near {
            self.n = 0;
            return true;
        }
        let recent = last.filter(|(at, _)| now - *at < RECENT);
        self.n = recent.map_or(seen.at_most, |(_, last)| last.at_most.max(seen.at_most));
        self.is_unconfirmed = recent.is_none() || seen.at_most < self.n;
        recent.is_some()
    }

    /// How many slots they hold.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// When somebody who waits needs the next look.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let pause = if self.is_unconfirmed { CONFIRM } else { AGAIN };
        self.last.map(|(at, _)| at + pause)
    }

    /// Whether they were there within the last minute.
    pub(super) fn is_near(&self) -> bool {
        self.is_near
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use admission::Ours;
    use tokio::time::Instant;

    use super::{Others, Seen};

    fn seen(at_least: usize, at_most: usize) -> Seen {
        Seen { at_least, at_most }
    }

    fn ours(in_flight: usize, computing: usize, begun: u64) -> Ours {
        Ours {
            in_flight,
            computing,
            begun,
        }
    }

    #[test]
    fn what_came_or_went_during_a_look_may_be_ours_or_theirs() {
        assert_eq!(Seen::of(3, ours(2, 2, 7), ours(2, 2, 7)), seen(1, 1));
        assert_eq!(Seen::of(3, ours(2, 2, 7), ours(1, 1, 7)), seen(1, 2));
        assert_eq!(Seen::of(3, ours(1, 1, 7), ours(3, 2, 8)), seen(0, 2));
        assert_eq!(Seen::of(0, ours(1, 1, 7), ours(1, 1, 7)), seen(0, 0));
    }

    #[test]
    fn alone_one_look_is_not_believed_and_two_are() {
        let mut others = Others::default();
        let mut now = Instant::now();
        for (at_least, n) in [(0, 0), (2, 0), (0, 0), (2, 0), (1, 1)] {
            now += Duration::from_secs(5);
            let may_start = others.look(now, seen(at_least, at_least));
            assert_eq!((others.n(), may_start), (n, n == 0), "{at_least}");
        }
    }

    #[test]
    fn those_who_are_there_at_the_first_look_are_believed_at_once() {
        let mut others = Others::default();
        let now = Instant::now();
        assert!(!others.look(now, seen(2, 2)));
        assert_eq!((others.n(), others.is_near()), (2, true));
    }

    #[test]
    fn beside_others_two_looks_in_a_row_must_show_an_idle_slot_for_a_minute() {
        let mut others = Others::default();
        let mut now = Instant::now();
        others.look(now, seen(2, 2));
        let short = Duration::from_millis(100);
        for (busy, n) in [(1, 2), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0)] {
            now += short;
            assert_eq!((others.look(now, seen(busy, busy)), others.n()), (true, n));
        }
        // A look after a pause must be followed by another.
        now += Duration::from_secs(5);
        assert!(!others.look(now, seen(0, 0)));
        assert!(others.look(now + short, seen(0, 0)));
        now += Duration::from_secs(60);
        assert!(others.look(now, seen(0, 0)));
        assert!(!others.is_near());
    }
}
