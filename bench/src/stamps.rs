//! Tokens that are the times at which the mock wrote them, in nanoseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970 have as many digits until the year 2286.
pub const DIGITS: usize = 19;

/// The time now, in nanoseconds since 1970. All processes of a machine share it.
#[must_use]
pub fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}

/// Hands the age of each whole token in `text` to `found`, in microseconds, and returns where the last of them ends.
pub fn ages(text: &[u8], mut found: impl FnMut(u32)) -> usize {
    let now = now();
    let mut run = 0;
    let mut end = 0;
    for (at, byte) in text.iter().enumerate() {
        run = if byte.is_ascii_digit() { run + 1 } else { 0 };
        if run == DIGITS {
            let digits = std::str::from_utf8(&text[at + 1 - DIGITS..=at]).unwrap_or_default();
            let written: u128 = digits.parse().unwrap_or(now);
            let micros = now.saturating_sub(written) / 1000;
            found(u32::try_from(micros).unwrap_or(u32::MAX));
            run = 0;
            end = at + 1;
        }
    }
    end
}
