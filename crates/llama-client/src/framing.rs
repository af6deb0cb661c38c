//! Where the body of an HTTP/1.1 answer ends (RFC 9112, 6 and 7), and its bytes without the marks between chunks.
//!
//! Two lengths that differ, a length beside chunks, and any other coding are refused: what is read as the end must be
//! the end.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::error::Error;

/// Hexadecimal digits of a chunk's size; its extension and all trailers, in bytes, each.
const MAX_SIZE_DIGITS: u8 = 15;
const MAX_EXTRA_BYTES: u16 = 4096;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing.
    Ended,
    /// So many bytes.
    Length(u64),
    /// Whatever comes until the connection ends.
    UntilClose,
    /// Digits of a chunk's size: its value and their number so far.
    Size(u64, u8),
    /// The rest of that line, of which so many bytes were skipped.
    Extension(u64, u16),
    /// The line feed after it.
    SizeEnd(u64),
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk, and the feed of it.
    ChunkEnd,
    ChunkFeed,
    /// After the last chunk: a new line, with so many bytes of trailers before it.
    Trailers(u16),
    /// Inside a trailer.
    Trailer(u16),
    /// The last line feed.
    LastFeed,
}

/// The header does not say where the body ends, or the body is not what it said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unframed;

impl Framing {
    /// What a header says.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Result<Self, Unframed> {
        if status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
        {
            return Ok(Self::Ended);
        }
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        match (codings.next(), codings.next(), lengths.next()) {
            (Some(coding), None, None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                Ok(Self::Size(0, 0))
            }
            (None, _, None) => Ok(Self::UntilClose),
            (None, _, Some(length)) if lengths.all(|other| other == length) => {
                Ok(Self::length(number(length).ok_or(Unframed)?))
            }
            _ => Err(Unframed),
        }
    }

    const fn length(n_bytes: u64) -> Self {
        if n_bytes == 0 {
            Self::Ended
        } else {
            Self::Length(n_bytes)
        }
    }

    pub(crate) fn has_ended(self) -> bool {
        self == Self::Ended
    }

    pub(crate) fn ends_with_the_connection(self) -> bool {
        matches!(self, Self::UntilClose | Self::Ended)
    }

    /// Hands the body's bytes among `bytes` to `take`; how many of `bytes` belong to this answer.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            let rest = &bytes[at..];
            at += match *self {
                Self::Ended => break,
                Self::UntilClose => {
                    take(rest)?;
                    rest.len()
                }
                Self::Length(left) | Self::Chunk(left) => {
                    let part = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    take(&rest[..part])?;
                    let left = left - part as u64;
                    *self = match self {
                        Self::Length(_) => Self::length(left),
                        _ if left == 0 => Self::ChunkEnd,
                        _ => Self::Chunk(left),
                    };
                    part
                }
                _ => {
                    *self = self.mark(byte).ok_or(Error::Invalid)?;
                    1
                }
            };
        }
        Ok(at)
    }

    /// Reads one byte of the marks between chunks.
    fn mark(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(size, n), _) if byte.is_ascii_hexdigit() && n < MAX_SIZE_DIGITS => {
                Self::Size(size * 16 + u64::from(char::from(byte).to_digit(16)?), n + 1)
            }
            (Self::Size(size, 1..), b'\r') | (Self::Extension(size, _), b'\r') => {
                Self::SizeEnd(size)
            }
            (Self::Size(size, 1..), b';' | b' ' | b'\t') => Self::Extension(size, 0),
            (Self::Extension(size, n), _) if byte != b'\n' && n < MAX_EXTRA_BYTES => {
                Self::Extension(size, n + 1)
            }
            (Self::SizeEnd(0), b'\n') => Self::Trailers(0),
            (Self::SizeEnd(size), b'\n') => Self::Chunk(size),
            (Self::ChunkEnd, b'\r') => Self::ChunkFeed,
            (Self::ChunkFeed, b'\n') => Self::Size(0, 0),
            (Self::Trailers(_), b'\r') => Self::LastFeed,
            (Self::Trailer(n), b'\n') => Self::Trailers(n),
            (Self::Trailers(n) | Self::Trailer(n), _) if byte != b'\n' && n < MAX_EXTRA_BYTES => {
                Self::Trailer(n + 1)
            }
            (Self::LastFeed, b'\n') => Self::Ended,
            _ => return None,
        })
    }
}

/// Digits and nothing else.
fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    use super::{Framing, Unframed};

    fn of(fields: &[(&'static str, &'static str)]) -> Result<Framing, Unframed> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        Framing::of(StatusCode::OK, &headers)
    }

    /// The body, how much was not part of it, and whether it has ended; cut into parts of `n` bytes.
    fn decode(text: &str, n: usize) -> Option<(String, usize, bool)> {
        let mut framing = Framing::Size(0, 0);
        let mut body = Vec::new();
        let mut left = 0;
        for part in text.as_bytes().chunks(n) {
            let mut take = |bytes: &[u8]| {
                body.extend_from_slice(bytes);
                Ok(())
            };
            left += part.len() - framing.decode(part, &mut take).ok()?;
        }
        Some((String::from_utf8(body).ok()?, left, framing.has_ended()))
    }

    #[test]
    fn a_body_whose_end_is_doubtful_is_refused() {
        assert_eq!(of(&[("content-length", "3")]), Ok(Framing::Length(3)));
        assert_eq!(
            of(&[("content-length", "3"), ("content-length", "3")]),
            Ok(Framing::Length(3))
        );
        assert_eq!(
            of(&[("transfer-encoding", "chunked")]),
            Ok(Framing::Size(0, 0))
        );
        assert_eq!(of(&[]), Ok(Framing::UntilClose));
        for fields in [
            &[("content-length", "3"), ("content-length", "4")][..],
            &[("content-length", "+3")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[("transfer-encoding", "gzip, chunked")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
        ] {
            assert_eq!(of(fields), Err(Unframed), "{fields:?}");
        }
    }

    #[test]
    fn an_answer_without_a_body_has_ended_with_its_header() {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", HeaderValue::from_static("5"));
        for status in [
            StatusCode::CONTINUE,
            StatusCode::NO_CONTENT,
            StatusCode::NOT_MODIFIED,
        ] {
            assert_eq!(
                Framing::of(status, &headers),
                Ok(Framing::Ended),
                "{status}"
            );
        }
        assert_eq!(of(&[("content-length", "0")]), Ok(Framing::Ended));
        assert_eq!(
            of(&[("transfer-encoding", "Chunked")]),
            Ok(Framing::Size(0, 0))
        );
    }

    #[test]
    fn only_a_body_that_has_no_other_end_may_end_with_its_connection() {
        assert!(
            Framing::UntilClose.ends_with_the_connection()
                && Framing::Ended.ends_with_the_connection()
        );
        for mid in [
            Framing::Length(1),
            Framing::Size(0, 0),
            Framing::Size(0, 1),
            Framing::Extension(0, 0),
            Framing::SizeEnd(0),
            Framing::Chunk(1),
            Framing::ChunkEnd,
            Framing::ChunkFeed,
            Framing::Trailers(0),
            Framing::Trailer(1),
            Framing::LastFeed,
        ] {
            assert!(!mid.ends_with_the_connection(), "{mid:?}");
        }
    }

    #[test]
    fn what_a_chunk_may_have_is_read_up_to_its_bounds_and_no_further() {
        let digits = |n: usize| format!("{}4\r\nwiki\r\n0\r\n\r\n", "0".repeat(n - 1));
        let extension = |n: usize| format!("4;{}\r\nwiki\r\n0\r\n\r\n", "x".repeat(n));
        // A line end counts for one.
        let trailers = |n: usize| format!("4\r\nwiki\r\n0\r\n{}\r\n", "t: x\r\n".repeat(n / 5));
        let whole = Some(("wiki".to_owned(), 0, true));
        for fits in [
            digits(15),
            extension(4096),
            trailers(4096),
            "4 \r\nwiki\r\n0\r\n\r\n".to_owned(),
            "4\t;x\r\nwiki\r\n0\r\n\r\n".to_owned(),
        ] {
            assert_eq!(decode(&fits, 1), whole, "{fits:?}");
        }
        for too_long in [digits(16), extension(4097), trailers(4101)] {
            assert_eq!(decode(&too_long, 1), None, "{too_long:?}");
        }
    }

    #[test]
    fn chunks_cut_anywhere_give_the_same_body() {
        let text = "4\r\nwiki\r\n1B;name=\"value\"\r\nabcdefghijklmnopqrstuvwxyz\n\r\n0\r\ntrailer: x\r\n\r\nmore";
        for n in 1..text.len() {
            let body = "wikiabcdefghijklmnopqrstuvwxyz\n".to_owned();
            assert_eq!(decode(text, n), Some((body, 4, true)), "{n}");
        }
    }

    #[test]
    fn chunks_that_are_not_as_they_must_be_are_refused() {
        for text in [
            "\r\n",
            "x",
            "4\nwiki",
            "4\r\nwikiX",
            "4\r\nwiki\n",
            "-1\r\n",
            "0x4\r\n",
            "1234567890abcdef0\r\n",
            "0\r\n\n",
            ";x\r\n",
            " 4\r\n",
            "4;x\nwiki",
            "4\rXwiki",
            "4\r\nwiki\rX",
            "0\r\n\rX",
        ] {
            assert_eq!(decode(text, 1), None, "{text:?}");
        }
        assert_eq!(decode(&format!("0\r\n{}", "x".repeat(5000)), 1000), None);
        assert_eq!(
            decode("4\r\nwiki\r\n0\r\n", 1),
            Some(("wiki".to_owned(), 0, false))
        );
    }
}
