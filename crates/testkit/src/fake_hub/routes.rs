//! The two origins' answers: the Hub's API, `resolve` with its redirect, and the CDN's ranged bytes.
//!
//! Headers and error codes are those of the real Hub; where it answers a missing repository with 401 to the nameless,
//! so does this one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, LOCATION, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::body::{ServedBytes, body};
use super::script::{Fault, On};
use super::{File, Origin, Request, Shared, xet};

const EXPIRED: &str = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";

/// Answers on the Hub's origin.
pub(super) async fn hub(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response<Body> {
    record(&shared, Origin::Hub, &request);
    let path = decode(request.uri().path());
    let on = match path.as_str() {
        path if path.starts_with("/api/resolve-cache/") => On::Bytes,
        path if path.starts_with("/models/") => On::Bytes,
        path if path.contains("/xet-read-token/") => On::XetToken,
        path if path.starts_with("/api/") => On::Api,
        _ => On::Resolve,
    };
    let faults = shared.script().take(on);
    let right = || hub_answer(&shared, &request, &path, &faults);
    let refused = scripted(&faults).or_else(|| no_head(&faults, request.method()));
    bent(refused.unwrap_or_else(right), &faults).await
}

fn hub_answer(
    shared: &Arc<Shared>,
    request: &HttpRequest,
    path: &str,
    faults: &[Fault],
) -> Response<Body> {
    if let Some(rest) = path.strip_prefix("/api/resolve-cache/models/") {
        return match rest.splitn(4, '/').collect::<Vec<_>>()[..] {
            [_, _, _, name] => match find(shared, name) {
                Some(file) => bytes(shared, file, request, faults),
                None => refusal(StatusCode::NOT_FOUND, "EntryNotFound", "Entry not found"),
            },
            _ => refusal(StatusCode::NOT_FOUND, "", "Not found"),
        };
    }
    if let Some(rest) = path.strip_prefix("/api/v1/models/") {
        return modelscope_files(shared, rest);
    }
    if let Some(rest) = path.strip_prefix("/models/") {
        return modelscope_bytes(shared, rest, request, faults);
    }
    if let Some(rest) = request.uri().path().strip_prefix("/api/models/") {
        return api(shared, rest, request.headers(), faults);
    }
    let encoded: Vec<&str> = request
        .uri()
        .path()
        .trim_start_matches('/')
        .splitn(5, '/')
        .collect();
    if let [owner, name, "resolve", revision, file] = encoded[..] {
        let (repository, revision) = (format!("{owner}/{name}"), decode(revision));
        return resolve(
            shared,
            &repository,
            &revision,
            &decode(file),
            request.headers(),
            faults,
        );
    }
    refusal(StatusCode::NOT_FOUND, "", "Not found")
}

/// Answers on the CDN's origin: `/{sha256}?signature=N`.
pub(super) async fn cdn(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response<Body> {
    record(&shared, Origin::Cdn, &request);
    let faults = shared.script().take(On::Bytes);
    bent(cdn_answer(&shared, &request, &faults), &faults).await
}

fn cdn_answer(shared: &Arc<Shared>, request: &HttpRequest, faults: &[Fault]) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let signature = query
        .rsplit_once("signature=")
        .and_then(|(_, n)| n.parse::<u64>().ok())
        .unwrap_or(0);
    if faults.iter().any(|fault| matches!(fault, Fault::Expired)) {
        shared.script().expire(signature);
    }
    if !shared.script().is_valid(signature) {
        return answer(
            StatusCode::FORBIDDEN,
            &[("content-type", "application/xml")],
            EXPIRED,
        );
    }
    let digest = request.uri().path().trim_start_matches('/');
    match shared
        .repository
        .files
        .iter()
        .find(|file| file.sha256 == digest)
    {
        Some(file) => scripted(faults).unwrap_or_else(|| bytes(shared, file, request, faults)),
        None => answer(
            StatusCode::NOT_FOUND,
            &[],
            "<Error><Code>NoSuchKey</Code></Error>",
        ),
    }
}

/// `answer` with the headers that the faults name, or never.
pub(super) async fn bent(mut answer: Response<Body>, faults: &[Fault]) -> Response<Body> {
    for fault in faults {
        match fault {
            Fault::Silence => std::future::pending().await,
            Fault::Header(name, value) => {
                let value = value.parse().expect("a test names a valid header");
                answer.headers_mut().insert(*name, value);
            }
            _ => {}
        }
    }
    answer
}

fn api(shared: &Shared, rest: &str, headers: &HeaderMap, faults: &[Fault]) -> Response<Body> {
    let repository = &shared.repository;
    let parts: Vec<&str> = rest.splitn(5, '/').collect();
    let id = parts.iter().take(2).copied().collect::<Vec<_>>().join("/");
    if let Err(refused) = known(shared, &id, headers) {
        return refused;
    }
    let revision = match parts.get(2).copied() {
        Some("revision" | "tree" | "xet-read-token") => {
            parts.get(3).copied().map_or_else(String::new, decode)
        }
        _ => "main".to_owned(),
    };
    if revision != "main" && revision != repository.commit {
        let message = format!("Invalid rev id: {revision}");
        return refusal(StatusCode::NOT_FOUND, "RevisionNotFound", &message);
    }
    let page = match parts.get(2).copied() {
        None | Some("revision") => json!({
            "_id": "000000000000000000000000",
            "id": repository.id,
            "sha": repository.commit,
            "private": false,
            "gated": if repository.gated { json!("manual") } else { json!(false) },
            "siblings": repository.files.iter().map(|file| json!({"rfilename": file.name})).collect::<Vec<_>>(),
        }),
        Some("tree") => repository
            .files
            .iter()
            .map(|file| tree_entry(shared, file))
            .collect(),
        Some("xet-read-token") => return xet::token(shared, faults),
        Some("refs") => json!({
            "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit}],
            "tags": [],
            "converts": [],
        }),
        Some(_) => return refusal(StatusCode::NOT_FOUND, "", "Not found"),
    };
    answer(
        StatusCode::OK,
        &[("content-type", "application/json")],
        page.to_string(),
    )
}

/// The files of the repository as ModelScope lists them.
fn modelscope_files(shared: &Shared, rest: &str) -> Response<Body> {
    let repository = &shared.repository;
    if rest != format!("{}/repo/files", repository.id) {
        let page = json!({
            "Code": 10_010_205_001_u64, "Message": "record not found", "RequestId": "fake", "Success": false,
        });
        return answer(StatusCode::NOT_FOUND, &[], page.to_string());
    }
    let files: Vec<_> = repository
        .files
        .iter()
        .map(|file| {
            json!({
                "Path": file.name, "Name": file.name, "Size": file.size, "Type": "blob", "IsLFS": file.lfs,
                "Revision": repository.commit, "Sha256": file.sha256,
            })
        })
        .collect();
    let page = json!({
        "Code": 200, "Data": {"Files": files}, "Message": "success", "RequestId": "fake", "Success": true,
    });
    answer(
        StatusCode::OK,
        &[("content-type", "application/json")],
        page.to_string(),
    )
}

/// The bytes as ModelScope sends them: it answers a range with 200 and `Content-Range`.
fn modelscope_bytes(
    shared: &Arc<Shared>,
    rest: &str,
    request: &HttpRequest,
    faults: &[Fault],
) -> Response<Body> {
    let repository = &shared.repository.id;
    let name = rest.strip_prefix(&format!("{repository}/resolve/master/"));
    let Some(file) = name.and_then(|name| find(shared, name)) else {
        return answer(StatusCode::NOT_FOUND, &[], "");
    };
    let mut response = bytes(shared, file, request, faults);
    if response.status() == StatusCode::PARTIAL_CONTENT {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

fn tree_entry(shared: &Shared, file: &File) -> serde_json::Value {
    let mut entry =
        json!({"type": "file", "path": file.name, "size": file.size, "oid": &file.sha256[..40]});
    if file.lfs {
        entry["lfs"] = json!({"oid": file.sha256, "size": file.size, "pointerSize": 134});
    }
    if let Some(hash) = xet::hash_of(shared, &file.sha256) {
        entry["xetHash"] = json!(hash);
    }
    entry
}

fn resolve(
    shared: &Shared,
    id: &str,
    revision: &str,
    name: &str,
    headers: &HeaderMap,
    faults: &[Fault],
) -> Response<Body> {
    let repository = &shared.repository;
    let who = match known(shared, id, headers) {
        Ok(accepted) => accepted,
        Err(refused) => return refused,
    };
    if repository.gated && who != Some(true) {
        let (status, advice) = match who {
            None => (
                StatusCode::UNAUTHORIZED,
                "You must have access to it and be authenticated to access it.",
            ),
            Some(_) => (StatusCode::FORBIDDEN, "You are not in the authorized list."),
        };
        let message = format!("Access to model {id} is restricted. {advice}");
        return refusal(status, "GatedRepo", &message);
    }
    if revision != "main" && revision != repository.commit {
        let message = format!("Invalid rev id: {revision}");
        return refusal(StatusCode::NOT_FOUND, "RevisionNotFound", &message);
    }
    let Some(file) = find(shared, name) else {
        return refusal(StatusCode::NOT_FOUND, "EntryNotFound", "Entry not found");
    };
    let mut commit = repository.commit.clone();
    let mut location = None;
    for fault in faults {
        match fault {
            Fault::OtherCommit(other) => commit.clone_from(other),
            Fault::RedirectTo(elsewhere) => location = Some(elsewhere.clone()),
            _ => {}
        }
    }
    if !file.lfs {
        let location = format!("/api/resolve-cache/models/{id}/{commit}/{name}");
        let headers = [
            ("location", location.as_str()),
            ("x-repo-commit", commit.as_str()),
        ];
        return answer(
            StatusCode::TEMPORARY_REDIRECT,
            &headers,
            "Temporary Redirect",
        );
    }
    let location = location.unwrap_or_else(|| {
        let host = shared
            .advertised_host
            .clone()
            .unwrap_or_else(|| host_of(headers));
        let (port, signature) = (shared.cdn_port, shared.script().sign());
        format!(
            "{}://{host}:{port}/{}?X-Amz-Expires=3600&signature={signature}",
            shared.scheme, file.sha256
        )
    });
    let (size, digest) = (file.size.to_string(), format!("\"{}\"", file.sha256));
    let xet = xet::hash_of(shared, &file.sha256);
    let xet = xet.map(|hash| (xet::link(shared, &commit, &hash, headers), hash));
    let mut headers = vec![
        (LOCATION.as_str(), location.as_str()),
        ("x-repo-commit", commit.as_str()),
        (ACCEPT_RANGES.as_str(), "bytes"),
        ("x-request-id", "Root=1-fake"),
    ];
    if !faults.iter().any(|fault| matches!(fault, Fault::NoDigest)) {
        headers.extend([
            ("x-linked-size", size.as_str()),
            ("x-linked-etag", digest.as_str()),
        ]);
    }
    if let Some((link, hash)) = &xet {
        headers.extend([("x-xet-hash", hash.as_str()), ("link", link.as_str())]);
    }
    answer(
        StatusCode::FOUND,
        &headers,
        format!("Found. Redirecting to {location}"),
    )
}

/// The bytes of `file`, whole or as `Range` asks.
fn bytes(
    shared: &Arc<Shared>,
    file: &File,
    request: &HttpRequest,
    faults: &[Fault],
) -> Response<Body> {
    let ignore = faults
        .iter()
        .any(|fault| matches!(fault, Fault::IgnoreRange));
    let range = request
        .headers()
        .get(RANGE)
        .and_then(|range| range.to_str().ok())
        .filter(|_| !ignore);
    let response = Response::builder().header(ACCEPT_RANGES, "bytes");
    let (response, start, end) = match range.map(|range| parse_range(range, file.size)) {
        None => (response.status(StatusCode::OK), 0, file.size),
        Some(None) => {
            let of = format!("bytes */{}", file.size);
            return answer(
                StatusCode::RANGE_NOT_SATISFIABLE,
                &[("content-range", &of)],
                "",
            );
        }
        Some(Some((start, end))) => {
            let shift = u64::from(
                faults
                    .iter()
                    .any(|fault| matches!(fault, Fault::WrongContentRange)),
            );
            let (start, end) = if start >= shift {
                (start - shift, end - shift)
            } else {
                (start + 1, end)
            };
            let of = format!("bytes {start}-{}/{}", end - 1, file.size);
            (
                response
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_RANGE, of),
                start,
                end,
            )
        }
    };
    let response = response.header(CONTENT_LENGTH, end - start);
    let response = if file.lfs {
        response
    } else {
        response.header(ETAG, format!("\"{}\"", &file.sha256[..40]))
    };
    let body = if request.method() == Method::HEAD {
        Body::empty()
    } else {
        let tally = ServedBytes::File(shared.begin_sending(start));
        body(shared, &file.content, start..end, tally, faults)
    };
    response.body(body).expect("these headers are well-formed")
}

/// Whether the caller may see the repository, and if it has a token, whether that one's owner accepted the licence.
#[expect(clippy::result_large_err, reason = "the error is the answer itself")]
fn known(shared: &Shared, id: &str, headers: &HeaderMap) -> Result<Option<bool>, Response<Body>> {
    let bearer = headers.get(AUTHORIZATION).map(|value| {
        value
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default()
    });
    let who = match bearer {
        None => None,
        Some(text) => match shared.tokens.iter().find(|token| token.text == text) {
            Some(token) => Some(token.accepted),
            None => {
                let message = "Invalid credentials in Authorization header";
                return Err(refusal(StatusCode::UNAUTHORIZED, "", message));
            }
        },
    };
    if id == shared.repository.id {
        return Ok(who);
    }
    let status = if who.is_some() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::UNAUTHORIZED
    };
    Err(refusal(status, "RepoNotFound", "Repository not found"))
}

pub(super) fn scripted(faults: &[Fault]) -> Option<Response<Body>> {
    faults.iter().find_map(|fault| match fault {
        Fault::Status {
            code,
            headers,
            body,
        } => {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            Some(answer(
                StatusCode::from_u16(*code).expect("a test names a valid status"),
                &headers,
                *body,
            ))
        }
        _ => None,
    })
}

fn no_head(faults: &[Fault], method: &Method) -> Option<Response<Body>> {
    faults.iter().find_map(|fault| match fault {
        Fault::NoHead(code) if method == Method::HEAD => {
            let status = StatusCode::from_u16(*code).expect("a test names a valid status");
            Some(answer(status, &[], ""))
        }
        _ => None,
    })
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let headers = [
        ("x-error-code", code),
        ("x-error-message", message),
        ("content-type", "application/json"),
    ];
    let skip = usize::from(code.is_empty());
    answer(
        status,
        &headers[skip..],
        json!({"error": message}).to_string(),
    )
}

pub(super) fn answer(
    status: StatusCode,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Response<Body> {
    let start = Response::builder().status(status);
    let response = headers.iter().fold(start, |response, (name, value)| {
        response.header(*name, *value)
    });
    response
        .body(body.into())
        .expect("these headers are well-formed")
}

fn find<'a>(shared: &'a Shared, name: &str) -> Option<&'a File> {
    shared
        .repository
        .files
        .iter()
        .find(|file| file.name == name)
}

/// The host of the `Host` header, without its port.
fn host_of(headers: &HeaderMap) -> String {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1");
    host.rsplit_once(':')
        .map_or(host, |(host, _)| host)
        .to_owned()
}

/// `bytes=a-b` or `bytes=a-` as a half-open range; `None` when it cannot be satisfied.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse::<u64>().ok()?;
    let end = if last.is_empty() {
        size
    } else {
        last.parse::<u64>().ok()?.saturating_add(1).min(size)
    };
    (start < end).then_some((start, end))
}

fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2)).flatten();
        let byte =
            escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn record(shared: &Shared, origin: Origin, request: &HttpRequest) {
    let range = request
        .headers()
        .get(RANGE)
        .and_then(|range| range.to_str().ok())
        .map(str::to_owned);
    let sees_token = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        shared.tokens.iter().any(|token| text.contains(&token.text))
    };
    let request = Request {
        origin,
        token: request.headers().values().any(sees_token),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        authorization: request.headers().contains_key(AUTHORIZATION),
        range,
    };
    if shared.log_requests {
        let origin = match origin {
            Origin::Hub => "hub",
            Origin::Cdn => "cdn",
            Origin::Cas => "cas",
        };
        let Request {
            method,
            path,
            authorization,
            range,
            ..
        } = &request;
        let line = json!({"origin": origin, "method": method, "path": path, "authorization": authorization, "range": range});
        eprintln!("{line}");
    }
    shared
        .requests
        .send_modify(|requests| requests.push(request));
}
