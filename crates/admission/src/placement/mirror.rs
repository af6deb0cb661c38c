//! What one upstream's slots are taken to hold: llama-server's own choice of a slot, followed from outside.
//!
//! llama-server gives a prompt to the idle slot that shares the longest beginning with it, if that is more than a tenth
//! of the prompt, otherwise to the one idle for longest; what it takes from a slot it may park in memory. A busy slot's
//! content is of no use to others. What is wrong here shows in the answer's own count of cached tokens, and is forgotten.

use std::collections::VecDeque;

use super::prefix::{Prefix, bytes_of};

/// llama-server's `--slot-prompt-similarity`: a slot that shares less of the prompt is not preferred.
const MIN_SIMILARITY: f64 = 0.1;
/// A prompt that keeps less of its slot's content than this has that content parked.
const MIN_KEPT: f64 = 0.5;
/// Parked prompts that an upstream is believed to have before it has shown any.
const FIRST_PARKED: usize = 4;
/// The most that it is ever believed to have.
const MAX_PARKED: usize = 64;

/// The mirror of one upstream.
#[derive(Debug)]
pub(super) struct SlotMirror {
    slots: Vec<MirrorSlot>,
    /// When any of them was last taken or given back; 0 is never.
    used_at: u64,
    /// The newest first.
    parked: VecDeque<Prefix>,
    max_parked: usize,
}

#[derive(Clone, Debug, Default)]
struct MirrorSlot {
    holds: Prefix,
    /// The prompt that is computed there now.
    takes: Option<Prefix>,
    used_at: u64,
}

/// What a prompt would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// The slot it would get.
    slot: usize,
    /// How much of it would be there.
    pub(super) n_cached_bytes: usize,
    /// Where in the parked ones that is; `None` when it is in the slot.
    parked_at: Option<usize>,
    /// When that slot was last used, and when any of the upstream's was; 0 is never.
    pub(super) used_at: (u64, u64),
}

impl SlotMirror {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            used_at: 0,
            parked: VecDeque::new(),
            max_parked: FIRST_PARKED,
        }
    }

    /// How many slots there are now. One that holds something is only given up when it is idle.
    pub(super) fn resize(&mut self, n: usize) {
        while self.slots.len() > n && self.slots.last().is_some_and(|slot| slot.takes.is_none()) {
            self.slots.pop();
        }
        if self.slots.len() < n {
            self.slots.resize_with(n, MirrorSlot::default);
        }
    }

    /// What `prompt` would find now. `None` when every slot is busy.
    pub(super) fn outlook(&self, prompt: &Prefix) -> Option<Outlook> {
        let mut similar = None;
        let mut n_cached_marks = 0;
        let mut oldest: Option<usize> = None;
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.takes.is_some() {
                continue;
            }
            if slot.holds.has_more_in_common(prompt, n_cached_marks) {
                let n = slot.holds.n_common_marks(prompt);
                if bytes_of(n) as f64 > MIN_SIMILARITY * prompt.n_bytes() as f64 {
                    similar = Some(at);
                    n_cached_marks = n;
                }
            }
            if oldest.is_none_or(|oldest| slot.used_at < self.slots[oldest].used_at) {
                oldest = Some(at);
            }
        }
        let slot = similar.or(oldest)?;
        let n_cached_bytes = bytes_of(n_cached_marks);
        let mut outlook = Outlook {
            slot,
            n_cached_bytes,
            parked_at: None,
            used_at: (self.slots[slot].used_at, self.used_at),
        };
        let holds = &self.slots[slot].holds;
        if (n_cached_bytes as f64) < MIN_KEPT * holds.n_bytes() as f64 || n_cached_bytes == 0 {
            // Of many hundred parked prompts in a large fleet hardly one has more, so each costs one comparison.
            for (at, parked) in self.parked.iter().enumerate().take(self.max_parked) {
                if parked.has_more_in_common(prompt, n_cached_marks) {
                    n_cached_marks = parked.n_common_marks(prompt);
                    outlook.parked_at = Some(at);
                }
            }
            outlook.n_cached_bytes = bytes_of(n_cached_marks);
        }
        Some(outlook)
    }

    /// `prompt` goes there.
    pub(super) fn take(&mut self, outlook: &Outlook, prompt: &Prefix, now: u64) {
        self.used_at = now;
        let slot = &mut self.slots[outlook.slot];
        slot.takes = Some(prompt.clone());
        slot.used_at = now;
    }

    /// The prompt was computed: the slot holds it, and no longer what was there before.
    pub(super) fn prefilled(&mut self, outlook: &Outlook) {
        let Some(slot) = self.slots.get_mut(outlook.slot) else {
            return;
        };
        let Some(prompt) = &slot.takes else { return };
        let before = std::mem::replace(&mut slot.holds, prompt.clone());
        let n_kept = before.n_common_bytes(prompt);
        let is_parked = (n_kept as f64) < MIN_KEPT * before.n_bytes() as f64;
        if is_parked && self.max_parked > 0 {
            self.parked.push_front(before);
            self.parked.truncate(MAX_PARKED);
        }
    }

    /// What was expected of `outlook`, and what was really there.
    pub(super) fn counted(&mut self, outlook: &Outlook, prompt: &Prefix, n_cached_bytes: usize) {
        let expected = outlook.n_cached_bytes;
        if n_cached_bytes < expected / 2 {
            match outlook.parked_at {
                Some(at) => self.max_parked = self.max_parked.min(at),
                None => {
                    for slot in &mut self.slots {
                        let held_it = slot.holds.n_common_bytes(prompt) >= expected;
                        if slot.takes.is_none() && held_it {
                            slot.holds = Prefix::default();
                        }
                    }
                }
            }
            self.parked.truncate(self.max_parked);
        } else if outlook.parked_at.is_some() || n_cached_bytes > expected + prompt.n_bytes() / 4 {
            // It keeps more than was believed.
            let at_least = outlook.parked_at.map_or(FIRST_PARKED, |at| 2 * at + 2);
            self.max_parked = self.max_parked.max(at_least).min(MAX_PARKED);
        }
    }

    /// The slot is idle again.
    pub(super) fn release(&mut self, outlook: &Outlook, now: u64) {
        self.used_at = now;
        if let Some(slot) = self.slots.get_mut(outlook.slot) {
            slot.takes = None;
            slot.used_at = now;
        }
    }
}
