//! Whose turn it is inside one lane: the fair order of the users whom one key asks for.
//!
//! It is the order of lanes once more, with equal weights: the user with the lowest level is next, and within a user
//! the longest wait. A key that names no users has one, whose name is empty. Names come from requests, so a user is
//! forgotten as soon as it would come back with the same level anyway.

use std::collections::{BTreeSet, HashMap};

use super::lane::LaneTurn;

/// Users that neither wait nor run, and whose level is still remembered. Beyond it the lowest levels are forgotten.
const MAX_IDLE_USERS: usize = 10_000;

/// A user of one lane. Numbers are never used again.
pub(super) type UserNumber = u64;

/// One user's share of a lane.
#[derive(Debug, Default)]
struct UserLane {
    name: Box<str>,
    /// The numbers of its waiting requests.
    waiting: BTreeSet<u64>,
    n_tokens: u64,
    n_bytes: usize,
    in_flight: usize,
    max_in_flight: usize,
    /// What its ended requests took.
    had: u64,
    /// What its running requests are expected to take.
    under_way: u64,
    last_turn: u64,
}

impl UserLane {
    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.max_in_flight
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }

    fn turn(&self) -> LaneTurn {
        (self.had + self.under_way, self.last_turn)
    }

    fn take_out(&mut self, request: u64, size: RequestSize) {
        self.waiting.remove(&request);
        self.n_tokens -= size.n_tokens;
        self.n_bytes -= size.n_bytes;
    }
}

/// What one request adds to its user's lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestSize {
    pub(super) n_tokens: u64,
    pub(super) n_bytes: usize,
}

/// How much of the queue a lane or a user fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueFill {
    pub(super) n_requests: usize,
    pub(super) n_bytes: usize,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Users {
    lanes: HashMap<UserNumber, UserLane>,
    names: HashMap<Box<str>, UserNumber>,
    /// Those whose first request may start, lowest first.
    ready: BTreeSet<(LaneTurn, UserNumber)>,
    /// Those who wait.
    filled: BTreeSet<UserNumber>,
    /// Those that neither wait nor run, by what they had.
    idle: BTreeSet<(u64, UserNumber)>,
    /// The most that any user has had.
    highest: u64,
    n_numbers: u64,
}

impl Users {
    /// Whether somebody's request may start.
    pub(super) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The request that is next.
    pub(super) fn first(&self) -> Option<u64> {
        let (_, number) = self.ready.first()?;
        self.lanes[number].waiting.first().copied()
    }

    /// Puts a request at its place among those of the user with this name, who may have `max_in_flight` at once.
    pub(super) fn insert(
        &mut self,
        name: &str,
        max_in_flight: usize,
        request: u64,
        size: RequestSize,
    ) -> UserNumber {
        let number = self.number(name);
        self.change(number, |user| {
            user.max_in_flight = max_in_flight;
            user.waiting.insert(request);
            user.n_tokens += size.n_tokens;
            user.n_bytes += size.n_bytes;
        });
        number
    }

    pub(super) fn remove(&mut self, number: UserNumber, request: u64, size: RequestSize) {
        self.change(number, |user| user.take_out(request, size));
    }

    /// A waiting request has its slot. Its tokens add to the user's level until it ends.
    pub(super) fn start(&mut self, number: UserNumber, request: u64, size: RequestSize, turn: u64) {
        self.change(number, |user| {
            user.take_out(request, size);
            user.under_way += size.n_tokens;
            user.in_flight += 1;
            user.last_turn = turn;
        });
    }

    /// It ended: `had` replaces the `n_tokens` that it was expected to take.
    pub(super) fn end(&mut self, number: UserNumber, n_tokens: u64, had: u64) {
        self.change(number, |user| {
            user.under_way -= n_tokens;
            user.in_flight -= 1;
            user.had += had;
        });
    }

    /// Each user who waits: how much of the queue it fills, and its requests, newest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (QueueFill, impl Iterator<Item = u64>)> {
        self.filled.iter().map(|number| {
            let user = &self.lanes[number];
            let fill = QueueFill {
                n_requests: user.waiting.len(),
                n_bytes: user.n_bytes,
            };
            (fill, user.waiting.iter().rev().copied())
        })
    }

    /// How many requests of the lane start before one of `number`'s that has `own` of the same user before it, and
    /// their tokens. A user that was forgotten comes back at the floor.
    pub(super) fn before(&self, number: UserNumber, own: (usize, u64)) -> (usize, u64) {
        let known = self.lanes.get(&number);
        let level = known.map_or(0, |user| user.had + user.under_way);
        let level = match known {
            Some(user) if user.is_ready() => level,
            _ => level.max(self.floor()),
        };
        let turn = level + own.1;
        let others = self.filled.iter().filter(|other| **other != number);
        others.fold(own, |(requests, tokens), other| {
            let (more_requests, more_tokens) = self.lanes[other].before_turn(turn);
            (requests + more_requests, tokens + more_tokens)
        })
    }

    /// How many requests the user may have at once, if one that has `n_before` of the same user before it waits for
    /// that.
    pub(super) fn limit_in_the_way(&self, number: UserNumber, n_before: usize) -> Option<usize> {
        let user = self.lanes.get(&number)?;
        (user.in_flight + n_before >= user.max_in_flight).then_some(user.max_in_flight)
    }

    /// The requests and tokens of a user that wait.
    pub(super) fn waiting_of(&self, number: UserNumber) -> (usize, u64) {
        let known = self.lanes.get(&number);
        known.map_or((0, 0), |user| (user.waiting.len(), user.n_tokens))
    }

    /// The requests of a user before `request`.
    pub(super) fn own_before(
        &self,
        number: UserNumber,
        request: u64,
    ) -> impl Iterator<Item = u64> + '_ {
        let known = self.lanes.get(&number);
        known
            .into_iter()
            .flat_map(move |user| user.waiting.range(..request).copied())
    }

    /// The users that are remembered.
    #[cfg(test)]
    pub(super) fn n_users(&self) -> usize {
        self.lanes.len()
    }

    fn number(&mut self, name: &str) -> UserNumber {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        self.n_numbers += 1;
        self.names.insert(name.into(), self.n_numbers);
        let user = UserLane {
            name: name.into(),
            ..UserLane::default()
        };
        self.lanes.insert(self.n_numbers, user);
        self.n_numbers
    }

    /// The least that a user has had when it becomes ready, as for lanes.
    fn floor(&self) -> u64 {
        self.ready
            .first()
            .map_or(self.highest, |(_, number)| self.lanes[number].had)
    }

    /// Changes a user, and keeps the order true.
    fn change(&mut self, number: UserNumber, change: impl FnOnce(&mut UserLane)) {
        let Some(user) = self.lanes.get(&number) else {
            return;
        };
        let was_ready = self.ready.remove(&(user.turn(), number));
        self.idle.remove(&(user.had, number));
        let floor = self.floor();
        let Some(user) = self.lanes.get_mut(&number) else {
            return;
        };
        change(user);
        if user.is_ready() {
            if !was_ready {
                user.had = user.had.max(floor);
            }
            self.ready.insert((user.turn(), number));
        }
        self.highest = self.highest.max(user.had);
        if user.waiting.is_empty() {
            self.filled.remove(&number);
        } else {
            self.filled.insert(number);
        }
        if user.is_idle() {
            self.idle.insert((user.had, number));
        }
        self.forget();
    }

    /// Forgets idle users that would come back at the floor.
    fn forget(&mut self) {
        let floor = self.floor();
        while let Some((had, number)) = self.idle.first().copied() {
            if had > floor && self.idle.len() <= MAX_IDLE_USERS {
                return;
            }
            self.idle.pop_first();
            if let Some(user) = self.lanes.remove(&number) {
                self.names.remove(&user.name);
            }
        }
    }
}

impl UserLane {
    /// How many of the waiting start before the level is `turn`, and their tokens.
    fn before_turn(&self, turn: u64) -> (usize, u64) {
        let budget = turn.saturating_sub(self.had + self.under_way);
        if budget == 0 || self.waiting.is_empty() {
            return (0, 0);
        }
        let n_requests = self.waiting.len() as u64;
        let mean_tokens = (self.n_tokens / n_requests).max(1);
        let before = budget.div_ceil(mean_tokens).min(n_requests);
        (before as usize, before * mean_tokens)
    }
}
