//! Times in microseconds, and what is told of many of them.

use std::time::Duration;

use serde_json::{Value, json};

/// Median, 99th percentile and maximum.
pub fn spread(samples: &mut [u32]) -> Value {
    samples.sort_unstable();
    json!({"p50": sample_at(samples, 500), "p99": sample_at(samples, 990), "max": sample_at(samples, 1000)})
}

fn sample_at(sorted: &[u32], thousandths: usize) -> Option<u32> {
    sorted
        .get((sorted.len().saturating_sub(1)) * thousandths / 1000)
        .copied()
}

/// A time in microseconds.
#[must_use]
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
