//! One key's lane: its requests in the order they came, what it has had, and what it has under way.

use std::collections::BTreeMap;

use super::Spent;
use super::mean::Mean;

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
    pub(super) waiter: W,
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
    waiting: BTreeMap<u64, Queued<W>>,
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
        !self.waiting.is_empty() && self.in_flight < self.max_in_flight
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

    /// The requests before `number`, and their tokens.
    pub(super) fn before(&self, number: u64) -> (usize, u64) {
        let before = self.waiting.range(..number);
        before.fold((0, 0), |(n, n_tokens), (_, waiter)| {
            (n + 1, n_tokens + waiter.n_tokens)
        })
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        self.waiting.contains_key(&number)
    }

    pub(super) fn insert(&mut self, number: u64, waiter: Queued<W>) {
        self.n_tokens += waiter.n_tokens;
        self.n_bytes += waiter.n_bytes;
        self.waiting.insert(number, waiter);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Queued<W>> {
        let waiter = self.waiting.remove(&number)?;
        self.n_tokens -= waiter.n_tokens;
        self.n_bytes -= waiter.n_bytes;
        Some(waiter)
    }

    pub(super) fn first(&self) -> Option<&W> {
        self.waiting
            .first_key_value()
            .map(|(_, waiter)| &waiter.waiter)
    }

    pub(super) fn take_first(&mut self) -> Option<(u64, Queued<W>)> {
        let number = *self.waiting.first_key_value()?.0;
        Some((number, self.remove(number)?))
    }

    pub(super) fn keep(&mut self, number: u64) {
        if let Some(waiter) = self.waiting.get_mut(&number) {
            waiter.is_kept = true;
        }
    }

    /// The newest that may be dropped.
    pub(super) fn last(&self) -> Option<u64> {
        let mut newest_first = self.waiting.iter().rev();
        let (number, _) = newest_first.find(|(_, waiter)| !waiter.is_kept)?;
        Some(*number)
    }

    pub(super) fn take_last(&mut self) -> Option<(u64, Queued<W>)> {
        let number = self.last()?;
        Some((number, self.remove(number)?))
    }

    /// A request has its slot; returns what it adds to the level until it ends.
    pub(super) fn start(&mut self, n_tokens: u64, turn: u64) -> u64 {
        let under_way = self.rise(n_tokens);
        self.under_way += under_way;
        self.in_flight += 1;
        self.last_turn = turn;
        under_way
    }

    /// It ended: what it took replaces what was expected.
    pub(super) fn end(&mut self, under_way: u64, spent: Option<Spent>) {
        self.under_way -= under_way;
        self.in_flight -= 1;
        let Some(spent) = spent else { return };
        self.had += self.rise(
            spent
                .n_prompt_tokens
                .saturating_add(spent.n_completion_tokens),
        );
        self.completion_tokens.add(spent.n_completion_tokens as f64);
    }
}
