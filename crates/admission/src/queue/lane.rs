//! One key's lane: its requests, the order of its users, what it has had, and what it has under way.

use std::collections::BTreeMap;

use super::mean::Mean;
use super::users::{QueueFill, RequestSize, UserNumber, Users};
use super::{Grant, Spent};

/// Levels are in thousandths of a token, so that weights divide them well.
pub(super) const SCALE: u64 = 1000;
/// The tokens of a completion before one has been seen.
const FIRST_COMPLETION_TOKENS: f64 = 256.0;

/// The order of lanes: the lowest level first. Ties go to the lane whose last turn was longest ago.
pub(super) type LaneTurn = (u64, u64);

/// A request that waits.
#[derive(Debug)]
pub(super) struct Queued<W> {
    /// What it is expected to take, prompt and completion.
    pub(super) n_tokens: u64,
    pub(super) n_bytes: usize,
    /// Whether it may not be dropped for others, however full the queue is.
    pub(super) is_kept: bool,
    pub(super) user: QueuedUser,
    pub(super) waiter: W,
}

/// For whom a request waits.
#[derive(Debug)]
pub(super) struct QueuedUser {
    /// Empty when the key names no user.
    pub(super) name: Box<str>,
    /// Requests of this user that may hold a slot at once.
    pub(super) max_in_flight: usize,
}

impl<W> Queued<W> {
    fn size(&self) -> RequestSize {
        RequestSize {
            n_tokens: self.n_tokens,
            n_bytes: self.n_bytes,
        }
    }
}

/// A request that has just got its slot.
pub(super) struct Started<W> {
    pub(super) number: u64,
    pub(super) user: UserNumber,
    /// What it adds to the level of its lane until it ends.
    pub(super) under_way: u64,
    pub(super) waiter: Queued<W>,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Lane<W> {
    pub(super) weight: u64,
    pub(super) max_in_flight: usize,
    pub(super) in_flight: usize,
    /// What its ended requests took, over the weight.
    pub(super) had: u64,
    /// What its running requests are expected to take, over the weight.
    under_way: u64,
    last_turn: u64,
    waiting: BTreeMap<u64, (UserNumber, Queued<W>)>,
    users: Users,
    pub(super) n_tokens: u64,
    pub(super) n_bytes: usize,
    completion_tokens: Mean,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self {
            weight: 1,
            max_in_flight: usize::MAX,
            in_flight: 0,
            had: 0,
            under_way: 0,
            last_turn: 0,
            waiting: BTreeMap::new(),
            users: Users::default(),
            n_tokens: 0,
            n_bytes: 0,
            completion_tokens: Mean::guess(FIRST_COMPLETION_TOKENS),
        }
    }
}

impl<W> Lane<W> {
    pub(super) fn n_requests(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.users.is_any_ready() && self.in_flight < self.max_in_flight
    }

    pub(super) fn level(&self) -> u64 {
        self.had + self.under_way
    }

    pub(super) fn turn(&self) -> LaneTurn {
        (self.level(), self.last_turn)
    }

    /// How far `n_tokens` raise the level.
    pub(super) fn rise(&self, n_tokens: u64) -> u64 {
        n_tokens * SCALE / self.weight
    }

    /// What a completion of at most `limit` tokens is expected to have: as many as this key's had. The limit itself
    /// says little, most callers leave it high.
    pub(super) fn n_completion_tokens(&self, limit: u64) -> u64 {
        limit.min(self.completion_tokens.get().ceil() as u64)
    }

    /// The requests of the same user before `number`, and their tokens; `None` when it does not wait here.
    pub(super) fn own_before(&self, number: u64) -> Option<(usize, u64)> {
        let (user, _) = self.waiting.get(&number)?;
        let before = self.users.own_before(*user, number);
        Some(before.fold((0, 0), |(n, n_tokens), earlier| {
            (n + 1, n_tokens + self.waiting[&earlier].1.n_tokens)
        }))
    }

    /// The users that are remembered.
    #[cfg(test)]
    pub(super) fn n_users(&self) -> usize {
        self.users.n_users()
    }

    /// See [`Users::waiting_of`].
    pub(super) fn waiting_of(&self, user: UserNumber) -> (usize, u64) {
        self.users.waiting_of(user)
    }

    /// See [`Users::before`].
    pub(super) fn before(&self, user: UserNumber, own: (usize, u64)) -> (usize, u64) {
        self.users.before(user, own)
    }

    /// See [`Users::limit_in_the_way`].
    pub(super) fn limit_in_the_way(&self, user: UserNumber, n_before: usize) -> Option<usize> {
        self.users.limit_in_the_way(user, n_before)
    }

    pub(super) fn insert(&mut self, number: u64, waiter: Queued<W>) -> UserNumber {
        self.n_tokens += waiter.n_tokens;
        self.n_bytes += waiter.n_bytes;
        let QueuedUser {
            name,
            max_in_flight,
        } = &waiter.user;
        let user = self
            .users
            .insert(name, *max_in_flight, number, waiter.size());
        self.waiting.insert(number, (user, waiter));
        user
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Queued<W>> {
        let (user, waiter) = self.take_out(number)?;
        self.users.remove(user, number, waiter.size());
        Some(waiter)
    }

    /// Follow with what it means for the user.
    fn take_out(&mut self, number: u64) -> Option<(UserNumber, Queued<W>)> {
        let (user, waiter) = self.waiting.remove(&number)?;
        self.n_tokens -= waiter.n_tokens;
        self.n_bytes -= waiter.n_bytes;
        Some((user, waiter))
    }

    pub(super) fn first(&self) -> Option<&W> {
        let (_, waiter) = self.waiting.get(&self.users.first()?)?;
        Some(&waiter.waiter)
    }

    /// The next request has its slot, with what it adds to the level until it ends.
    pub(super) fn start_first(&mut self, turn: u64) -> Option<Started<W>> {
        let number = self.users.first()?;
        let (user, waiter) = self.take_out(number)?;
        let under_way = self.rise(waiter.n_tokens);
        self.under_way += under_way;
        self.in_flight += 1;
        self.last_turn = turn;
        self.users.start(user, number, waiter.size(), turn);
        Some(Started {
            number,
            user,
            under_way,
            waiter,
        })
    }

    pub(super) fn keep(&mut self, number: u64) {
        if let Some((_, waiter)) = self.waiting.get_mut(&number) {
            waiter.is_kept = true;
        }
    }

    /// Whether it has a request that may be dropped.
    pub(super) fn may_drop(&self) -> bool {
        let mut newest_first = self.waiting.values().rev();
        newest_first.any(|(_, waiter)| !waiter.is_kept)
    }

    /// Takes out the newest request that may be dropped, of the user that fills the largest `part` of the queue. Ties
    /// go to the newest.
    pub(super) fn take_last(
        &mut self,
        part: impl Fn(QueueFill) -> u128,
    ) -> Option<(UserNumber, u64, Queued<W>)> {
        let droppable = self.users.waiting().filter_map(|(fill, mut newest_first)| {
            let newest = newest_first.find(|number| !self.waiting[number].1.is_kept)?;
            Some((part(fill), newest))
        });
        let (_, number) = droppable.max()?;
        let user = self.waiting.get(&number)?.0;
        Some((user, number, self.remove(number)?))
    }

    /// Takes out any request; `None` when none waits.
    pub(super) fn take_any(&mut self) -> Option<Queued<W>> {
        let number = *self.waiting.first_key_value()?.0;
        self.remove(number)
    }

    /// It ended: what it took replaces what was expected.
    pub(super) fn end(&mut self, grant: &Grant, spent: Option<Spent>) {
        self.under_way -= grant.under_way;
        self.in_flight -= 1;
        let had = spent.map_or(0, |spent| {
            spent
                .n_prompt_tokens
                .saturating_add(spent.n_completion_tokens)
        });
        self.users.end(grant.place.user, grant.n_tokens, had);
        let Some(spent) = spent else { return };
        self.had += self.rise(had);
        self.completion_tokens.add(spent.n_completion_tokens as f64);
    }
}
