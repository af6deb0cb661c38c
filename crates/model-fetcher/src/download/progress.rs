//! How far the download is: a bar on a terminal, otherwise a line in the log every few seconds, in words or in numbers.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior};

use crate::error::megabytes;

const BAR: &str = "{bar:40} {bytes} of {total_bytes} ({percent} %), {bytes_per_sec}, {eta} left";

/// The bytes of one download.
#[derive(Debug)]
pub(crate) struct Progress {
    total: u64,
    done: AtomicU64,
    bar: Option<ProgressBar>,
    report_every: Duration,
    json: bool,
}

impl Progress {
    /// A download of `total` bytes of which `done` are here; told to machines if `json`.
    pub(crate) fn new(total: u64, done: u64, report_every: Duration, json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template(BAR).expect("the template is valid");
            let bar = ProgressBar::new(total)
                .with_style(style)
                .with_position(done);
            bar.reset_eta();
            bar
        });
        Self {
            total,
            done: AtomicU64::new(done),
            bar,
            report_every,
            json,
        }
    }

    /// Notes `n_bytes` more.
    pub(crate) fn add(&self, n_bytes: u64) {
        self.done.fetch_add(n_bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(n_bytes);
        }
    }

    /// Reports for ever. Cancel-safe.
    pub(crate) async fn report(&self) -> std::convert::Infallible {
        let mut tick =
            tokio::time::interval_at(Instant::now() + self.report_every, self.report_every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.done.load(Ordering::Relaxed);
        let mut at = Instant::now();
        loop {
            tick.tick().await;
            let done = self.done.load(Ordering::Relaxed);
            let recent = done.saturating_sub(before);
            let period = at.elapsed();
            if self.json {
                let done_bytes = done.min(self.total);
                let total_bytes = self.total;
                tracing::info!(
                    done_bytes,
                    total_bytes,
                    bytes_per_second = rate(recent, period),
                    "fetching"
                );
            } else if self.bar.is_none() {
                tracing::info!("{}", line(done, self.total, recent, period));
            }
            (before, at) = (done, Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is said when `recent` of the `done` bytes came in the last `period`.
fn line(done: u64, total: u64, recent: u64, period: Duration) -> String {
    if done >= total {
        return format!(
            "all {} are here, checking the rest of the SHA-256",
            megabytes(total)
        );
    }
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    let rate = rate(recent, period);
    let left = (total - done).checked_div(rate).map_or_else(
        || "no end in sight".to_owned(),
        |seconds| {
            if seconds < 120 {
                format!("{seconds} s left")
            } else {
                format!("{} min left", seconds / 60)
            }
        },
    );
    format!(
        "{} of {} ({percent} %), {}/s, {left}",
        megabytes(done),
        megabytes(total),
        megabytes(rate)
    )
}

/// Bytes a second.
fn rate(n_bytes: u64, period: Duration) -> u64 {
    u64::try_from(u128::from(n_bytes) * 1000 / period.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let five = Duration::from_secs(5);
        assert_eq!(
            line(1_000_000_000, 3_160_000_000, 210_000_000, five),
            "1000.0 MB of 3160.0 MB (31 %), 42.0 MB/s, 51 s left"
        );
        assert_eq!(
            line(0, 5_000_000, 0, five),
            "0.0 MB of 5.0 MB (0 %), 0.0 MB/s, no end in sight"
        );
        assert_eq!(
            line(5_000_001, 5_000_000, 0, five),
            "all 5.0 MB are here, checking the rest of the SHA-256"
        );
        assert_eq!(
            line(1, 1_000_000_000, 5_000_000, five),
            "0.0 MB of 1000.0 MB (0 %), 1.0 MB/s, 16 min left"
        );
    }
}
