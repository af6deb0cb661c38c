//! Who asks: reads the one credential of a request and compares it in constant time.
//!
//! Missing, malformed and unknown keys are one and the same 401. It never looks at the body, so a stranger cannot make
//! the proxy read one. Named keys with limits of their own will be read here.

use axum::http::{HeaderMap, header};
use common::secret::Secret;

use crate::error::Error;

/// The longest credential that is compared; hashing longer ones would be work for strangers.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// The keys that open the door.
#[derive(Debug)]
pub(crate) struct Keys {
    key: Secret,
}

impl Keys {
    pub(crate) fn new(key: Secret) -> Self {
        Self { key }
    }

    /// Passes a request that carries the key.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let mut credentials = headers.get_all(header::AUTHORIZATION).iter();
        let first = credentials.next();
        if credentials.next().is_some() || (first.is_some() && headers.contains_key("x-api-key")) {
            return Err(Error::AmbiguousCredentials);
        }
        let presented = first.and_then(|value| bearer(value.as_bytes())).unwrap_or_default();
        if self.key.matches(presented) { Ok(()) } else { Err(Error::Unauthorized) }
    }
}

/// The token after `Bearer `, whose case does not count (RFC 9110, 11.1).
fn bearer(credential: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credential.split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && token.len() <= MAX_CREDENTIAL_BYTES).then_some(token)
}
