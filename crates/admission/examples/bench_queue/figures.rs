//! Figures of many answers: waits, shares, and who got how much.

use super::day::EndedAnswer;

/// Answers that are looked at together.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerGroup(Vec<EndedAnswer>);

impl AnswerGroup {
    /// Those that began between two times.
    pub(crate) fn begun(answers: &[EndedAnswer], from: f64, to: f64) -> Self {
        let begun = answers.iter().copied();
        Self(
            begun
                .filter(|answer| answer.started_at >= from && answer.started_at < to)
                .collect(),
        )
    }

    /// Those of the person who floods, or those of all others.
    pub(crate) fn of(&self, flood: bool) -> Self {
        let all = self.0.iter().copied();
        Self(all.filter(|answer| answer.is_flood == flood).collect())
    }

    pub(crate) fn n(&self) -> usize {
        self.0.len()
    }

    /// The wait for a slot, in seconds, of which `share` of the answers have none longer.
    pub(crate) fn wait(&self, share: f64) -> f64 {
        let waits = self
            .0
            .iter()
            .map(|answer| answer.started_at - answer.asked_at);
        let mut waits: Vec<f64> = waits.collect();
        waits.sort_by(f64::total_cmp);
        at_share(&waits, share).unwrap_or_default()
    }

    /// The share of the questions after a conversation's first that found what was said before.
    pub(crate) fn found(&self) -> f64 {
        let later: Vec<bool> = self.0.iter().filter_map(|answer| answer.found).collect();
        let n_found = later.iter().filter(|found| **found).count();
        n_found as f64 / later.len().max(1) as f64
    }

    /// The share of all tokens of prompts that were cached.
    pub(crate) fn cached(&self) -> f64 {
        let n_cached: u64 = self.0.iter().map(|answer| u64::from(answer.n_cached)).sum();
        let n_prompt: u64 = self.0.iter().map(|answer| u64::from(answer.n_prompt)).sum();
        n_cached as f64 / n_prompt.max(1) as f64
    }

    /// What the queue counts of them.
    pub(crate) fn n_tokens(&self) -> u64 {
        self.0.iter().map(|answer| u64::from(answer.n_tokens)).sum()
    }

    /// The seconds that they held slots.
    pub(crate) fn slot_seconds(&self) -> f64 {
        let held = self
            .0
            .iter()
            .map(|answer| answer.ended_at - answer.started_at);
        held.sum()
    }
}

/// The value of which `share` of the sorted values are no larger.
pub(crate) fn at_share<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share) as usize).copied()
}
