//! Who asks, once the key is known: a name, a share of the slots, what the key opens, and how much of it.
//!
//! A `Caller` holds no secret, so it may be logged and labelled by its name; names come from the operator, never from
//! a request.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue};

use crate::auth::limits::{Limits, Now, Reached, Reservation, Standing, Usage};
use crate::error::Error;

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that makes the model write: chat, completions, responses, messages.
    Chat,
    /// Embeddings and reranking.
    Embeddings,
    /// Counting tokens and tokenising.
    Tokens,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::Embeddings, Self::Tokens];

    /// Its name in the keys file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Tokens => "tokens",
        }
    }
}

/// Whether a key opens anything now, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    NotYet,
    Valid,
    Expired,
}

/// The holder of a key.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The key's name: a label of metrics, a field of logs.
    pub(crate) name: Arc<str>,
    /// Its share of the slots, against the weights of the others who wait.
    pub(crate) weight: NonZeroU32,
    pub(crate) limits: Limits,
    /// The models it may use; `None` for all.
    pub(crate) models: Option<Vec<String>>,
    pub(crate) scopes: Vec<Scope>,
    /// The first moment it is good for.
    pub(crate) not_before: Option<SystemTime>,
    /// The first moment it is not good for any more.
    pub(crate) expires: Option<SystemTime>,
    /// What it has used; shared with those of the same name before and after a reload.
    pub(crate) usage: Arc<Usage>,
}

impl Caller {
    /// One that may do everything, in an ordinary share.
    pub(crate) fn unlimited(name: &str) -> Self {
        Self {
            name: name.into(),
            weight: NonZeroU32::MIN,
            limits: Limits::default(),
            models: None,
            scopes: Scope::ALL.to_vec(),
            not_before: None,
            expires: None,
            usage: Arc::default(),
        }
    }

    /// Passes what the key opens.
    pub(crate) fn allow(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(Error::ScopeMissing {
                scope: scope.name(),
            })
        }
    }

    /// Whether the key may use `model`. One that it may not use does not exist for it.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|models| models.iter().any(|name| name == model))
    }

    /// Counts a request, before its body is read.
    pub(crate) fn count_request(&self) -> Result<(), Error> {
        self.usage
            .request(&self.limits, Now::read())
            .map_err(rate_limited)
    }

    /// Reserves the tokens that a request is estimated to use.
    pub(crate) fn reserve(&self, n_tokens: u64) -> Result<Reservation, Error> {
        self.usage
            .reserve(&self.limits, n_tokens, Now::read())
            .map_err(rate_limited)
    }

    /// Where the key's limits stand, in OpenAI's headers. A key without limits has none.
    pub(crate) fn write_limits(&self, headers: &mut HeaderMap) {
        let now = Now::read();
        if let Some(standing) = self.usage.requests(&self.limits, now) {
            write(
                headers,
                standing,
                [
                    "x-ratelimit-limit-requests",
                    "x-ratelimit-remaining-requests",
                    "x-ratelimit-reset-requests",
                ],
            );
        }
        if let Some(standing) = self.usage.tokens(&self.limits, now) {
            write(
                headers,
                standing,
                [
                    "x-ratelimit-limit-tokens",
                    "x-ratelimit-remaining-tokens",
                    "x-ratelimit-reset-tokens",
                ],
            );
        }
    }

    pub(crate) fn state(&self, now: SystemTime) -> State {
        if self.expires.is_some_and(|expires| now >= expires) {
            State::Expired
        } else if self.not_before.is_some_and(|not_before| now < not_before) {
            State::NotYet
        } else {
            State::Valid
        }
    }
}

fn rate_limited(reached: Reached) -> Error {
    Error::RateLimited {
        limit: reached.limit,
        allowed: reached.allowed,
        retry_after_seconds: reached.retry_after.as_secs_f64().ceil() as u64,
    }
}

fn write(
    headers: &mut HeaderMap,
    standing: Standing,
    [limit, remaining, reset]: [&'static str; 3],
) {
    headers.insert(limit, standing.allowed.into());
    headers.insert(remaining, standing.remaining.into());
    if let Ok(value) = HeaderValue::try_from(short(standing.reset)) {
        headers.insert(reset, value);
    }
}

/// A duration in OpenAI's way: `0s`, `120ms`, `7.66s`, `6m0s`, `13h5m2s`.
fn short(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.as_millis());
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

    use super::{Caller, State, short};

    #[test]
    fn a_key_is_good_from_its_first_moment_to_the_one_before_its_last() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let caller = Caller {
            not_before: Some(at(1000)),
            expires: Some(at(2000)),
            ..Caller::unlimited("app")
        };
        let before = |moment| moment - Duration::from_nanos(1);
        assert_eq!(
            [before(at(1000)), at(1000), before(at(2000)), at(2000)].map(|now| caller.state(now)),
            [State::NotYet, State::Valid, State::Valid, State::Expired]
        );
    }

    #[test]
    fn durations_read_as_openai_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (120, "120ms"),
            (1000, "1s"),
            (7660, "7.66s"),
            (360_000, "6m0s"),
            (47_102_000, "13h5m2s"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }
}
