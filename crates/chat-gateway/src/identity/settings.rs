//! The settings of who may chat and of how much one user may use.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use axum::http::HeaderName;
use common::env::{Environment, Variable};
use common::secret::Secret;
use url::Url;

use super::jwks::KeySet;
use super::{TrustedProxies, UserBounds, file, origin};

/// A secret of HS256 below this many bytes can be found by trying; RFC 7518 asks for as many as the hash has.
const MIN_SECRET_BYTES: usize = 32;
/// The longest name of a cookie.
const MAX_COOKIE_NAME_BYTES: usize = 64;

pub(crate) const AUTH: Variable = Variable::new(
    "GATEWAY_AUTH",
    "none",
    "How people sign in: `none` (each browser is an anonymous user of its own), `header` (a proxy in front names the \
     user) or `jwt` (the surrounding app's token).",
);
pub(crate) const USER_HEADER: Variable = Variable::new(
    "GATEWAY_AUTH_USER_HEADER",
    "X-Forwarded-User",
    "With `GATEWAY_AUTH=header`: the field in which a trusted proxy names the user. The proxy must remove it from what \
     clients send.",
);
pub(crate) const NAME_HEADER: Variable = Variable::new(
    "GATEWAY_AUTH_NAME_HEADER",
    "X-Forwarded-Preferred-Username",
    "With `GATEWAY_AUTH=header`: the field with the name to show, if the proxy has one.",
);
pub(crate) const JWT_SECRET: Variable = Variable::token(
    "GATEWAY_JWT_SECRET",
    "With `GATEWAY_AUTH=jwt`: the secret of HS256, at least 32 characters.",
);
pub(crate) const JWKS_URL: Variable = Variable::new(
    "GATEWAY_JWKS_URL",
    "",
    "With `GATEWAY_AUTH=jwt`: where the issuer publishes its keys (RS256, ES256, EdDSA). They are fetched every five \
     minutes, and when a token names a key that is not known.",
);
pub(crate) const JWKS_FILE: Variable = Variable::new(
    "GATEWAY_JWKS_FILE",
    "",
    "With `GATEWAY_AUTH=jwt`: a file with the issuer's keys instead of `GATEWAY_JWKS_URL`. It is read again when it \
     changes.",
);
pub(crate) const JWT_AUDIENCE: Variable = Variable::new(
    "GATEWAY_JWT_AUDIENCE",
    "",
    "With `GATEWAY_AUTH=jwt`: the `aud` that a token must have, so that a token for another service is not good here.",
);
pub(crate) const JWT_ISSUER: Variable = Variable::new(
    "GATEWAY_JWT_ISSUER",
    "",
    "With `GATEWAY_AUTH=jwt`: the `iss` that a token must have; empty: any.",
);
pub(crate) const JWT_COOKIE: Variable = Variable::new(
    "GATEWAY_JWT_COOKIE",
    "",
    "With `GATEWAY_AUTH=jwt`: the cookie in which the app keeps the token; empty: only `Authorization: Bearer` and \
     one-time tickets count.",
);
pub(crate) const REVOKED_FILE: Variable = Variable::new(
    "GATEWAY_REVOKED_FILE",
    "",
    "A file of users who are signed out, one a line: a name of the proxy, a `sub`, a `jti`, or a user id of the log. A \
     change counts within five seconds.",
);
pub(crate) const SOCKETS_PER_USER: Variable = Variable::new(
    "GATEWAY_SOCKETS_PER_USER",
    "20",
    "Sockets that one user may have open, one for each tab; 0 sets no bound.",
);
pub(crate) const SOCKETS_PER_ADDRESS: Variable = Variable::new(
    "GATEWAY_SOCKETS_PER_ADDRESS",
    "100",
    "Sockets that may be open from one address; 0 sets no bound. Name the proxies in front in \
     `GATEWAY_TRUSTED_PROXIES`, or all who come through one of them count as one address.",
);
pub(crate) const MESSAGES_PER_MINUTE: Variable = Variable::new(
    "GATEWAY_MESSAGES_PER_MINUTE",
    "30",
    "Messages that one user may send in a minute; 0 sets no bound.",
);
pub(crate) const ANSWERS_PER_USER: Variable = Variable::new(
    "GATEWAY_ANSWERS_PER_USER",
    "4",
    "Answers of one user that run or wait for the model at once; 0 sets no bound.",
);
pub(crate) const TOKENS_PER_DAY: Variable = Variable::new(
    "GATEWAY_TOKENS_PER_DAY",
    "0",
    "Tokens of prompts and answers that one user may use in a day of UTC; 0 sets no bound.",
);

/// How people sign in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Nobody does; each browser is its own anonymous user.
    Anonymous,
    /// A trusted proxy names the user.
    Header(HeaderSettings),
    /// By a token of the surrounding app.
    Jwt(JwtSettings),
}

/// The fields of a trusted proxy.
#[derive(Clone, Debug)]
pub struct HeaderSettings {
    /// The user.
    pub user: HeaderName,
    /// The name to show.
    pub name: HeaderName,
}

/// Which tokens are good.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// Who signs them.
    pub signer: Signer,
    /// Their `aud`.
    pub audience: String,
    /// Their `iss`, if it matters.
    pub issuer: Option<String>,
    /// The cookie that may hold one.
    pub cookie: Option<String>,
}

/// The keys behind a token's signature.
#[derive(Clone, Debug)]
pub enum Signer {
    /// One secret, for HS256.
    Secret(Secret),
    /// Public keys in a file.
    File(PathBuf),
    /// Public keys that the issuer publishes.
    Url(Url),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthMode {
    Anonymous,
    Header,
    Jwt,
}

/// Reads how people sign in; what is wrong is noted in `env`.
pub(crate) fn auth(env: &mut Environment, proxies: &TrustedProxies) -> Auth {
    let way = env.read_with(&AUTH, way);
    let header = HeaderSettings {
        user: env.read_with(&USER_HEADER, field),
        name: env.read_with(&NAME_HEADER, field),
    };
    let jwt = jwt(env, way);
    match (way, jwt) {
        (AuthMode::Header, _) => {
            if proxies.is_empty() {
                let problem =
                    "must not be header without GATEWAY_TRUSTED_PROXIES: anybody could be anyone";
                env.refuse(&AUTH, problem);
            }
            Auth::Header(header)
        }
        (AuthMode::Jwt, Some(jwt)) => Auth::Jwt(jwt),
        // Without usable settings of tokens there are problems in `env`, and no gateway starts.
        (AuthMode::Anonymous | AuthMode::Jwt, _) => Auth::Anonymous,
    }
}

/// Reads the file of revoked users, which must be there: a wrong path would revoke nobody.
pub(crate) fn revoked_file(env: &mut Environment) -> Option<PathBuf> {
    let path = PathBuf::from(env.optional(&REVOKED_FILE)?);
    if let Err(error) = file::read(&path) {
        env.refuse(
            &REVOKED_FILE,
            format_args!("names a file that cannot be read: {error}"),
        );
    }
    Some(path)
}

/// Reads the bounds of users and addresses.
pub(crate) fn bounds(env: &mut Environment) -> UserBounds {
    UserBounds {
        sockets_per_user: bound(env, &SOCKETS_PER_USER),
        sockets_per_address: bound(env, &SOCKETS_PER_ADDRESS),
        messages_per_minute: bound(env, &MESSAGES_PER_MINUTE),
        answers_per_user: bound(env, &ANSWERS_PER_USER),
        tokens_per_day: NonZeroU64::new(env.read(&TOKENS_PER_DAY)),
    }
}

fn bound(env: &mut Environment, variable: &Variable) -> Option<NonZeroU32> {
    NonZeroU32::new(env.read(variable))
}

fn way(text: &str) -> Result<AuthMode, String> {
    match text {
        "none" => Ok(AuthMode::Anonymous),
        "header" => Ok(AuthMode::Header),
        "jwt" => Ok(AuthMode::Jwt),
        _ => Err("must be none, header or jwt".to_owned()),
    }
}

fn field(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| "must be the name of a header field, as in X-Forwarded-User".to_owned())
}

/// The settings of tokens. Set without `GATEWAY_AUTH=jwt`, they are a mistake that would let everybody in.
fn jwt(env: &mut Environment, way: AuthMode) -> Option<JwtSettings> {
    let secret = env.secret(&JWT_SECRET);
    let url = env.optional(&JWKS_URL);
    let path = env.optional(&JWKS_FILE);
    let audience = env.optional(&JWT_AUDIENCE);
    let issuer = env.optional(&JWT_ISSUER);
    let cookie = env.optional(&JWT_COOKIE);
    if way != AuthMode::Jwt {
        let is_set = [
            (&JWT_SECRET, secret.is_some()),
            (&JWKS_URL, url.is_some()),
            (&JWKS_FILE, path.is_some()),
            (&JWT_AUDIENCE, audience.is_some()),
            (&JWT_ISSUER, issuer.is_some()),
            (&JWT_COOKIE, cookie.is_some()),
        ];
        for (variable, _) in is_set.into_iter().filter(|(_, is_set)| *is_set) {
            env.refuse(
                variable,
                "is set, but GATEWAY_AUTH is not jwt: set that too, or remove this",
            );
        }
        return None;
    }
    if cookie.as_deref().is_some_and(|name| !is_cookie_name(name)) {
        env.refuse(
            &JWT_COOKIE,
            "must be a cookie's name: letters, digits, - and _, at most 64",
        );
    }
    if audience.is_none() {
        env.refuse(
            &JWT_AUDIENCE,
            "is not set: name the audience that tokens for this gateway have",
        );
    }
    let signer = signer(env, secret, url, path);
    Some(JwtSettings {
        signer: signer?,
        audience: audience?,
        issuer,
        cookie,
    })
}

fn signer(
    env: &mut Environment,
    secret: Option<Secret>,
    url: Option<String>,
    path: Option<String>,
) -> Option<Signer> {
    match (secret, url, path) {
        (Some(secret), None, None) => {
            if secret.expose().len() < MIN_SECRET_BYTES {
                let problem =
                    format!("must have at least {MIN_SECRET_BYTES} characters, as HS256 asks for");
                env.refuse(&JWT_SECRET, problem);
            }
            Some(Signer::Secret(secret))
        }
        (None, Some(url), None) => {
            let url = issuers_url(&url)
                .map_err(|problem| env.refuse(&JWKS_URL, problem))
                .ok()?;
            Some(Signer::Url(url))
        }
        (None, None, Some(path)) => {
            let path = PathBuf::from(path);
            let bytes = file::read(&path).map_err(|error| error.to_string());
            let keys =
                bytes.and_then(|bytes| KeySet::parse(&bytes).map_err(|error| error.to_string()));
            if let Err(problem) = keys {
                env.refuse(
                    &JWKS_FILE,
                    format_args!("names a file that is not usable: {problem}"),
                );
            }
            Some(Signer::File(path))
        }
        (None, None, None) => {
            let problem =
                "must not be jwt without GATEWAY_JWT_SECRET, GATEWAY_JWKS_URL or GATEWAY_JWKS_FILE";
            env.refuse(&AUTH, problem);
            None
        }
        _ => {
            let problem = "has more than one of GATEWAY_JWT_SECRET, GATEWAY_JWKS_URL and GATEWAY_JWKS_FILE beside \
                           it: keep one";
            env.refuse(&AUTH, problem);
            None
        }
    }
}

/// Keys that come in the clear can be exchanged on the way, so http is for addresses and private names only.
fn issuers_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not usable: {error}"))?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && origin::is_private(text));
    if !is_safe || url.password().is_some() || !url.username().is_empty() {
        return Err(
            "must be https://HOST/PATH without a password, or http:// inside your own network"
                .to_owned(),
        );
    }
    Ok(url)
}

fn is_cookie_name(name: &str) -> bool {
    (1..=MAX_COOKIE_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
