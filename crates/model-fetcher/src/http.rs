//! HTTP by hand: one request at a time, redirects followed under our own rules, no answer waited for without a bound.
//!
//! The token goes to the Hub's own origin (scheme, host and port) and nowhere else; a redirect from https to http, with
//! credentials in its address, or to anything but http(s) is refused. Addresses are signed, so they never reach a log.

use std::error::Error as _;
use std::ops::Range;
use std::time::Duration;

use common::secret::Secret;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, redirect};
use url::{Origin, Url};

use crate::error::Error;
use crate::proxies::Proxies;
use crate::retry::SourceTrouble;

/// Redirects in a row that are followed.
pub(crate) const MAX_HOPS: usize = 5;
/// The most that an answer of an API may have, in bytes: a hundred thousand names of files.
const MAX_ANSWER_BYTES: usize = 10_000_000;
/// How long a whole answer of an API may take, in stalls: it is small, and one that drips has no end.
pub(crate) const MAX_STALLS: u32 = 4;
/// How long a connection may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("corral-model-fetcher/", env!("CARGO_PKG_VERSION"));

/// A client that knows where home is.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client,
    home: Origin,
    authorization: Option<HeaderValue>,
    proxies: Proxies,
    stall: Duration,
}

impl HttpClient {
    /// A client for the Hub at `endpoint`, which alone gets `token`.
    ///
    /// # Errors
    ///
    /// When the token cannot be sent, or the system's certificates cannot be used.
    pub(crate) fn new(
        endpoint: &Url,
        token: Option<&Secret>,
        proxies: &Proxies,
        stall: Duration,
    ) -> Result<Self, Error> {
        let authorization = token.map(|token| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
                    Error::Settings("HF_TOKEN holds characters that no token has".to_owned())
                })?;
            value.set_sensitive(true);
            Ok(value)
        });
        let client = client(proxies)?;
        Ok(Self {
            client,
            home: endpoint.origin(),
            authorization: authorization.transpose()?,
            proxies: proxies.clone(),
            stall,
        })
    }

    /// The same client without the token: for mirrors, wherever they are or lead.
    pub(crate) fn without_token(&self) -> Self {
        Self {
            client: self.client.clone(),
            home: self.home.clone(),
            authorization: None,
            proxies: self.proxies.clone(),
            stall: self.stall,
        }
    }

    /// How long a source may say nothing.
    pub(crate) fn stall(&self) -> Duration {
        self.stall
    }

    /// Whether `url` is the Hub's own.
    pub(crate) fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.home
    }

    /// One request; redirects are answers like any other. Cancel-safe.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        range: Option<&Range<u64>>,
    ) -> Result<Response, SourceTrouble> {
        let mut request = self
            .client
            .request(method, url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_home(url)) {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(range) = range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        match tokio::time::timeout(self.stall, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.trouble(url, error)),
            Err(_) => Err(SourceTrouble::again(format!(
                "no answer for {} s",
                self.stall.as_secs_f32()
            ))),
        }
    }

    /// What it means that `url` could not be asked: a name without an address is said in one short line.
    fn trouble(&self, url: &Url, error: reqwest::Error) -> SourceTrouble {
        let problem = describe(error);
        let host = self.proxies.host_for(url);
        if !problem.contains("dns error") {
            return SourceTrouble::again(problem);
        }
        // The words of glibc and musl for what may pass; in all others the name does not exist.
        let passing = ["Temporary failure", "Try again", "Non-recoverable"];
        if passing.iter().any(|words| problem.contains(words)) {
            SourceTrouble::again(format!("{host}: the name server does not answer (DNS)"))
        } else {
            SourceTrouble::NoSuchName(host)
        }
    }

    /// A small answer, whole: bounded in time and in bytes, wherever redirects lead. Cancel-safe.
    pub(crate) async fn whole(&self, mut url: Url) -> Result<(StatusCode, Vec<u8>), SourceTrouble> {
        let limit = self.stall * MAX_STALLS;
        let whole = async {
            for _ in 0..=MAX_HOPS {
                let mut response = self.send(Method::GET, &url, None).await?;
                if let Some(next) = next_hop(&url, &response)? {
                    url = next;
                    continue;
                }
                if let Some(trouble) = passing(response.status(), response.headers()) {
                    return Err(trouble);
                }
                let body = self.body(&mut response).await?;
                return Ok((response.status(), body));
            }
            Err(too_many_hops(&url).into())
        };
        let ended = tokio::time::timeout(limit, whole).await;
        ended.unwrap_or_else(|_| {
            let limit = limit.as_secs_f32();
            Err(SourceTrouble::again(format!(
                "no whole answer for {limit} s"
            )))
        })
    }

    /// The whole body of an API's answer, in bounded time and memory.
    pub(crate) async fn body(&self, response: &mut Response) -> Result<Vec<u8>, SourceTrouble> {
        let mut body = Vec::new();
        loop {
            match tokio::time::timeout(self.stall, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Ok(Some(_))) => {
                    let reason =
                        format!("more than {} MB from its API", MAX_ANSWER_BYTES / 1_000_000);
                    return Err(Error::Refused {
                        source_name: name_of(response.url()),
                        reason,
                    }
                    .into());
                }
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(error)) => return Err(SourceTrouble::again(describe(error))),
                Err(_) => {
                    let stall = self.stall.as_secs_f32();
                    return Err(SourceTrouble::again(format!("nothing came for {stall} s")));
                }
            }
        }
    }

    /// A range of what `url` names, wherever that is; also where the answer came from. Cancel-safe.
    pub(crate) async fn get(
        &self,
        mut url: Url,
        range: &Range<u64>,
    ) -> Result<(Response, Url), SourceTrouble> {
        for _ in 0..=MAX_HOPS {
            let response = self.send(Method::GET, &url, Some(range)).await?;
            match next_hop(&url, &response)? {
                Some(next) => url = next,
                None => return Ok((response, url)),
            }
        }
        Err(too_many_hops(&url).into())
    }
}

/// HTTP/1.1 only: over HTTP/2 all ranges would share one connection and its window.
fn client(proxies: &Proxies) -> Result<Client, Error> {
    let client = Client::builder()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none());
    let client = proxies.apply(client).and_then(ClientBuilder::build);
    client.map_err(|error| {
        let reason = describe(error);
        Error::Settings(format!(
            "cannot make an HTTPS client: {reason}; install ca-certificates or set SSL_CERT_FILE"
        ))
    })
}

/// Where `response` redirects to, if it does.
///
/// # Errors
///
/// [`Error::Refused`] for a redirect that is not safe to follow.
pub(crate) fn next_hop(from: &Url, response: &Response) -> Result<Option<Url>, Error> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .unwrap_or_default();
    let to = hop(from, location);
    to.map(Some).map_err(|reason| Error::Refused {
        source_name: name_of(from),
        reason: reason.to_owned(),
    })
}

/// Where `location` leads from `from`, or why it is not followed.
fn hop(from: &Url, location: &str) -> Result<Url, &'static str> {
    if location.is_empty() {
        return Err("a redirect to nowhere");
    }
    let to = from
        .join(location)
        .map_err(|_| "a redirect to no address")?;
    if !matches!(to.scheme(), "http" | "https") || !to.has_host() {
        return Err("a redirect to something other than http or https");
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err("a redirect from https to http");
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("a redirect with credentials in its address");
    }
    Ok(to)
}

/// The error of a chain that does not end.
pub(crate) fn too_many_hops(last: &Url) -> Error {
    let reason = format!("more than {MAX_HOPS} redirects in a row");
    Error::Refused {
        source_name: name_of(last),
        reason,
    }
}

/// A source as people may see it: scheme, host and port, no path and no signature.
pub(crate) fn name_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The trouble that a status which time may heal stands for.
pub(crate) fn passing(status: StatusCode, headers: &HeaderMap) -> Option<SourceTrouble> {
    let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    passes.then(|| SourceTrouble::Again {
        reason: format!("it answered {status}"),
        after: retry_after(headers),
    })
}

/// `Retry-After`, in seconds or as a date; a date is compared with the answer's own `Date`, so that a wrong clock here
/// does not matter.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(after).ok()?;
    let now = httpdate::parse_http_date(text(DATE)?).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

/// An error with all its causes and without the address.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::hop;

    #[test]
    fn a_redirect_is_followed_only_to_where_it_is_safe() {
        let from = "https://huggingface.co/acme/tiny/resolve/main/x.gguf"
            .parse()
            .unwrap();
        let to = |location| hop(&from, location).map(String::from);
        assert_eq!(to("/api/y").as_deref(), Ok("https://huggingface.co/api/y"));
        assert_eq!(
            to("https://cdn.hf.co/y?s=1").as_deref(),
            Ok("https://cdn.hf.co/y?s=1")
        );
        assert_eq!(to("//cdn.hf.co/y").as_deref(), Ok("https://cdn.hf.co/y"));
        assert_eq!(
            to("http://huggingface.co/y"),
            Err("a redirect from https to http")
        );
        assert_eq!(
            to("file:///etc/passwd"),
            Err("a redirect to something other than http or https")
        );
        assert_eq!(
            to("https://user@cdn.hf.co/y"),
            Err("a redirect with credentials in its address")
        );
        assert_eq!(to("https://"), Err("a redirect to no address"));
        assert_eq!(to(""), Err("a redirect to nowhere"));
    }
}
