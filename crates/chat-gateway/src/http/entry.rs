//! What every request of the HTTP API passes first: whose page it comes from, and who sends it.
//!
//! A request that changes something must come from a page that may open the chat, or from no page at all. With that and a
//! cookie that other sites' requests do not carry, no other site can act for its visitors.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::http::problem::ApiProblem;
use crate::identity::{SignedIn, User};
use crate::protocol::record::ErrorCode;
use crate::state::Gateway;

/// The field of the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Answers are somebody's own: no cache may keep them.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) user: User,
    /// Where it comes from, as far as the proxies in front are believed.
    pub(crate) address: IpAddr,
    /// For the logs of both services.
    pub(crate) request_id: Arc<str>,
}

/// Lets a request in with its [`Guest`], or says why not.
pub(crate) async fn enter(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = peer.ip();
    let address = gateway.identity.address(request.headers(), peer);
    let request_id = gateway.identity.request_id(request.headers(), peer);
    let method = request.method().clone();
    let entered = admit(
        &gateway,
        &method,
        request.headers(),
        peer,
        address,
        &request_id,
    );
    let mut response = match entered.await {
        Ok(signed_in) => {
            let user = signed_in.user;
            let request_id = Arc::clone(&request_id);
            request.extensions_mut().insert(Guest {
                user,
                address,
                request_id,
            });
            let mut response = next.run(request).await;
            if let Some(cookie) = signed_in.set_cookie {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(code) = response.extensions().get::<ErrorCode>() {
        gateway.metrics.refused(code.word());
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

async fn admit(
    gateway: &Gateway,
    method: &Method,
    headers: &HeaderMap,
    peer: IpAddr,
    address: IpAddr,
    request_id: &str,
) -> Result<SignedIn, ApiProblem> {
    let only_reads = matches!(*method, Method::GET | Method::HEAD);
    if !only_reads && let Err(stranger) = gateway.config.allowed_origins.admit(headers) {
        gateway
            .refused_origins
            .refused(stranger, headers, address, request_id);
        return Err(stranger.into());
    }
    gateway.identity.of(headers, peer).await.map_err(|reason| {
        tracing::info!(request_id, %address, reason = reason.label(), "request refused: not signed in");
        ApiProblem::new(ErrorCode::Unauthenticated, "sign in first")
    })
}
