//! Cuts a byte stream into whole server-sent events and says what each one is, without ever writing one anew.
//!
//! The events laid end to end are the bytes that came in. A line ends with LF or CRLF; llama-server writes LF.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The largest single event. llama-server's largest, a token with 20 alternatives, has about 4 KiB.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The bytes that are not yet a whole event.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    buffer: BytesMut,
    /// Up to here the buffer has been looked through.
    scanned: usize,
    /// Where the line that `scanned` is in begins.
    line_start: usize,
}

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Scanner {
    /// Takes in what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.buffer.extend_from_slice(bytes);
        let whole = self.buffer.len() <= MAX_EVENT_BYTES || self.buffer[self.scanned..].contains(&b'\n');
        if whole { Ok(()) } else { Err(TooLong) }
    }

    /// The next whole event, with the blank line that ends it.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        while let Some(found) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let line_end = self.scanned + found;
            let line = &self.buffer[self.line_start..line_end];
            let blank = line.is_empty() || line == b"\r";
            self.scanned = line_end + 1;
            self.line_start = self.scanned;
            if blank {
                let event = self.buffer.split_to(self.scanned).freeze();
                (self.scanned, self.line_start) = (0, 0);
                return Some(event);
            }
        }
        self.scanned = self.buffer.len();
        None
    }

    /// What is left when the stream has ended: an event without its blank line, or a part of one.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        (self.scanned, self.line_start) = (0, 0);
        Some(std::mem::take(&mut self.buffer).freeze()).filter(|rest| !rest.is_empty())
    }
}

/// What an event is to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A piece of the answer: text, reasoning, or a tool call.
    Token,
    /// The counts at the end, which only come because the proxy asks for them.
    Usage(Usage),
    /// How far the prefill is, which also only comes because the proxy asks for it.
    Progress,
    /// `[DONE]`: the answer is complete.
    Done,
    /// The upstream failed.
    Error,
    /// Anything else: comments, the role, the finish reason.
    Other,
}

/// What the upstream counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) n_prompt_tokens: u64,
    /// How many of those the upstream still had from an earlier prompt, when it says so.
    pub(crate) n_cached_tokens: Option<u64>,
    pub(crate) n_completion_tokens: u64,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Counts>,
    timings: Option<Timings>,
    error: Option<IgnoredAny>,
    prompt_progress: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<NonEmpty>,
    reasoning_content: Option<NonEmpty>,
    tool_calls: Option<IgnoredAny>,
}

/// Whether a text is there, without keeping it.
#[derive(Deserialize)]
#[serde(from = "std::borrow::Cow<'_, str>")]
struct NonEmpty(bool);

impl From<std::borrow::Cow<'_, str>> for NonEmpty {
    fn from(text: std::borrow::Cow<'_, str>) -> Self {
        Self(!text.is_empty())
    }
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Timings {
    cache_n: Option<u64>,
}

/// What `event` is.
pub(crate) fn kind(event: &[u8]) -> Kind {
    let data = data(event);
    if data.as_ref() == b"[DONE]" {
        return Kind::Done;
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk>(&data) else {
        return if event.starts_with(b"error:") { Kind::Error } else { Kind::Other };
    };
    let there = |text: &Option<NonEmpty>| text.as_ref().is_some_and(|text| text.0);
    let token = |choice: &Choice| {
        let delta = &choice.delta;
        there(&delta.content) || there(&delta.reasoning_content) || delta.tool_calls.is_some()
    };
    match chunk {
        Chunk { error: Some(_), .. } => Kind::Error,
        Chunk { choices, usage: Some(usage), timings, .. } if choices.is_empty() => Kind::Usage(Usage {
            n_prompt_tokens: usage.prompt_tokens,
            n_cached_tokens: timings.and_then(|timings| timings.cache_n),
            n_completion_tokens: usage.completion_tokens,
        }),
        Chunk { choices, .. } if choices.iter().any(token) => Kind::Token,
        Chunk { prompt_progress: Some(_), .. } => Kind::Progress,
        Chunk { .. } => Kind::Other,
    }
}

/// The payload: the text of the `data` lines, joined by LF.
pub(crate) fn data(event: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let mut lines = event.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(b"data:")?;
        Some(line.strip_prefix(b" ").unwrap_or(line))
    });
    let first = lines.next().unwrap_or_default();
    match lines.next() {
        None => first.into(),
        Some(second) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
            all.join(&b'\n').into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop_oneof, proptest};
    use proptest::{collection, prop_assert_eq};

    use super::{Kind, MAX_EVENT_BYTES, Scanner, TooLong, Usage, kind};

    fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        let (mut scanner, mut events) = (Scanner::default(), Vec::new());
        for chunk in chunks {
            scanner.push(chunk).unwrap();
            while let Some(event) = scanner.next() {
                events.push(event.to_vec());
            }
        }
        events.extend(scanner.rest().map(|rest| rest.to_vec()));
        events
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_bytes_and_the_same_events(
            lines in collection::vec(prop_oneof![
                Just(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xc3\xa4\"}}]}".to_vec()),
                Just(b"data: [DONE]".to_vec()), Just(b": ping".to_vec()), Just(Vec::new()), Just(b"\r".to_vec()),
                collection::vec(any::<u8>(), 0..12),
            ], 0..40),
            cuts in collection::vec(1_usize..9, 1..20),
        ) {
            let stream = lines.join(&b'\n');
            let (mut rest, mut chunks, mut cuts) = (stream.as_slice(), Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                chunks.push(chunk);
                rest = after;
            }
            let events = scan(chunks);
            prop_assert_eq!(events.concat(), stream.clone());
            prop_assert_eq!(&events, &scan([stream.as_slice()]));
        }

        #[test]
        fn no_event_makes_it_panic(event in collection::vec(any::<u8>(), 0..200)) {
            kind(&event);
        }
    }

    #[test]
    fn events_are_known_for_what_they_are() {
        let of = |text: &str| kind(text.as_bytes());
        assert_eq!(of(":\n\n"), Kind::Other);
        assert_eq!(of("data: [DONE]\r\n\r\n"), Kind::Done);
        assert_eq!(of("data:[DONE]"), Kind::Done);
        assert_eq!(of(r#"data: {"choices":[{"delta":{"role":"assistant","content":null}}]}"#), Kind::Other);
        assert_eq!(
            of(r#"data: {"choices":[{"delta":{"content":""}}],"prompt_progress":{"total":9}}"#),
            Kind::Progress
        );
        assert_eq!(of(r#"data: {"choices":[{"delta":{"content":"a\nb"}}]}"#), Kind::Token);
        assert_eq!(of(r#"data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}"#), Kind::Token);
        assert_eq!(of(r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#), Kind::Token);
        assert_eq!(
            of(r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#),
            Kind::Other
        );
        assert_eq!(
            of(r#"data: {"choices":[],"usage":{"completion_tokens":6,"prompt_tokens":37}}"#),
            Kind::Usage(Usage { n_prompt_tokens: 37, n_cached_tokens: None, n_completion_tokens: 6 })
        );
        assert_eq!(
            of(
                r#"data: {"choices":[],"usage":{"completion_tokens":6,"prompt_tokens":37},"timings":{"cache_n":36}}"#
            ),
            Kind::Usage(Usage { n_prompt_tokens: 37, n_cached_tokens: Some(36), n_completion_tokens: 6 })
        );
        assert_eq!(of(r#"data: {"error":{"code":500}}"#), Kind::Error);
        assert_eq!(of(r#"error: {"code":500}"#), Kind::Error);
    }

    #[test]
    fn an_endless_event_is_refused_and_many_events_at_once_are_not() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.push(&vec![b'x'; MAX_EVENT_BYTES + 1]), Err(TooLong));
        let mut scanner = Scanner::default();
        assert_eq!(scanner.push("data: x\n\n".repeat(MAX_EVENT_BYTES / 4).as_bytes()), Ok(()));
        while scanner.next().is_some() {}
        assert_eq!(scanner.rest(), None);
    }
}
