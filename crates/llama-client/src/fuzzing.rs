//! What `cargo fuzz` gives any bytes to: each parser of what llama-server sends, with what must hold of its verdict.
//!
//! Compiled only for the targets in `fuzz/`, because the parsers are nobody else's business.

use bytes::Bytes;

use crate::events::{Alike, Kind, Scanner, data, failure, read};
use crate::props::{Props, slots};

/// An upstream's answer, header and body: the same body however it is cut.
pub fn answer(input: &[u8]) {
    crate::connection::fuzz(input);
}

/// Any bytes as `/props`, as `/slots`, as `/apply-template`, and as the body of an error.
pub fn props(input: &[u8]) {
    crate::refusal::fuzz(input);
    crate::template::shown(input);
    if let Some(props) = Props::parse(input) {
        assert!(props.total_slots <= crate::props::MAX_SLOTS);
    }
    slots(&Bytes::copy_from_slice(input));
}

/// A stream of events, cut into pieces as long as its first byte says: the same events however it is cut, and laid end
/// to end the bytes that came.
pub fn events(input: &[u8]) {
    let Some((n, bytes)) = input.split_first() else {
        return;
    };
    let Some(whole) = cut(bytes, bytes.len()) else {
        return;
    };
    let Some(pieces) = cut(bytes, usize::from(*n)) else {
        return;
    };
    assert_eq!(whole, pieces);
    assert_eq!(
        whole.concat(),
        bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
    );
    let mut alike = Alike::default();
    for event in &whole {
        let (kind, _) = read(event);
        failure(event);
        match alike.token(event) {
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
    let mut scanner = Scanner::default();
    let mut events = Vec::new();
    for piece in bytes.chunks(n.max(1)) {
        scanner.push(piece).ok()?;
        events.extend(std::iter::from_fn(|| scanner.next_event()).map(|event| event.to_vec()));
    }
    events.extend(scanner.rest().map(|rest| rest.to_vec()));
    Some(events)
}
