//! Answers as server-sent events in the AI SDK's UI message stream, so that `useChat` works unchanged.
//!
//! A chat is a conversation like any other, and its answers belong to the server: closing the stream stops nothing, GET
//! plays the running answer again from its beginning, and `stop` ends it. A refusal is one line of text, because the SDK
//! shows bodies as they are.

mod asked;
mod history;
mod live;
mod parts;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use uuid::Uuid;

use self::asked::{Follows, check_chat_id, conversation_id, request_key, submitted};
use crate::conversation::room::Room;
use crate::conversation::verbs::Taken;
use crate::http::entry::Guest;
use crate::http::input::{ApiJson, MAX_CHAT_BYTES};
use crate::http::problem::ApiProblem;
use crate::identity::User;
use crate::protocol::record::{Author, Conversation};
use crate::protocol::ui_stream::{UiChat, UiRequest, UiTrigger};
use crate::protocol::v2::{Regenerate, Send, WhenBusy};
use crate::state::Gateway;

/// The routes below `/api/v1/chat`.
pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/api/v1/chat", post(answer))
        .route("/api/v1/chat/{id}", get(history))
        .route("/api/v1/chat/{id}/stream", get(resume))
        .route("/api/v1/chat/{id}/stop", post(stop))
}

/// A refusal as one line of text.
pub(super) struct Line(ApiProblem);

impl<P: Into<ApiProblem>> From<P> for Line {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Line {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let line = self.0.line();
        let head = self.0.into_response().into_parts().0;
        let mut response = (head.status, kind, line).into_response();
        if let Some(wait) = head.headers.get(header::RETRY_AFTER) {
            let wait = wait.clone();
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

/// Takes a message, or replaces an answer, and streams the answer.
#[utoipa::path(post, operation_id = "chat", path = "/api/v1/chat", tag = "chat", request_body = UiRequest, responses(
    (status = 200, description = "The UI message stream, version 1", body = String, content_type = "text/event-stream"),
))]
pub(super) async fn answer(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    body: Result<ApiJson<UiRequest, MAX_CHAT_BYTES>, ApiProblem>,
) -> Result<Response, Line> {
    let ApiJson(request) = body?;
    check_chat_id(&request.id)?;
    // Before anything begins: an answer must not run because its reader found no place.
    let seat = live::seat(&gateway, &guest)?;
    let taking = take(Arc::clone(&gateway), guest.user.clone(), request);
    let taken = gateway.to_the_end(taking).await?;
    let answer = taken.accepted.answer;
    Ok(live::stream(&gateway, guest, seat, taken.room, answer).await?)
}

/// The newest branch of a chat, as `useChat` begins with it.
#[utoipa::path(get, operation_id = "getChat", path = "/api/v1/chat/{id}", tag = "chat", params(("id" = String, Path)), responses(
    (status = 200, body = UiChat),
))]
pub(super) async fn history(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    Path(id): Path<String>,
) -> Result<Json<UiChat>, Line> {
    let kept = known(&gateway, &guest.user, &id).await?;
    let kept = kept.ok_or_else(ApiProblem::not_found)?;
    let path = match kept.leaf {
        Some(leaf) => gateway.store.path(&guest.user.id, leaf).await?,
        None => Vec::new(),
    };
    Ok(Json(UiChat {
        conversation: kept.id,
        messages: history::messages(path),
    }))
}

/// The running answer from its beginning on, or the one that ended a moment ago.
#[utoipa::path(get, operation_id = "resumeChat", path = "/api/v1/chat/{id}/stream", tag = "chat", params(("id" = String, Path)), responses(
    (status = 200, description = "The UI message stream, version 1", body = String, content_type = "text/event-stream"),
    (status = 204, description = "Nothing runs"),
))]
pub(super) async fn resume(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    Path(id): Path<String>,
) -> Result<Response, Line> {
    let Some(room) = open_room(&gateway, &guest.user, &id).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let newest = room.state().answers.last().map(|answer| answer.id);
    let newest = match newest {
        Some(answer) => Some(answer),
        None => unheard(&gateway, &guest.user, room.id).await?,
    };
    let Some(answer) = newest else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let seat = live::seat(&gateway, &guest)?;
    Ok(live::stream(&gateway, guest, seat, room, answer).await?)
}

/// Ends what runs or waits in a chat. Harmless to repeat.
#[utoipa::path(post, operation_id = "stopChat", path = "/api/v1/chat/{id}/stop", tag = "chat", params(("id" = String, Path)), responses(
    (status = 204),
))]
pub(super) async fn stop(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    Path(id): Path<String>,
) -> Result<StatusCode, Line> {
    if let Some(room) = open_room(&gateway, &guest.user, &id).await? {
        let stopping = Arc::clone(&gateway);
        gateway
            .to_the_end(async move { stopping.stop_all(&guest.user, &room).await })
            .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn take(gateway: Arc<Gateway>, user: User, request: UiRequest) -> Result<Taken, ApiProblem> {
    match request.trigger {
        UiTrigger::SubmitMessage => submit(&gateway, &user, request).await,
        UiTrigger::RegenerateMessage => regenerate(&gateway, &user, request).await,
    }
}

async fn submit(
    gateway: &Arc<Gateway>,
    user: &User,
    request: UiRequest,
) -> Result<Taken, ApiProblem> {
    let kept = known(gateway, user, &request.id).await?;
    let new = conversation_id(&user.id, &request.id);
    let submitted = submitted(request)?;
    let parent = match (submitted.follows, &kept) {
        (Follows::Nothing, Some(_)) => Some(None),
        (Follows::Answer(answer), Some(kept)) => {
            // An answer that is not in this conversation is the client's own idea.
            let found = gateway.store.message(&user.id, answer).await?;
            let is_here = found.is_some_and(|(conversation, message)| {
                conversation == kept.id && message.role == Author::Assistant
            });
            is_here.then_some(Some(answer))
        }
        (Follows::Newest, _) | (_, None) => None,
    };
    let (id, digest) = submitted.request;
    let send = Send {
        id,
        conversation: kept.map(|kept| kept.id),
        parent,
        content: submitted.content,
        options: submitted.options,
        when_busy: WhenBusy::Queue,
        temporary: false,
    };
    Ok(gateway.send_to(user, send, digest, new).await?)
}

async fn regenerate(
    gateway: &Arc<Gateway>,
    user: &User,
    request: UiRequest,
) -> Result<Taken, ApiProblem> {
    let kept = known(gateway, user, &request.id).await?;
    let kept = kept.ok_or_else(ApiProblem::not_found)?;
    let named = request.message_id.and_then(|id| id.parse().ok());
    let message = named.or(kept.leaf).ok_or_else(ApiProblem::not_found)?;
    let wish = Regenerate {
        id: request_key(&["regenerate", &Uuid::now_v7().to_string()]).0,
        message,
        options: request.options,
    };
    Ok(gateway.regenerate(user, wish).await?)
}

/// The conversation of a chat, if there is one: by the chat's name, or by the conversation's own id.
async fn known(
    gateway: &Gateway,
    user: &User,
    chat: &str,
) -> Result<Option<Conversation>, ApiProblem> {
    check_chat_id(chat)?;
    if let Ok(id) = Uuid::try_parse(chat)
        && let Some(kept) = gateway.store.conversation(&user.id, id).await?
    {
        return Ok(Some(kept));
    }
    let id = conversation_id(&user.id, chat);
    Ok(gateway.store.conversation(&user.id, id).await?)
}

/// The newest answer, if it runs at another gateway of which nothing is heard while the bus is away.
async fn unheard(
    gateway: &Gateway,
    user: &User,
    conversation: Uuid,
) -> Result<Option<Uuid>, ApiProblem> {
    if gateway.bus.shared().is_none() {
        return Ok(None);
    }
    let kept = gateway.store.conversation(&user.id, conversation).await?;
    let Some(leaf) = kept.and_then(|kept| kept.leaf) else {
        return Ok(None);
    };
    let found = gateway.store.message(&user.id, leaf).await?;
    let answer = found.and_then(|(_, message)| message.answer);
    let is_open = answer.is_some_and(|answer| !answer.status.is_final());
    Ok(is_open.then_some(leaf))
}

/// The room of a chat, if anything lives in it. Unknown and foreign chats have none.
async fn open_room(
    gateway: &Arc<Gateway>,
    user: &User,
    chat: &str,
) -> Result<Option<Arc<Room>>, ApiProblem> {
    let Some(kept) = known(gateway, user, chat).await? else {
        return Ok(None);
    };
    if gateway.bus.shared().is_some() {
        // What runs may be at another gateway.
        let (room, _) = gateway.enter(user, kept.id).await?;
        return Ok(Some(room));
    }
    Ok(gateway.rooms.find(kept.id))
}
