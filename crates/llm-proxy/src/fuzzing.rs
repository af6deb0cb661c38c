//! What `cargo fuzz` gives any bytes to: each parser of words that come from outside, with what must hold of its verdict.
//!
//! Compiled only for the targets in `fuzz/`, because the parsers are nobody else's business.

use crate::api::Api;
use crate::request::ChatRequest;
use crate::sse::{Alike, Kind, Scanner, data, read};

pub use crate::fleet::fuzz as props;
pub use crate::keys::fuzz as keys;
pub use crate::request::fuzz as schema;
pub use crate::upstream::fuzz as answer;

const APIS: [Api; 9] = [
    Api::Chat,
    Api::Completions,
    Api::Embeddings,
    Api::Rerank,
    Api::Responses,
    Api::Messages,
    Api::CountMessages,
    Api::CountTokens,
    Api::Tokenize,
];
const MAX_TOKENS: u64 = 4096;

/// A request's body, for the route that its first byte says. What leaves is an object, within the clamp.
pub fn body(input: &[u8]) {
    let Some((api, bytes)) = input.split_first() else {
        return;
    };
    let api = APIS[usize::from(*api) % APIS.len()];
    if let Ok(request) = ChatRequest::parse(api, bytes, "model", MAX_TOKENS) {
        let sent: serde_json::Value =
            serde_json::from_slice(&request.body).expect("what leaves is JSON");
        assert!(sent.is_object() && request.max_tokens <= MAX_TOKENS);
    }
}

/// A stream of events, cut into pieces as long as its first byte says: the same events however it is cut, and laid end
/// to end the bytes that came.
pub fn events(input: &[u8]) {
    let Some((n, bytes)) = input.split_first() else {
        return;
    };
    let (Some(whole), Some(pieces)) = (cut(bytes, bytes.len()), cut(bytes, usize::from(*n))) else {
        return;
    };
    assert_eq!(whole, pieces);
    assert_eq!(
        whole.concat(),
        bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
    );
    let mut alike = Alike::default();
    for event in &whole {
        let (text, (kind, _)) = (alike.token(event), read(event));
        match text {
            Some(text) => {
                assert_eq!(kind, Kind::Token);
                assert!(std::str::from_utf8(&event[text.at]).is_ok_and(|text| !text.is_empty()));
            }
            None if kind == Kind::Token => alike.learn(event),
            None => drop(data(event)),
        }
    }
}

/// The events, and what is left at the end.
fn cut(bytes: &[u8], n: usize) -> Option<Vec<Vec<u8>>> {
    let (mut scanner, mut events) = (Scanner::default(), Vec::new());
    for piece in bytes.chunks(n.max(1)) {
        scanner.push(piece).ok()?;
        events.extend(std::iter::from_fn(|| scanner.next()).map(|event| event.to_vec()));
    }
    events.extend(scanner.rest().map(|rest| rest.to_vec()));
    Some(events)
}
