//! Who asks: finds the [`Caller`] that holds a request's one credential, in constant time.
//!
//! A missing, malformed, unknown, expired or revoked key gets the same 401; only the log says which it was. The body is
//! never looked at, so a stranger cannot make the proxy read one. Every route asks here and nowhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use common::secret::Secret;

use crate::api::{Dialect, Scope};

mod caller;
pub(crate) mod command;
mod disk;
mod file;
#[cfg(fuzzing)]
pub use file::fuzz;
mod key;
mod limits;
mod ring;
mod user;
mod watch;

pub(crate) use caller::Caller;
pub(crate) use limits::{Limit, Reservation, UsageReport};
pub(crate) use user::user;

use disk::Look;
use key::KeyDigest;
use limits::Reached;
use ring::Ring;

/// What logs and metrics show in place of a key's name when there is no key. No key may have this name.
pub(crate) const NOBODY: &str = "none";
/// The name of the key in `LLM_API_KEY`.
const DEFAULT: &str = "default";
/// The longest credential that is compared. Hashing longer ones would be work for strangers.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// Why a request is turned away at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// More than one credential came.
    AmbiguousCredentials,
    /// The credential is missing or not good now.
    Unauthorized(Denied),
    /// The key does not open this route.
    ScopeMissing(Scope),
    /// The key may not name users.
    MayNotName,
    /// The name of a user is none.
    UserName,
    /// The key has used up what it may ask.
    RateLimited(Reached),
}

/// Why a credential opens nothing. For the log only: the caller reads the same words for all reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) reason: &'static str,
    /// The name of a key that is known, but not good now.
    pub(crate) key: Option<Arc<str>>,
}

/// The keys that open the door.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The holder of `LLM_API_KEY`.
    fixed: Option<Arc<Caller>>,
    /// Where the named keys are, and what that file held at the start.
    file: Option<(Arc<Path>, Look)>,
    /// The keys in force. Locked for a look-up or a swap, never across an await.
    ring: RwLock<Ring>,
    /// Why the keys file as it is now is not used.
    refused: Mutex<Option<String>>,
}

impl Keys {
    /// The key of the environment, and those of the file at `path`. A file without keys, or none at all in its folder,
    /// means that no named key is good.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or understood.
    pub(crate) fn new(key: Option<&Secret>, path: Option<PathBuf>) -> Result<Self, String> {
        let fixed = key.map(|key| {
            let digest = KeyDigest::of(key.expose().as_bytes());
            Arc::new(Caller::unlimited(DEFAULT, digest))
        });
        let mut keys = Self {
            ring: RwLock::new(Ring::of(fixed.as_ref())),
            fixed,
            file: None,
            refused: Mutex::default(),
        };
        if let Some(path) = path {
            let look = disk::look(&path, None)?;
            let ring = keys
                .build(look.bytes())
                .map_err(|problem| format!("{}: {problem}", path.display()))?;
            keys.swap(ring);
            keys.file = Some((path.into(), look));
        }
        Ok(keys)
    }

    /// Who sends a request with these `headers`. Callers of Anthropic's API may present their key in `x-api-key`.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        dialect: Dialect,
    ) -> Result<Arc<Caller>, AuthError> {
        let mut bearers = headers.get_all(header::AUTHORIZATION).iter();
        let mut bare = headers.get_all("x-api-key").iter();
        let takes_bare = dialect == Dialect::Messages;
        let presented = match (bearers.next(), bare.next()) {
            (Some(_), Some(_)) => return Err(AuthError::AmbiguousCredentials),
            (Some(credential), None) => bearer(credential.as_bytes()),
            (None, Some(key)) if takes_bare => Some(key.as_bytes()),
            (None, _) => None,
        };
        if bearers.next().is_some() || (takes_bare && bare.next().is_some()) {
            return Err(AuthError::AmbiguousCredentials);
        }
        let presented = presented.filter(|credential| credential.len() <= MAX_CREDENTIAL_BYTES);
        self.find(presented.unwrap_or_default(), SystemTime::now())
            .map_err(AuthError::Unauthorized)
    }

    /// Whether the key that `caller` came with is still good. A request asks this again when it has waited for its slot,
    /// because its key may have been taken out since.
    pub(crate) fn recheck(&self, caller: &Caller) -> Result<(), AuthError> {
        let revoked = Denied {
            reason: "revoked",
            key: Some(Arc::clone(&caller.name)),
        };
        self.get(caller.digest)
            .ok_or(revoked)
            .and_then(|caller| caller.check_time(SystemTime::now()))
            .map_err(AuthError::Unauthorized)
    }

    /// Why the keys file as it is now is not used, for operators.
    pub(crate) fn file_refused(&self) -> Option<String> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The keys that are in force, by name.
    pub(crate) fn by_name(&self) -> BTreeMap<Arc<str>, Arc<Caller>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        ring.by_name()
    }

    /// Every credential takes the same path, so timing reveals nothing. A missing one is looked up as the empty string,
    /// which matches no key.
    fn find(&self, presented: &[u8], now: SystemTime) -> Result<Arc<Caller>, Denied> {
        let digest = KeyDigest::of(presented);
        let is_malformed = key::is_malformed(presented);
        if let Some(caller) = self.get(digest) {
            caller.check_time(now)?;
            return Ok(caller);
        }
        let reason = if presented.is_empty() {
            "missing"
        } else if is_malformed {
            "malformed"
        } else {
            "unknown"
        };
        Err(Denied { reason, key: None })
    }

    fn get(&self, digest: KeyDigest) -> Option<Arc<Caller>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        ring.get(digest).map(Arc::clone)
    }

    /// The keys that would be in force with a file of these `bytes`.
    fn build(&self, bytes: &[u8]) -> Result<Ring, String> {
        let entries = file::parse(bytes)?;
        let before = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        Ring::new(self.fixed.as_ref(), entries, &before)
    }

    fn swap(&self, ring: Ring) {
        let mut lock = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *lock, ring);
        // The old ring may hold thousands of keys; it is freed after the lock, not under it.
        drop(lock);
        drop(before);
    }
}

/// The token after `Bearer `, in any case (RFC 9110, 11.1).
fn bearer(credential: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credential.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests;
