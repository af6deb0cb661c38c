//! What was said in conversations: pages of messages, and search.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use crate::http::conversations::page_length;
use crate::http::entry::Guest;
use crate::http::input::{ApiQuery, PathId};
use crate::http::problem::ApiProblem;
use crate::protocol::rest::{FoundPage, MessagePage, MessagesQuery, SearchQuery};
use crate::state::Gateway;
use crate::store::MAX_QUERY_CHARS;

/// The newest messages of a conversation, or those before another one.
///
/// All branches of the tree are in it; `leaf` of the conversation says where the newest one ends.
#[utoipa::path(get, operation_id = "listMessages", path = "/api/v1/conversations/{id}/messages", tag = "conversations", params(("id" = Uuid, Path),
    MessagesQuery), responses((status = 200, body = MessagePage)))]
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    PathId(id): PathId,
    ApiQuery(query): ApiQuery<MessagesQuery>,
) -> Result<Json<MessagePage>, ApiProblem> {
    let limit = page_length(query.limit)?;
    // One more tells whether there is another page.
    let owner = &guest.user.id;
    let page = gateway
        .store
        .messages(owner, id, query.before, limit + 1)
        .await?;
    let mut messages = page.ok_or_else(ApiProblem::not_found)?;
    let too_many = messages.len().saturating_sub(limit as usize);
    messages.drain(..too_many);
    let first = messages.first().filter(|_| too_many > 0);
    let next = first.map(|first| first.id);
    Ok(Json(MessagePage { messages, next }))
}

/// Titles and messages that contain every word.
#[utoipa::path(get, operation_id = "search", path = "/api/v1/search", tag = "conversations", params(SearchQuery), responses(
    (status = 200, body = FoundPage),
))]
pub(super) async fn search(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    ApiQuery(query): ApiQuery<SearchQuery>,
) -> Result<Json<FoundPage>, ApiProblem> {
    let limit = page_length(query.limit)?;
    let n_chars = query.q.chars().count();
    if query.q.trim().is_empty() || n_chars > MAX_QUERY_CHARS {
        let message = format!("`q` must be 1 to {MAX_QUERY_CHARS} characters");
        return Err(ApiProblem::bad(message));
    }
    let found = gateway
        .store
        .search(&guest.user.id, &query.q, limit)
        .await?;
    Ok(Json(FoundPage { found }))
}
