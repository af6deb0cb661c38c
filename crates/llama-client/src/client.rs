//! The only HTTP client: builds what goes to llama-server, and says what came back in our own errors.
//!
//! No header of a caller passes but `traceparent`. A request that may have been sent is never sent again. Dropping
//! what [`Client::open`] returned closes the connection.

use std::future::poll_fn;
use std::io::Write as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::secret::Secret;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::connection::{Head, UpstreamConnection};
use crate::error::Error;
use crate::pool::Pool;
use crate::refusal::{ErrorWords, verdict};
use crate::upstream::Upstream;

/// The media type of a stream.
const STREAM: &str = "text/event-stream";
/// The largest body that is read where no stream is expected.
const MAX_PLAIN_BODY_BYTES: usize = 1024 * 1024;
/// How long such a body may take.
const PLAIN_BODY_DEADLINE: Duration = Duration::from_secs(5);

/// The connections to all upstreams.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool,
    connect_deadline: Duration,
    /// `authorization: Bearer KEY`.
    authorization: Arc<Secret>,
}

/// Which route is asked, and what it answers with.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The route.
    pub path: &'a str,
    /// The content type of its answer; any other is [`Error::Invalid`].
    pub accept: &'a str,
}

/// As whose request it is asked.
#[derive(Debug)]
pub struct Identity<'a> {
    /// Goes along as `x-request-id`.
    pub request_id: &'a str,
    /// The span that the upstream's belong to.
    pub traceparent: Option<&'a HeaderValue>,
}

/// An answer's body. Dropping it closes the connection, unless it was read to its end and is no stream:
/// llama-server closes the connection after every stream.
#[derive(Debug)]
pub struct Body {
    connection: Option<UpstreamConnection>,
    /// Where the connection goes after the answer.
    pool: Option<Pool>,
    authority: Arc<str>,
}

impl Client {
    /// A client that presents `key` and waits at most `connect_deadline` for a connection.
    ///
    /// # Errors
    ///
    /// When `key` holds characters that a header cannot.
    pub fn new(key: &Secret, connect_deadline: Duration) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            pool: Pool::default(),
            connect_deadline,
            authorization: Arc::new(authorization(key)?),
        })
    }

    /// Asks for an answer and waits for its header. Cancel-safe in that a dropped call closes the connection.
    pub async fn open(
        &self,
        to: &Upstream,
        ask: Ask<'_>,
        body: Bytes,
        who: Identity<'_>,
    ) -> Result<Body, Error> {
        let mut request = self.head("POST", to, ask.path, body.len());
        field(&mut request, "accept", ask.accept.as_bytes());
        field(&mut request, "x-request-id", who.request_id.as_bytes());
        if let Some(traceparent) = who.traceparent {
            field(&mut request, "traceparent", traceparent.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(&body);
        let pool = Some(&self.pool).filter(|_| ask.accept != STREAM);
        let asked = self.ask(to, pool, request).await;
        let (head, body) = asked.inspect_err(|error| {
            tracing::warn!(request_id = who.request_id, upstream = to.authority(), %error, "no answer");
        })?;
        if head.status != StatusCode::OK {
            return Err(refusal(head.status, body).await);
        }
        let is_plain = !head.headers.contains_key(CONTENT_ENCODING);
        if is_plain && content_type(&head).starts_with(ask.accept.as_bytes()) {
            Ok(body)
        } else {
            Err(Error::Invalid)
        }
    }

    /// Reads a small document.
    pub(crate) async fn get(
        &self,
        from: &Upstream,
        path: &'static str,
    ) -> Result<(StatusCode, Bytes), Error> {
        self.document("GET", from, path, b"").await
    }

    /// Asks for a small document with a small body.
    pub(crate) async fn post(
        &self,
        to: &Upstream,
        path: &'static str,
        body: &[u8],
    ) -> Result<(StatusCode, Bytes), Error> {
        self.document("POST", to, path, body).await
    }

    async fn document(
        &self,
        method: &str,
        of: &Upstream,
        path: &str,
        body: &[u8],
    ) -> Result<(StatusCode, Bytes), Error> {
        let mut request = self.head(method, of, path, body.len());
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        let (head, body) = self.ask(of, Some(&self.pool), request).await?;
        let body = plain_body(body).await.ok_or(Error::Invalid)?;
        Ok((head.status, body))
    }

    /// The header of a request but for its last line.
    fn head(&self, method: &str, to: &Upstream, path: &str, n_bytes: usize) -> Vec<u8> {
        let mut head = Vec::with_capacity(512 + n_bytes);
        let authority = to.authority();
        let authorization = self.authorization.expose();
        write!(
            head,
            "{method} {path} HTTP/1.1\r\nhost: {authority}\r\n{authorization}\r\n\
             content-length: {n_bytes}\r\ncontent-type: application/json\r\n"
        )
        .expect("a vector takes everything");
        head
    }

    async fn ask(
        &self,
        to: &Upstream,
        pool: Option<&Pool>,
        request: Vec<u8>,
    ) -> Result<(Head, Body), Error> {
        let authority = to.authority();
        let mut connection = match pool.and_then(|pool| pool.take(authority)) {
            Some(connection) => connection,
            None => UpstreamConnection::open(authority, self.connect_deadline).await?,
        };
        let head = connection.ask(&request).await?;
        let body = Body {
            connection: Some(connection),
            pool: pool.cloned(),
            authority: authority.into(),
        };
        Ok((head, body))
    }
}

impl Body {
    /// All of it, when it is no longer than `max_bytes`. Dropping the call closes the connection.
    pub async fn whole(mut self, max_bytes: usize) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while poll_fn(|context| {
            self.poll_read(context, |part| {
                let fits = part.len() <= max_bytes - whole.len();
                fits.then(|| whole.extend_from_slice(part))
                    .ok_or(Error::Invalid)
            })
        })
        .await?
        {}
        Ok(whole.freeze())
    }

    /// Hands what has come to `take`; `false` when the body has ended. Nothing is lost between two calls.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Poll<Result<bool, Error>> {
        match &mut self.connection {
            Some(connection) => connection.poll_read(context, &mut take),
            None => Poll::Ready(Ok(false)),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let connection = self
            .connection
            .take()
            .filter(UpstreamConnection::is_reusable);
        if let Some((pool, connection)) = self.pool.as_ref().zip(connection) {
            pool.give(&self.authority, connection);
        }
    }
}

fn field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

fn content_type(head: &Head) -> &[u8] {
    head.headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default()
}

/// A copy of the caller's `traceparent` in the form of W3C Trace Context, and no other. (The field itself is a part of
/// all that was read with it, and would keep that for as long as the answer lasts.)
pub fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get("traceparent")?;
    let parts: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b'-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_one = lengths == [2, 32, 16, 2] && parts.concat().iter().all(is_lower_hex);
    HeaderValue::from_bytes(value.as_bytes())
        .ok()
        .filter(|_| is_one)
}

fn is_lower_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn authorization(key: &Secret) -> Result<Secret, InvalidHeaderValue> {
    let value = format!("authorization: Bearer {}", key.expose());
    HeaderValue::from_str(&value)?;
    Ok(Secret::new(value))
}

async fn refusal(status: StatusCode, body: Body) -> Error {
    let body = plain_body(body).await.unwrap_or_default();
    verdict(status, ErrorWords::parse(&body).as_ref())
}

async fn plain_body(body: Body) -> Option<Bytes> {
    tokio::time::timeout(PLAIN_BODY_DEADLINE, body.whole(MAX_PLAIN_BODY_BYTES))
        .await
        .ok()?
        .ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::traceparent;

    #[test]
    fn only_a_well_formed_trace_passes() {
        let passes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(value));
            let copy = traceparent(&headers)?;
            assert_ne!(
                copy.as_bytes().as_ptr(),
                value.as_ptr(),
                "the whole header would be kept"
            );
            Some(copy == value)
        };
        assert_eq!(
            passes("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some(true)
        );
        assert_eq!(
            passes("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
            None
        );
        assert_eq!(
            passes("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"),
            None
        );
        assert_eq!(passes("x"), None);
    }
}
