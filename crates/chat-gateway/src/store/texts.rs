//! What search reads: titles, questions, and answers that have ended.

use sha2::{Digest as _, Sha256};

use crate::protocol::record::ContentPart;

/// The first of the characters that tags are made of: ideographs that hardly anybody writes.
const TAG_FIRST: u32 = 0x2_0000;
/// How many there are.
const TAG_CHARS: u32 = 0xa6d0;

/// The owner's mark in the index. It has three characters, so that it is one trigram, whose list holds the owner's texts
/// alone. Two owners with the same tag would only make their searches longer.
pub(super) fn owner_tag(owner: &str) -> String {
    let digest = Sha256::digest(owner);
    let numbers = digest.as_chunks::<4>().0.iter().take(3);
    numbers
        .filter_map(|bytes| char::from_u32(TAG_FIRST + u32::from_be_bytes(*bytes) % TAG_CHARS))
        .collect()
}

/// The text of a question, without its pictures.
pub(super) fn words(content: &[ContentPart]) -> String {
    let texts = content.iter().filter_map(|part| match part {
        ContentPart::Text { text } => Some(text.as_str()),
        ContentPart::Image { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// A text in small letters, as search compares it.
pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}
