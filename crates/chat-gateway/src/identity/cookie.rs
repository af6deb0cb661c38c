//! Anonymous users: each browser is its own, by a signed cookie that no page can read.
//!
//! The key is made once and kept in `GATEWAY_DATA`. Where that folder is missing or read-only, it lasts as long as the
//! process, and everybody is somebody new after a restart.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, SameSite};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Unauthenticated;

/// The cookie's name.
const NAME: &str = "corral_user";
/// The file of the key inside `GATEWAY_DATA`.
pub(crate) const KEY_FILE: &str = "cookie.key";
/// 256 bits, as HS256 wants.
const KEY_BYTES: usize = 32;
/// How long a browser keeps the cookie.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The age from which on a cookie is given anew, so that somebody who comes back keeps theirs.
const RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest value that is looked at.
const MAX_VALUE_BYTES: usize = 512;
/// What the token in the cookie is for; no other token has this audience.
const AUDIENCE: &str = "corral-anonymous";

/// The key that signs cookies.
pub struct CookieKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey")
    }
}

/// Why the file of the key is not used.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// It cannot be read.
    #[error("cannot read {path}, the key of anonymous users: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It holds something else.
    #[error(
        "{0} is not a key of {KEY_BYTES} bytes: restore it, or remove it so that a new one is made"
    )]
    Malformed(PathBuf),
}

/// An anonymous user, and the cookie to set.
#[derive(Debug)]
pub(super) struct Anonymous {
    pub(super) id: Arc<str>,
    pub(super) set_cookie: Option<HeaderValue>,
}

#[derive(Serialize, Deserialize)]
struct AnonymousClaims<'a> {
    aud: &'a str,
    sub: Uuid,
    /// Seconds since 1970.
    iat: u64,
    /// Seconds since 1970.
    exp: u64,
}

/// What is read of a cookie's token.
#[derive(Deserialize)]
struct KnownAs {
    sub: Uuid,
    iat: u64,
}

impl CookieKey {
    /// Reads the key of the folder `data`, or makes it.
    ///
    /// # Errors
    ///
    /// When there is a key that cannot be used.
    pub fn open(data: &Path) -> Result<Self, CookieError> {
        if let Some(key) = kept(data)? {
            return Ok(Self::new(&key));
        }
        let path = data.join(KEY_FILE);
        let key: [u8; KEY_BYTES] = super::random();
        match keep(data, &path, &key) {
            Ok(()) => Ok(Self::new(&key)),
            // Another gateway with the same folder was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let key = fs::read(&path);
                let key = key.map_err(|error| CookieError::Read {
                    path: path.clone(),
                    error,
                })?;
                (key.len() == KEY_BYTES)
                    .then(|| Self::new(&key))
                    .ok_or(CookieError::Malformed(path))
            }
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    %error,
                    "cannot keep the key of anonymous users, so everybody is somebody new after a restart: let \
                     GATEWAY_DATA name a folder that this service may write"
                );
                Ok(Self::new(&key))
            }
        }
    }

    /// The key that all gateways share.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            validation,
        }
    }

    /// Whom the request's cookie names, or a new user. `secure` keeps the cookie to https.
    pub(super) fn sign_in(
        &self,
        headers: &HeaderMap,
        secure: bool,
    ) -> Result<Anonymous, Unauthenticated> {
        let mut known: Option<KnownAs> = None;
        for value in values(headers, NAME) {
            let Some(found) = self.read(&value) else {
                continue;
            };
            // A page of a sister domain may add a cookie of its own, so two good ones say nothing.
            if known.as_ref().is_some_and(|known| known.sub != found.sub) {
                return Err(Unauthenticated::Malformed);
            }
            known = Some(found);
        }
        let now = seconds(SystemTime::now());
        let fresh = known
            .as_ref()
            .is_some_and(|known| now.saturating_sub(known.iat) < RENEW_AFTER.as_secs());
        let sub = known.map_or_else(Uuid::now_v7, |known| known.sub);
        let set_cookie = if fresh {
            None
        } else {
            self.cookie(sub, now, secure)
        };
        let id = format!("a-{}", sub.simple()).into();
        Ok(Anonymous { id, set_cookie })
    }

    fn read(&self, value: &str) -> Option<KnownAs> {
        if value.len() > MAX_VALUE_BYTES {
            return None;
        }
        let token = jsonwebtoken::decode(value, &self.decoding, &self.validation);
        token.ok().map(|token| token.claims)
    }

    fn cookie(&self, sub: Uuid, now: u64, secure: bool) -> Option<HeaderValue> {
        let claims = AnonymousClaims {
            aud: AUDIENCE,
            sub,
            iat: now,
            exp: now + LIFETIME.as_secs(),
        };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &self.encoding).ok()?;
        let cookie = Cookie::build((NAME, token))
            .http_only(true)
            .same_site(SameSite::Lax)
            .path("/")
            .max_age(LIFETIME.try_into().ok()?)
            .secure(secure);
        HeaderValue::try_from(cookie.to_string()).ok()
    }
}

/// The key of the folder `data`, if it has one.
///
/// # Errors
///
/// When it cannot be used.
pub(crate) fn kept(data: &Path) -> Result<Option<[u8; KEY_BYTES]>, CookieError> {
    let path = data.join(KEY_FILE);
    match fs::read(&path) {
        Ok(key) => match key.try_into() {
            Ok(key) => Ok(Some(key)),
            Err(_) => Err(CookieError::Malformed(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CookieError::Read { path, error }),
    }
}

/// The values of the cookies with this name, in the order in which they came.
pub(super) fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(Cookie::split_parse).filter_map(Result::ok);
    let named = cookies.filter(|cookie| cookie.name() == name);
    named
        .map(|cookie| cookie.value_trimmed().to_owned())
        .collect()
}

/// Writes the key beside its place and links it there, so that nobody ever reads half of one.
fn keep(data: &Path, path: &Path, key: &[u8]) -> io::Result<()> {
    let draft = data.join(format!("{KEY_FILE}.{}", Uuid::now_v7().simple()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let kept = file
        .write_all(key)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    // A draft that stays behind harms nobody.
    fs::remove_file(&draft).ok();
    kept
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use axum::http::{HeaderMap, HeaderValue};

    use super::{CookieError, CookieKey, KEY_FILE, LIFETIME, RENEW_AFTER, Uuid};

    fn headers(set_cookie: &HeaderValue) -> HeaderMap {
        let text = set_cookie.to_str().unwrap();
        let pair = text.split(';').next().unwrap();
        let value = HeaderValue::from_str(pair).unwrap();
        HeaderMap::from_iter([(axum::http::header::COOKIE, value)])
    }

    #[test]
    fn a_key_that_is_damaged_is_refused_and_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(KEY_FILE);
        for damaged in [&b""[..], &[0; 31], &[0; 33]] {
            fs::write(&path, damaged).unwrap();
            let refused = CookieKey::open(data.path()).unwrap_err();
            assert!(matches!(refused, CookieError::Malformed(_)), "{refused}");
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = CookieKey::open(data.path()).unwrap_err();
        assert!(matches!(refused, CookieError::Read { .. }), "{refused}");
    }

    #[test]
    fn without_a_folder_the_key_lasts_as_long_as_the_process() {
        let data = tempfile::tempdir().unwrap();
        let missing = data.path().join("missing");
        let one = CookieKey::open(&missing).unwrap();
        let two = CookieKey::open(&missing).unwrap();
        let user = one.sign_in(&HeaderMap::new(), false).unwrap();
        let headers = headers(&user.set_cookie.unwrap());
        assert_eq!(one.sign_in(&headers, false).unwrap().id, user.id);
        assert_ne!(two.sign_in(&headers, false).unwrap().id, user.id);
        assert!(!missing.exists());
    }

    #[test]
    fn a_cookie_is_given_anew_after_a_month_and_is_good_for_a_year() {
        let key = CookieKey::new(&[7; 32]);
        let now = super::seconds(super::SystemTime::now());
        let sub = Uuid::now_v7();
        for (age, is_known, is_renewed) in [
            (RENEW_AFTER.as_secs() - 60, true, false),
            (RENEW_AFTER.as_secs() + 60, true, true),
            (LIFETIME.as_secs() - 60, true, true),
            (LIFETIME.as_secs() + 120, false, true),
        ] {
            let headers = headers(&key.cookie(sub, now - age, false).unwrap());
            let user = key.sign_in(&headers, false).unwrap();
            let is_same = *user.id == *format!("a-{}", sub.simple());
            assert_eq!(
                (is_same, user.set_cookie.is_some()),
                (is_known, is_renewed),
                "{age}"
            );
        }
    }
}
