//! One connection that speaks just enough HTTP/1.1: a request as bytes, an answer's body as it comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LoadFailure {
    /// No connection.
    Connect,
    /// The connection broke off.
    Broken,
    /// Another status than 200.
    Status(u16),
    /// The end came before everything was there.
    Partial,
    /// It had not come when time was up.
    Late,
}

impl LoadFailure {
    /// How many there are of each kind.
    pub(crate) fn count(all: &[Self]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for failure in all {
            *counts.entry(format!("{failure:?}")).or_default() += 1;
        }
        counts
    }
}

/// What a body was like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BodySeen {
    pub(crate) bytes: usize,
    /// Blank lines: server-sent events.
    pub(crate) events: usize,
    /// Whether it ended with `[DONE]`.
    pub(crate) done: bool,
}

/// How much of the body is still to come.
#[derive(Clone, Copy, Debug)]
enum BodyLeft {
    Bytes(usize),
    /// Of the chunk that is being read, its end of line included.
    Chunk(usize),
    Nothing,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct LoadClient {
    stream: TcpStream,
    buffer: Vec<u8>,
    left: BodyLeft,
    closes: bool,
}

impl LoadClient {
    pub(crate) async fn connect(to: SocketAddr) -> Result<Self, LoadFailure> {
        let stream = TcpStream::connect(to)
            .await
            .map_err(|_| LoadFailure::Connect)?;
        stream.set_nodelay(true).map_err(|_| LoadFailure::Connect)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(32 * 1024),
            left: BodyLeft::Nothing,
            closes: false,
        })
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<BodySeen, LoadFailure> {
        self.send(request).await?;
        let mut body = BodySeen::default();
        let mut last = Vec::new();
        while self
            .next(&mut |part: &[u8]| {
                body.bytes += part.len();
                body.events += part.iter().filter(|byte| **byte == b'\n').count();
                last.extend_from_slice(&part[part.len().saturating_sub(16)..]);
                last.drain(..last.len().saturating_sub(16));
            })
            .await?
        {}
        body.events /= 2;
        body.done = last.windows(6).any(|bytes| bytes == b"[DONE]");
        Ok(body)
    }

    /// Sends a request and reads the answer's header.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<(), LoadFailure> {
        self.stream
            .write_all(request)
            .await
            .map_err(|_| LoadFailure::Broken)?;
        self.buffer.clear();
        let end = loop {
            if let Some(at) = self
                .buffer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break at + 4;
            }
            self.read().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        self.buffer.drain(..end);
        let status = head
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .ok_or(LoadFailure::Broken)?;
        self.closes = field(&head, "connection:") == Some("close");
        self.left = match field(&head, "content-length:").and_then(|length| length.parse().ok()) {
            Some(length) => BodyLeft::Bytes(length),
            None => BodyLeft::Chunk(0),
        };
        if status == 200 {
            Ok(())
        } else {
            Err(LoadFailure::Status(status))
        }
    }

    /// Hands the next part of the body to `look`; `false` after the last. Not cancel-safe.
    pub(crate) async fn next(&mut self, look: &mut impl FnMut(&[u8])) -> Result<bool, LoadFailure> {
        if self.buffer.is_empty() && !matches!(self.left, BodyLeft::Nothing | BodyLeft::Bytes(0)) {
            self.read().await?;
        }
        let mut at = 0;
        loop {
            let rest = &self.buffer[at..];
            match self.left {
                BodyLeft::Nothing | BodyLeft::Bytes(0) => {
                    self.left = BodyLeft::Nothing;
                    self.buffer.clear();
                    return Ok(false);
                }
                _ if rest.is_empty() => break,
                BodyLeft::Bytes(length) => {
                    let take = rest.len().min(length);
                    look(&rest[..take]);
                    (self.left, at) = (BodyLeft::Bytes(length - take), at + take);
                }
                BodyLeft::Chunk(0) => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        break;
                    };
                    let line = std::str::from_utf8(&rest[..end]).unwrap_or_default().trim();
                    let size = usize::from_str_radix(line, 16).map_err(|_| LoadFailure::Broken)?;
                    if size == 0 {
                        if rest.len() < end + 3 {
                            break;
                        }
                        self.left = BodyLeft::Nothing;
                        at += end + 3;
                    } else {
                        (self.left, at) = (BodyLeft::Chunk(size + 2), at + end + 1);
                    }
                }
                BodyLeft::Chunk(length) => {
                    let take = rest.len().min(length);
                    // The last two bytes of it are an end of line.
                    look(&rest[..take.min(length.saturating_sub(2))]);
                    (self.left, at) = (BodyLeft::Chunk(length - take), at + take);
                }
            }
        }
        self.buffer.drain(..at);
        if !self.buffer.is_empty() {
            self.read().await?;
        }
        Ok(true)
    }

    /// Whether another request may be sent.
    pub(crate) fn is_reusable(&self) -> bool {
        !self.closes && matches!(self.left, BodyLeft::Nothing)
    }

    async fn read(&mut self) -> Result<(), LoadFailure> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(LoadFailure::Broken),
        }
    }
}

/// A field of a header in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| Some(line.strip_prefix(name)?.trim()))
}
