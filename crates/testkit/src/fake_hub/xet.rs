//! The Hub's Xet storage: the hashes it announces, the read tokens it hands out, and the front of its CAS.
//!
//! The bytes come from a real CAS server at another address (the crate fake-cas starts one). The front checks the
//! token, records each request and applies the faults, so a test scripts Xet as it scripts HTTPS.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::body::{ServedBytes, body};
use super::routes::{answer, bent, record, scripted};
use super::script::{Fault, On};
use super::{Content, Origin, Shared};

/// How long a read token lasts unless a fault says otherwise.
const TOKEN_LASTS: Duration = Duration::from_secs(3600);

/// Files that are in Xet storage, and the CAS server that has their chunks.
#[derive(Clone, Debug)]
pub struct XetFiles {
    /// Where the CAS server listens.
    pub upstream: SocketAddr,
    /// The SHA-256 and the Xet hash of each file, both as 64 hexadecimal digits.
    pub hashes: Vec<(String, String)>,
}

/// The storage behind a running Hub.
#[derive(Debug)]
pub(super) struct Xet {
    storage: XetFiles,
    front: SocketAddr,
    client: reqwest::Client,
    issued: u64,
    expired: u64,
}

impl Xet {
    pub(super) fn new(storage: XetFiles, front: SocketAddr) -> Self {
        Self {
            storage,
            front,
            client: reqwest::Client::new(),
            issued: 0,
            expired: 0,
        }
    }
}

/// The Xet hash of the file with that SHA-256, if it is in the storage.
pub(super) fn hash_of(shared: &Shared, sha256: &str) -> Option<String> {
    let xet = shared.xet.lock().unwrap_or_else(PoisonError::into_inner);
    let hashes = &xet.as_ref()?.storage.hashes;
    let found = hashes.iter().find(|(known, _)| known == sha256);
    found.map(|(_, hash)| hash.clone())
}

/// What the Hub's answer to resolve says of a file with that Xet hash: its `Link` header.
pub(super) fn link(shared: &Shared, commit: &str, hash: &str, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let scheme = shared.scheme;
    let id = &shared.repository.id;
    let cas = cas_url(shared);
    format!(
        "<{scheme}://{host}/api/models/{id}/xet-read-token/{commit}>; rel=\"xet-auth\", \
         <{cas}/v1/reconstructions/{hash}>; rel=\"xet-reconstruction-info\""
    )
}

/// The answer to `xet-read-token`: a new token, in the body and in the headers.
pub(super) fn token(shared: &Shared, faults: &[Fault]) -> Response<Body> {
    let mut lasts = TOKEN_LASTS;
    let mut cas_url = cas_url(shared);
    for fault in faults {
        match fault {
            Fault::TokenLasts(time) => lasts = *time,
            Fault::CasUrl(url) => cas_url.clone_from(url),
            _ => {}
        }
    }
    let mut xet = shared.xet.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(xet) = xet.as_mut() else {
        return answer(StatusCode::NOT_FOUND, &[], "Not found");
    };
    xet.issued += 1;
    let token = format!("xet_{}", xet.issued);
    let expires = SystemTime::now() + lasts;
    let expires = expires
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let page = json!({"accessToken": token, "exp": expires, "casUrl": cas_url});
    let headers = [
        ("content-type", "application/json"),
        ("x-xet-cas-url", cas_url.as_str()),
        ("x-xet-access-token", token.as_str()),
        ("x-xet-token-expiration", &expires.to_string()),
    ];
    answer(StatusCode::OK, &headers, page.to_string())
}

/// Answers on the CAS's origin.
pub(super) async fn cas(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response<Body> {
    record(&shared, Origin::Cas, &request);
    // The body cannot be lent across an await.
    let (request, _) = request.into_parts();
    let on = match request.uri.path().split('/').nth(2) {
        Some("reconstructions") => On::Reconstruction,
        Some("fetch_term") => On::Xorb,
        _ => return answer(StatusCode::NOT_FOUND, &[], "Not found"),
    };
    let faults = shared.script().take(on);
    if on == On::Reconstruction && !may_read(&shared, &request, &faults) {
        return answer(StatusCode::UNAUTHORIZED, &[], "invalid token");
    }
    let right = match scripted(&faults) {
        Some(answer) => answer,
        None => pass_on(&shared, &request, on, &faults).await,
    };
    bent(right, &faults).await
}

/// Whether the request has a token that is still good.
fn may_read(shared: &Shared, request: &Parts, faults: &[Fault]) -> bool {
    let mut xet = shared.xet.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(xet) = xet.as_mut() else {
        return false;
    };
    if faults.iter().any(|fault| matches!(fault, Fault::Expired)) {
        xet.expired = xet.issued;
    }
    let bearer = request.headers.get(AUTHORIZATION);
    let number = bearer
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer xet_"))
        .and_then(|number| number.parse::<u64>().ok());
    number.is_some_and(|number| number > xet.expired && number <= xet.issued)
}

/// What the CAS server answers; the bytes of a xorb are bent by the faults that concern bytes.
async fn pass_on(
    shared: &Arc<Shared>,
    request: &Parts,
    on: On,
    faults: &[Fault],
) -> Response<Body> {
    let upstream = {
        let xet = shared.xet.lock().unwrap_or_else(PoisonError::into_inner);
        xet.as_ref()
            .map(|xet| (xet.storage.upstream, xet.client.clone()))
    };
    let Some((upstream, client)) = upstream else {
        return answer(StatusCode::NOT_FOUND, &[], "Not found");
    };
    let mut copy = client.get(format!("http://{upstream}{}", request.uri));
    // The server writes the addresses of xorbs with the host that the request names.
    for name in [HOST, RANGE] {
        if let Some(value) = request.headers.get(&name) {
            copy = copy.header(name, value);
        }
    }
    let Ok(response) = copy.send().await else {
        return answer(StatusCode::BAD_GATEWAY, &[], "the CAS server is gone");
    };
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).cloned();
    let Ok(bytes) = response.bytes().await else {
        return answer(StatusCode::BAD_GATEWAY, &[], "the CAS server is gone");
    };
    let length = bytes.len() as u64;
    let sent = if on == On::Xorb {
        let content = Content::Bytes(bytes);
        body(shared, &content, 0..length, ServedBytes::Xorb, faults)
    } else {
        Body::from(bytes)
    };
    let mut answer = Response::builder()
        .status(status)
        .header("content-length", length);
    if let Some(value) = content_type {
        answer = answer.header(CONTENT_TYPE, value);
    }
    answer.body(sent).expect("these headers are well-formed")
}

/// The front's address; nobody listens there when nothing is in Xet storage.
fn cas_url(shared: &Shared) -> String {
    let xet = shared.xet.lock().unwrap_or_else(PoisonError::into_inner);
    xet.as_ref()
        .map(|xet| format!("http://{}", xet.front))
        .unwrap_or_default()
}
