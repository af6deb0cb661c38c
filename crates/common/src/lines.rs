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
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            write(&lines, sink, &failed);
            let _nobody_waits = end.try_send(());
        })?;
        let flush = Flush { queue: queue.clone(), ended };
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
    while let Ok(Message::Line(line)) = lines.recv() {
        if sink.write_all(&line).and_then(|()| sink.flush()).is_err() {
            lost.inc();
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
        let _still_writing = self.ended.recv_timeout(until.saturating_duration_since(Instant::now()));
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
        let_through: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> Result<usize> {
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
        let (open, let_through) = sync_channel(MAX_LINES + 2);
        let (written, read) = sync_channel(MAX_LINES + 2);
        let lost = Counter::default();
        let (lines, flush) = Lines::start("test", Gate { let_through, written }, lost.clone()).unwrap();
        // One is being written, the queue is full, and of the last ten or eleven nothing is kept.
        for number in 0..MAX_LINES + 11 {
            lines.push(format!("{number}\n").into_bytes());
        }
        assert!((10..=11).contains(&lost.get()), "{}", lost.get());
        (0..MAX_LINES + 2).for_each(|_| open.send(()).unwrap());
        drop(flush);
        let kept: Vec<_> = read.try_iter().collect();
        let expected: Vec<_> = (0..kept.len()).map(|number| format!("{number}\n").into_bytes()).collect();
        assert_eq!((kept.len() as u64 + lost.get(), kept), (MAX_LINES as u64 + 11, expected));
    }

    #[test]
    fn a_reader_that_stays_stuck_does_not_hold_up_the_end() {
        let (_open, let_through) = sync_channel(0);
        let (written, _read) = sync_channel(0);
        let (lines, flush) = Lines::start("test", Gate { let_through, written }, Counter::default()).unwrap();
        (0..MAX_LINES + 9).for_each(|_| lines.push(b"x\n".to_vec()));
        let began = std::time::Instant::now();
        drop(flush);
        assert!(began.elapsed() < 3 * super::FLUSH);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_counted() {
        let full = std::fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
        let lost = Counter::default();
        let (lines, flush) = Lines::start("test", full, lost.clone()).unwrap();
        (0..3).for_each(|_| lines.push(b"x\n".to_vec()));
        drop(flush);
        assert_eq!(lost.get(), 3);
    }
}
