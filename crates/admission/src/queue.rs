//! Who is next: the fair order of those who wait, without a clock, a lock or a task; times are told to it.
//!
//! Each key has a lane. A lane's level is the tokens it has had and those its running requests are expected to take,
//! over its weight; the lowest lane is next, and within a lane the longest wait. That is deficit round robin with the
//! smallest quantum: no key is ahead of its share by more than the request that is chosen. What a request was expected
//! to take is replaced by what it took when it ends, so that asking for little and taking much buys nothing.
//!
//! A key may ask for several users. Inside its lane they take turns in the same way, see `users`.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

mod forecast;
mod lane;
mod mean;
mod users;

use crate::placement::Prefix;
pub use forecast::Forecast;
pub(super) use forecast::QueueNow;
use forecast::{AnswerPace, RunningAnswers};
use lane::{Lane, Queued, QueuedUser};
use users::{QueueFill, UserNumber};

/// What is asked for, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The key's name.
    pub caller: &'a str,
    /// The key's share of the tokens, against the weights of the other keys.
    pub weight: NonZeroU32,
    /// Requests of this key that may hold a slot at once.
    pub max_in_flight: usize,
    /// The user for whom the key asks, as it names them; empty when it names none.
    pub user: &'a str,
    /// Requests of this user that may hold a slot at once.
    pub max_in_flight_of_user: usize,
    /// The prompt's length, estimated.
    pub n_prompt_tokens: u64,
    /// The limit of the completion.
    pub max_completion_tokens: u64,
    /// The memory that the request takes while it waits.
    pub n_bytes: usize,
    /// The prompt's beginning; empty where there is no choice of an upstream.
    pub prefix: &'a Prefix,
}

/// Where a request waits, or waited.
#[derive(Clone, Copy, Debug)]
pub struct QueuePlace {
    lane: usize,
    /// Only for forecasts: a user that was forgotten comes back with another number.
    user: UserNumber,
    number: u64,
}

impl PartialEq for QueuePlace {
    fn eq(&self, other: &Self) -> bool {
        // The number is unique in the queue.
        self.number == other.number
    }
}

impl Eq for QueuePlace {}

/// A request that may start; it must be given back to [`FairQueue::finish`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) place: QueuePlace,
    n_tokens: u64,
    under_way: u64,
    /// When it started, on the owner's clock.
    started: Duration,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) n_prompt_tokens: u64,
    pub(super) n_completion_tokens: u64,
    pub(super) time: Duration,
}

/// Those who wait. `W` is what the owner keeps for each of them.
#[derive(Debug)]
pub(super) struct FairQueue<W> {
    max_requests: usize,
    max_bytes: usize,
    n_requests: usize,
    n_bytes: usize,
    lanes: Vec<Lane<W>>,
    /// The lane of each key. Keys come from the operator's file, so lanes are as many as it ever named.
    names: HashMap<Box<str>, usize>,
    /// The lanes in which someone waits.
    filled: BTreeSet<usize>,
    /// Those whose first request may start, lowest first.
    ready: BTreeSet<(lane::LaneTurn, usize)>,
    /// The most that any lane has had.
    highest: u64,
    n_entered: u64,
    n_granted: u64,
    pace: AnswerPace,
    running: RunningAnswers,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
struct QueueCapacity {
    max_requests: usize,
    max_bytes: usize,
}

impl QueueCapacity {
    /// How large a part of it `fill` is, by requests or by bytes. Parts are for comparing only.
    fn part(self, fill: QueueFill) -> u128 {
        let by_requests = fill.n_requests as u128 * self.max_bytes as u128;
        let by_bytes = fill.n_bytes as u128 * self.max_requests as u128;
        by_requests.max(by_bytes)
    }
}

impl<W> FairQueue<W> {
    /// A queue of at most `max_requests` requests and `max_bytes` of them.
    pub(super) fn new(max_requests: usize, max_bytes: usize) -> Self {
        Self {
            max_requests,
            max_bytes,
            n_requests: 0,
            n_bytes: 0,
            lanes: Vec::new(),
            names: HashMap::new(),
            filled: BTreeSet::new(),
            ready: BTreeSet::new(),
            highest: 0,
            n_entered: 0,
            n_granted: 0,
            pace: AnswerPace::default(),
            running: RunningAnswers::default(),
        }
    }

    pub(super) fn n_requests(&self) -> usize {
        self.n_requests
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Puts a request at the end of its key's lane. Follow with [`FairQueue::grant`] while slots are free, then with
    /// [`FairQueue::trim`].
    pub(super) fn enter(&mut self, asking: &Asking<'_>, waiter: W) -> QueuePlace {
        self.n_entered += 1;
        let place = QueuePlace {
            lane: self.lane(asking.caller),
            user: 0,
            number: self.n_entered,
        };
        self.enter_at(place, asking, waiter)
    }

    /// The same for a request that was granted and came to nothing: it is in its old place again.
    pub(super) fn enter_at(
        &mut self,
        place: QueuePlace,
        asking: &Asking<'_>,
        waiter: W,
    ) -> QueuePlace {
        let user = self.change(place.lane, |lane| {
            lane.weight = u64::from(asking.weight.get());
            lane.max_in_flight = asking.max_in_flight;
            let n_tokens =
                asking.n_prompt_tokens + lane.n_completion_tokens(asking.max_completion_tokens);
            lane.insert(
                place.number,
                Queued {
                    n_tokens,
                    n_bytes: asking.n_bytes,
                    is_kept: false,
                    user: QueuedUser {
                        name: asking.user.into(),
                        max_in_flight: asking.max_in_flight_of_user,
                    },
                    waiter,
                },
            )
        });
        QueuePlace { user, ..place }
    }

    /// Takes a request out, unless it is no longer there.
    pub(super) fn leave(&mut self, place: QueuePlace) -> Option<W> {
        self.change(place.lane, |lane| lane.remove(place.number))
            .map(|waiter| waiter.waiter)
    }

    /// Never drops a request for others, because the answer to which it belongs has begun.
    pub(super) fn keep(&mut self, place: QueuePlace) {
        self.change(place.lane, |lane| lane.keep(place.number));
    }

    /// Takes everybody out.
    pub(super) fn clear(&mut self) -> Vec<W> {
        let mut cleared = Vec::with_capacity(self.n_requests);
        for lane in 0..self.lanes.len() {
            while let Some(waiting) = self.change(lane, Lane::take_any) {
                cleared.push(waiting.waiter);
            }
        }
        cleared
    }

    /// The request that [`FairQueue::grant`] gives out next.
    pub(super) fn first(&self) -> Option<&W> {
        let (_, lane) = self.ready.first()?;
        self.lanes[*lane].first()
    }

    /// The next request, for a slot that is free.
    pub(super) fn grant(&mut self, now: Duration) -> Option<(Grant, W)> {
        let (_, lane) = *self.ready.first()?;
        self.n_granted += 1;
        let turn = self.n_granted;
        let (grant, waiter) = self.change(lane, |known| {
            let started = known.start_first(turn)?;
            let place = QueuePlace {
                lane,
                user: started.user,
                number: started.number,
            };
            Some((
                Grant {
                    place,
                    n_tokens: started.waiter.n_tokens,
                    under_way: started.under_way,
                    started: now,
                },
                started.waiter.waiter,
            ))
        })?;
        self.running.add(grant.n_tokens, now);
        Some((grant, waiter))
    }

    /// A granted request is over. `spent` is `None` when nothing was computed for it.
    pub(super) fn finish(&mut self, grant: Grant, spent: Option<Spent>) {
        if let Some(spent) = spent {
            self.pace.learn(grant.n_tokens, spent.time);
        }
        self.running.remove(grant.n_tokens, grant.started);
        self.change(grant.place.lane, |lane| lane.end(&grant, spent));
    }

    /// Makes room when more wait than may, and returns whom it cost their place.
    ///
    /// The newest request goes of the key that fills the largest part of the queue for its weight. So a lone key may
    /// fill the queue, and a further key finds room all the same. When that is the newcomers' own key, it is the
    /// newcomers that go, all of them, and nobody else. The newcomers are of one key.
    pub(super) fn trim(&mut self, newcomers: &[QueuePlace]) -> Vec<(QueuePlace, W)> {
        let Some(newcomer) = newcomers.first() else {
            return Vec::new();
        };
        let mut dropped: Vec<(QueuePlace, Queued<W>)> = Vec::new();
        while self.n_requests > self.max_requests || self.n_bytes > self.max_bytes {
            let own = self.part(newcomer.lane);
            let largest = self
                .filled
                .iter()
                .copied()
                .filter(|lane| self.lanes[*lane].may_drop())
                .max_by_key(|lane| self.part(*lane));
            let lane = largest
                .filter(|lane| self.part(*lane) > own)
                .unwrap_or(newcomer.lane);
            let capacity = self.capacity();
            let taken = self.change(lane, |lane| lane.take_last(|fill| capacity.part(fill)));
            let Some((user, number, waiter)) = taken else {
                break;
            };
            let place = QueuePlace { lane, user, number };
            if newcomers.contains(&place) {
                for (place, waiter) in dropped.drain(..).rev() {
                    self.change(place.lane, |lane| lane.insert(place.number, waiter));
                }
                for place in newcomers {
                    let removed = self.change(place.lane, |lane| lane.remove(place.number));
                    dropped.extend(removed.map(|waiter| (*place, waiter)));
                }
            }
            dropped.push((place, waiter));
        }
        dropped
            .into_iter()
            .map(|(place, waiter)| (place, waiter.waiter))
            .collect()
    }

    /// How much of the queue a lane fills, by requests or by bytes, over its weight.
    fn part(&self, lane: usize) -> u128 {
        let lane = &self.lanes[lane];
        let fill = QueueFill {
            n_requests: lane.n_requests(),
            n_bytes: lane.n_bytes,
        };
        self.capacity().part(fill) / u128::from(lane.weight)
    }

    fn capacity(&self) -> QueueCapacity {
        QueueCapacity {
            max_requests: self.max_requests,
            max_bytes: self.max_bytes,
        }
    }

    fn lane(&mut self, caller: &str) -> usize {
        if let Some(lane) = self.names.get(caller) {
            return *lane;
        }
        self.lanes.push(Lane::default());
        self.names.insert(caller.into(), self.lanes.len() - 1);
        self.lanes.len() - 1
    }

    /// The least that a lane has had when it becomes ready: as much as the next in line, not counting what that one
    /// has under way. Idle time earns nothing, and what ends later can only raise the others.
    fn floor(&self) -> u64 {
        self.ready
            .first()
            .map_or(self.highest, |(_, lane)| self.lanes[*lane].had)
    }

    /// Changes a lane, and keeps the sums and the order true.
    fn change<R>(&mut self, id: usize, change: impl FnOnce(&mut Lane<W>) -> R) -> R {
        let was_ready = self.ready.remove(&(self.lanes[id].turn(), id));
        let floor = self.floor();
        let lane = &mut self.lanes[id];
        self.n_requests -= lane.n_requests();
        self.n_bytes -= lane.n_bytes;
        let result = change(lane);
        self.n_requests += lane.n_requests();
        self.n_bytes += lane.n_bytes;
        if lane.n_requests() > 0 {
            self.filled.insert(id);
        } else {
            self.filled.remove(&id);
        }
        if lane.is_ready() {
            if !was_ready {
                lane.had = lane.had.max(floor);
            }
            self.ready.insert((lane.turn(), id));
        }
        self.highest = self.highest.max(lane.had);
        result
    }
}

#[cfg(test)]
pub(crate) mod tests;
