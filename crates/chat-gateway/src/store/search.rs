//! Search in titles, questions and answers.
//!
//! Words of three characters and more are looked up in a trigram index. It holds nothing of shorter ones, so these are
//! compared with each text of the owner: two characters are a whole word in Chinese.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What is looked at of a query, in characters.
pub const MAX_QUERY_CHARS: usize = 200;
/// The shortest word in the index, in characters.
pub(super) const TRIGRAM_CHARS: usize = 3;
/// What an excerpt shows before the word, in characters.
const BEFORE_CHARS: usize = 40;
/// The longest excerpt, in characters.
const EXCERPT_CHARS: usize = 160;

/// Something that search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, ts_rs::TS)]
pub struct SearchHit {
    /// The conversation.
    pub conversation: Uuid,
    /// Its title.
    pub title: String,
    /// The message; none when the title was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub message: Option<Uuid>,
    /// The text around the first word.
    pub excerpt: String,
}

/// A query without what no text has, and cut to what is looked at.
pub(super) fn tidy(query: &str) -> String {
    query
        .chars()
        .filter(|char| *char != '\0')
        .take(MAX_QUERY_CHARS)
        .collect()
}

/// A word for `LIKE`, with nothing in it that stands for something else.
pub(super) fn pattern(word: &str) -> String {
    let mut pattern = String::from("%");
    for char in word.chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}

/// The text around the first place where `word` is.
pub(super) fn excerpt(text: &str, word: &str) -> String {
    let at = find(text, word).unwrap_or(0);
    let start = text[..at]
        .char_indices()
        .rev()
        .take(BEFORE_CHARS)
        .last()
        .map_or(at, |(start, _)| start);
    let mut shown: String = text[start..].chars().take(EXCERPT_CHARS).collect();
    if start > 0 {
        shown.insert(0, '…');
    }
    if text[start..].chars().nth(EXCERPT_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Where `word` begins in `text`, in either case.
fn find(text: &str, word: &str) -> Option<usize> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    text.char_indices().map(|(at, _)| at).find(|&at| {
        let mut here = text[at..].chars().flat_map(char::to_lowercase);
        word.iter().all(|char| here.next() == Some(*char))
    })
}
