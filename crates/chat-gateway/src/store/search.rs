//! Search in titles, questions and answers.
//!
//! Words of three characters and more are looked up in SQLite's trigram index. It holds nothing of shorter ones, so these
//! are compared with each text of the owner: two characters are a whole word in Chinese.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::texts::owner_tag;
use crate::store::{MAX_PAGE, Store, StoreError};

/// What is looked at of a query, in characters.
pub const MAX_QUERY_CHARS: usize = 200;
/// The shortest word in the index, in characters.
const TRIGRAM_CHARS: usize = 3;
/// What an excerpt shows before the word, in characters.
const BEFORE_CHARS: usize = 40;
/// The longest excerpt, in characters.
const EXCERPT_CHARS: usize = 160;

/// The texts of the owner `?1` that contain all of `?2`, the newest `?3`. Only their numbers are sorted, not the texts.
const COMPARED: &str = "SELECT c.id, c.title, t.message, t.text FROM ( \
    SELECT t.n FROM conversations c JOIN texts t ON t.conversation = c.id \
    WHERE c.owner = ?1 AND c.temporary = 0 \
    AND NOT EXISTS (SELECT 1 FROM json_each(?2) p WHERE t.text NOT LIKE p.value ESCAPE '\\') \
    ORDER BY t.n DESC LIMIT ?3) f \
    JOIN texts t ON t.n = f.n JOIN conversations c ON c.id = t.conversation ORDER BY f.n DESC";
/// As [`COMPARED`], of those that the index finds for `?4`. The joins are CROSS, or SQLite would ask the index once for each
/// text of the owner.
const INDEXED: &str = "SELECT c.id, c.title, t.message, t.text FROM texts_found f \
    CROSS JOIN texts t ON t.n = f.rowid CROSS JOIN conversations c ON c.id = t.conversation \
    WHERE texts_found MATCH ?4 AND c.owner = ?1 AND c.temporary = 0 \
    AND NOT EXISTS (SELECT 1 FROM json_each(?2) p WHERE t.text NOT LIKE p.value ESCAPE '\\') \
    ORDER BY f.rowid DESC LIMIT ?3";

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

impl Store {
    /// The owner's titles and messages that contain every word of `query`, the newest first. Case does not matter.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn search(
        &self,
        owner: &str,
        query: &str,
        limit: u32,
    ) -> Result<Vec<SearchHit>, StoreError> {
        let query: String = query
            .chars()
            .filter(|char| *char != '\0')
            .take(MAX_QUERY_CHARS)
            .collect();
        let words: Vec<&str> = query.split_whitespace().collect();
        let Some(first) = words.first() else {
            return Ok(Vec::new());
        };
        let indexed = words
            .iter()
            .filter(|word| word.chars().count() >= TRIGRAM_CHARS)
            .map(|word| format!(" AND text : {}", phrase(word)))
            .collect::<String>();
        let compared: Vec<String> = words
            .iter()
            .filter(|word| word.chars().count() < TRIGRAM_CHARS)
            .map(|word| pattern(word))
            .collect();
        let compared = super::rows::to_json(&compared)?;
        let statement = if indexed.is_empty() {
            COMPARED
        } else {
            INDEXED
        };
        let indexed = format!("owner_tag : {}{indexed}", phrase(&owner_tag(owner)));
        let rows: Vec<(Uuid, String, Option<Uuid>, String)> = sqlx::query_as(statement)
            .bind(owner)
            .bind(compared)
            .bind(limit.min(MAX_PAGE))
            .bind(indexed)
            .fetch_all(&self.shared.readers)
            .await?;
        let found = rows
            .into_iter()
            .map(|(conversation, title, message, text)| SearchHit {
                conversation,
                title,
                message,
                excerpt: excerpt(&text, first),
            });
        Ok(found.collect())
    }
}

/// A word for the index, with nothing in it that its query language knows.
fn phrase(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// A word for `LIKE`, with nothing in it that stands for something else.
fn pattern(word: &str) -> String {
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
fn excerpt(text: &str, word: &str) -> String {
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
