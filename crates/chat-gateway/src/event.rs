//! What comes from upstream for one answer, in the gateway's own words.
//!
//! It knows neither the wire it came on nor the version of the protocol that a browser speaks.

use crate::error::Failure;
use crate::protocol::record::{FinishReason, TokenUsage};

/// What came from upstream for the running answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It waits for the model.
    Queued {
        /// 1 is the next.
        position: u32,
        /// An estimate.
        wait_seconds: Option<u32>,
    },
    /// The model reads the prompt.
    Prompt {
        /// Tokens that are read, cached ones included.
        done: u32,
        /// Tokens of the prompt.
        total: u32,
        /// Tokens that the model still had in its cache.
        cached: Option<u32>,
    },
    /// The model is brought into memory; the request is repeated until it is there.
    Loading,
    /// The next piece of the model's thoughts.
    Reasoning(String),
    /// The next piece of the answer.
    Text(String),
    /// The answer is whole.
    Finished(Finish),
    /// There will be no more of it.
    Failed(Failure),
}

/// How a whole answer ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finish {
    /// In which sense it is whole.
    pub reason: FinishReason,
    /// If the model counted.
    pub usage: Option<TokenUsage>,
    /// If the model told its speed.
    pub tokens_per_second: Option<f64>,
}
