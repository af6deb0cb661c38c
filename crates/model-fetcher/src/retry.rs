//! How long to keep trying: a budget of failures in a row that progress refills, with growing, jittered pauses.
//!
//! Permission and spelling are not tried again; only what time may heal is.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use crate::config::Tuning;
use crate::error::Error;

/// Progress that refills the budget, in bytes: enough that a source cannot drip for ever.
const REFILL_BYTES: u64 = 1 << 20;
/// Failures in a row after which a source is left when there is another.
const CHANCES: u32 = 2;
/// The longest pause of our own choosing.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Why an attempt ended early.
#[derive(Debug)]
pub(crate) enum SourceTrouble {
    /// It may go better later, after `after` if the source said so.
    Again {
        /// What happened, for people.
        reason: String,
        /// The source's `Retry-After`.
        after: Option<Duration>,
    },
    /// No name server knows this host.
    NoSuchName(String),
    /// The signed URL is no longer good.
    Expired,
    /// The source sends whole files only.
    RangeIgnored,
    /// It will not go better.
    Fatal(Error),
}

impl SourceTrouble {
    /// A failure that may heal.
    pub(crate) fn again(reason: impl Into<String>) -> Self {
        Self::Again {
            reason: reason.into(),
            after: None,
        }
    }

    /// What happened, for people; `None` for an error that speaks for itself.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Again { reason, .. } => Some(reason.clone()),
            Self::NoSuchName(host) => Some(format!("{host}: no such name (DNS)")),
            Self::Expired => {
                Some("the signed address of the file is no longer accepted".to_owned())
            }
            Self::RangeIgnored => Some("it sends whole files only".to_owned()),
            Self::Fatal(_) => None,
        }
    }

    /// The error when nothing more is tried.
    pub(crate) fn into_error(self, source_name: &str) -> Error {
        match (self.reason(), self) {
            (_, Self::Fatal(error)) => error,
            (reason, _) => {
                let reason = reason.unwrap_or_default();
                let advice = advice(&reason);
                Error::Unreachable {
                    source_name: source_name.to_owned(),
                    reason,
                    advice,
                }
            }
        }
    }
}

impl From<Error> for SourceTrouble {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// The failures that are left.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    failures: u32,
    progress: u64,
    tuning: Tuning,
    alternatives: bool,
}

impl Budget {
    /// A full budget.
    pub(crate) fn new(tuning: Tuning) -> Self {
        Self {
            left: tuning.attempts,
            failures: 0,
            progress: 0,
            tuning,
            alternatives: false,
        }
    }

    /// A budget for a source that is not the only one: it gets a second chance and no more, and is not waited for.
    pub(crate) fn with_alternatives(tuning: Tuning) -> Self {
        Self {
            alternatives: true,
            ..Self::new(Tuning {
                attempts: tuning.attempts.min(CHANCES),
                ..tuning
            })
        }
    }

    /// A budget for a transport of the Hub that is not the only one: half as many failures.
    pub(crate) fn half(tuning: Tuning) -> Self {
        Self::new(Tuning {
            attempts: (tuning.attempts / 2).max(1),
            ..tuning
        })
    }

    /// Notes that `n_bytes` more are on the disk.
    pub(crate) fn progressed(&mut self, n_bytes: u64) {
        self.progress += n_bytes;
        if self.progress >= REFILL_BYTES {
            *self = Self {
                alternatives: self.alternatives,
                ..Self::new(self.tuning)
            };
        }
    }

    /// Takes one failure from the budget and pauses.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] when none is left; a fatal trouble's own error.
    pub(crate) async fn spend(
        &mut self,
        source_name: &str,
        trouble: SourceTrouble,
    ) -> Result<(), Error> {
        let after = match &trouble {
            SourceTrouble::Again { after, .. } => *after,
            SourceTrouble::NoSuchName(_)
            | SourceTrouble::Expired
            | SourceTrouble::RangeIgnored
            | SourceTrouble::Fatal(_) => None,
        };
        self.left = self.left.saturating_sub(1);
        let is_spent = self.left == 0 || (self.alternatives && after.is_some());
        let reason = match trouble.reason() {
            Some(reason) if !is_spent => reason,
            Some(_) | None => return Err(trouble.into_error(source_name)),
        };
        let pause = match after {
            Some(asked) => asked.min(self.tuning.max_retry_after),
            None => self.backoff(),
        };
        self.failures += 1;
        let pause_ms = pause.as_millis();
        let left = self.left;
        // One line for failures in a row; if they do not end, the last one is the error.
        if self.failures == 1 {
            tracing::warn!(
                source = source_name,
                reason,
                pause_ms,
                left,
                "attempt failed, retrying"
            );
        } else {
            tracing::debug!(
                source = source_name,
                reason,
                pause_ms,
                left,
                "attempt failed again, retrying"
            );
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Half of the pause is certain, half is chance, so that many fetchers do not come back at once.
    fn backoff(&self) -> Duration {
        let full = self
            .tuning
            .backoff
            .saturating_mul(1 << self.failures.min(10))
            .min(MAX_BACKOFF);
        let chance = u32::try_from(RandomState::new().build_hasher().finish() % 1000).unwrap_or(0);
        full / 2 + full * chance / 2000
    }
}

/// What to do about a failure that time did not heal.
fn advice(reason: &str) -> &'static str {
    if reason.contains("ertificate") {
        "Where a proxy replaces certificates, install its authority in the system's store or name it in SSL_CERT_FILE"
    } else {
        "Check the network, HTTPS_PROXY and HF_ENDPOINT and run model-fetcher again, it goes on where it stopped; \
         without a network, bring the file by hand: model-fetcher import FILE"
    }
}
