//! Reads what llm-proxy tells beside the answer: the comments of `X-Queue-Events` before the first event.
//!
//! async-openai drops comments, so they are read from the bytes that pass on to it unchanged. A line may come in any
//! number of pieces; what is longer than a comment can be is skipped, so memory stays bounded. The latest comment wins.

use tokio::sync::watch;

use crate::event::Event;

/// The longest line that is looked at, in bytes; llm-proxy's longest comment is half as long.
const MAX_LINE_BYTES: usize = 128;

/// What the latest comment said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment {
    /// `: queue position=3 wait=12`
    Queue {
        position: u32,
        wait_seconds: Option<u32>,
    },
    /// `: prefill 1024/4096`. The first one tells what was cached.
    Prefill { done: u32, total: u32, cached: u32 },
}

impl From<Comment> for Event {
    fn from(comment: Comment) -> Self {
        match comment {
            Comment::Queue {
                position,
                wait_seconds,
            } => Self::Queued {
                position,
                wait_seconds,
            },
            Comment::Prefill {
                done,
                total,
                cached,
            } => Self::Prompt {
                done,
                total,
                cached: Some(cached),
            },
        }
    }
}

/// The comments of one answer, from where they are wanted.
#[derive(Debug)]
pub(super) struct Comments(watch::Receiver<Option<Comment>>);

impl Comments {
    /// The next comment that was not handed out; without one it waits for ever. Cancel-safe.
    pub(super) async fn next(&mut self) -> Comment {
        while self.0.changed().await.is_ok() {
            if let Some(comment) = *self.0.borrow_and_update() {
                return comment;
            }
        }
        std::future::pending().await
    }
}

/// Finds the comments in the bytes of one answer.
#[derive(Clone, Debug)]
pub(super) struct CommentReader {
    sender: watch::Sender<Option<Comment>>,
    /// The beginning of the line that has not ended.
    line: Vec<u8>,
    cached: Option<u32>,
    is_over: bool,
}

impl CommentReader {
    pub(super) fn new() -> (Self, Comments) {
        let (sender, receiver) = watch::channel(None);
        let reader = Self {
            sender,
            line: Vec::new(),
            cached: None,
            is_over: false,
        };
        (reader, Comments(receiver))
    }

    /// Looks at the next bytes. From the first event on it looks at none.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !self.is_over && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let room = MAX_LINE_BYTES + 1 - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.is_over = self.line.starts_with(b"data");
            let Some(end) = end else { return };
            if let Some(comment) = self.comment() {
                self.sender.send_replace(Some(comment));
            }
            self.line.clear();
            bytes = &bytes[end + 1..];
        }
    }

    /// What the line says, if it is a comment of llm-proxy's.
    fn comment(&mut self) -> Option<Comment> {
        if self.line.len() > MAX_LINE_BYTES {
            return None;
        }
        let line = std::str::from_utf8(&self.line).ok()?;
        let mut words = line.strip_prefix(": ")?.split(' ');
        match words.next()? {
            "queue" => {
                let position = words.next()?.strip_prefix("position=")?.parse().ok()?;
                let wait = words.next().and_then(|word| word.strip_prefix("wait="));
                Some(Comment::Queue {
                    position,
                    wait_seconds: wait.and_then(|wait| wait.parse().ok()),
                })
            }
            "prefill" => {
                let (done, total) = words.next()?.split_once('/')?;
                let done = done.parse().ok()?;
                let total = total.parse().ok()?;
                let cached = *self.cached.get_or_insert(done);
                Some(Comment::Prefill {
                    done,
                    total,
                    cached,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Comment, CommentReader, MAX_LINE_BYTES};

    const STREAM: &str = ": queue position=3 wait=12\n\n: queue position=1\r\n\r\n: keep-alive\n\n:\n\nretry: 7\n\
                          : prefill 512/4096\n\n: prefill 1024/4096\n\ndata: {}\n\n: prefill 4096/4096\n\n";

    #[test]
    fn comments_before_the_first_event_are_told_wherever_they_are_cut() {
        let queue = |position, wait_seconds| Comment::Queue {
            position,
            wait_seconds,
        };
        let prefill = |done| Comment::Prefill {
            done,
            total: 4096,
            cached: 512,
        };
        let expected = [
            queue(3, Some(12)),
            queue(1, None),
            prefill(512),
            prefill(1024),
        ];
        for size in 1..=STREAM.len() {
            let (mut reader, comments) = CommentReader::new();
            let mut told = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                reader.read(piece);
                told.extend(*comments.0.borrow());
            }
            told.dedup();
            assert!(told.iter().all(|comment| expected.contains(comment)));
            assert_eq!(told.last(), expected.last(), "{size}");
            if size == 1 {
                assert_eq!(told, expected);
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_nonsense_is_passed_over() {
        let (mut reader, comments) = CommentReader::new();
        for _ in 0..10_000 {
            reader.read(&[b':'; 1000]);
        }
        assert!(reader.line.capacity() <= 4 * MAX_LINE_BYTES);
        for line in [
            "\n: queue\n",
            ": queue position=x\n",
            ": prefill 1\n",
            ": prefill 1/-1\n",
            ": queue position=99999999999\n",
            "queue position=1\n",
        ] {
            reader.read(line.as_bytes());
            assert_eq!(*comments.0.borrow(), None, "{line:?}");
        }
        reader.read(b": queue position=1 wait=2 more=3\n");
        assert!(comments.0.borrow().is_some());
    }
}
