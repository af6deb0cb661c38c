//! A llama-server with a clock: its slots, its prompt cache, how long it takes.
//!
//! Time is fluid: between two events every rate is constant. Prompts are computed one after another, 256 tokens a batch,
//! and each batch gives the answers that run beside it one token each; answers share the rest as `crowding` says.

use std::collections::VecDeque;

/// Tokens in one compute step.
const BATCH_TOKENS: f64 = 256.0;
/// llama-server's `--slot-prompt-similarity`.
const MIN_SIMILARITY: f64 = 0.1;
/// A prompt that keeps less of its slot's content than this has that content parked.
const MIN_KEPT: f64 = 0.5;

/// A piece of a prompt: equal ids are equal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: u64,
    pub(crate) n_tokens: u32,
}

/// What a machine is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    pub(crate) slots: usize,
    pub(crate) prefill_per_second: f64,
    /// Tokens a second of an answer that runs alone.
    pub(crate) decode_per_second: f64,
    /// What a neighbour costs an answer: 0 nothing (memory-bound), 1 half of its speed (compute-bound).
    pub(crate) crowding: f64,
    /// Tokens of prompts that are kept beside the slots.
    pub(crate) parked_tokens: u32,
    /// Whether anything is kept at all.
    pub(crate) caches: bool,
}

/// A machine at work.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) build: Build,
    pub(crate) is_up: bool,
    /// Grows with every change, so that old events are known for what they are.
    pub(crate) version: u64,
    now: f64,
    slots: Vec<Slot>,
    parked: VecDeque<Vec<Piece>>,
    /// Slots whose prompts wait for their turn.
    prefilling: VecDeque<usize>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    holds: Vec<Piece>,
    used_at: f64,
    job: Option<Job>,
}

#[derive(Clone, Debug)]
struct Job {
    request: usize,
    prefill_left: f64,
    decode_left: f64,
    answer: Piece,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    FirstToken { request: usize },
    Done { request: usize },
}

impl Machine {
    pub(crate) fn new(build: Build) -> Self {
        let slots = vec![Slot::default(); build.slots];
        Self {
            build,
            is_up: true,
            version: 0,
            now: 0.0,
            slots,
            parked: VecDeque::new(),
            prefilling: VecDeque::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.iter().filter(|slot| slot.job.is_some()).count()
    }

    /// Starts a request and returns how many of its tokens were still there. There must be an idle slot.
    pub(crate) fn start(
        &mut self,
        now: f64,
        request: usize,
        prompt: &[Piece],
        answer: Piece,
    ) -> u32 {
        self.advance(now);
        let n_prompt = n_tokens(prompt);
        let at = self.choose(prompt, n_prompt);
        let slot = &mut self.slots[at];
        let mut n_cached = n_common(&slot.holds, prompt);
        let kept = f64::from(n_cached) / f64::from(n_tokens(&slot.holds).max(1));
        if kept < MIN_KEPT && !slot.holds.is_empty() {
            let before = std::mem::take(&mut slot.holds);
            n_cached = n_cached.max(self.swap(before, prompt));
        }
        if !self.build.caches {
            n_cached = 0;
        }
        n_cached = n_cached.min(n_prompt - 1);
        let slot = &mut self.slots[at];
        slot.holds = prompt.to_vec();
        slot.job = Some(Job {
            request,
            prefill_left: f64::from(n_prompt - n_cached),
            decode_left: f64::from(answer.n_tokens),
            answer,
        });
        self.prefilling.push_back(at);
        self.version += 1;
        n_cached
    }

    fn choose(&self, prompt: &[Piece], n_prompt: u32) -> usize {
        let mut similar = None;
        let mut most = 0;
        let mut oldest: Option<usize> = None;
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.job.is_some() {
                continue;
            }
            let n = n_common(&slot.holds, prompt);
            if n > most && f64::from(n) > MIN_SIMILARITY * f64::from(n_prompt) {
                similar = Some(at);
                most = n;
            }
            if oldest.is_none_or(|oldest| slot.used_at < self.slots[oldest].used_at) {
                oldest = Some(at);
            }
        }
        similar.or(oldest).expect("the caller saw an idle slot")
    }

    /// Parks what a slot held, and returns how much of `prompt` is among the parked.
    fn swap(&mut self, before: Vec<Piece>, prompt: &[Piece]) -> u32 {
        let found = self
            .parked
            .iter()
            .map(|parked| n_common(parked, prompt))
            .max()
            .unwrap_or(0);
        self.parked.push_front(before);
        let mut n_left = self.build.parked_tokens;
        self.parked.retain(|parked| {
            let n = n_tokens(parked);
            let stays = n <= n_left;
            n_left = n_left.saturating_sub(n);
            stays
        });
        found
    }

    /// The power is cut: everything is lost. Returns what was running.
    pub(crate) fn fail(&mut self, now: f64) -> Vec<usize> {
        self.advance(now);
        let lost = self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.job.take())
            .map(|job| job.request)
            .collect();
        self.slots.fill(Slot::default());
        self.parked.clear();
        self.prefilling.clear();
        self.version += 1;
        self.is_up = false;
        lost
    }

    /// Tokens a second: of the prompt in front, and of each answer that runs.
    fn rates(&self) -> (f64, f64) {
        let build = &self.build;
        if !self.prefilling.is_empty() {
            return (
                build.prefill_per_second,
                build.prefill_per_second / BATCH_TOKENS,
            );
        }
        let neighbours = self.in_flight().saturating_sub(1) as f64;
        (
            0.0,
            build.decode_per_second / (1.0 + build.crowding * neighbours),
        )
    }

    fn advance(&mut self, now: f64) {
        let (prefill, decode) = self.rates();
        let passed = now - self.now;
        self.now = now;
        let front = self.prefilling.front().copied();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let Some(job) = &mut slot.job else { continue };
            if front == Some(at) {
                job.prefill_left -= prefill * passed;
            } else if job.prefill_left <= 0.0 {
                job.decode_left -= decode * passed;
            }
        }
    }

    /// When something happens next, if nothing else does.
    pub(crate) fn next_at(&self) -> Option<f64> {
        let (prefill, decode) = self.rates();
        let front = self.prefilling.front().copied();
        let jobs = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((at, slot.job.as_ref()?)));
        let left = jobs.filter_map(|(at, job)| match job.prefill_left > 0.0 {
            true => (front == Some(at)).then(|| job.prefill_left / prefill),
            false => Some(job.decode_left / decode),
        });
        left.min_by(f64::total_cmp)
            .map(|left| self.now + left.max(0.0))
    }

    /// Passes the time until `now` and tells what happened then.
    pub(crate) fn step(&mut self, now: f64) -> Vec<Progress> {
        const NOTHING: f64 = 1e-6;
        self.advance(now);
        let mut happened = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let Some(job) = &mut slot.job else { continue };
            if self.prefilling.front() == Some(&at) && job.prefill_left <= NOTHING {
                job.prefill_left = 0.0;
                self.prefilling.pop_front();
                happened.push(Progress::FirstToken {
                    request: job.request,
                });
            } else if job.prefill_left <= 0.0 && job.decode_left <= NOTHING {
                happened.push(Progress::Done {
                    request: job.request,
                });
                slot.holds.push(job.answer);
                (slot.job, slot.used_at) = (None, now);
            }
        }
        self.version += 1;
        happened
    }
}

pub(crate) fn n_tokens(pieces: &[Piece]) -> u32 {
    pieces.iter().map(|piece| piece.n_tokens).sum()
}

/// The bytes of a prompt, 4 for a token.
pub(crate) fn body(prompt: &[Piece]) -> Vec<u8> {
    let mut body = Vec::with_capacity(n_tokens(prompt) as usize * 4);
    for piece in prompt {
        let mut word = piece.id;
        for _ in 0..piece.n_tokens {
            word = word
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            body.extend_from_slice(&word.to_be_bytes()[..4]);
        }
    }
    body
}

fn n_common(a: &[Piece], b: &[Piece]) -> u32 {
    a.iter()
        .zip(b)
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.n_tokens)
        .sum()
}
