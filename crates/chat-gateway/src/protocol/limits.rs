//! What options may be, and are when nobody chooses: told in `welcome`, and what the server brings them into.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

/// The longest system prompt, in bytes.
pub const MAX_SYSTEM_BYTES: usize = 64 * 1024;
/// Strings of `options.stop`.
pub const MAX_STOPS: usize = 4;
/// The longest string of `options.stop`, in bytes.
pub const MAX_STOP_BYTES: usize = 256;

/// What the options of an answer may be. Numbers beyond are brought into their range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct OptionLimits {
    /// The sampling temperature.
    pub temperature: RealRange,
    /// Only the likeliest tokens that have so much probability together.
    pub top_p: RealRange,
    /// Only so many of the likeliest tokens; 0: all.
    pub top_k: WholeRange,
    /// Only tokens that have so much of the likeliest one's probability.
    pub min_p: RealRange,
    /// The longest answer, in tokens.
    pub max_tokens: WholeRange,
    /// The longest system prompt.
    pub system_bytes: u32,
    /// Strings that end an answer.
    pub stops: u32,
    /// The longest of them; a longer one is not used.
    pub stop_bytes: u32,
    /// Whether `thinking` may be chosen. A model that cannot think ignores it.
    pub thinking: bool,
}

/// The range of a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct RealRange {
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// What it is when nobody chooses; missing: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub default: Option<f64>,
}

/// The range of a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct WholeRange {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// What it is when nobody chooses; missing: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub default: Option<u32>,
}

impl RealRange {
    /// The chosen number in this range, or the default.
    pub(crate) fn bring(self, chosen: Option<f64>) -> Option<f64> {
        let number = chosen.or(self.default);
        number.map(|number| number.clamp(self.min, self.max))
    }
}

impl WholeRange {
    /// The chosen number in this range, or the default.
    pub(crate) fn bring(self, chosen: Option<u32>) -> Option<u32> {
        let number = chosen.or(self.default);
        number.map(|number| number.clamp(self.min, self.max))
    }
}
