//! What is written of one answer so far: reasoning and text together, in the order in which they came.
//!
//! Owns the bytes and where reasoning and text alternate. A position is a number of bytes into them. Knows nothing of
//! watchers or storage. Text is only ever appended and never cut inside a character, so a position that was given out once
//! stays valid.

use serde::{Deserialize, Serialize};

/// What a stretch of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// The model's thoughts.
    Reasoning,
    /// The answer's text.
    Text,
}

/// A stretch of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenRun {
    /// Which.
    pub kind: RunKind,
    /// How long it is, in bytes.
    pub bytes: usize,
    /// Whether another engine wrote what came before it, and was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joint: bool,
}

/// Everything written of one answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    text: String,
    runs: Vec<WrittenRun>,
    /// Whether what is pushed next begins after a joint.
    joins: bool,
}

impl Written {
    /// Nothing is written yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: String::new(),
            runs: Vec::new(),
            joins: false,
        }
    }

    /// The whole of an answer whose thoughts all came before its text.
    #[must_use]
    pub fn of(reasoning: &str, text: &str) -> Self {
        let mut written = Self::new();
        written.push(RunKind::Reasoning, reasoning);
        written.push(RunKind::Text, text);
        written
    }

    /// What was kept before. `None` unless the runs fill the text exactly and end between characters.
    #[must_use]
    pub fn from_parts(text: String, runs: Vec<WrittenRun>) -> Option<Self> {
        let mut end = 0_usize;
        for run in &runs {
            end = end.checked_add(run.bytes)?;
            if !text.is_char_boundary(end) {
                return None;
            }
        }
        (end == text.len()).then_some(Self {
            text,
            runs,
            joins: false,
        })
    }

    /// Appends what came next.
    pub fn push(&mut self, kind: RunKind, text: &str) {
        if text.is_empty() {
            return;
        }
        self.text.push_str(text);
        let joint = std::mem::take(&mut self.joins);
        match self.runs.last_mut() {
            Some(run) if run.kind == kind && !joint => run.bytes += text.len(),
            _ => self.runs.push(WrittenRun {
                kind,
                bytes: text.len(),
                joint,
            }),
        }
    }

    /// Another engine writes what is pushed from now on. Returns whether one can: only text is gone on with exactly, thoughts
    /// are not.
    pub fn join(&mut self) -> bool {
        let last = self.runs.last();
        self.joins = last.is_some_and(|run| run.kind == RunKind::Text);
        self.joins
    }

    /// The positions at which another engine went on.
    #[must_use]
    pub fn joints(&self) -> Vec<u64> {
        let mut start = 0;
        let mut joints = Vec::new();
        for run in &self.runs {
            if run.joint {
                joints.push(start);
            }
            start += run.bytes as u64;
        }
        joints
    }

    /// How much is written, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.text.len() as u64
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// All bytes, reasoning and text together.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How much of both is the same, in bytes.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> u64 {
        let pairs = self.text.bytes().zip(other.text.bytes());
        let mut shared = pairs.take_while(|(own, theirs)| own == theirs).count();
        while !self.text.is_char_boundary(shared) {
            shared -= 1;
        }
        shared as u64
    }

    /// Where reasoning and text alternate.
    #[must_use]
    pub fn runs(&self) -> &[WrittenRun] {
        &self.runs
    }

    /// The reasoning and the text, each joined.
    #[must_use]
    pub fn split(&self) -> (String, String) {
        let mut reasoning = String::new();
        let mut text = String::new();
        for (kind, piece) in self.pieces(0) {
            match kind {
                RunKind::Reasoning => reasoning.push_str(piece),
                RunKind::Text => text.push_str(piece),
            }
        }
        (reasoning, text)
    }

    /// What follows `position`. `None` when it is past the end or inside a character: the asker then has something else.
    #[must_use]
    pub fn slice_from(&self, position: u64) -> Option<Vec<(RunKind, &str)>> {
        let from = usize::try_from(position).ok()?;
        self.text
            .is_char_boundary(from)
            .then(|| self.pieces(from).collect())
    }

    /// The pieces after `from`, a place between characters.
    fn pieces(&self, from: usize) -> impl Iterator<Item = (RunKind, &str)> {
        let mut start = 0;
        self.runs.iter().filter_map(move |run| {
            let end = start + run.bytes;
            let piece = &self.text[start.max(from).min(end)..end];
            start = end;
            (!piece.is_empty()).then_some((run.kind, piece))
        })
    }
}

#[cfg(test)]
mod tests;
