//! How many tokens something takes before it is sent, as the model counts them.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use crate::completion::{AnswerRequest, AskContent, AskMessage};
use crate::context::Role;
use crate::http::entry::Guest;
use crate::http::input::ApiJson;
use crate::http::problem::ApiProblem;
use crate::protocol::record::{AnswerOptions, ErrorCode};
use crate::protocol::rest::{CountedTokens, TokensQuestion};
use crate::state::Gateway;

/// Counts the tokens of a message that is not sent yet.
///
/// It is the whole prompt with this message alone: the few tokens that the model's template adds are in it. Nothing is kept.
/// A user may ask 120 times in a minute.
#[utoipa::path(post, operation_id = "countTokens", path = "/api/v1/tokens", tag = "models", request_body = TokensQuestion, responses(
    (status = 200, body = CountedTokens),
))]
pub(super) async fn count(
    State(gateway): State<Arc<Gateway>>,
    Extension(guest): Extension<Guest>,
    ApiJson(question): ApiJson<TokensQuestion>,
) -> Result<Json<CountedTokens>, ApiProblem> {
    let parts = question.content.into_parts();
    gateway.check_content(&parts)?;
    gateway.limits.count(&guest.user).map_err(|wait| {
        let message = "too many counts in a minute; wait a moment";
        let seconds = u32::try_from(wait.0.as_secs() + 1).unwrap_or(u32::MAX);
        ApiProblem::new(ErrorCode::RateLimited, message).with_retry_after(seconds)
    })?;
    let options = AnswerOptions::none();
    let message = AskMessage {
        role: Role::User,
        content: AskContent::Parts(&parts),
        reasoning: None,
    };
    let ask = AnswerRequest {
        messages: vec![message],
        options: &options,
        continues: false,
        lane: &guest.user.lane,
        request_id: &guest.request_id,
        traceparent: None,
        wants_usage: false,
        waits_for_model: false,
    };
    let tokens = gateway.completions.count(&ask).await?;
    Ok(Json(CountedTokens { tokens }))
}
