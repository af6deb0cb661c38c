//! The promises that hold for either, in PostgreSQL.

#[expect(clippy::duplicate_mod, reason = "the same promises, kept elsewhere")]
#[path = "both/ageing.rs"]
mod ageing;
#[expect(clippy::duplicate_mod, reason = "the same promises, kept elsewhere")]
#[path = "both/documents.rs"]
mod documents;
#[expect(clippy::duplicate_mod, reason = "the same promises, kept elsewhere")]
#[path = "both/foreign.rs"]
mod foreign;
#[expect(clippy::duplicate_mod, reason = "the same promises, kept elsewhere")]
#[path = "both/search.rs"]
mod search;
#[expect(clippy::duplicate_mod, reason = "the same promises, kept elsewhere")]
#[path = "both/turns.rs"]
mod turns;

use crate::store::Kept;

/// A store of its own; none where PostgreSQL is missing.
async fn kept() -> Option<Kept> {
    Kept::in_postgres().await
}
