//! Watches a connection's input pass and knows where each request's head begins and ends.
//!
//! hyper is the parser. This finds only what hyper lets through: a body's length that is given twice or in two ways, lines
//! that end in a bare line feed, and heads beyond our tighter bounds. hyper drops the second length, so that a handler
//! cannot find it either.

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most bytes of a request line, and so of its target.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// `Content-Length` or `Transfer-Encoding` twice, or both.
    TwoLengths,
    /// A line that ends without a carriage return.
    BareLineFeed,
    /// The head is longer than it may be.
    HeadTooLarge,
    /// The request line is longer than it may be.
    TargetTooLong,
}

/// Which part of a request the input has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputPlace {
    /// Before the first byte of a head.
    Between = 0,
    /// Within a head.
    Head = 1,
    /// Within a body, or past a head whose body's end only hyper knows.
    Body = 2,
}

/// The state between two reads.
#[derive(Debug)]
pub(super) enum InputFraming {
    Head(PartialHead),
    Body {
        n_left: u64,
    },
    /// A chunked body or another protocol: nothing that follows is looked at, and no second request may follow.
    Opaque,
}

/// The bytes of a head so far.
#[derive(Debug, Default)]
pub(super) struct PartialHead {
    text: Vec<u8>,
    /// Where the line begins that is not complete.
    line: usize,
    /// Where the fields begin, once the request line is complete.
    fields: Option<usize>,
}

impl Default for InputFraming {
    fn default() -> Self {
        Self::Head(PartialHead::default())
    }
}

impl InputFraming {
    /// Follows what was read. After a fault it must not be called again.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), HeadFault> {
        while !bytes.is_empty() {
            let n = match self {
                Self::Opaque => return Ok(()),
                Self::Body { n_left } => {
                    let n =
                        usize::try_from(*n_left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *n_left -= n as u64;
                    if *n_left == 0 {
                        *self = Self::default();
                    }
                    n
                }
                Self::Head(head) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let n = end.map_or(bytes.len(), |end| end + 1);
                    head.add(&bytes[..n])?;
                    if end.is_some()
                        && let Some(next) = head.end_line()?
                    {
                        *self = next;
                    }
                    n
                }
            };
            bytes = &bytes[n..];
        }
        Ok(())
    }

    pub(super) fn place(&self) -> InputPlace {
        match self {
            Self::Head(head) if head.text.is_empty() => InputPlace::Between,
            Self::Head(_) => InputPlace::Head,
            Self::Body { .. } | Self::Opaque => InputPlace::Body,
        }
    }
}

impl PartialHead {
    /// Adds bytes of one line.
    fn add(&mut self, piece: &[u8]) -> Result<(), HeadFault> {
        let n_line = self.text.len() - self.line + piece.len();
        if self.fields.is_none() && n_line > MAX_LINE_BYTES {
            return Err(HeadFault::TargetTooLong);
        }
        if self.text.len() + piece.len() > MAX_HEAD_BYTES {
            return Err(HeadFault::HeadTooLarge);
        }
        self.text.extend_from_slice(piece);
        Ok(())
    }

    /// Ends a line; after the last one, says what follows the head.
    fn end_line(&mut self) -> Result<Option<InputFraming>, HeadFault> {
        let line = &self.text[self.line..];
        self.line = self.text.len();
        match (line.strip_suffix(b"\r\n"), self.fields) {
            // Some clients send an empty line after a body, and not always a whole one.
            (Some(b""), None) => Ok(None),
            (None, None) if line == b"\n" => Ok(None),
            (None, _) => Err(HeadFault::BareLineFeed),
            (Some(b""), Some(fields)) => body_after(&self.text[fields..]).map(Some),
            (Some(_), None) => {
                self.fields = Some(self.line);
                Ok(None)
            }
            (Some(_), Some(_)) => Ok(None),
        }
    }
}

/// What follows a head with these fields.
fn body_after(fields: &[u8]) -> Result<InputFraming, HeadFault> {
    let mut lengths = Vec::new();
    let mut has_end = true;
    for line in fields.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = str::from_utf8(value[1..].trim_ascii());
            lengths.push(digits.ok().and_then(|digits| digits.parse::<u64>().ok()));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            lengths.push(None);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            has_end = false;
        }
    }
    match lengths.as_slice() {
        [_, _, ..] => Err(HeadFault::TwoLengths),
        // hyper refuses a length that is no number.
        [None] => Ok(InputFraming::Opaque),
        _ if !has_end => Ok(InputFraming::Opaque),
        [Some(n_left @ 1..)] => Ok(InputFraming::Body { n_left: *n_left }),
        [Some(0)] | [] => Ok(InputFraming::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadFault, InputFraming, InputPlace, MAX_HEAD_BYTES, MAX_LINE_BYTES};

    /// What comes of `input` when it arrives `n` bytes at a time.
    fn sliced(input: &str, n: usize) -> Result<InputPlace, HeadFault> {
        let mut framing = InputFraming::default();
        for piece in input.as_bytes().chunks(n) {
            framing.push(piece)?;
        }
        Ok(framing.place())
    }

    #[test]
    fn a_head_is_judged_alike_however_its_bytes_arrive() {
        let get = "GET / HTTP/1.1\r\nHost: x\r\n";
        let fill = |n: usize| "a".repeat(n);
        for (input, expected) in [
            (String::new(), Ok(InputPlace::Between)),
            ("\r\n".to_owned(), Ok(InputPlace::Head)),
            (get.to_owned(), Ok(InputPlace::Head)),
            (format!("{get}\r\n"), Ok(InputPlace::Between)),
            (format!("\r\n{get}\r\n"), Ok(InputPlace::Between)),
            (
                format!("{get}Content-Length: 0\r\n\r\n"),
                Ok(InputPlace::Between),
            ),
            (
                format!("{get}cOntent-length:\t 3 \r\n\r\nab"),
                Ok(InputPlace::Body),
            ),
            (
                format!("{get}Content-Length: 3\r\n\r\nabc"),
                Ok(InputPlace::Between),
            ),
            (
                format!("{get}Content-Length: 3\r\n\r\nabc{get}"),
                Ok(InputPlace::Head),
            ),
            (
                format!("{get}Content-Length: 3\r\n\r\na\nb{get}\r\n"),
                Ok(InputPlace::Between),
            ),
            (
                format!("{get}Content-Length: +3\r\n\r\n"),
                Ok(InputPlace::Body),
            ),
            (
                format!("{get}Transfer-Encoding: chunked\r\n\r\n0\n\n"),
                Ok(InputPlace::Body),
            ),
            (
                format!("{get}Upgrade: websocket\r\n\r\n\n"),
                Ok(InputPlace::Body),
            ),
            (
                format!("{get}X-Content-Length: 3\r\nX: Content-Length: 3\r\n\r\n"),
                Ok(InputPlace::Between),
            ),
            (
                format!("{get}Content-Length: 3\r\nContent-Length: 3\r\n\r\n"),
                Err(HeadFault::TwoLengths),
            ),
            (
                format!("{get}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Err(HeadFault::TwoLengths),
            ),
            (
                format!("{get}Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: chunked\r\n\r\n"),
                Err(HeadFault::TwoLengths),
            ),
            (
                format!("{get}\r\n{get}Content-Length: 3\r\nContent-Length: 3\r\n\r\n"),
                Err(HeadFault::TwoLengths),
            ),
            (
                "GET / HTTP/1.1\nHost: x\r\n\r\n".to_owned(),
                Err(HeadFault::BareLineFeed),
            ),
            (format!("{get}\n"), Err(HeadFault::BareLineFeed)),
            (format!("\n\r\n{get}\r\n"), Ok(InputPlace::Between)),
            (
                format!("GET /{}", fill(MAX_LINE_BYTES - 5)),
                Ok(InputPlace::Head),
            ),
            (
                format!("GET /{}", fill(MAX_LINE_BYTES - 4)),
                Err(HeadFault::TargetTooLong),
            ),
            (
                format!("{get}X: {}", fill(MAX_HEAD_BYTES - get.len() - 3)),
                Ok(InputPlace::Head),
            ),
            (
                format!("{get}X: {}", fill(MAX_HEAD_BYTES - get.len() - 2)),
                Err(HeadFault::HeadTooLarge),
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
