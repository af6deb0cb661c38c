//! Who asks, once the key is known: a name, a share of the slots, what the key opens, and how much of it.
//!
//! A `Caller` holds no secret, so it may be logged and labelled by its name. Names come from the operator, never from a
//! request.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue};

use crate::api::Scope;
use crate::auth::key::KeyDigest;
use crate::auth::limits::{KeyLimits, KeyUsage, LimitClocks, Reservation, Standing, UsageReport};
use crate::auth::{AuthError, Denied};

/// Whether a key opens anything now, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    NotYet,
    Valid,
    Expired,
}

/// The holder of a key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The key's name: a label of metrics, a field of logs.
    pub(crate) name: Arc<str>,
    /// Which of the key's digests it is found by.
    pub(super) digest: KeyDigest,
    /// Its share of the slots, against the weights of the others who wait.
    pub(crate) weight: NonZeroU32,
    pub(crate) limits: KeyLimits,
    /// The models it may use; `None` for all.
    pub(crate) models: Option<Vec<String>>,
    pub(crate) scopes: Vec<Scope>,
    /// The first moment it is good for.
    pub(crate) not_before: Option<SystemTime>,
    /// The first moment it is no longer good for.
    pub(crate) expires: Option<SystemTime>,
    /// What it has used. All callers of one name share it, also across reloads.
    pub(crate) usage: Arc<KeyUsage>,
}

impl Caller {
    /// One that may do everything, with an ordinary share.
    pub(super) fn unlimited(name: &str, digest: KeyDigest) -> Self {
        Self {
            name: name.into(),
            digest,
            weight: NonZeroU32::MIN,
            limits: KeyLimits::default(),
            models: None,
            scopes: Scope::ALL.to_vec(),
            not_before: None,
            expires: None,
            usage: Arc::default(),
        }
    }

    /// Passes when the key opens `scope`.
    pub(crate) fn allow(&self, scope: Scope) -> Result<(), AuthError> {
        if self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(AuthError::ScopeMissing(scope))
        }
    }

    /// Whether the key may use `model`. One that it may not use does not exist for it.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|models| models.iter().any(|name| name == model))
    }

    /// Counts a request, before its body is read.
    pub(crate) fn count_request(&self) -> Result<(), AuthError> {
        self.usage
            .request(&self.limits, LimitClocks::now())
            .map_err(AuthError::RateLimited)
    }

    /// Reserves the tokens that a request is estimated to use.
    pub(crate) fn reserve(&self, n_tokens: u64) -> Result<Reservation, AuthError> {
        self.usage
            .reserve(&self.limits, n_tokens, LimitClocks::now())
            .map_err(AuthError::RateLimited)
    }

    /// What the key has used of its limits, and today.
    pub(crate) fn report(&self) -> UsageReport {
        self.usage.report(&self.limits, LimitClocks::now())
    }

    /// Writes what is left of the key's limits, in OpenAI's headers. A key without limits has none.
    pub(crate) fn write_limits(&self, headers: &mut HeaderMap) {
        let now = LimitClocks::now();
        if let Some(standing) = self.usage.requests(&self.limits, now) {
            let names = [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ];
            write(headers, standing, names);
        }
        if let Some(standing) = self.usage.tokens(&self.limits, now) {
            let names = [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ];
            write(headers, standing, names);
        }
    }

    pub(super) fn validity(&self, now: SystemTime) -> Validity {
        if self.expires.is_some_and(|expires| now >= expires) {
            Validity::Expired
        } else if self.not_before.is_some_and(|not_before| now < not_before) {
            Validity::NotYet
        } else {
            Validity::Valid
        }
    }

    /// Passes when the key is good at `now`.
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), Denied> {
        let reason = match self.validity(now) {
            Validity::Valid => return Ok(()),
            Validity::NotYet => "not yet",
            Validity::Expired => "expired",
        };
        Err(Denied {
            reason,
            key: Some(Arc::clone(&self.name)),
        })
    }
}

fn write(headers: &mut HeaderMap, standing: Standing, names: [&'static str; 3]) {
    let [limit, remaining, reset] = names;
    headers.insert(limit, standing.allowed.into());
    headers.insert(remaining, standing.remaining.into());
    if let Ok(value) = HeaderValue::try_from(short(standing.reset)) {
        headers.insert(reset, value);
    }
}

/// A duration as OpenAI writes it: `0s`, `120ms`, `7.66s`, `6m0s`, `13h5m2s`.
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) if millis > 0 => format!("{millis}ms"),
        (0, 0, _) => format!("{}s", millis as f64 / 1e3),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Caller, KeyDigest, Validity, short};

    #[test]
    fn a_key_is_good_from_not_before_until_just_before_expires() {
        let first = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2000);
        let caller = Caller {
            not_before: Some(first),
            expires: Some(end),
            ..Caller::unlimited("app", KeyDigest::of(b"a"))
        };
        let instant = Duration::from_nanos(1);
        assert_eq!(
            [first - instant, first, end - instant, end].map(|now| caller.validity(now)),
            [
                Validity::NotYet,
                Validity::Valid,
                Validity::Valid,
                Validity::Expired
            ]
        );
    }

    #[test]
    fn durations_read_as_openai_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (120, "120ms"),
            (999, "999ms"),
            (1000, "1s"),
            (7660, "7.66s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (47_102_000, "13h5m2s"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }
}
