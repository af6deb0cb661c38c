//! A scenario's results as rows of Markdown: the run with the median wall time.

use std::time::Duration;

use super::hub::Count;
use super::measure::{Cost, READ_EVERY};

/// The table's head.
pub(super) const HEAD: &str = "| | wall | CPU | peak memory | sent by the Hub | requests | verified |\n\
                               |---|--:|--:|--:|--:|--:|---|";

/// A run this short has no figure for memory, because that was read too seldom.
const TOO_SHORT: Duration = READ_EVERY.saturating_mul(4);

/// One run of one tool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Its cost.
    pub(super) cost: Cost,
    /// Its requests to the Hub.
    pub(super) count: Count,
}

/// The row of `name`, all of whose `runs` succeeded.
pub(super) fn row(name: &str, verifies: bool, mut runs: Vec<Run>) -> String {
    runs.sort_by_key(|run| run.cost.wall);
    let Some(Run { cost, count }) = runs.get(runs.len() / 2) else {
        return refusal(name, "did not run");
    };
    let wall = cost.wall.as_secs_f64();
    let cpu = cost.cpu.as_secs_f64();
    let wall = if wall < 0.1 {
        format!("{:.1} ms", wall * 1e3)
    } else {
        format!("{wall:.2} s")
    };
    let memory = if cost.wall < TOO_SHORT {
        "–".to_owned()
    } else {
        mib(cost.peak_bytes)
    };
    let sent = mib(count.served);
    let verified = if verifies { "yes" } else { "no" };
    format!(
        "| {name} | {wall} | {cpu:.2} s | {memory} | {sent} | {} | {verified} |",
        count.requests
    )
}

/// The row of `name`, which says why there are no figures.
pub(super) fn refusal(name: &str, why: &str) -> String {
    format!("| {name} | {why} | | | | | |")
}

/// Bytes in MiB, rounded up.
fn mib(n_bytes: u64) -> String {
    format!("{} MiB", n_bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cost, Count, Run, row};

    #[test]
    fn a_row_shows_the_run_in_the_middle() {
        let run = |wall| {
            let cost = Cost {
                wall: Duration::from_millis(wall),
                cpu: Duration::from_millis(1250),
                peak_bytes: (20 << 20) - 5,
            };
            Run {
                cost,
                count: Count {
                    requests: wall,
                    served: 1 << 30,
                },
            }
        };
        let runs = vec![run(3000), run(1000), run(2000)];
        assert_eq!(
            row("x", true, runs),
            "| x | 2.00 s | 1.25 s | 20 MiB | 1024 MiB | 2000 | yes |"
        );
        assert_eq!(
            row("x", false, vec![run(7)]),
            "| x | 7.0 ms | 1.25 s | – | 1024 MiB | 7 | no |"
        );
    }
}
