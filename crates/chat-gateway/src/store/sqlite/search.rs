//! Search: SQLite's own trigram index, and `LIKE` for short words.

use uuid::Uuid;

use crate::store::rows::to_json;
use crate::store::search::{TRIGRAM_CHARS, excerpt, pattern, tidy};
use crate::store::sqlite::SqliteStore;
use crate::store::texts::owner_tag;
use crate::store::{MAX_PAGE, SearchHit, StoreError};

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

impl SqliteStore {
    pub(in crate::store) async fn search(
        &self,
        owner: &str,
        query: &str,
        limit: u32,
    ) -> Result<Vec<SearchHit>, StoreError> {
        let query = tidy(query);
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
        let compared = to_json(&compared)?;
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
