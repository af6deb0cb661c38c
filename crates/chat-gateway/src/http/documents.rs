//! Whole conversations as documents, out and in.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use uuid::Uuid;

use crate::http::entry::Guest;
use crate::http::input::{ApiJson, ApiQuery, MAX_DOCUMENT_BYTES, PathId};
use crate::http::problem::ApiProblem;
use crate::protocol::record::Conversation;
use crate::protocol::rest::{ExportFormat, ExportQuery};
use crate::state::Gateway;
use crate::store::{Exported, ImportError};

/// A whole conversation to keep elsewhere.
#[utoipa::path(get, operation_id = "exportConversation", path = "/api/v1/conversations/{id}/export", tag = "conversations", params(("id" = Uuid, Path),
    ExportQuery), responses((status = 200, content((Exported = "application/json"), (String = "text/markdown")))))]
pub(super) async fn export(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    PathId(id): PathId,
    ApiQuery(query): ApiQuery<ExportQuery>,
) -> Result<Response, ApiProblem> {
    let exported = gateway.store.export(&guest.user.id, id).await?;
    let exported = exported.ok_or_else(ApiProblem::not_found)?;
    Ok(match query.format {
        ExportFormat::Json => {
            let head = [(header::CONTENT_DISPOSITION, attached(id, "json"))];
            (head, Json(exported)).into_response()
        }
        ExportFormat::Markdown => {
            let head = [
                (header::CONTENT_DISPOSITION, attached(id, "md")),
                (
                    header::CONTENT_TYPE,
                    "text/markdown; charset=utf-8".to_owned(),
                ),
            ];
            (head, exported.to_markdown()).into_response()
        }
    })
}

/// Brings an exported conversation back, under new ids.
#[utoipa::path(post, operation_id = "importConversation", path = "/api/v1/conversations/import", tag = "conversations", request_body = Exported, responses(
    (status = 201, body = Conversation),
))]
pub(super) async fn import(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    ApiJson(document): ApiJson<Exported, MAX_DOCUMENT_BYTES>,
) -> Result<(StatusCode, Json<Conversation>), ApiProblem> {
    let imported = gateway.import(&guest.user, &document).await;
    let imported = imported.map_err(|error| match error {
        ImportError::Refused(reason) => ApiProblem::bad(reason),
        ImportError::Store(error) => error.into(),
    })?;
    Ok((StatusCode::CREATED, Json(imported)))
}

fn attached(id: Uuid, kind: &str) -> String {
    format!("attachment; filename=\"conversation-{id}.{kind}\"")
}
