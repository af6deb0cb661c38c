//! The cost of a command: wall time, processor time and peak memory. They are read from /proc (Linux only).
//!
//! Processor time is the time that the kernel adds to this process's children as each ends, in hundredths of a second.
//! Memory is the high-water mark of the command's largest process, read every few milliseconds until its end.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// Between two readings of memory.
pub(super) const READ_EVERY: Duration = Duration::from_millis(5);
/// The longest time that a command may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// The kernel's unit of processor time, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The cost of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// The time from its start to its end.
    pub(super) wall: Duration,
    /// Processor time, in the command and in the kernel.
    pub(super) cpu: Duration,
    /// The peak memory of its largest process, in bytes.
    pub(super) peak_bytes: u64,
}

impl Cost {
    /// The cost of this run and then of `next`.
    pub(super) fn and(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
        }
    }
}

/// Runs `command` until it ends, or until `enough` is true: then its whole group gets SIGKILL.
///
/// # Errors
///
/// When it cannot be started, or /proc cannot be read.
pub(super) fn measure(
    mut command: Command,
    enough: impl Fn() -> bool + Sync,
) -> Result<(Cost, ExitStatus)> {
    let before = children_cpu()?;
    let began = Instant::now();
    let mut child = command
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let pid = child.id();
    let over = AtomicBool::new(false);
    let (ended, peak_bytes) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut peak_bytes = 0;
            while !over.load(Ordering::Relaxed) {
                peak_bytes = peak_bytes.max(peak_of(pid));
                if (enough() || began.elapsed() > LIMIT)
                    && let Some(group) = Pid::from_raw(pid.cast_signed())
                {
                    // It may have ended in the meantime.
                    kill_process_group(group, Signal::KILL).ok();
                    break;
                }
                std::thread::sleep(READ_EVERY);
            }
            peak_bytes
        });
        let ended = child.wait().map(|status| (status, began.elapsed()));
        over.store(true, Ordering::Relaxed);
        (ended, looking.join().unwrap_or_default())
    });
    let (status, wall) = ended?;
    Ok((
        Cost {
            wall,
            cpu: children_cpu()? - before,
            peak_bytes,
        },
        status,
    ))
}

/// Processor time of all children that have ended and been waited for.
fn children_cpu() -> Result<Duration> {
    let text =
        std::fs::read_to_string("/proc/self/stat").context("bench fetch needs Linux's /proc")?;
    let fields = text.rsplit(')').next().unwrap_or_default();
    // cutime and cstime are fields 16 and 17, counted from 1; the text behind the name begins with field 3.
    let ticks = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u32>().unwrap_or(0));
    Ok(TICK * ticks.sum())
}

/// The largest high-water mark of the process and those it started, in bytes.
fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or(0);
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok());
    children.map(peak_of).fold(kib * 1024, u64::max)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::measure;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_command_s_cost_and_end_are_told_and_it_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3",
        ]);
        let (cost, status) = measure(command, || false).unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(
            cost.cpu.as_millis() > 0 && cost.peak_bytes > 100_000,
            "{cost:?}"
        );
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600; true"]);
        let (_, status) = measure(command, || true).unwrap();
        assert_eq!(status.code(), None);
    }
}
