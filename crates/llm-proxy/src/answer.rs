//! The answers to a request, from the queue to the last byte.

pub(crate) mod asked;
mod clock;
mod completion;
pub(crate) mod line;
mod merge;
mod message;
pub(crate) mod reply;
mod upstream_answer;
mod whole;

/// Written after a silence. It is also how a caller that left without a word is noticed.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
