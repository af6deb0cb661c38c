//! Cuts a byte stream into whole server-sent events and says what each one is, without ever writing one anew.
//!
//! The events laid end to end are the bytes that came in, but for a byte order mark before the first. A line ends with
//! LF, CRLF or CR; llama-server writes LF. It reads the three dialects that llama-server streams in.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::Error;
use crate::refusal::{ErrorWords, verdict_of_event};

mod alike;
mod usage;

pub use alike::{Alike, Text};
pub use usage::Usage;

/// The largest single event. llama-server's largest, a token with 20 alternatives, has about 4 KiB.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// More tokens than any context has: an upstream that counts wrongly costs nobody more than this.
const MAX_TOKENS: u64 = 1 << 32;

/// What a stream may begin with. Passed on, it could stand after a comment of ours, where it would hide the event.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The bytes that are not yet a whole event.
#[derive(Debug, Default)]
pub struct Scanner {
    buffer: BytesMut,
    /// Whether what the stream begins with was looked at.
    begun: bool,
    /// Up to here the buffer has been looked through.
    scanned: usize,
    /// Where the line that `scanned` is in begins.
    line_start: usize,
}

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Scanner {
    /// Takes in what arrived, once [`Scanner::next_event`] has nothing more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        // What was looked through and is still here belongs to one event, however many lines that has.
        if self.scanned > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event, with the blank line that ends it.
    pub fn next_event(&mut self) -> Option<BytesMut> {
        if !self.begun {
            let n = self.buffer.len().min(BYTE_ORDER_MARK.len());
            let marked = self.buffer[..n] == BYTE_ORDER_MARK[..n];
            if marked && n < BYTE_ORDER_MARK.len() {
                return None;
            }
            self.buffer.advance(if marked { n } else { 0 });
            self.begun = true;
        }
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) {
            let line_end = self.scanned + found;
            let next_line = match (self.buffer[line_end], self.buffer.get(line_end + 1)) {
                (b'\r', Some(b'\n')) => line_end + 2,
                // Whether a line feed belongs to it shows with the next byte.
                (b'\r', None) => {
                    self.scanned = line_end;
                    return None;
                }
                _ => line_end + 1,
            };
            let blank = line_end == self.line_start;
            self.scanned = next_line;
            self.line_start = next_line;
            if blank {
                let event = self.buffer.split_to(next_line);
                self.scanned = 0;
                self.line_start = 0;
                return Some(event);
            }
        }
        self.scanned = self.buffer.len();
        None
    }

    /// What is left when the stream has ended: an event without its blank line, or a part of one.
    pub fn rest(&mut self) -> Option<BytesMut> {
        self.scanned = 0;
        self.line_start = 0;
        Some(std::mem::take(&mut self.buffer)).filter(|rest| !rest.is_empty())
    }
}

/// The lines of an event, without what ends them.
fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    let ends = memchr::memchr2_iter(b'\n', b'\r', event).chain([event.len()]);
    ends.map(move |end| {
        let line = &event[begin..end];
        begin = end + 1;
        line
    })
}

/// What an event is to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A piece of the answer: text, reasoning, or a tool call.
    Token,
    /// UsageCounts and nothing else, which only come because the proxy asks for them.
    Usage,
    /// How far the prefill is, which also only comes because the proxy asks for it.
    Progress(PrefillProgress),
    /// `[DONE]`, or the event that stands for it: the answer is complete.
    Done,
    /// The upstream failed.
    Error,
    /// Anything else: comments, the role, the finish reason.
    Other,
}

/// How far a prefill is, in tokens; both include what was cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct PrefillProgress {
    #[serde(default)]
    processed: u64,
    #[serde(default)]
    total: u64,
}

impl PrefillProgress {
    /// The comment for a caller that asked to see it.
    pub fn comment(self) -> Bytes {
        Bytes::from(format!(": prefill {}/{}\n\n", self.processed, self.total))
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    /// The name of the event in `/v1/responses` and `/v1/messages`.
    #[serde(rename = "type", borrow)]
    name: Option<Cow<'a, str>>,
    choices: Option<Vec<ChunkChoice>>,
    usage: Option<UsageCounts>,
    /// The answer in an event of `/v1/responses`.
    response: Option<UsageHolder>,
    /// The answer in an event of `/v1/messages`.
    message: Option<UsageHolder>,
    timings: Option<Timings>,
    error: Option<IgnoredAny>,
    prompt_progress: Option<PrefillProgress>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    /// The piece in `/v1/completions`.
    text: Option<NonEmpty>,
    delta: Option<ChunkDelta>,
}

#[derive(Deserialize)]
struct ChunkDelta {
    content: Option<NonEmpty>,
    reasoning_content: Option<NonEmpty>,
    tool_calls: Option<Vec<IgnoredAny>>,
}

impl ChunkChoice {
    fn is_token(&self) -> bool {
        is_there(self.text.as_ref()) || self.delta.as_ref().is_some_and(ChunkDelta::is_token)
    }
}

impl ChunkDelta {
    fn is_token(&self) -> bool {
        is_there(self.content.as_ref())
            || is_there(self.reasoning_content.as_ref())
            || self
                .tool_calls
                .as_ref()
                .is_some_and(|calls| !calls.is_empty())
    }
}

fn is_there(text: Option<&NonEmpty>) -> bool {
    text.is_some_and(|text| text.0)
}

/// Whether a text is there, without keeping it.
#[derive(Deserialize)]
#[serde(from = "Cow<'_, str>")]
struct NonEmpty(bool);

impl From<Cow<'_, str>> for NonEmpty {
    fn from(text: Cow<'_, str>) -> Self {
        Self(!text.is_empty())
    }
}

#[derive(Deserialize)]
struct UsageHolder {
    usage: Option<UsageCounts>,
}

#[derive(Deserialize)]
struct UsageCounts {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: u64,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: u64,
    /// `/v1/messages` counts them apart from the others.
    cache_read_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Timings {
    cache_n: Option<u64>,
    #[serde(default)]
    prompt_ms: f64,
    #[serde(default)]
    predicted_ms: f64,
}

impl Timings {
    /// What no clock shows is no time.
    fn duration(milliseconds: f64) -> Duration {
        Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default()
    }
}

impl Chunk<'_> {
    fn usage(&self) -> Option<Usage> {
        let inner = self
            .response
            .as_ref()
            .or(self.message.as_ref())
            .and_then(|inner| inner.usage.as_ref());
        let timings = self.timings.as_ref();
        self.usage.as_ref().or(inner).map(|counts| Usage {
            n_prompt_tokens: counts
                .prompt_tokens
                .saturating_add(counts.cache_read_input_tokens.unwrap_or_default())
                .min(MAX_TOKENS),
            n_cached_tokens: timings
                .and_then(|timings| timings.cache_n)
                .or(counts.cache_read_input_tokens)
                .map(|n| n.min(MAX_TOKENS)),
            n_completion_tokens: counts.completion_tokens.min(MAX_TOKENS),
            prefill: timings.map_or(Duration::ZERO, |timings| {
                Timings::duration(timings.prompt_ms)
            }),
            decode: timings.map_or(Duration::ZERO, |timings| {
                Timings::duration(timings.predicted_ms)
            }),
        })
    }
}

/// The token counts in an answer that is one JSON document.
pub fn counted(document: &[u8]) -> Option<Usage> {
    serde_json::from_slice::<Chunk<'_>>(document).ok()?.usage()
}

/// What `event` is, and what it says was counted.
pub fn read(event: &[u8]) -> (Kind, Option<Usage>) {
    let data = data(event);
    if data.as_ref() == b"[DONE]" {
        return (Kind::Done, None);
    }
    let failed = is_named_error(event);
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else {
        return (if failed { Kind::Error } else { Kind::Other }, None);
    };
    let usage = chunk.usage();
    let choices = chunk.choices.unwrap_or_default();
    let kind = match chunk.name.as_deref() {
        _ if failed || chunk.error.is_some() => Kind::Error,
        Some("error" | "response.failed") => Kind::Error,
        Some("response.completed" | "response.incomplete" | "message_stop") => Kind::Done,
        Some(name) if name.ends_with("delta") && name != "message_delta" => Kind::Token,
        Some(_) => chunk.prompt_progress.map_or(Kind::Other, Kind::Progress),
        None if choices.iter().any(ChunkChoice::is_token) => Kind::Token,
        None => match chunk.prompt_progress {
            Some(progress) => Kind::Progress(progress),
            None if choices.is_empty() && usage.is_some() => Kind::Usage,
            None => Kind::Other,
        },
    };
    (kind, usage)
}

/// What an event of the kind [`Kind::Error`] means.
pub fn failure(event: &[u8]) -> Error {
    verdict_of_event(ErrorWords::parse(&data(event)).as_ref())
}

/// Whether the event is called an error: in `/v1/messages` what it holds does not say so.
fn is_named_error(event: &[u8]) -> bool {
    lines(event)
        .any(|line| line.starts_with(b"error:") || matches!(line, b"event: error" | b"event:error"))
}

/// The payload: the text of the `data` lines, joined by LF.
pub fn data(event: &[u8]) -> Cow<'_, [u8]> {
    let mut parts = lines(event).filter_map(|line| {
        let line = line.strip_prefix(b"data:")?;
        Some(line.strip_prefix(b" ").unwrap_or(line))
    });
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        None => first.into(),
        Some(second) => {
            let all: Vec<&[u8]> = [first, second].into_iter().chain(parts).collect();
            all.join(&b'\n').into()
        }
    }
}

#[cfg(test)]
mod tests;
