//! Users whom a token of the surrounding app names: signed by one secret, or by a key of the issuer.
//!
//! The algorithm follows from our own key, never from the token alone. A token must end (`exp`), must be for us (`aud`)
//! and must name somebody (`sub`).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::jwks::IssuerKeys;
use super::settings::{JwtSettings, Signer};
use super::{SignedInAs, Unauthenticated, User, cookie, id_of};

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The longest `sub`, `jti` and `name`.
const MAX_CLAIM_BYTES: usize = 256;
/// How far the issuer's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// Checks tokens.
pub(super) struct AppTokens {
    keys: SigningKeys,
    audience: String,
    issuer: Option<String>,
    cookie: Option<String>,
}

enum SigningKeys {
    Secret(DecodingKey),
    Issuer(IssuerKeys),
}

impl fmt::Debug for AppTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppTokens")
    }
}

#[derive(Deserialize)]
struct AppClaims {
    sub: String,
    /// Seconds since 1970; some issuers write fractions.
    exp: f64,
    jti: Option<String>,
    /// A name of another type names nobody.
    name: Option<Value>,
}

impl AppTokens {
    /// # Errors
    ///
    /// When the HTTP client for the issuer's keys cannot be built.
    pub(super) fn new(settings: JwtSettings) -> reqwest::Result<Self> {
        let keys = match &settings.signer {
            Signer::Secret(secret) => {
                SigningKeys::Secret(DecodingKey::from_secret(secret.expose().as_bytes()))
            }
            Signer::File(_) | Signer::Url(_) => {
                SigningKeys::Issuer(IssuerKeys::new(settings.signer)?)
            }
        };
        Ok(Self {
            keys,
            audience: settings.audience,
            issuer: settings.issuer,
            cookie: settings.cookie,
        })
    }

    /// Keeps the issuer's keys fresh. It never ends; cancel-safe.
    pub(super) async fn keep(&self) {
        match &self.keys {
            SigningKeys::Secret(_) => std::future::pending().await,
            SigningKeys::Issuer(keys) => keys.keep().await,
        }
    }

    /// Whom the request's token names. Cancel-safe.
    pub(super) async fn sign_in(&self, headers: &HeaderMap) -> Result<User, Unauthenticated> {
        let token = match bearer(headers)? {
            Some(token) => token,
            None => self
                .token_of_cookie(headers)?
                .ok_or(Unauthenticated::Missing)?,
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Unauthenticated::Malformed);
        }
        let written =
            jsonwebtoken::decode_header(&token).map_err(|_| Unauthenticated::Malformed)?;
        // An extension that must be understood is not.
        if written.crit.is_some() {
            return Err(Unauthenticated::Malformed);
        }
        match &self.keys {
            SigningKeys::Secret(key) => self.check(&token, key, Algorithm::HS256),
            SigningKeys::Issuer(keys) => {
                let algorithm = written.alg;
                if !matches!(
                    algorithm,
                    Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA
                ) {
                    return Err(Unauthenticated::Forged);
                }
                let key = keys.find(written.kid.as_deref(), algorithm).await;
                let key = key.ok_or(Unauthenticated::UnknownKey)?;
                self.check(&token, &key, algorithm)
            }
        }
    }

    fn check(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<User, Unauthenticated> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        let mut required = vec!["exp", "aud", "sub"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let token = jsonwebtoken::decode::<AppClaims>(token, key, &validation);
        let claims = token.map_err(|error| refused(error.kind()))?.claims;
        let expires = end(claims.exp).ok_or(Unauthenticated::Malformed)?;
        // The library looks at whole seconds, and open sockets end at this moment.
        if expires <= SystemTime::now() {
            return Err(Unauthenticated::Expired);
        }
        if !is_id(&claims.sub) || claims.jti.as_deref().is_some_and(|id| !is_id(id)) {
            return Err(Unauthenticated::Malformed);
        }
        let name = claims.name.as_ref().and_then(Value::as_str);
        let id = id_of("jwt", &claims.sub);
        Ok(User {
            name: name.filter(|name| is_id(name)).map(Into::into),
            lane: id.clone(),
            id,
            session: SignedInAs::named(&claims.sub, claims.jti.as_deref(), Some(expires)),
        })
    }

    fn token_of_cookie(&self, headers: &HeaderMap) -> Result<Option<String>, Unauthenticated> {
        let Some(name) = &self.cookie else {
            return Ok(None);
        };
        let mut values = cookie::values(headers, name).into_iter();
        let token = values.next();
        // A page of a sister domain may add a cookie of its own, so two different ones say nothing.
        if values.any(|other| Some(&other) != token.as_ref()) {
            return Err(Unauthenticated::Malformed);
        }
        Ok(token)
    }
}

/// The token of `Authorization: Bearer`. Another scheme is a proxy's business.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Unauthenticated> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Unauthenticated::Malformed);
    }
    let words = value.to_str().ok().and_then(|value| value.split_once(' '));
    let token = words.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Ok(token.map(|(_, token)| token.trim().to_owned()))
}

fn refused(kind: &ErrorKind) -> Unauthenticated {
    match kind {
        ErrorKind::ExpiredSignature => Unauthenticated::Expired,
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => Unauthenticated::ForAnother,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Unauthenticated::Forged,
        _ => Unauthenticated::Malformed,
    }
}

/// From when on a token is no longer good.
fn end(exp: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(exp).ok()?;
    (UNIX_EPOCH + LEEWAY).checked_add(since)
}

fn is_id(text: &str) -> bool {
    (1..=MAX_CLAIM_BYTES).contains(&text.len())
}
