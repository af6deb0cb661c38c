//! The slots that others hold, who ask a llama-server directly: another llm-proxy, or a client of its own.
//!
//! Pure: it is told what each look at `/slots` showed. Alone, our own requests come and go during a look, so only what
//! two looks show is believed. Beside others a slot is free only when looks, shortly one after the other, showed it idle
//! and unused for a while. One look may fall between two requests of theirs.

use std::time::Duration;

use admission::Ours;
use llama_client::SlotState;
use tokio::time::Instant;

/// How long others are expected back.
const NEAR: Duration = Duration::from_secs(60);
/// How old the look before may be.
const RECENT: Duration = Duration::from_millis(500);
/// Between two looks while somebody waits. llama-server, asked about its slots, is late to see clients that leave.
const AGAIN: Duration = Duration::from_millis(150);
/// Until a slot that one look showed idle is looked at again.
const CONFIRM: Duration = Duration::from_millis(100);
/// How long a slot must have been idle when others hold none.
const IDLE_ALONE: Duration = Duration::from_millis(100);
/// The same when the engine computes: others may be between two requests.
const IDLE_AMONG_OTHERS: Duration = Duration::from_millis(200);
/// How many looks must have shown the engine a step further since. Between two steps it takes in what was sent to it
/// during the first, and until then a slot that is as good as taken shows as idle.
const STEPS: u64 = 2;

/// What one look showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotCount {
    slots: Vec<SlotState>,
    /// Slots that cannot be ours.
    at_least: usize,
    /// Slots that are not certain to be ours.
    at_most: usize,
    /// Requests of ours that hold a slot which may still look idle.
    n_sent: usize,
}

impl SlotCount {
    /// These slots, and what was ours before and after.
    pub(super) fn of(slots: Vec<SlotState>, before: Ours, after: Ours) -> Self {
        let n_busy = slots.iter().filter(|slot| slot.is_busy).count();
        let n_begun = usize::try_from(after.begun - before.begun).unwrap_or(usize::MAX);
        let ours_throughout = after.computing.saturating_sub(n_begun);
        Self {
            slots,
            at_least: n_busy.saturating_sub(before.in_flight.max(after.in_flight)),
            at_most: n_busy.saturating_sub(ours_throughout),
            n_sent: after.in_flight - ours_throughout.min(after.in_flight),
        }
    }
}

/// What is believed of one upstream.
#[derive(Debug, Default)]
pub(super) struct OtherClients {
    last: Option<(Instant, SlotCount)>,
    /// Since when each slot has been as it is: the time, and the steps that the engine had made.
    unchanged_since: Vec<(Instant, u64)>,
    /// Looks that showed the engine a step further.
    n_steps: u64,
    seen_at: Option<Instant>,
    n: usize,
    is_near: bool,
    /// Whether the last look showed idle slots that are not believed yet.
    is_unconfirmed: bool,
}

impl OtherClients {
    /// Takes a look in. Returns how many requests may start before the next one; `None` without others.
    pub(super) fn look(&mut self, now: Instant, seen: SlotCount) -> Option<usize> {
        // Before the first look nothing was sent, so all that is busy is theirs.
        let last = self.last.take();
        let least = last.as_ref().map_or(usize::MAX, |(_, last)| last.at_least);
        if seen.at_least.min(least) > 0 {
            self.seen_at = Some(now);
        }
        self.is_near = self.seen_at.is_some_and(|at| now - at < NEAR);
        let recent = last.filter(|(at, _)| now - *at < RECENT);
        let before = recent.as_ref().map_or(&[][..], |(_, last)| &last.slots);
        self.n_steps += u64::from(before != seen.slots);
        self.unchanged_since
            .resize(seen.slots.len(), (now, self.n_steps));
        for (n, since) in self.unchanged_since.iter_mut().enumerate() {
            if before.get(n) != Some(&seen.slots[n]) {
                *since = (now, self.n_steps);
            }
        }
        let is_computing = seen.slots.iter().any(|slot| slot.is_busy);
        let shows_steps = seen
            .slots
            .iter()
            .any(|slot| slot.is_busy && slot.progress.is_some());
        let needed = match is_computing {
            true => IDLE_AMONG_OTHERS,
            false => IDLE_ALONE,
        };
        let n_idle_for_long = seen
            .slots
            .iter()
            .zip(&self.unchanged_since)
            .filter(|(slot, (at, step))| {
                let has_stepped = !shows_steps || self.n_steps - step >= STEPS;
                !slot.is_busy && now - *at >= needed && has_stepped
            })
            .count();
        let spare = n_idle_for_long.saturating_sub(seen.n_sent);
        self.n = match (self.is_near, recent) {
            (false, _) => 0,
            (true, None) => seen.at_most,
            (true, Some((_, last))) => last.at_most.max(seen.at_most),
        };
        let n_idle = seen.slots.iter().filter(|slot| !slot.is_busy).count();
        self.is_unconfirmed = n_idle > spare;
        self.last = Some((now, seen));
        self.is_near.then_some(spare)
    }

    /// How many slots they hold.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// When somebody who waits needs the next look.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let pause = if self.is_unconfirmed { CONFIRM } else { AGAIN };
        self.last.as_ref().map(|(at, _)| *at + pause)
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
    use llama_client::SlotState;
    use tokio::time::Instant;

    use super::{OtherClients, SlotCount};

    const SHORT: Duration = Duration::from_millis(100);

    /// Four slots, of which so many are busy, each with a task of its own.
    fn slots(n_busy: usize) -> Vec<SlotState> {
        (0..4)
            .map(|n| SlotState {
                is_busy: (n as usize) < n_busy,
                last_task: Some(n),
                progress: None,
            })
            .collect()
    }

    /// A look while nothing is ours.
    fn seen(n_busy: usize) -> SlotCount {
        SlotCount::of(slots(n_busy), Ours::default(), Ours::default())
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
        for (before, after, expected) in [
            (ours(2, 2, 7), ours(2, 2, 7), (1, 1, 0)),
            (ours(2, 2, 7), ours(1, 1, 7), (1, 2, 0)),
            (ours(1, 1, 7), ours(3, 2, 8), (0, 2, 2)),
            (ours(0, 0, 7), ours(4, 4, 11), (0, 3, 4)),
        ] {
            let seen = SlotCount::of(slots(3), before, after);
            assert_eq!((seen.at_least, seen.at_most, seen.n_sent), expected);
        }
    }

    #[test]
    fn alone_one_look_is_not_believed_and_two_are() {
        let mut others = OtherClients::default();
        let mut now = Instant::now();
        for (n_busy, n) in [(0, 0), (2, 0), (0, 0), (2, 0), (1, 1)] {
            now += Duration::from_secs(5);
            let spare = others.look(now, seen(n_busy));
            assert_eq!((others.n(), spare), (n, (n > 0).then_some(0)), "{n_busy}");
        }
    }

    #[test]
    fn those_who_are_there_at_the_first_look_are_believed_at_once() {
        let mut others = OtherClients::default();
        assert_eq!(others.look(Instant::now(), seen(2)), Some(0));
        assert_eq!((others.n(), others.is_near()), (2, true));
    }

    #[test]
    fn beside_others_a_slot_must_stay_idle_and_unused_for_a_while() {
        let mut others = OtherClients::default();
        let mut now = Instant::now();
        others.look(now, seen(4));
        for (n_busy, n, spare) in [
            (3, 4, 0),
            (3, 3, 0),
            (3, 3, 1),
            (4, 4, 0),
            (0, 4, 0),
            (0, 0, 4),
        ] {
            now += SHORT;
            assert_eq!(
                (others.look(now, seen(n_busy)), others.n()),
                (Some(spare), n)
            );
        }
        let mut used = seen(0);
        used.slots[1].last_task = Some(99);
        assert_eq!(others.look(now + SHORT, used), Some(3));
    }

    #[test]
    fn a_slot_that_is_idle_while_the_engine_makes_no_step_may_be_as_good_as_taken() {
        let mut others = OtherClients::default();
        let mut now = Instant::now();
        others.look(now, seen(4));
        for (progress, spare) in [(7, 0), (7, 0), (7, 0), (8, 0), (8, 0), (9, 1)] {
            now += SHORT;
            let mut seen = seen(3);
            seen.slots[0].progress = Some(progress);
            assert_eq!(others.look(now, seen), Some(spare), "{progress}");
        }
    }

    #[test]
    fn a_look_after_a_pause_must_be_followed_by_another_for_a_minute() {
        let mut others = OtherClients::default();
        let mut now = Instant::now();
        others.look(now, seen(2));
        now += Duration::from_secs(5);
        assert_eq!(others.look(now, seen(0)), Some(0));
        assert_eq!(others.look(now + SHORT, seen(0)), Some(4));
        now += Duration::from_secs(60);
        assert_eq!(others.look(now, seen(0)), None);
        assert!(!others.is_near());
    }
}
