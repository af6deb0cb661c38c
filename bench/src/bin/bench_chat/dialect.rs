//! What is said on a socket in each version of the chat protocol, and what its frames mean to a load.

use serde_json::{Value, json};

/// A version of the chat protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ChatVersion {
    /// One conversation to a socket, kept in memory.
    V1,
    /// Conversations belong to users, and are kept.
    V2,
}

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A piece of the answer.
    Delta,
    /// All that there is of the answer so far.
    Snapshot,
    /// The answer is whole.
    Done,
    /// The answer failed.
    Failed,
    /// Nothing that a load cares about.
    Other,
}

impl ChatVersion {
    /// The field of the request that asks for this version.
    pub(crate) const fn offers(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::V2 => Some("Sec-WebSocket-Protocol: chat.v2\r\n"),
        }
    }

    /// The first frame, if there has to be one.
    pub(crate) const fn hello(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::V2 => Some(r#"{"type":"hello","version":2}"#),
        }
    }

    /// Whether a frame is the reply to the hello.
    pub(crate) fn is_welcome(self, frame: &[u8]) -> bool {
        frame.starts_with(br#"{"type":"welcome""#)
    }

    /// The frames that ask for an answer without a history. No two of a user have the same `number`.
    pub(crate) fn ask(self, order: &str, number: usize) -> Vec<String> {
        match self {
            Self::V1 => vec![
                r#"{"type":"reset"}"#.to_owned(),
                format!(r#"{{"content":"bench:{order};"}}"#),
            ],
            Self::V2 => vec![format!(
                r#"{{"type":"send","id":"{number}","content":"bench:{order};"}}"#
            )],
        }
    }

    /// Reads a frame. Every gateway writes the type first.
    pub(crate) fn read(self, frame: &[u8]) -> Meaning {
        let kind = frame.strip_prefix(br#"{"type":""#).unwrap_or_default();
        match kind {
            kind if kind.starts_with(b"delta\"") => Meaning::Delta,
            kind if kind.starts_with(b"snapshot\"") => Meaning::Snapshot,
            kind if kind.starts_with(b"done\"") => match self {
                Self::V2 if memchr::memmem::find(kind, br#""status":"done""#).is_none() => {
                    Meaning::Failed
                }
                _ => Meaning::Done,
            },
            kind if kind.starts_with(b"error\"") => Meaning::Failed,
            _ => Meaning::Other,
        }
    }
}

/// An answer of version 2 that was begun: its conversation and its id.
#[derive(Clone, Debug)]
pub(crate) struct AcceptedAnswer {
    conversation: String,
    answer: String,
}

impl AcceptedAnswer {
    /// Reads the frame `accepted`; `None` when it is another one.
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        if !frame.starts_with(br#"{"type":"accepted""#) {
            return None;
        }
        let frame: Value = serde_json::from_slice(frame).ok()?;
        Some(Self {
            conversation: frame["conversation"].as_str()?.to_owned(),
            answer: frame["answer"].as_str()?.to_owned(),
        })
    }

    /// The frame of a socket that watches it and has it up to `position`.
    pub(crate) fn watch_from(&self, position: u64) -> String {
        let held = json!([{"message": self.answer, "position": position}]);
        json!({"type": "watch", "id": "w", "conversation": self.conversation, "answers": held})
            .to_string()
    }
}
