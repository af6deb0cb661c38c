//! What `cargo fuzz` gives any bytes to: each parser of what callers and operators write.
//!
//! Compiled only for the targets in `fuzz/`, because the parsers are nobody else's business.

use crate::api::Api;
use crate::request::{Checked, Rules, Template};

pub use crate::auth::fuzz as keys;

const MAX_TOKENS: u64 = 4096;

/// A request's body, for the route that its first byte names. What leaves is an object, within the clamp.
pub fn body(input: &[u8]) {
    let Some((api, bytes)) = input.split_first() else {
        return;
    };
    let api = Api::ALL[usize::from(*api) % Api::ALL.len()];
    let rules = Rules {
        model: "model",
        max_tokens: MAX_TOKENS,
        max_answers: 4,
        template: Template::default(),
    };
    if let Ok(request) = Checked::parse(api, bytes, &rules) {
        let sent: serde_json::Value =
            serde_json::from_slice(&request.body(0)).expect("what leaves is JSON");
        assert!(sent.is_object() && request.max_tokens <= MAX_TOKENS);
    }
}
