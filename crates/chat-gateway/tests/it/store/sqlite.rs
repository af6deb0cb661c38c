//! The promises that hold for either, in a file.

#[path = "both/ageing.rs"]
mod ageing;
#[path = "both/documents.rs"]
mod documents;
#[path = "both/foreign.rs"]
mod foreign;
#[path = "both/search.rs"]
mod search;
#[path = "both/turns.rs"]
mod turns;

use crate::store::Kept;

/// A store of its own; there is always one.
async fn kept() -> Option<Kept> {
    Some(Kept::new().await)
}
