//! A prompt as a chain of hashes, so that two prompts can be asked how far they are the same without keeping either.
//!
//! Each mark is the hash of everything before it. Marks stand 256 bytes apart, and further apart as the prompt grows, so
//! that a chain is short and still tells the common part to a sixteenth.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

/// The least distance between two marks, in bytes; what is shorter is computed faster than it is worth to look for.
const MIN_DISTANCE_BYTES: usize = 256;
/// The distance between two marks as a share of the prompt before them, once that is long.
const DISTANCE_SHARE: usize = 16;

/// A prompt's beginning, as hashes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    marks: Arc<[u64]>,
    n_bytes: usize,
}

impl Prefix {
    /// The prefix of a request's body, in which everything that the prompt is made of comes first.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut marks = Vec::new();
        let mut from = 0;
        while let Some(block) = body.get(from..from + distance(from)) {
            hasher.write(block);
            marks.push(hasher.finish());
            from += block.len();
        }
        Self {
            marks: marks.into(),
            n_bytes: body.len(),
        }
    }

    /// The length of what was hashed, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// How many bytes both begin with, rounded down to a mark.
    #[must_use]
    pub fn n_common_bytes(&self, other: &Self) -> usize {
        bytes_of(self.n_common_marks(other))
    }

    /// How many marks both begin with. More marks are more bytes.
    pub(super) fn n_common_marks(&self, other: &Self) -> usize {
        // Equal marks mean that all before them are equal.
        let pairs = self.marks.len().min(other.marks.len());
        let mut low = 0;
        let mut high = pairs;
        while low < high {
            let middle = low.midpoint(high);
            if self.marks[middle] == other.marks[middle] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether both begin with more than `n_marks`. It takes one comparison.
    pub(super) fn has_more_in_common(&self, other: &Self, n_marks: usize) -> bool {
        let own = self.marks.get(n_marks);
        own.is_some() && own == other.marks.get(n_marks)
    }
}

/// The bytes before the end of so many marks.
pub(super) fn bytes_of(n_marks: usize) -> usize {
    (0..n_marks).fold(0, |from, _| from + distance(from))
}

/// From one mark to the next.
fn distance(from: usize) -> usize {
    MIN_DISTANCE_BYTES.max(from / DISTANCE_SHARE)
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn the_common_part_is_told_to_a_sixteenth_and_chains_are_short() {
        let text: Vec<u8> = (0..1 << 20)
            .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let whole = Prefix::of(&text);
        assert!(whole.marks.len() < 120, "{}", whole.marks.len());
        for n in [0, 100, 256, 1_000, 5_000, 40_000, 500_000, 1 << 20] {
            let mut other = text.clone();
            other[n..].reverse();
            let common = whole.n_common_bytes(&Prefix::of(&other));
            assert!(common <= n && common + n / 16 + 256 >= n, "{n} {common}");
            assert_eq!(whole.n_common_bytes(&Prefix::of(&text[..n])), common);
        }
    }

    #[test]
    fn a_short_prompt_has_no_mark() {
        assert_eq!(
            Prefix::of(b"hello").n_common_bytes(&Prefix::of(b"hello")),
            0
        );
    }
}
