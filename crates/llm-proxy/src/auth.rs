//! Who asks: reads the one credential of a request and finds the [`Caller`] that holds it, in constant time.
//!
//! Missing, malformed, unknown and expired keys are one and the same 401; only the log says which. It never looks at
//! the body, so a stranger cannot make the proxy read one. Every route asks here and nowhere else.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use common::secret::Secret;

use crate::api::Dialect;
use crate::error::Error;

mod caller;
pub(crate) mod command;
mod file;
#[cfg(fuzzing)]
pub use file::fuzz;
mod key;
mod limits;
mod ring;
mod watch;

pub(crate) use caller::{Caller, Scope};
pub(crate) use limits::{Limit, Reservation};

use caller::State;
use file::Problems;
use key::Digest;
use ring::{Fixed, Ring};

/// The longest credential that is compared; hashing longer ones would be work for strangers.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// The caller that `LLM_API_KEY` opens the door for.
const DEFAULT: &str = "default";

/// The keys that open the door.
#[derive(Debug)]
pub(crate) struct Keys {
    fixed: Option<Fixed>,
    /// Where the other keys are.
    path: Option<PathBuf>,
    /// What that file held at the start.
    at_start: Arc<[u8]>,
    /// Held for a look-up or a swap, never across an await.
    ring: RwLock<Ring>,
}

/// Why a credential opens nothing. For the log: the caller reads the same words for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) reason: &'static str,
    /// The name of a key that is known, but not good now.
    pub(crate) key: Option<Arc<str>>,
}

impl Keys {
    /// The key of the environment, and those of the file at `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or used: every problem, on lines of their own.
    pub(crate) fn new(key: Option<&Secret>, path: Option<PathBuf>) -> Result<Self, String> {
        let fixed = key.map(|key| {
            (
                Digest::of(key.expose().as_bytes()),
                Arc::new(Caller::unlimited(DEFAULT)),
            )
        });
        let ring = RwLock::new(Ring::of(fixed.as_ref()));
        let mut keys = Self {
            fixed,
            path,
            at_start: Arc::default(),
            ring,
        };
        if let Some(path) = &keys.path {
            keys.at_start = file::read(path)?;
            let ring = keys
                .build(&keys.at_start)
                .map_err(|problems| problems.listed(path))?;
            keys.swap(ring);
        }
        Ok(keys)
    }

    /// Who sends a request with these `headers`. Callers of Anthropic's API may show their key as it has it, in `x-api-key`.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        dialect: Dialect,
    ) -> Result<Arc<Caller>, Error> {
        let mut bearers = headers.get_all(header::AUTHORIZATION).iter();
        let mut bare = headers.get_all("x-api-key").iter();
        let presented = match (bearers.next(), bare.next()) {
            (Some(_), Some(_)) => return Err(Error::AmbiguousCredentials),
            (Some(credential), None) => bearer(credential.as_bytes()),
            (None, Some(key)) if dialect == Dialect::Messages => {
                Some(key.as_bytes()).filter(is_short)
            }
            (None, _) => None,
        };
        if bearers.next().is_some() || (dialect == Dialect::Messages && bare.next().is_some()) {
            return Err(Error::AmbiguousCredentials);
        }
        let presented = presented.unwrap_or_default();
        self.find(presented, SystemTime::now())
            .map_err(Error::Unauthorized)
    }

    /// The same steps for every credential, so that the time tells nothing: what is missing is looked up as nothing,
    /// which no key has the digest of.
    fn find(&self, presented: &[u8], now: SystemTime) -> Result<Arc<Caller>, Denied> {
        let (digest, malformed) = (Digest::of(presented), key::is_malformed(presented));
        let found = self
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .map(Arc::clone);
        let denied = |reason, caller: Option<&Caller>| {
            Err(Denied {
                reason,
                key: caller.map(|caller| Arc::clone(&caller.name)),
            })
        };
        match found {
            Some(caller) => match caller.state(now) {
                State::Valid => Ok(caller),
                State::NotYet => denied("not yet", Some(&caller)),
                State::Expired => denied("expired", Some(&caller)),
            },
            None if presented.is_empty() => denied("missing", None),
            None if malformed => denied("malformed", None),
            None => denied("unknown", None),
        }
    }

    /// What would be in force with a file of these `bytes`.
    fn build(&self, bytes: &[u8]) -> Result<Ring, Problems> {
        let entries = file::parse(bytes)?;
        Ring::new(
            self.fixed.as_ref(),
            entries,
            &self.ring.read().unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn swap(&self, ring: Ring) {
        let before = std::mem::replace(
            &mut *self.ring.write().unwrap_or_else(PoisonError::into_inner),
            ring,
        );
        // Thousands of keys are freed here, after the lock.
        drop(before);
    }
}

/// The token after `Bearer `, whose case does not count (RFC 9110, 11.1).
fn bearer(credential: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credential.split_at_checked("Bearer ".len())?;
    Some(token).filter(|token| scheme.eq_ignore_ascii_case(b"Bearer ") && is_short(token))
}

fn is_short(credential: &&[u8]) -> bool {
    credential.len() <= MAX_CREDENTIAL_BYTES
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing;
