//! The door of `/api/v1/ws/chat`: what is checked before a request becomes a socket.
//!
//! A browser cannot read why an upgrade failed, so a refusal here is for what no page can mend, and for other clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::openai_error::OpenAiError;
use tokio::sync::OwnedSemaphorePermit;

use crate::SERVICE;
use crate::identity::{
    AddressSeat, SignedIn, Stranger, TooManySockets, Unauthenticated, User, UserSeat,
};
use crate::protocol::v2::SUBPROTOCOL;
use crate::socket;
use crate::state::Gateway;
use crate::wire::{self, Wire};

/// What a client that was turned away for lack of room should wait, in seconds.
const RETRY_AFTER_SECONDS: u64 = 5;
/// The field of the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_CHARS: usize = 24;

/// Why no socket was opened.
#[derive(Clone, Copy, Debug)]
enum UpgradeRefusal {
    Method,
    NotWebSocket,
    Version,
    Handshake,
    Stranger(Stranger),
    NotSignedIn(Unauthenticated),
    Crowded(TooManySockets),
    Draining,
    Full,
}

/// Who comes in, and the places that are kept for them until they leave.
#[derive(Debug)]
pub(crate) struct Entrant {
    /// `None` only for a client of version 2, whose `hello` may bring a ticket.
    pub(crate) user: Option<User>,
    /// Whether it offered the subprotocol of version 2.
    pub(crate) offers_v2: bool,
    /// Where they come from, as far as the proxies in front are believed.
    pub(crate) address: IpAddr,
    /// In the answer to the upgrade and in the log.
    pub(crate) request_id: Arc<str>,
    /// The user's place below their bound. A client of version 2 takes it after its `hello`.
    pub(crate) user_seat: Option<UserSeat>,
    /// The address's place below its bound.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(crate) address_seat: AddressSeat,
    /// The place below the cap of all sockets.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(crate) seat: OwnedSemaphorePermit,
}

impl UpgradeRefusal {
    const fn label(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NotWebSocket => "not_websocket",
            Self::Version => "version",
            Self::Handshake => "handshake",
            Self::Stranger(stranger) => stranger.label(),
            Self::NotSignedIn(_) => "not_signed_in",
            Self::Crowded(TooManySockets::PerUser) => "sockets_per_user",
            Self::Crowded(TooManySockets::PerAddress) => "sockets_per_address",
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
            Self::Stranger(Stranger::OtherOrigin) => (
                StatusCode::FORBIDDEN,
                "pages of this origin may not open the chat; see GATEWAY_ALLOWED_ORIGINS",
            ),
            Self::Stranger(Stranger::PublicName) => (
                StatusCode::FORBIDDEN,
                "a page under a public name must be named first, as in \
                 GATEWAY_ALLOWED_ORIGINS=https://chat.example.com",
            ),
            Self::NotSignedIn(_) => (StatusCode::UNAUTHORIZED, "sign in first"),
            Self::Crowded(TooManySockets::PerUser) => (
                StatusCode::TOO_MANY_REQUESTS,
                "you have too many chats open; close a tab and try again",
            ),
            Self::Crowded(TooManySockets::PerAddress) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many chats are open from this address; try again in a moment",
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

impl IntoResponse for UpgradeRefusal {
    fn into_response(self) -> Response {
        let (status, message) = self.answer();
        let error = OpenAiError::new(SERVICE, status, self.label(), message);
        let (name, value) = match self {
            Self::Method => (header::ALLOW, "GET"),
            Self::NotWebSocket => (header::UPGRADE, "websocket"),
            Self::Version => (header::SEC_WEBSOCKET_VERSION, "13"),
            Self::Handshake | Self::Stranger(_) | Self::NotSignedIn(_) => {
                return error.into_response();
            }
            Self::Crowded(_) | Self::Draining | Self::Full => {
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
    let peer = peer.ip();
    let address = gateway.identity.address(&headers, peer);
    let request_id = gateway.identity.request_id(&headers, peer);
    let opened = async {
        let upgrade = acceptable(&gateway, &method, &headers, upgrade)?;
        let signed_in = gateway.identity.of(&headers, peer).await;
        open(&gateway, &headers, upgrade, signed_in, address, &request_id)
    };
    let mut response = opened.await.unwrap_or_else(|refusal| {
        gateway.metrics.upgrade_refused(refusal.label());
        if let UpgradeRefusal::Stranger(stranger) = refusal {
            gateway
                .refused_origins
                .refused(stranger, &headers, address, &request_id);
        }
        match refusal {
            UpgradeRefusal::NotSignedIn(reason) => {
                let reason = reason.label();
                tracing::info!(%request_id, %address, reason, "socket refused: not signed in");
            }
            UpgradeRefusal::Crowded(bound) => {
                tracing::info!(%request_id, %address, "socket refused: {bound}");
            }
            _ => tracing::debug!(%request_id, reason = refusal.label(), "socket refused"),
        }
        refusal.into_response()
    });
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Checks all that does not depend on who asks.
fn acceptable(
    gateway: &Gateway,
    method: &Method,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<WebSocketUpgrade, UpgradeRefusal> {
    if method != Method::GET {
        return Err(UpgradeRefusal::Method);
    }
    let upgrade = upgrade.map_err(|rejection| match rejection {
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_) => UpgradeRefusal::Version,
        WebSocketUpgradeRejection::WebSocketKeyHeaderMissing(_) => UpgradeRefusal::Handshake,
        _ => UpgradeRefusal::NotWebSocket,
    })?;
    if !is_well_formed(headers) {
        return Err(UpgradeRefusal::Handshake);
    }
    let origins = &gateway.config.allowed_origins;
    origins.admit(headers).map_err(UpgradeRefusal::Stranger)?;
    if gateway.shutdown.is_draining() {
        return Err(UpgradeRefusal::Draining);
    }
    Ok(upgrade)
}

fn open(
    gateway: &Arc<Gateway>,
    headers: &HeaderMap,
    upgrade: WebSocketUpgrade,
    signed_in: Result<SignedIn, Unauthenticated>,
    address: IpAddr,
    request_id: &Arc<str>,
) -> Result<Response, UpgradeRefusal> {
    let is_v2 = offers_v2(headers);
    let signed_in = match signed_in {
        Ok(signed_in) => Some(signed_in),
        Err(_) if is_v2 => None,
        Err(reason) => return Err(UpgradeRefusal::NotSignedIn(reason)),
    };
    let seats = Arc::clone(&gateway.seats);
    let seat = seats
        .try_acquire_owned()
        .map_err(|_| UpgradeRefusal::Full)?;
    let address_seat = gateway.limits.address_seat(address);
    let address_seat = address_seat.map_err(UpgradeRefusal::Crowded)?;
    let user_seat = match &signed_in {
        Some(signed_in) if !is_v2 => {
            let seat = gateway.limits.user_seat(&signed_in.user);
            Some(seat.map_err(UpgradeRefusal::Crowded)?)
        }
        _ => None,
    };
    let set_cookie = signed_in
        .as_ref()
        .and_then(|signed_in| signed_in.set_cookie.clone());
    let entrant = Entrant {
        user: signed_in.map(|signed_in| signed_in.user),
        offers_v2: is_v2,
        address,
        request_id: Arc::clone(request_id),
        user_seat,
        address_seat,
        seat,
    };
    let gateway = Arc::clone(gateway);
    // From here on, not from when the socket's task first runs: a shutdown between the two would forget it.
    let held = gateway.shutdown.hold();
    let mut response = wire::bounded(upgrade.protocols([SUBPROTOCOL]))
        .on_upgrade(move |socket| socket::run(Wire::new(socket), gateway, entrant, held));
    if let Some(cookie) = set_cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whether the client can speak version 2.
fn offers_v2(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    offered.any(|protocol| protocol.trim() == SUBPROTOCOL)
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
