//! `/api/v1/me` and `/api/v1/ws/ticket`: who is signed in, and a ticket that says so on a socket.
//!
//! The rules of Origin hold here as on the socket, so no other site's page can get a ticket.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use common::openai_error::OpenAiError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::SERVICE;
use crate::identity::{SignedIn, TICKET_LIFETIME, User};
use crate::protocol::v2::Person;
use crate::state::Gateway;

/// The user of a request that may ask. A handler's answer must carry [`Signed::cookie`].
#[derive(Debug)]
pub(crate) struct Signed(pub(crate) SignedIn);

impl Signed {
    pub(crate) const fn user(&self) -> &User {
        &self.0.user
    }

    /// The cookie of a new anonymous user. Nothing here may be cached.
    pub(crate) fn cookie(&self) -> AppendHeaders<Vec<(HeaderName, HeaderValue)>> {
        let set_cookie = self.0.set_cookie.clone();
        let set_cookie = set_cookie.map(|cookie| (header::SET_COOKIE, cookie));
        let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        AppendHeaders([no_store].into_iter().chain(set_cookie).collect())
    }
}

impl FromRequestParts<Arc<Gateway>> for Signed {
    type Rejection = OpenAiError;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, OpenAiError> {
        let peer = ConnectInfo::<SocketAddr>::from_request_parts(parts, gateway).await;
        let ConnectInfo(peer) = peer.map_err(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR))?;
        let peer = peer.ip();
        let headers = &parts.headers;
        if let Err(stranger) = gateway.config.allowed_origins.admit(headers) {
            let address = gateway.identity.address(headers, peer);
            let request_id = gateway.identity.request_id(headers, peer);
            gateway
                .refused_origins
                .refused(stranger, headers, address, &request_id);
            return Err(refusal(StatusCode::FORBIDDEN));
        }
        match gateway.identity.of(headers, peer).await {
            Ok(signed_in) => Ok(Self(signed_in)),
            Err(reason) => {
                let address = gateway.identity.address(headers, peer);
                let reason = reason.label();
                tracing::info!(%address, reason, "request refused: not signed in");
                Err(refusal(StatusCode::UNAUTHORIZED))
            }
        }
    }
}

/// A ticket for the `hello` of a socket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SocketTicket {
    /// Good once.
    ticket: String,
    /// How long it is good.
    expires_in_seconds: u64,
}

/// Who is signed in.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "me",
    operation_id = "getMe",
    responses(
        (status = 200, body = Person),
        (status = 401, description = "Nobody is signed in."),
        (status = 403, description = "The page's origin may not ask."),
    )
)]
pub(crate) async fn me(signed: Signed) -> impl IntoResponse {
    let user = signed.user();
    let person = Person {
        id: user.id.as_ref().into(),
        name: user.name.as_deref().map(Into::into),
    };
    (signed.cookie(), Json(person))
}

/// Exchanges the request's credentials for a ticket that a socket's `hello` may carry.
#[utoipa::path(
    post,
    path = "/api/v1/ws/ticket",
    tag = "me",
    operation_id = "createTicket",
    responses(
        (status = 200, body = SocketTicket),
        (status = 401, description = "Nobody is signed in."),
        (status = 403, description = "The page's origin may not ask."),
        (status = 503, description = "No ticket can be given at the moment; try again."),
    )
)]
pub(crate) async fn ticket(
    State(gateway): State<Arc<Gateway>>,
    signed: Signed,
) -> Result<impl IntoResponse, OpenAiError> {
    let ticket = gateway.identity.ticket(signed.user()).await;
    let ticket = ticket.map_err(|error| {
        tracing::error!(%error, "a ticket could not be given");
        refusal(StatusCode::SERVICE_UNAVAILABLE)
    })?;
    let ticket = SocketTicket {
        ticket,
        expires_in_seconds: TICKET_LIFETIME.as_secs(),
    };
    Ok((signed.cookie(), Json(ticket)))
}

fn refusal(status: StatusCode) -> OpenAiError {
    let (code, message) = match status {
        StatusCode::UNAUTHORIZED => ("unauthenticated", "sign in first"),
        StatusCode::FORBIDDEN => (
            "origin",
            "pages of this origin may not ask; see GATEWAY_ALLOWED_ORIGINS",
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "storage_unavailable",
            "no ticket can be given at the moment; try again",
        ),
        _ => ("internal", "the gateway failed; try again"),
    };
    OpenAiError::new(SERVICE, status, code, message)
}
