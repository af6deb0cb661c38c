//! Conversations without their messages: listed, begun, changed, deleted. And the models that answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use crate::http::entry::Guest;
use crate::http::input::{ApiJson, ApiQuery, PathId};
use crate::http::problem::ApiProblem;
use crate::protocol::limits::MAX_SYSTEM_BYTES;
use crate::protocol::record::{Conversation, MAX_TITLE_CHARS};
use crate::protocol::rest::{
    ConversationPage, ConversationPatch, DeleteAllQuery, DeletedAll, FolderList, ListQuery,
    ModelPage, NewConversation,
};
use crate::state::Gateway;
use crate::store::{ConversationChange, ListPlace};

/// The length of a page unless told.
const PAGE: u32 = 50;
/// The longest page.
const MAX_PAGE: u32 = 100;

/// The list: pinned conversations first, and the last changed first among each.
///
/// Temporary conversations are not in it.
#[utoipa::path(get, operation_id = "listConversations", path = "/api/v1/conversations", tag = "conversations", params(ListQuery), responses(
    (status = 200, body = ConversationPage),
))]
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Json<ConversationPage>, ApiProblem> {
    let limit = page_length(query.limit)?;
    let before = query.before.as_deref().map(read_cursor).transpose()?;
    let folder = query.folder.map(|folder| name("folder", &folder));
    let folder = folder.transpose()?;
    // One more tells whether there is another page.
    let owner = &guest.user.id;
    let mut conversations = gateway
        .store
        .conversations(owner, folder.as_deref(), before, limit + 1)
        .await?;
    let is_last = conversations.len() <= limit as usize;
    conversations.truncate(limit as usize);
    let last = conversations.last().filter(|_| !is_last);
    let next = last.map(write_cursor);
    Ok(Json(ConversationPage {
        conversations,
        next,
    }))
}

/// The folders, by name.
///
/// A folder exists as long as a conversation is in it.
#[utoipa::path(get, operation_id = "listFolders", path = "/api/v1/folders", tag = "conversations", responses(
    (status = 200, body = FolderList),
))]
pub(super) async fn folders(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
) -> Result<Json<FolderList>, ApiProblem> {
    let folders = gateway.store.folders(&guest.user.id).await?;
    Ok(Json(FolderList { folders }))
}

/// Begins an empty conversation.
///
/// A message over the socket or over `/api/v1/chat` begins one, too.
#[utoipa::path(post, operation_id = "createConversation", path = "/api/v1/conversations", tag = "conversations", request_body = NewConversation, responses(
    (status = 201, body = Conversation),
))]
pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    ApiJson(mut new): ApiJson<NewConversation>,
) -> Result<(StatusCode, Json<Conversation>), ApiProblem> {
    new.title = new.title.map(|title| name("title", &title)).transpose()?;
    new.folder = new
        .folder
        .map(|folder| name("folder", &folder))
        .transpose()?;
    check_system(new.system.as_deref())?;
    let created = gateway.create(&guest.user, &new).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Deletes all conversations for good, temporary ones included.
///
/// Unlike a single one, they cannot be brought back.
#[utoipa::path(delete, operation_id = "deleteAllConversations", path = "/api/v1/conversations", tag = "conversations", params(DeleteAllQuery), responses(
    (status = 200, body = DeletedAll),
))]
pub(super) async fn delete_all(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    ApiQuery(query): ApiQuery<DeleteAllQuery>,
) -> Result<Json<DeletedAll>, ApiProblem> {
    if !query.all {
        let message = "this deletes all conversations: say so with ?all=true";
        return Err(ApiProblem::bad(message));
    }
    let deleting = Arc::clone(&gateway);
    let deleted = gateway
        .to_the_end(async move { deleting.delete_all(&guest.user).await })
        .await?;
    Ok(Json(DeletedAll { deleted }))
}

/// One conversation.
#[utoipa::path(get, operation_id = "getConversation", path = "/api/v1/conversations/{id}", tag = "conversations", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Conversation),
))]
pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    PathId(id): PathId,
) -> Result<Json<Conversation>, ApiProblem> {
    let found = gateway.store.conversation(&guest.user.id, id).await?;
    found.map(Json).ok_or_else(ApiProblem::not_found)
}

/// Renames, pins or files a conversation, or gives it another system prompt.
#[utoipa::path(patch, operation_id = "changeConversation", path = "/api/v1/conversations/{id}", tag = "conversations", params(("id" = Uuid, Path)),
    request_body = ConversationPatch, responses((status = 200, body = Conversation)))]
pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    PathId(id): PathId,
    ApiJson(patch): ApiJson<ConversationPatch>,
) -> Result<Json<Conversation>, ApiProblem> {
    check_system(patch.system.as_ref().and_then(Option::as_deref))?;
    let title = patch.title.map(|title| name("title", &title)).transpose()?;
    let folder = match patch.folder {
        Some(Some(folder)) => Some(Some(name("folder", &folder)?)),
        other => other,
    };
    let change = ConversationChange {
        title,
        pinned: patch.pinned,
        folder,
        system: patch.system,
    };
    Ok(Json(gateway.change(&guest.user, id, &change).await?))
}

/// Stops what runs in a conversation and deletes it.
///
/// It can be brought back for 60 seconds. After that its words are deleted for good.
#[utoipa::path(delete, operation_id = "deleteConversation", path = "/api/v1/conversations/{id}", tag = "conversations", params(("id" = Uuid, Path)), responses(
    (status = 204),
))]
pub(super) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiProblem> {
    let deleting = Arc::clone(&gateway);
    gateway
        .to_the_end(async move { deleting.delete(&guest.user, id).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a conversation back that was deleted in the last 60 seconds.
///
/// What ran in it stays stopped. A conversation that is there is left as it is.
#[utoipa::path(post, operation_id = "restoreConversation", path = "/api/v1/conversations/{id}/restore", tag = "conversations", params(("id" = Uuid, Path)), responses(
    (status = 200, body = Conversation),
))]
pub(super) async fn restore(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    PathId(id): PathId,
) -> Result<Json<Conversation>, ApiProblem> {
    let restoring = Arc::clone(&gateway);
    let restored = gateway.to_the_end(async move { restoring.restore(&guest.user, id).await });
    Ok(Json(restored.await?))
}

/// The models that answer.
#[utoipa::path(get, operation_id = "listModels", path = "/api/v1/models", tag = "models", responses((status = 200, body = ModelPage)))]
pub(super) async fn models(State(gateway): State<Arc<Gateway>>) -> Json<ModelPage> {
    let models = vec![gateway.upstream.model()];
    Json(ModelPage { models })
}

/// The length of a page.
pub(super) fn page_length(wanted: Option<u32>) -> Result<u32, ApiProblem> {
    let limit = wanted.unwrap_or(PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiProblem::bad(format!("`limit` must be 1 to {MAX_PAGE}")))
    }
}

/// The mark of a pinned conversation in a cursor.
const PINNED: &str = "pinned";
/// The mark of any other one.
const UNPINNED: &str = "others";

/// The cursor of the page after this conversation.
fn write_cursor(last: &Conversation) -> String {
    let part = if last.pinned { PINNED } else { UNPINNED };
    format!("{part}.{}.{}", last.updated_ms, last.id)
}

fn read_cursor(cursor: &str) -> Result<ListPlace, ApiProblem> {
    let place = read_place(cursor);
    place.ok_or_else(|| ApiProblem::bad("`before` must be the `next` of another page"))
}

fn read_place(cursor: &str) -> Option<ListPlace> {
    let mut parts = cursor.splitn(3, '.');
    let pinned = match parts.next()? {
        PINNED => true,
        UNPINNED => false,
        _ => return None,
    };
    let updated_ms = parts.next()?.parse().ok()?;
    let id = parts.next()?.parse().ok()?;
    Some(ListPlace {
        pinned,
        updated_ms,
        id,
    })
}

/// A title or the name of a folder, without the space around it.
fn name(field: &str, text: &str) -> Result<String, ApiProblem> {
    let text = text.trim();
    let is_name = (1..=MAX_TITLE_CHARS).contains(&text.chars().count());
    if is_name && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        let message = format!("`{field}` must be one line of 1 to {MAX_TITLE_CHARS} characters");
        Err(ApiProblem::bad(message))
    }
}

fn check_system(system: Option<&str>) -> Result<(), ApiProblem> {
    if system.is_some_and(|system| system.len() > MAX_SYSTEM_BYTES) {
        let message = format!("`system` must be at most {MAX_SYSTEM_BYTES} bytes");
        return Err(ApiProblem::bad(message));
    }
    Ok(())
}
