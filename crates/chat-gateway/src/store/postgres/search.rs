//! Search: the index of `pg_trgm`, and `LIKE` for short words.
//!
//! The longest word is looked up in the index; all words are compared with what it finds. Whether the index knows the
//! characters of other alphabets than Latin depends on the database's locale. What is found does not: without an index,
//! the owner's texts are compared one by one.

use uuid::Uuid;

use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::search::{TRIGRAM_CHARS, excerpt, pattern, tidy};
use crate::store::texts::{folded, owner_tag};
use crate::store::{MAX_PAGE, SearchHit};

/// The texts of the owner `$1`, whose tag is `$4`, that contain all of `$2`, the newest `$3`.
macro_rules! found {
    ($also:literal) => {
        concat!(
            "SELECT c.id, c.title, t.message, t.text FROM texts t JOIN conversations c ON c.id = t.conversation \
             WHERE t.owner_tag = $4 AND c.owner = $1 AND NOT c.temporary AND t.folded LIKE ALL ($2)",
            $also,
            " ORDER BY t.n DESC LIMIT $3"
        )
    };
}

impl PostgresStore {
    pub(in crate::store) async fn search(
        &self,
        owner: &str,
        query: &str,
        limit: u32,
    ) -> Result<Vec<SearchHit>, ServerError> {
        let query = tidy(query);
        let words: Vec<&str> = query.split_whitespace().collect();
        let Some(first) = words.first() else {
            return Ok(Vec::new());
        };
        let patterns: Vec<String> = words.iter().map(|word| pattern(&folded(word))).collect();
        let longest = words.iter().max_by_key(|word| word.chars().count());
        let indexed = longest
            .filter(|word| word.chars().count() >= TRIGRAM_CHARS)
            .map(|word| pattern(&folded(word)));
        let statement = match indexed {
            Some(_) => found!(" AND t.folded LIKE $5"),
            None => found!(" AND $5::text IS NULL"),
        };
        let rows: Vec<(Uuid, String, Option<Uuid>, String)> = sqlx::query_as(statement)
            .bind(owner)
            .bind(patterns)
            .bind(i64::from(limit.min(MAX_PAGE)))
            .bind(owner_tag(owner))
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
