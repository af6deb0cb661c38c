//! Version 1 of the chat protocol: every frame either side may send. It never changes.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::mend_surrogates;
use super::record::FinishReason;

/// What a client's text frame means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// A message to answer.
    Content(String),
    /// Forget the conversation.
    Reset,
}

/// Why a text frame means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonsense {
    /// Not a JSON object.
    NotAnObject,
    /// An object without content: missing, not a string, or blank.
    EmptyContent,
}

impl Nonsense {
    /// What the client is told.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotAnObject => "not a JSON object",
            Self::EmptyContent => "empty content",
        }
    }
}

/// The fields v1 looks at, still as text: whatever else a frame holds is skipped, not kept.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

impl ClientMessage {
    /// Reads a text frame.
    ///
    /// # Errors
    ///
    /// When it means nothing in v1.
    pub fn parse(frame: &str) -> Result<Self, Nonsense> {
        // A struct can also be read from an array; v1 wants an object.
        if !frame
            .trim_start_matches([' ', '\t', '\r', '\n'])
            .starts_with('{')
        {
            return Err(Nonsense::NotAnObject);
        }
        let frame = mend_surrogates(frame);
        let frame: Frame = serde_json::from_str(&frame).map_err(|_| Nonsense::NotAnObject)?;
        if text(frame.kind).as_deref() == Some("reset") {
            return Ok(Self::Reset);
        }
        match text(frame.content) {
            Some(content) if !content.trim().is_empty() => Ok(Self::Content(content)),
            _ => Err(Nonsense::EmptyContent),
        }
    }
}

fn text(value: Option<&RawValue>) -> Option<String> {
    value.and_then(|value| serde_json::from_str(value.get()).ok())
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The next piece of the answer.
    Delta {
        /// The piece, byte for byte as the model wrote it.
        content: String,
    },
    /// The answer is whole.
    Done,
    /// The answer is as long as it may be.
    #[serde(rename = "done")]
    DoneAtLimit {
        /// `length`.
        finish_reason: FinishReason,
    },
    /// The conversation is forgotten.
    ResetOk,
    /// A frame was refused, or the answer failed.
    Error {
        /// A sentence for people. Always one of ours.
        message: &'static str,
    },
}

impl ServerMessage {
    /// The end of a whole answer. Version 1 tells of the limit and of no other reason.
    #[must_use]
    pub const fn done(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Length => Self::DoneAtLimit {
                finish_reason: reason,
            },
            FinishReason::Stop | FinishReason::ToolCalls => Self::Done,
        }
    }

    /// The frame's text.
    ///
    /// # Panics
    ///
    /// Never: strings and unit variants always serialise.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and unit variants always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientMessage, FinishReason, Nonsense, ServerMessage};

    #[test]
    fn frames_mean_what_the_protocol_says() {
        let content = |text: &str| Ok(ClientMessage::Content(text.to_owned()));
        for (frame, expected) in [
            (r#"{"content":"hi"}"#, content("hi")),
            (
                r#" { "type":"say", "content":" hi\n", "more":[{}] }"#,
                content(" hi\n"),
            ),
            (r#"{"type":7,"content":"芝士 🧀"}"#, content("芝士 🧀")),
            (r#"{"type":"reset"}"#, Ok(ClientMessage::Reset)),
            (
                r#"{"type":"reset","content":"hi"}"#,
                Ok(ClientMessage::Reset),
            ),
            (r#"{"content":"cut \ud83d"}"#, content("cut \u{fffd}")),
            (r"{}", Err(Nonsense::EmptyContent)),
            (r#"{"type":"Reset"}"#, Err(Nonsense::EmptyContent)),
            (r#"{"content":" \n\t "}"#, Err(Nonsense::EmptyContent)),
            (r#"{"content":["hi"]}"#, Err(Nonsense::EmptyContent)),
            (r#"{"content":null}"#, Err(Nonsense::EmptyContent)),
            (r#"["reset","hi"]"#, Err(Nonsense::NotAnObject)),
            (r#""hi""#, Err(Nonsense::NotAnObject)),
            (r#"{"content":"hi"} {}"#, Err(Nonsense::NotAnObject)),
            (r#"{"content":"#, Err(Nonsense::NotAnObject)),
            ("", Err(Nonsense::NotAnObject)),
        ] {
            assert_eq!(ClientMessage::parse(frame), expected, "{frame}");
        }
    }

    #[test]
    fn the_servers_frames_are_byte_for_byte_those_of_v1() {
        let delta = ServerMessage::Delta {
            content: "a\"\n芝".to_owned(),
        };
        assert_eq!(delta.to_json(), r#"{"type":"delta","content":"a\"\n芝"}"#);
        assert_eq!(ServerMessage::Done.to_json(), r#"{"type":"done"}"#);
        assert_eq!(
            ServerMessage::done(FinishReason::Length).to_json(),
            r#"{"type":"done","finish_reason":"length"}"#
        );
        assert_eq!(ServerMessage::ResetOk.to_json(), r#"{"type":"reset_ok"}"#);
        let error = ServerMessage::Error {
            message: Nonsense::EmptyContent.message(),
        };
        assert_eq!(
            error.to_json(),
            r#"{"type":"error","message":"empty content"}"#
        );
    }
}
