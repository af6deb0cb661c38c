//! Lines for a reader that may be slow, stuck or out of room, without ever waiting for it.
//!
//! `tracing-appender` has the queue and the thread that writes. Whoever has a line leaves it in the queue or, when that is
//! full, loses it. This adds what `tracing-appender` lacks: lines that could not be written are counted with the lost
//! ones, they are written in batches, and its last words cannot hold up the end of the process.

use std::io::{Result, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait for the writer.
pub const MAX_LINES: usize = 4096;
/// What is written in one piece, in whole lines, at least; a little more than that at most.
const BATCH_BYTES: usize = 64 * 1024;
/// Between two batches. A line that comes meanwhile wakes nobody, which would cost more than writing it.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the end of the process waits for the lines that are still queued.
const FLUSH: Duration = Duration::from_secs(1);

/// The way in. Clones lead to the same writer.
#[derive(Clone, Debug)]
pub struct LossyLines {
    queue: NonBlocking,
    lost: Counter,
    /// How many of the lines that found the queue full are in `lost`.
    n_counted: Arc<AtomicUsize>,
}

/// Dropping it writes what is queued, but waits for that no longer than a second.
#[derive(Debug)]
#[must_use = "dropping it ends the writing"]
pub struct Flush(Option<WorkerGuard>);

impl LossyLines {
    /// Begins to write to `sink`, in whole lines; `lost` counts those that never got there.
    pub fn start(name: &str, sink: impl Write + Send + 'static, lost: Counter) -> (Self, Flush) {
        let batch = Batch {
            sink,
            lines: Vec::new(),
            n_lines: 0,
            lost: lost.clone(),
        };
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(MAX_LINES)
            .lossy(true)
            .thread_name(name)
            .finish(batch);
        let lines = Self {
            queue,
            lost,
            n_counted: Arc::default(),
        };
        (lines, Flush(Some(guard)))
    }

    /// Leaves a line, its end included, to be written. Never waits.
    pub fn push(&self, line: &[u8]) {
        // A lossy queue takes or loses the line, and is never an error.
        self.queue.clone().write_all(line).ok();
        let n_lost = self.queue.error_counter().dropped_lines();
        // Each lost line is counted by the one push that moves the mark over it.
        let n_counted = self.n_counted.fetch_max(n_lost, Ordering::Relaxed);
        if n_counted < n_lost {
            self.lost.inc_by((n_lost - n_counted) as u64);
        }
    }
}

/// One line of a subscriber, which writes each event in one piece.
impl Write for LossyLines {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Collects lines on the writing thread, which flushes it whenever the queue is empty.
struct Batch<W: Write> {
    sink: W,
    lines: Vec<u8>,
    n_lines: u64,
    lost: Counter,
}

impl<W: Write> Batch<W> {
    fn write_out(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let written = self.sink.write_all(&self.lines);
        if written.and_then(|()| self.sink.flush()).is_err() {
            self.lost.inc_by(self.n_lines);
        }
        self.lines.clear();
        self.n_lines = 0;
    }
}

impl<W: Write> Write for Batch<W> {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        self.lines.extend_from_slice(line);
        self.n_lines += 1;
        if self.lines.len() >= BATCH_BYTES {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.write_out();
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (ended, end) = sync_channel(1);
        // The guard waits for room in the queue, and when there is none prints so: into the pipe that is stuck.
        let waiting = std::thread::Builder::new().spawn(move || {
            drop(guard);
            // Nobody listens any more when this took too long.
            ended.send(()).ok();
        });
        if waiting.is_ok() {
            end.recv_timeout(FLUSH).ok();
        }
    }
}
#[cfg(test)]
mod tests {
    use std::io::{Error, Result, Write};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use prometheus_client::metrics::counter::Counter;

    use super::{LossyLines, MAX_LINES};

    /// Writes when it may, and passes on what it wrote.
    struct Gate {
        begun: SyncSender<()>,
        let_through: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> Result<usize> {
            // Only the first write is waited for.
            self.begun.try_send(()).ok();
            self.let_through.recv().map_err(Error::other)?;
            self.written.send(line.to_vec()).map_err(Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_the_rest_comes_in_order() {
        let (begun, begins) = sync_channel(1);
        let (open, let_through) = sync_channel(MAX_LINES);
        let (written, read) = sync_channel(MAX_LINES);
        let lost = Counter::default();
        let gate = Gate {
            begun,
            let_through,
            written,
        };
        let (lines, flush) = LossyLines::start("test", gate, lost.clone());
        lines.push(b"0\n");
        begins.recv().unwrap();
        // One is being written and the queue is full: the last ten are lost.
        for number in 1..MAX_LINES + 11 {
            lines.push(format!("{number}\n").as_bytes());
        }
        assert_eq!(lost.get(), 10);
        (0..MAX_LINES).for_each(|_| open.send(()).unwrap());
        drop(flush);
        let kept = String::from_utf8(read.try_iter().flatten().collect()).unwrap();
        let expected: String = (0..=MAX_LINES)
            .map(|number| format!("{number}\n"))
            .collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_reader_that_stays_stuck_does_not_hold_up_the_end() {
        let (open, let_through) = sync_channel(0);
        let (written, read) = sync_channel(0);
        let gate = Gate {
            begun: sync_channel(1).0,
            let_through,
            written,
        };
        let (lines, flush) = LossyLines::start("test", gate, Counter::default());
        (0..MAX_LINES + 9).for_each(|_| lines.push(b"x\n"));
        let began = std::time::Instant::now();
        drop(flush);
        assert!(began.elapsed() < 3 * super::FLUSH);
        drop((open, read));
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let full = std::fs::OpenOptions::new()
            .append(true)
            .open("/dev/full")
            .unwrap();
        let lost = Counter::default();
        let (lines, flush) = LossyLines::start("test", full, lost.clone());
        (0..3).for_each(|_| lines.push(b"x\n"));
        drop(flush);
        assert_eq!(lost.get(), 3);
    }
}
