//! Who asks: reads the one credential of a request and finds the [`Caller`] that holds it, in constant time.
//!
//! Missing, malformed and unknown keys are one and the same 401. It never looks at the body, so a stranger cannot make
//! the proxy read one. Every route asks here and nowhere else.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use common::secret::Secret;

use crate::error::Error;

mod caller;

pub(crate) use caller::{Caller, Scope};

/// The longest credential that is compared; hashing longer ones would be work for strangers.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// The caller that `LLM_API_KEY` opens the door for.
const DEFAULT: &str = "default";

/// The keys that open the door.
#[derive(Debug)]
pub(crate) struct Keys {
    key: Secret,
    caller: Arc<Caller>,
}

impl Keys {
    pub(crate) fn new(key: Secret) -> Self {
        Self { key, caller: Arc::new(Caller::unlimited(DEFAULT)) }
    }

    /// Who sends a request with these `headers`.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Error> {
        let mut credentials = headers.get_all(header::AUTHORIZATION).iter();
        let first = credentials.next();
        if credentials.next().is_some() || (first.is_some() && headers.contains_key("x-api-key")) {
            return Err(Error::AmbiguousCredentials);
        }
        let presented = first.and_then(|value| bearer(value.as_bytes())).unwrap_or_default();
        if self.key.matches(presented) { Ok(Arc::clone(&self.caller)) } else { Err(Error::Unauthorized) }
    }
}

/// The token after `Bearer `, whose case does not count (RFC 9110, 11.1).
fn bearer(credential: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credential.split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && token.len() <= MAX_CREDENTIAL_BYTES).then_some(token)
}
