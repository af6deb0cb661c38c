//! Who somebody is, and what they may use.
//!
//! `GATEWAY_AUTH` says how people sign in. The rest of the gateway knows a [`User`]: an opaque id that is safe in logs,
//! a name to greet them by, and a lane in the queue of llm-proxy. Nobody is ever named by a URL.

mod address;
mod cookie;
mod file;
mod header;
mod jwks;
mod jwt;
mod limits;
mod origin;
mod record;
mod revoked;
pub mod settings;
mod ticket;

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue};
use common::shutdown::Shutdown;
use sha2::{Digest as _, Sha256};

pub use address::TrustedProxies;
pub(crate) use cookie::KEY_FILE;
pub(crate) use cookie::kept as kept_key;
pub use cookie::{CookieError, CookieKey};
pub use limits::{
    AddressSeat, AnswerSeat, RetryAfter, SocketSeat, TooManySockets, UserBounds, UserLimits,
    UserSeat,
};
pub use origin::{Origins, Stranger};
pub(crate) use origin::{RefusedOrigins, public_name};
pub(crate) use record::UserRecord;
pub use settings::Auth;
pub(crate) use ticket::TICKET_LIFETIME;

use crate::bus::{Bus, BusError};
use crate::config::Config;
use crate::store::{Store, StoreError};
use address::VisitorNames;
use jwt::AppTokens;
use revoked::Revoked;
use settings::HeaderSettings;
use ticket::Tickets;

/// How often the wall clock is looked at while a token's end is waited for.
const CLOCK_CHECK: Duration = Duration::from_secs(30);
/// Bytes of the digest that is a user's id.
const ID_BYTES: usize = 16;

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

impl SignedInAs {
    fn named(subject: &str, token_id: Option<&str>, expires: Option<SystemTime>) -> Arc<Self> {
        Arc::new(Self {
            subject: Some(subject.into()),
            token_id: token_id.map(Into::into),
            expires,
        })
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// It names nobody.
    Missing,
    /// It names two, or nobody that there can be.
    Malformed,
    /// It comes from a peer that is not in `GATEWAY_TRUSTED_PROXIES`.
    UntrustedProxy,
    /// The token is signed with a key that the issuer does not have.
    UnknownKey,
    /// The token's signature or algorithm is wrong.
    Forged,
    /// The token is for another service, or of another issuer.
    ForAnother,
    /// The token has ended.
    Expired,
    /// The operator revoked the user or the token.
    Revoked,
}

impl Unauthenticated {
    /// The label in the log.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::ForAnother => "for_another",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
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
    way: SignIn,
    proxies: TrustedProxies,
    visitors: VisitorNames,
    tickets: Tickets,
    revoked: Revoked,
}

#[derive(Debug)]
enum SignIn {
    Anonymous(Box<CookieKey>),
    Header(HeaderSettings),
    Jwt(Box<AppTokens>),
}

/// Why nobody can sign in.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key of anonymous users is not usable.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// The key that gateways share cannot be had.
    #[error("cannot read the key of anonymous users: {0}")]
    Key(StoreError),
    /// The file of revoked users is not usable.
    #[error("GATEWAY_REVOKED_FILE cannot be read: {0}")]
    Revoked(#[from] std::io::Error),
    /// The HTTP client for the issuer's keys cannot be built.
    #[error("cannot build the HTTP client for GATEWAY_JWKS_URL: {0}")]
    Http(#[from] reqwest::Error),
}

impl Identities {
    /// Reads what the chosen way of signing in needs. Tickets are good at all gateways that share `bus`.
    ///
    /// # Errors
    ///
    /// When a key or a file cannot be used.
    pub fn open(
        config: &Config,
        bus: Bus,
        shared: Option<[u8; 32]>,
    ) -> Result<Self, IdentityError> {
        let way = match &config.auth {
            Auth::Anonymous => SignIn::Anonymous(Box::new(match &shared {
                Some(key) => CookieKey::new(key),
                None => CookieKey::open(&config.data)?,
            })),
            Auth::Header(settings) => SignIn::Header(settings.clone()),
            Auth::Jwt(settings) => SignIn::Jwt(Box::new(AppTokens::new(settings.clone())?)),
        };
        Ok(Self {
            way,
            proxies: config.trusted_proxies.clone(),
            visitors: VisitorNames::new(shared.unwrap_or_else(random)),
            tickets: Tickets::new(bus),
            revoked: Revoked::open(config.revoked_file.clone())?,
        })
    }

    /// The key of anonymous users that all gateways of a shared store have. It is that of the one gateway that there was
    /// before, so that everybody stays who they are.
    ///
    /// # Errors
    ///
    /// When it cannot be read or kept.
    pub async fn shared_key(
        config: &Config,
        store: &Store,
    ) -> Result<Option<[u8; 32]>, IdentityError> {
        if !store.is_shared() || !matches!(config.auth, Auth::Anonymous) {
            return Ok(None);
        }
        let offered = cookie::kept(&config.data)?.unwrap_or_else(random);
        let key = store.cookie_key(offered).await;
        key.map(Some).map_err(IdentityError::Key)
    }

    /// Keeps the issuer's keys and the list of revoked users fresh until the drain of `shutdown` begins.
    pub async fn keep(&self, shutdown: &Shutdown) {
        let keys = async {
            match &self.way {
                SignIn::Jwt(tokens) => tokens.keep().await,
                SignIn::Anonymous(_) | SignIn::Header(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = keys => {}
            () = self.revoked.keep() => {}
            () = shutdown.draining() => {}
        }
    }

    /// Whose request this is. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When it is nobody's.
    pub async fn of(&self, headers: &HeaderMap, peer: IpAddr) -> Result<SignedIn, Unauthenticated> {
        let mut set_cookie = None;
        let user = match &self.way {
            SignIn::Anonymous(cookies) => {
                let is_https = self.proxies.is_https(headers, peer);
                let visitor = cookies.sign_in(headers, is_https)?;
                set_cookie = visitor.set_cookie;
                User {
                    id: visitor.id,
                    name: None,
                    lane: self.visitors.name(self.address(headers, peer)),
                    session: Arc::default(),
                }
            }
            SignIn::Header(settings) => header::sign_in(settings, &self.proxies, headers, peer)?,
            SignIn::Jwt(tokens) => tokens.sign_in(headers).await?,
        };
        if self.revoked.names(&user) {
            return Err(Unauthenticated::Revoked);
        }
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
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn ticket(&self, user: &User) -> Result<String, BusError> {
        self.tickets.issue(user).await
    }

    /// Whose ticket this is. It is burned, whatever the answer.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn redeem(&self, ticket: &str) -> Result<Option<User>, BusError> {
        let user = self.tickets.redeem(ticket).await?;
        let user = user.filter(|user| {
            let expires = user.session.expires;
            let is_expired = expires.is_some_and(|at| at <= SystemTime::now());
            !is_expired && !self.revoked.names(user)
        });
        Ok(user)
    }

    /// Waits until the user's session is over. Cancel-safe.
    pub async fn ended(&self, user: &User) -> SessionEnd {
        tokio::select! {
            () = self.revoked.wait(user) => SessionEnd::Revoked,
            () = expired(user.session.expires) => SessionEnd::Expired,
        }
    }
}

/// Waits for a moment of the wall clock, which may be set meanwhile. Cancel-safe.
async fn expired(at: Option<SystemTime>) {
    let Some(at) = at else {
        return std::future::pending().await;
    };
    while let Ok(rest) = at.duration_since(SystemTime::now())
        && !rest.is_zero()
    {
        tokio::time::sleep(rest.min(CLOCK_CHECK)).await;
    }
}

/// An opaque id for a name: the same for ever, and nothing to read in a log. `way` keeps the names of one way of signing
/// in apart from those of another.
fn id_of(way: &str, name: &str) -> Arc<str> {
    let digest = Sha256::new()
        .chain_update(way)
        .chain_update([0])
        .chain_update(name)
        .finalize();
    let mut id = String::from("u-");
    for byte in &digest[..ID_BYTES] {
        write!(id, "{byte:02x}").expect("a string takes every write");
    }
    id.into()
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
