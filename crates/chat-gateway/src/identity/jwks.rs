//! The public keys of a token's issuer, kept fresh while the service runs.
//!
//! Only keys that can sign RS256, ES256 or EdDSA count; a secret in the set never does. The set is read from a file or
//! fetched; what cannot be read or is no set leaves the last one in force.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use url::Url;

use super::file::{self, Complaint, READ_EVERY};
use super::settings::Signer;

/// How often the keys are fetched.
const FETCH_EVERY: Duration = Duration::from_secs(5 * 60);
/// The least time between two fetches that unknown keys bring about, and the longest pause before the first success.
const MIN_FETCH_PAUSE: Duration = Duration::from_secs(30);
/// The pause after the first fetch that failed; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for keys that are being fetched.
const PATIENCE: Duration = Duration::from_secs(6);
/// The largest set that is read, in bytes.
const MAX_SET_BYTES: usize = 256 * 1024;
/// The most keys of a set.
const MAX_KEYS: usize = 64;

/// The public keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<PublicKey>);

#[derive(Debug)]
struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why a set of keys is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is not a JSON Web Key Set")]
    NotASet,
    #[error("it has no key for RS256, ES256 or EdDSA")]
    NoKey,
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    #[error("it is larger than {MAX_SET_BYTES} bytes")]
    TooLarge,
    #[error("it cannot be read: {0}")]
    File(std::io::ErrorKind),
    #[error("the issuer cannot be reached, or does not answer in time")]
    Unreachable,
    #[error("the issuer answers with status {0}")]
    Status(u16),
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys of other kinds in it are passed over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let written: WrittenSet =
            serde_json::from_slice(bytes).map_err(|_| KeySetError::NotASet)?;
        if written.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let keys: Vec<PublicKey> = written.keys.into_iter().filter_map(public_key).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(Self(keys))
    }

    /// The key that a token says it is signed with. A token that names no key must leave no choice.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let found = fitting.next()?;
        fitting.next().is_none().then_some(&found.key)
    }
}

fn public_key(written: Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(written).ok()?;
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let is_for_signing = common
        .public_key_use
        .as_ref()
        .is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let is_for_this = common.key_algorithm.is_none_or(|other| other == named);
    if !is_for_signing || !is_for_this {
        return None;
    }
    Some(PublicKey {
        id: common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(&jwk).ok()?,
    })
}

/// The keys that are in force.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    signer: Signer,
    http: reqwest::Client,
    current: watch::Sender<CurrentKeys>,
    /// Somebody brings a token of an unknown key.
    wanted: Notify,
}

#[derive(Clone, Debug, Default)]
struct CurrentKeys {
    set: Arc<KeySet>,
    looked_at: Option<Instant>,
}

impl CurrentKeys {
    fn may_be_stale(&self) -> bool {
        self.looked_at
            .is_none_or(|at| at.elapsed() >= MIN_FETCH_PAUSE)
    }
}

impl IssuerKeys {
    /// No key is known until [`IssuerKeys::keep`] has looked.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub(super) fn new(signer: Signer) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            signer,
            http,
            current: watch::Sender::default(),
            wanted: Notify::new(),
        })
    }

    /// The key that a token says it is signed with. For one that is not known it waits until the issuer was asked, unless
    /// that was a moment ago. Cancel-safe.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let mut current = self.current.subscribe();
        let known = current.borrow_and_update().clone();
        if let Some(key) = known.set.find(id, algorithm) {
            return Some(key.clone());
        }
        if !known.may_be_stale() {
            return None;
        }
        self.wanted.notify_one();
        // Without an answer the keys are as before.
        timeout(PATIENCE, current.changed()).await.ok();
        current.borrow().set.find(id, algorithm).cloned()
    }

    /// Keeps the keys fresh. It never ends; cancel-safe.
    pub(super) async fn keep(&self) {
        match &self.signer {
            Signer::Secret(_) => std::future::pending().await,
            Signer::File(path) => self.keep_reading(path).await,
            Signer::Url(url) => self.keep_fetching(url).await,
        }
    }

    async fn keep_reading(&self, path: &Path) {
        let mut ticks = interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complaint = Complaint::default();
        let mut last = None;
        loop {
            ticks.tick().await;
            let read = file::read_slowly(path.to_owned()).await;
            if last.is_some() && read.as_ref().ok() == last.as_ref() {
                self.current
                    .send_modify(|current| current.looked_at = Some(Instant::now()));
                continue;
            }
            let set = match &read {
                Ok(bytes) => KeySet::parse(bytes),
                Err(error) => Err(KeySetError::File(error.kind())),
            };
            last = read.ok();
            self.put_in_force(set, &mut complaint);
        }
    }

    async fn keep_fetching(&self, url: &Url) {
        let mut complaint = Complaint::default();
        let mut retry = FIRST_RETRY;
        loop {
            let set = self.fetch(url).await;
            let pause = if set.is_ok() { FETCH_EVERY } else { retry };
            retry = if set.is_ok() {
                FIRST_RETRY
            } else {
                (retry * 2).min(MIN_FETCH_PAUSE)
            };
            self.put_in_force(set, &mut complaint);
            let next = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    () = self.wanted.notified() => {
                        if self.current.borrow().may_be_stale() {
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn fetch(&self, url: &Url) -> Result<KeySet, KeySetError> {
        let asking = self.http.get(url.clone()).send().await;
        let mut response = asking.map_err(|_| KeySetError::Unreachable)?;
        if !response.status().is_success() {
            return Err(KeySetError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|_| KeySetError::Unreachable)?
        {
            if body.len() + chunk.len() > MAX_SET_BYTES {
                return Err(KeySetError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        KeySet::parse(&body)
    }

    fn put_in_force(&self, set: Result<KeySet, KeySetError>, complaint: &mut Complaint) {
        let set = set.map(Arc::new);
        self.current.send_modify(|current| {
            current.looked_at = Some(Instant::now());
            if let Ok(set) = &set {
                current.set = Arc::clone(set);
            }
        });
        match set {
            Ok(set) => {
                let n_keys = set.0.len();
                if complaint.is_over() {
                    tracing::info!(keys = n_keys, "the keys of tokens are in force again");
                } else {
                    tracing::debug!(keys = n_keys, "the keys of tokens are in force");
                }
            }
            Err(error) => {
                let problem = error.to_string();
                if complaint.is_due(&problem) {
                    tracing::error!(
                        "the keys of tokens are not usable, so the last ones stay: {problem}"
                    );
                }
            }
        }
    }
}
