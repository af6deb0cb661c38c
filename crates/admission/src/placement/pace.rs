//! How long a prompt and an answer take, learnt from the answers' own timings: what a cached prompt is worth, and what a
//! neighbour costs.

use std::time::Duration;

/// The weight of what is known against each new answer.
const MEMORY: f64 = 0.95;
/// What one neighbour adds to an answer, as a share of its length; half-way between memory-bound machines, where it is
/// next to nothing, and compute-bound ones.
const CROWDING: f64 = 0.25;

/// The fleet's pace, as sums that fade.
#[derive(Debug, Default)]
pub(super) struct FleetPace {
    prefilled_bytes: f64,
    prefill_seconds: f64,
    n_answers: f64,
    decode_seconds: f64,
}

impl FleetPace {
    /// An answer was counted. One without times teaches nothing.
    pub(super) fn learn(&mut self, n_prefilled_bytes: usize, prefill: Duration, decode: Duration) {
        if prefill.is_zero() {
            return;
        }
        self.prefilled_bytes = self.prefilled_bytes * MEMORY + n_prefilled_bytes as f64;
        self.prefill_seconds = self.prefill_seconds * MEMORY + prefill.as_secs_f64();
        self.n_answers = self.n_answers * MEMORY + 1.0;
        self.decode_seconds = self.decode_seconds * MEMORY + decode.as_secs_f64();
    }

    /// What computing so much of a prompt beside `neighbours` costs all of them together, in seconds once an answer
    /// was counted. Neighbours stand still while a prompt is computed; afterwards they and the newcomer share.
    pub(super) fn cost(&self, n_bytes: usize, neighbours: usize) -> f64 {
        let per_byte = if self.prefilled_bytes > 0.0 {
            self.prefill_seconds / self.prefilled_bytes
        } else {
            1.0
        };
        let answer = if self.n_answers > 0.0 {
            self.decode_seconds / self.n_answers
        } else {
            0.0
        };
        let n_bytes = n_bytes as f64;
        let neighbours = neighbours as f64;
        n_bytes * per_byte * (1.0 + neighbours) + 2.0 * CROWDING * neighbours * answer
    }
}
