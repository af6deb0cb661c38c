//! A moving mean that begins with a guess.

/// The least weight of the newest value: about the last twenty count.
const MIN_NEWEST_WEIGHT: f64 = 0.1;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean {
    value: f64,
    n: f64,
}

impl Mean {
    /// The guess counts as one value.
    pub(super) const fn guess(value: f64) -> Self {
        Self { value, n: 1.0 }
    }

    pub(super) fn add(&mut self, newest: f64) {
        self.n += 1.0;
        self.value += (newest - self.value) * self.n.recip().max(MIN_NEWEST_WEIGHT);
    }

    pub(super) fn get(self) -> f64 {
        self.value
    }
}
