//! Who somebody is, and what they may use.
//!
//! `GATEWAY_AUTH` says how people sign in. The rest of the gateway knows a [`User`]: an opaque id that is safe in logs,
//! a name to greet them by, and a lane in the queue of llm-proxy. Nobody is ever named by a URL.

mod address;
mod cookie;
mod limits;
mod origin;
pub(crate) mod settings;
mod ticket;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue};

pub use address::TrustedProxies;
pub use cookie::CookieKey;
pub use limits::{
    AddressSeat, AnswerSeat, Bounds, RetryAfter, SocketSeat, TooManySockets, UserLimits, UserSeat,
};
pub(crate) use origin::RefusedOrigins;
pub use origin::{Origins, Stranger};

use crate::config::Config;
use address::VisitorNames;
use cookie::CookieError;
use ticket::Tickets;

/// Somebody, as the rest of the gateway knows them.
#[derive(Clone)]
pub struct User {
    /// Opaque and safe in logs. It owns conversations, so it is the same after a restart.
    pub id: Arc<str>,
    /// What the app or the proxy in front calls them. It reaches no log.
    pub name: Option<Arc<str>>,
    /// The name for llm-proxy. Of an anonymous visitor it stands for the address, because a browser can get itself as
    /// many cookies as it wants.
    pub lane: Arc<str>,
    session: Arc<SignedInAs>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("User").field(&self.id).finish()
    }
}

/// By what somebody is signed in. No part of it may be shown.
#[derive(Default)]
struct SignedInAs {
    /// The user's name as the proxy or the token has it.
    subject: Option<Box<str>>,
    /// The token's own id.
    token_id: Option<Box<str>>,
    /// When the token ends.
    expires: Option<SystemTime>,
}

/// A request's user, and what its answer must carry.
#[derive(Debug)]
pub struct SignedIn {
    /// Whose request it is.
    pub user: User,
    /// The `Set-Cookie` by which a new anonymous user is known next time.
    pub set_cookie: Option<HeaderValue>,
}

/// Why a request has no user. A client is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// It names nobody.
    #[error("nobody is named")]
    Missing,
    /// It names two, or nobody that there can be.
    #[error("the credentials are malformed")]
    Malformed,
}

impl Unauthenticated {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
        }
    }
}

/// Why an open session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The operator revoked it: close with 4410.
    Revoked,
    /// Its token has expired: close with 4502.
    Expired,
}

/// Knows who sends a request.
#[derive(Debug)]
pub struct Identities {
    proxies: TrustedProxies,
    visitors: VisitorNames,
    cookies: CookieKey,
    tickets: Tickets,
}

/// Why nobody can sign in.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct IdentityError(#[from] CookieError);

impl Identities {
    /// Reads what the chosen way of signing in needs.
    ///
    /// # Errors
    ///
    /// When a key cannot be used.
    pub fn open(config: &Config) -> Result<Self, IdentityError> {
        Ok(Self {
            proxies: config.trusted_proxies.clone(),
            visitors: VisitorNames::default(),
            cookies: CookieKey::open(&config.data)?,
            tickets: Tickets::default(),
        })
    }

    /// Whose request this is. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it is nobody's.
    #[expect(clippy::unused_async, reason = "a token's key may have to be fetched")]
    pub async fn of(&self, headers: &HeaderMap, peer: IpAddr) -> Result<SignedIn, Unauthenticated> {
        let cookie = self
            .cookies
            .sign_in(headers, self.proxies.is_https(headers, peer))?;
        let address = self.proxies.address(headers, peer);
        let user = User {
            id: cookie.id,
            name: None,
            lane: self.visitors.name(address),
            session: Arc::default(),
        };
        let set_cookie = cookie.set_cookie;
        Ok(SignedIn { user, set_cookie })
    }

    /// Where the request comes from, as far as the proxies in front are believed.
    #[must_use]
    pub fn address(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        self.proxies.address(headers, peer)
    }

    /// The request's id: a trusted proxy's, or a new one.
    #[must_use]
    pub fn request_id(&self, headers: &HeaderMap, peer: IpAddr) -> Arc<str> {
        self.proxies.request_id(headers, peer)
    }

    /// A ticket that stands for `user` once, within a minute.
    #[must_use]
    pub fn ticket(&self, user: &User) -> String {
        self.tickets.issue(user)
    }

    /// Whose ticket this is. It is burned, whatever the answer.
    #[must_use]
    pub fn redeem(&self, ticket: &str) -> Option<User> {
        self.tickets.redeem(ticket)
    }

    /// Waits until the user's session is over. Cancel-safe.
    pub async fn ended(&self, user: &User) -> SessionEnd {
        if user.session.expires.is_none() {
            std::future::pending::<()>().await;
        }
        SessionEnd::Expired
    }
}

/// Random bytes of the system's own.
///
/// # Panics
///
/// When the system has none, which no supported kernel does once it runs.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a running kernel gives random bytes");
    bytes
}
