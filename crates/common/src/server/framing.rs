//! Watches a connection's input pass and knows where each request's head begins and ends.
//!
//! hyper is the parser. This finds only what hyper lets through: a length that is said twice or in two ways, bare line
//! feeds, and heads beyond our tighter bounds. It copies nothing but the first bytes of the line it is in.

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most bytes of a request line, and so of its target.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// Bytes kept of a line: enough for the longest name that matters, and for any length.
const KEPT_BYTES: usize = 64;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `Content-Length` or `Transfer-Encoding` twice, or both.
    TwoLengths,
    /// A line that ends without a carriage return.
    BareLineFeed,
    /// The head is longer than it may be.
    HeadTooLarge,
    /// The request line is longer than it may be.
    TargetTooLong,
}

/// Where the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the first byte of a head.
    Between = 0,
    /// Within a head.
    Head = 1,
    /// Within a body, or past a head whose body's end only hyper knows.
    Body = 2,
}

/// The state between two reads.
#[derive(Debug, Default)]
pub(super) struct Framing(Part);

#[derive(Debug)]
enum Part {
    Head(Head),
    Body {
        n_left: u64,
    },
    /// A chunked body or another protocol: nothing that follows is looked at, and no second request may follow.
    Opaque,
}

impl Default for Part {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

impl Framing {
    /// Takes note of what was read. After a fault it must not be called again.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let n = match &mut self.0 {
                Part::Opaque => return Ok(()),
                Part::Body { n_left } => {
                    let n =
                        usize::try_from(*n_left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *n_left -= n as u64;
                    if *n_left == 0 {
                        self.0 = Part::default();
                    }
                    n
                }
                Part::Head(head) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let n = end.map_or(bytes.len(), |end| end + 1);
                    head.add(&bytes[..n])?;
                    if end.is_some()
                        && let Some(next) = head.end_line()?
                    {
                        self.0 = next;
                    }
                    n
                }
            };
            bytes = &bytes[n..];
        }
        Ok(())
    }

    pub(super) fn place(&self) -> Place {
        match &self.0 {
            Part::Head(head) if head.n_bytes == 0 => Place::Between,
            Part::Head(_) => Place::Head,
            Part::Body { .. } | Part::Opaque => Place::Body,
        }
    }
}

#[derive(Debug)]
struct Head {
    n_bytes: usize,
    /// Lines before this one, empty ones before the request line not counted.
    n_lines: usize,
    /// The line so far: its length, its first bytes and its last two.
    n_line: usize,
    kept: [u8; KEPT_BYTES],
    last: [u8; 2],
    n_content_lengths: usize,
    content_length: Option<u64>,
    n_transfer_encodings: usize,
    upgrade: bool,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            n_bytes: 0,
            n_lines: 0,
            n_line: 0,
            kept: [0; KEPT_BYTES],
            last: [0; 2],
            n_content_lengths: 0,
            content_length: None,
            n_transfer_encodings: 0,
            upgrade: false,
        }
    }
}

impl Head {
    /// Adds bytes of one line.
    fn add(&mut self, piece: &[u8]) -> Result<(), Fault> {
        if let Some(room) = self.kept.get_mut(self.n_line..) {
            let n = room.len().min(piece.len());
            room[..n].copy_from_slice(&piece[..n]);
        }
        match piece {
            [.., before, last] => self.last = [*before, *last],
            [last] => self.last = [self.last[1], *last],
            [] => {}
        }
        self.n_line += piece.len();
        self.n_bytes += piece.len();
        if self.n_lines == 0 && self.n_line > MAX_LINE_BYTES {
            return Err(Fault::TargetTooLong);
        }
        if self.n_bytes > MAX_HEAD_BYTES {
            Err(Fault::HeadTooLarge)
        } else {
            Ok(())
        }
    }

    /// Ends a line; after the last one, says what follows the head.
    fn end_line(&mut self) -> Result<Option<Part>, Fault> {
        let n = match std::mem::take(&mut self.n_line) {
            // Some clients send an empty line after a body, and not always a whole one.
            1 if self.n_lines == 0 => 0,
            n @ 2.. if self.last == *b"\r\n" => n - 2,
            _ => return Err(Fault::BareLineFeed),
        };
        match (n, self.n_lines) {
            (0, 0) => return Ok(None),
            (0, _) => return self.end().map(Some),
            (_, 0) => {}
            (_, _) => self.field(n),
        }
        self.n_lines += 1;
        Ok(None)
    }

    fn field(&mut self, n: usize) {
        let line = &self.kept[..n.min(KEPT_BYTES)];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            self.n_content_lengths += 1;
            // What cannot be read here is refused by hyper.
            let text = std::str::from_utf8(value).ok().filter(|_| n <= KEPT_BYTES);
            self.content_length = text.and_then(|text| text.trim_matches([' ', '\t']).parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.n_transfer_encodings += 1;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
    }

    fn end(&self) -> Result<Part, Fault> {
        if self.n_content_lengths + self.n_transfer_encodings > 1 {
            return Err(Fault::TwoLengths);
        }
        let unreadable = self.n_content_lengths == 1 && self.content_length.is_none();
        Ok(match self.content_length {
            _ if unreadable || self.upgrade || self.n_transfer_encodings == 1 => Part::Opaque,
            Some(n_left @ 1..) => Part::Body { n_left },
            Some(0) | None => Part::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Framing, MAX_HEAD_BYTES, MAX_LINE_BYTES, Place};

    /// What comes of `input` when it arrives `n` bytes at a time.
    fn sliced(input: &str, n: usize) -> Result<Place, Fault> {
        let mut framing = Framing::default();
        for piece in input.as_bytes().chunks(n) {
            framing.push(piece)?;
        }
        Ok(framing.place())
    }

    #[test]
    fn every_head_is_judged_alike_however_its_bytes_arrive() {
        let get = "GET / HTTP/1.1\r\nHost: x\r\n";
        let fill = |n: usize| "a".repeat(n);
        for (input, expected) in [
            (String::new(), Ok(Place::Between)),
            ("\r\n".to_owned(), Ok(Place::Head)),
            (get.to_owned(), Ok(Place::Head)),
            (format!("{get}\r\n"), Ok(Place::Between)),
            (format!("\r\n{get}\r\n"), Ok(Place::Between)),
            (
                format!("{get}Content-Length: 0\r\n\r\n"),
                Ok(Place::Between),
            ),
            (
                format!("{get}cOntent-length:\t 3 \r\n\r\nab"),
                Ok(Place::Body),
            ),
            (
                format!("{get}Content-Length: 3\r\n\r\nabc"),
                Ok(Place::Between),
            ),
            (
                format!("{get}Content-Length: 3\r\n\r\nabc{get}"),
                Ok(Place::Head),
            ),
            (
                format!("{get}Content-Length: 3\r\n\r\na\nb{get}\r\n"),
                Ok(Place::Between),
            ),
            (format!("{get}Content-Length: +3\r\n\r\n"), Ok(Place::Body)),
            (
                format!("{get}Transfer-Encoding: chunked\r\n\r\n0\n\n"),
                Ok(Place::Body),
            ),
            (
                format!("{get}Upgrade: websocket\r\n\r\n\n"),
                Ok(Place::Body),
            ),
            (
                format!("{get}X-Content-Length: 3\r\nX: Content-Length: 3\r\n\r\n"),
                Ok(Place::Between),
            ),
            (
                format!("{get}Content-Length: 3\r\nContent-Length: 3\r\n\r\n"),
                Err(Fault::TwoLengths),
            ),
            (
                format!("{get}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Err(Fault::TwoLengths),
            ),
            (
                format!("{get}Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: chunked\r\n\r\n"),
                Err(Fault::TwoLengths),
            ),
            (
                format!("{get}\r\n{get}Content-Length: 3\r\nContent-Length: 3\r\n\r\n"),
                Err(Fault::TwoLengths),
            ),
            (
                "GET / HTTP/1.1\nHost: x\r\n\r\n".to_owned(),
                Err(Fault::BareLineFeed),
            ),
            (format!("{get}\n"), Err(Fault::BareLineFeed)),
            (format!("\n\r\n{get}\r\n"), Ok(Place::Between)),
            (
                format!("GET /{}", fill(MAX_LINE_BYTES - 5)),
                Ok(Place::Head),
            ),
            (
                format!("GET /{}", fill(MAX_LINE_BYTES - 4)),
                Err(Fault::TargetTooLong),
            ),
            (
                format!("{get}X: {}", fill(MAX_HEAD_BYTES - get.len() - 3)),
                Ok(Place::Head),
            ),
            (
                format!("{get}X: {}", fill(MAX_HEAD_BYTES - get.len() - 2)),
                Err(Fault::HeadTooLarge),
            ),
        ] {
            for n in [1, 2, 3, 7, 64, usize::MAX] {
                assert_eq!(
                    sliced(&input, n),
                    expected,
                    "{n} bytes at a time: {input:?}"
                );
            }
        }
    }
}
