//! What a process and those it started cost: resident memory and processor time, read from /proc (Linux only).

use serde_json::{Value, json};

/// The kernel's unit of processor time, in seconds; the same on every Linux.
const TICK: f64 = 0.01;

/// A process that is looked at while it works.
#[derive(Debug)]
pub struct WatchedProcess {
    process: Option<u32>,
    ticks: u64,
    rss_kib: u64,
}

impl WatchedProcess {
    /// Begins to count.
    #[must_use]
    pub fn begin(process: Option<u32>) -> Self {
        Self {
            process,
            ticks: process.map_or(0, ticks),
            rss_kib: 0,
        }
    }

    /// Notes how much memory it has now.
    pub fn look(&mut self) {
        self.rss_kib = self.rss_kib.max(self.process.map_or(0, rss_kib));
    }

    /// What it cost since the beginning.
    #[must_use]
    pub fn end(mut self) -> Value {
        self.look();
        let Some(process) = self.process else {
            return Value::Null;
        };
        let ticks = ticks(process).saturating_sub(self.ticks);
        json!({"rss_kib": self.rss_kib, "pss_kib": pss_kib(process), "cpu_seconds": ticks as f64 * TICK})
    }
}

/// The resident memory of a process and those it started, in KiB.
#[must_use]
pub fn rss_kib(process: u32) -> u64 {
    memory_kib(process, "status", "VmRSS:")
}

/// The same, with memory that processes share counted once: a part for each of them.
fn pss_kib(process: u32) -> u64 {
    memory_kib(process, "smaps_rollup", "Pss:")
}

/// The sum of one line of a file in /proc.
fn memory_kib(process: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let own = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or(0);
    children(process)
        .into_iter()
        .map(|child| memory_kib(child, file, name))
        .fold(own, |sum, child| sum + child)
}

fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // utime and stime are fields 14 and 15, counted from 1; what follows the name begins with field 3.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    let own: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    children(process)
        .into_iter()
        .map(ticks)
        .fold(own, |sum, child| sum + child)
}

/// Those that any thread of it started.
fn children(process: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|child| child.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}
