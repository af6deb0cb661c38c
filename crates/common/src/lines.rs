//! Lines for a reader that may be slow, stuck or out of room, without ever waiting for it.
//!
//! A thread of its own writes them. Whoever has a line leaves it in a bounded queue or, when that is full, loses it;
//! lines that could not be written are lost too. What was lost is counted.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// Lines that may wait for the writer.
pub const MAX_LINES: usize = 4096;
/// What is written in one piece, in whole lines, at least; a little more than that at most.
const BATCH_BYTES: usize = 64 * 1024;
/// Between two writes. Lines that come meanwhile wake nobody, which would cost more than writing them.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the end of the process waits for the lines that are still queued.
const FLUSH: Duration = Duration::from_secs(1);
/// Between two attempts to leave the last word in a full queue.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

/// The way in. Clones lead to the same writer.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: SyncSender<Message>,
    lost: Counter,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

/// Dropping it writes what is queued, but waits for that no longer than a second.
#[derive(Debug)]
#[must_use = "dropping it ends the writing"]
pub struct Flush {
    queue: SyncSender<Message>,
    ended: Receiver<()>,
}

impl Lines {
    /// Begins to write to `sink`, in whole lines; `lost` counts those that never got there.
    ///
    /// # Errors
    ///
    /// When there can be no further thread.
    pub fn start(
        name: &str,
        sink: impl Write + Send + 'static,
        lost: Counter,
    ) -> std::io::Result<(Self, Flush)> {
        let (queue, lines) = sync_channel(MAX_LINES);
        let (end, ended) = sync_channel(1);
        let failed = lost.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                write(&lines, sink, &failed);
                let _nobody_waits = end.try_send(());
            })?;
        let flush = Flush {
            queue: queue.clone(),
            ended,
        };
        Ok((Self { queue, lost }, flush))
    }

    /// Leaves a line, its end included, to be written. Never waits.
    pub fn push(&self, line: Vec<u8>) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.lost.inc();
        }
    }
}

fn write(lines: &Receiver<Message>, mut sink: impl Write, lost: &Counter) {
    let (mut batch, mut ended) = (Vec::new(), false);
    while !ended && let Ok(first) = lines.recv() {
        let mut n_lines = 0;
        batch.clear();
        for message in std::iter::once(first).chain(lines.try_iter()) {
            let Message::Line(line) = message else {
                ended = true;
                break;
            };
            batch.extend_from_slice(&line);
            n_lines += 1;
            if batch.len() >= BATCH_BYTES {
                break;
            }
        }
        if sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
            lost.inc_by(n_lines);
        }
        if !ended && batch.len() < BATCH_BYTES {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let until = Instant::now() + FLUSH;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::End) {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(FLUSH_PAUSE);
        }
        let _still_writing = self
            .ended
            .recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// One line of a subscriber, which writes each event in one piece.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, Result, Write};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use prometheus_client::metrics::counter::Counter;

    use super::{Lines, MAX_LINES};

    /// Writes when it is let, and says what it wrote.
    struct Gate {
        begun: SyncSender<()>,
        let_through: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> Result<usize> {
            let _nobody_asks = self.begun.try_send(());
            self.let_through.recv().map_err(Error::other)?;
            self.written.send(line.to_vec()).map_err(Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_no_time_and_the_rest_comes_in_order() {
        let (begun, begins) = sync_channel(1);
        let (open, let_through) = sync_channel(MAX_LINES);
        let (written, read) = sync_channel(MAX_LINES);
        let lost = Counter::default();
        let gate = Gate {
            begun,
            let_through,
            written,
        };
        let (lines, flush) = Lines::start("test", gate, lost.clone()).unwrap();
        lines.push(b"0\n".to_vec());
        begins.recv().unwrap();
        // One is being written, the queue is full, and of the last ten nothing is kept.
        for number in 1..MAX_LINES + 11 {
            lines.push(format!("{number}\n").into_bytes());
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
        let (_open, let_through) = sync_channel(0);
        let (written, _read) = sync_channel(0);
        let gate = Gate {
            begun: sync_channel(1).0,
            let_through,
            written,
        };
        let (lines, flush) = Lines::start("test", gate, Counter::default()).unwrap();
        (0..MAX_LINES + 9).for_each(|_| lines.push(b"x\n".to_vec()));
        let began = std::time::Instant::now();
        drop(flush);
        assert!(began.elapsed() < 3 * super::FLUSH);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_counted() {
        let full = std::fs::OpenOptions::new()
            .append(true)
            .open("/dev/full")
            .unwrap();
        let lost = Counter::default();
        let (lines, flush) = Lines::start("test", full, lost.clone()).unwrap();
        (0..3).for_each(|_| lines.push(b"x\n".to_vec()));
        drop(flush);
        assert_eq!(lost.get(), 3);
    }
}
