//! The door of `/api/v1/ws/chat`: what is checked before a request becomes a socket.
//!
//! A browser cannot read why an upgrade failed, so a refusal here is for what no page can mend, and for other clients.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::openai_error::OpenAiError;

use crate::SERVICE;
use crate::identity::Stranger;
use crate::socket;
use crate::state::Gateway;
use crate::wire;

/// What a client that was turned away for lack of room should wait, in seconds.
const RETRY_AFTER_SECONDS: u64 = 5;
/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_CHARS: usize = 24;

/// Why no socket was opened.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Method,
    NotWebSocket,
    Version,
    Handshake,
    Origin,
    PublicName,
    Draining,
    Full,
}

impl Refusal {
    const fn label(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NotWebSocket => "not_websocket",
            Self::Version => "version",
            Self::Handshake => "handshake",
            Self::Origin => "origin",
            Self::PublicName => "public_name",
            Self::Draining => "draining",
            Self::Full => "full",
        }
    }

    const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "open a WebSocket here, with GET",
            ),
            Self::NotWebSocket => (
                StatusCode::UPGRADE_REQUIRED,
                "this address speaks WebSocket; connect with ws:// or wss://",
            ),
            Self::Version => (
                StatusCode::BAD_REQUEST,
                "only version 13 of the WebSocket protocol is spoken here",
            ),
            Self::Handshake => (
                StatusCode::BAD_REQUEST,
                "the WebSocket handshake is not well formed",
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not open the chat; see GATEWAY_ALLOWED_ORIGINS",
            ),
            Self::PublicName => (
                StatusCode::FORBIDDEN,
                "a page under a public name must be named first, as in \
                 GATEWAY_ALLOWED_ORIGINS=https://chat.example.com",
            ),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the server is restarting; connect again in a moment",
            ),
            Self::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many chats are open; try again in a moment",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = self.answer();
        let error = OpenAiError::new(SERVICE, status, self.label(), message);
        let (name, value) = match self {
            Self::Method => (header::ALLOW, "GET"),
            Self::NotWebSocket => (header::UPGRADE, "websocket"),
            Self::Version => (header::SEC_WEBSOCKET_VERSION, "13"),
            Self::Handshake | Self::Origin | Self::PublicName => return error.into_response(),
            Self::Draining | Self::Full => {
                return error.with_retry_after(RETRY_AFTER_SECONDS).into_response();
            }
        };
        ([(name, HeaderValue::from_static(value))], error).into_response()
    }
}

/// Opens the socket, or says why not.
pub(crate) async fn chat(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    open(&gateway, peer, &method, &headers, upgrade).unwrap_or_else(|refusal| {
        gateway.metrics.upgrade_refused(refusal.label());
        if matches!(refusal, Refusal::PublicName) {
            // Very likely the operator's own page, which cannot show why it is kept out.
            let origin = headers.get(header::ORIGIN).map(HeaderValue::to_str);
            gateway.public_name_refused.call_once(|| {
                tracing::warn!(
                    origin = origin.and_then(Result::ok).unwrap_or_default(),
                    "socket refused: if this page is yours, set GATEWAY_ALLOWED_ORIGINS to its origin"
                );
            });
        }
        tracing::debug!(reason = refusal.label(), "socket refused");
        refusal.into_response()
    })
}

fn open(
    gateway: &Arc<Gateway>,
    peer: SocketAddr,
    method: &Method,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    let upgrade = upgrade.map_err(|rejection| match rejection {
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_) => Refusal::Version,
        WebSocketUpgradeRejection::WebSocketKeyHeaderMissing(_) => Refusal::Handshake,
        _ => Refusal::NotWebSocket,
    })?;
    if !is_well_formed(headers) {
        return Err(Refusal::Handshake);
    }
    gateway
        .config
        .allowed_origins
        .admit(headers)
        .map_err(|stranger| match stranger {
            Stranger::OtherOrigin => Refusal::Origin,
            Stranger::PublicName => Refusal::PublicName,
        })?;
    if gateway.shutdown.is_draining() {
        return Err(Refusal::Draining);
    }
    let seat = Arc::clone(&gateway.seats)
        .try_acquire_owned()
        .map_err(|_| Refusal::Full)?;
    let proxies = &gateway.config.trusted_proxies;
    let visitor = gateway.visitors.name(proxies, peer.ip(), headers);
    let gateway = Arc::clone(gateway);
    // From here on, not from when the socket's task first runs: a shutdown between the two would forget it.
    let held = gateway.shutdown.hold();
    Ok(wire::bounded(upgrade).on_upgrade(async move |socket| {
        socket::run(socket, gateway, visitor, seat).await;
        drop(held);
    }))
}

/// What the library lets pass: a key of the wrong length, and a body.
fn is_well_formed(headers: &HeaderMap) -> bool {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes);
    let key = key.is_some_and(|key| key.len() == KEY_CHARS && key.ends_with(b"=="));
    let bodiless = headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length == "0");
    key && bodiless && !headers.contains_key(header::TRANSFER_ENCODING)
}
