//! How long a wait will be: the tokens that come before it in the fair order, at the pace of the answers so far.

use std::time::Duration;

use super::lane::{Lane, SCALE};
use super::mean::Mean;
use super::{FairQueue, QueuePlace};
use crate::lane_status::LaneStatus;

/// How long an answer is taken to last before one has been measured.
const FIRST_ANSWER_SECONDS: f64 = 5.0;
/// How many tokens it is taken to have.
const FIRST_ANSWER_TOKENS: f64 = 256.0;
/// What an answer that is overdue has still to go, as a share of what it was expected to take.
const OVERDUE_SHARE: f64 = 0.25;

/// What a waiting caller may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// 1 for the next in line.
    pub position: usize,
    /// From now to its slot.
    pub wait: Duration,
}

/// How long answers last, and what they were expected to take. Expected, not taken: what waits is known by that only,
/// and so an estimate that is always off by the same factor does no harm.
#[derive(Debug)]
pub(super) struct AnswerPace {
    seconds: Mean,
    tokens: Mean,
}

impl Default for AnswerPace {
    fn default() -> Self {
        Self {
            seconds: Mean::guess(FIRST_ANSWER_SECONDS),
            tokens: Mean::guess(FIRST_ANSWER_TOKENS),
        }
    }
}

impl AnswerPace {
    pub(super) fn learn(&mut self, n_tokens: u64, time: Duration) {
        self.seconds.add(time.as_secs_f64());
        self.tokens.add(n_tokens as f64);
    }

    fn seconds(&self, n_tokens: f64) -> f64 {
        n_tokens * self.seconds.get() / self.tokens.get().max(1.0)
    }
}

/// What runs, in sums.
#[derive(Debug, Default)]
pub(super) struct RunningAnswers {
    n: usize,
    n_tokens: u64,
    started: Duration,
}

impl RunningAnswers {
    pub(super) fn add(&mut self, n_tokens: u64, started: Duration) {
        self.n += 1;
        self.n_tokens += n_tokens;
        self.started += started;
    }

    pub(super) fn remove(&mut self, n_tokens: u64, started: Duration) {
        self.n -= 1;
        self.n_tokens -= n_tokens;
        self.started -= started;
    }

    /// How long an answer under way has still to go, in the mean. One that takes longer than expected is taken to have
    /// a quarter of that before it.
    fn rest_seconds(&self, pace: &AnswerPace, now: Duration) -> f64 {
        if self.n == 0 {
            return pace.seconds.get();
        }
        let n = self.n as f64;
        let whole = pace.seconds(self.n_tokens as f64 / n);
        let so_far = now.as_secs_f64() - self.started.as_secs_f64() / n;
        (whole - so_far).max(whole * OVERDUE_SHARE)
    }
}

/// When a forecast is made, on the owner's clock, and for how many slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueNow {
    pub(crate) time: Duration,
    pub(crate) n_slots: usize,
}

impl<W> FairQueue<W> {
    /// What the request at `place` may expect, while it waits.
    pub(crate) fn forecast(&self, place: QueuePlace, now: QueueNow) -> Option<Forecast> {
        let own = self.lanes[place.lane].own_before(place.number)?;
        Some(self.expect(place, own, now))
    }

    /// How long a further request of the same user would wait.
    pub(crate) fn wait_of_another(&self, place: QueuePlace, now: QueueNow) -> Duration {
        let own = self.lanes[place.lane].waiting_of(place.user);
        self.expect(place, own, now).wait
    }

    /// Each key that has something waiting or running, by name.
    pub(crate) fn lanes(&self, now: QueueNow, any_free: bool) -> Vec<LaneStatus> {
        let busy = self.names.iter().filter_map(|(name, id)| {
            let lane = &self.lanes[*id];
            let waiting = lane.n_requests();
            let running = lane.in_flight;
            if waiting + running == 0 {
                return None;
            }
            // A request that waits beside a free slot waits for its own key's limit.
            let at_once = any_free && waiting == 0 && running < lane.max_in_flight;
            let wait = if at_once {
                Duration::ZERO
            } else {
                self.expect_in_lane(*id, (waiting, lane.n_tokens), now).wait
            };
            Some(LaneStatus {
                caller: name.to_string(),
                waiting,
                running,
                wait,
            })
        });
        let mut lanes: Vec<LaneStatus> = busy.collect();
        lanes.sort_unstable_by(|one, other| one.caller.cmp(&other.caller));
        lanes
    }

    /// What a request of the user of `place` may expect that has `own` of the same user before it.
    fn expect(&self, place: QueuePlace, own: (usize, u64), now: QueueNow) -> Forecast {
        let lane = &self.lanes[place.lane];
        let forecast = self.expect_in_lane(place.lane, lane.before(place.user, own), now);
        // A user at its limit waits for its own requests to end, however many slots are free.
        let Some(at_once) = lane.limit_in_the_way(place.user, own.0) else {
            return forecast;
        };
        let limited = self.limited(own.1, at_once, now);
        Forecast {
            wait: forecast.wait.max(Duration::from_secs_f64(limited)),
            ..forecast
        }
    }

    /// The seconds until `n_tokens` are computed and one more of those running has ended, with `at_once` requests at a
    /// time.
    fn limited(&self, n_tokens: u64, at_once: usize, now: QueueNow) -> f64 {
        let rest = self.running.rest_seconds(&self.pace, now.time);
        let n_slots = now.n_slots.max(1) as f64;
        let at_once = (at_once.max(1) as f64).min(n_slots);
        (self.pace.seconds(n_tokens as f64) + rest) / at_once
    }

    /// What a request may expect that has `own_requests` with `own_tokens` of its own lane before it. It takes time by
    /// the number of keys that wait, not of requests.
    fn expect_in_lane(
        &self,
        id: usize,
        (own_requests, own_tokens): (usize, u64),
        now: QueueNow,
    ) -> Forecast {
        let n_slots = now.n_slots.max(1) as f64;
        let rest = self.running.rest_seconds(&self.pace, now.time);
        let own = &self.lanes[id];
        let level = if own.is_ready() {
            own.level()
        } else {
            own.level().max(self.floor())
        };
        let turn = level + own.rise(own_tokens);
        let others = self
            .filled
            .iter()
            .filter(|other| **other != id)
            .map(|other| &self.lanes[*other]);
        let (requests, tokens) = others.map(|lane| lane.before_turn(turn)).fold(
            (own_requests as f64, own_tokens as f64),
            |(requests, tokens), (more_requests, more_tokens)| {
                (requests + more_requests, tokens + more_tokens)
            },
        );
        let fair = (self.pace.seconds(tokens) + rest) / n_slots;
        // A key at its limit waits for its own requests to end, however many slots are free.
        let limited = if own.in_flight + own_requests >= own.max_in_flight {
            self.limited(own_tokens, own.max_in_flight, now)
        } else {
            0.0
        };
        Forecast {
            position: requests as usize + 1,
            wait: Duration::from_secs_f64(fair.max(limited)),
        }
    }
}

impl<W> Lane<W> {
    /// How many of the waiting start before the level is `turn`, and their tokens.
    fn before_turn(&self, turn: u64) -> (f64, f64) {
        let budget = turn.saturating_sub(self.level()) as f64 * self.weight as f64 / SCALE as f64;
        if budget <= 0.0 {
            return (0.0, 0.0);
        }
        let requests = self.n_requests() as f64;
        let mean_tokens = self.n_tokens as f64 / requests;
        let before = (budget / mean_tokens.max(1.0)).ceil().min(requests);
        (before, before * mean_tokens)
    }
}
