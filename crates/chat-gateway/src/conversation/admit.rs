//! What is checked before a message is kept: its user's limits, its content, and its options.

use crate::completion::effective;
use crate::conversation::refusal::{Refusal, bad};
use crate::identity::User;
use crate::protocol::limits::{MAX_STOPS, MAX_SYSTEM_BYTES};
use crate::protocol::reading::MAX_ID_CHARS;
use crate::protocol::record::{AnswerOptions, ContentPart, ErrorCode};
use crate::state::Gateway;

/// The most of all parts of one message, in bytes: what a prompt may hold.
pub(crate) const MAX_CONTENT_BYTES: usize = 192 * 1024;

impl Gateway {
    /// Whether this user may ask for an answer now.
    pub(super) async fn admit(&self, user: &User) -> Result<(), Refusal> {
        if self.shutdown.is_draining() {
            return Err(Refusal {
                code: ErrorCode::ShuttingDown,
                message: "the server is restarting; send the message again in a moment".into(),
                retry_after_seconds: Some(2),
            });
        }
        if let Err(wait) = self.limits.message(user) {
            return Err(Refusal {
                code: ErrorCode::RateLimited,
                message: "too many messages in a minute; wait a moment".into(),
                retry_after_seconds: u32::try_from(wait.0.as_secs() + 1).ok(),
            });
        }
        if let Some(most) = self.config.bounds.tokens_per_day
            && self.store.tokens_today(&user.id).await? >= most.get()
        {
            let message = "the tokens of today are spent; come back tomorrow (UTC)";
            return Err(Refusal::new(ErrorCode::QuotaExceeded, message));
        }
        Ok(())
    }

    /// Whether the model can be asked this.
    pub(crate) fn check_content(&self, parts: &[ContentPart]) -> Result<(), Refusal> {
        if parts.iter().map(size_of).sum::<usize>() > MAX_CONTENT_BYTES {
            return Err(Refusal::new(ErrorCode::TooLarge, "`content` is too large"));
        }
        if parts.iter().all(is_blank) {
            return Err(bad("`content` must not be empty"));
        }
        if parts.iter().any(is_link) {
            return Err(bad("`data_url` must begin with data:image/"));
        }
        if parts.iter().any(is_image) && !self.upstream.model().images {
            return Err(Refusal::new(
                ErrorCode::UnsupportedContent,
                "this model does not read images",
            ));
        }
        Ok(())
    }

    /// The options as the model is asked with them: the conversation's and the operator's where they say nothing, and
    /// nothing beyond the limits.
    pub(super) fn effective(
        &self,
        mut wish: AnswerOptions,
        system: Option<&str>,
    ) -> Result<AnswerOptions, Refusal> {
        let stop = wish.stop.as_deref().unwrap_or_default();
        if stop.len() > MAX_STOPS || stop.iter().any(String::is_empty) {
            return Err(bad("`options.stop` must be at most 4 strings, none empty"));
        }
        if wish.system.as_deref().map_or(0, str::len) > MAX_SYSTEM_BYTES {
            return Err(bad("`options.system` must be at most 64 KiB"));
        }
        if wish.system.is_none() {
            wish.system = system.map(str::to_owned);
        }
        Ok(effective(&wish, &self.config))
    }
}

/// Whether this may be the id of a request.
pub(super) fn check_id(id: &str) -> Result<(), Refusal> {
    let length = id.chars().count();
    if (1..=MAX_ID_CHARS).contains(&length) {
        Ok(())
    } else {
        Err(bad("`id` must be 1 to 64 characters"))
    }
}

fn size_of(part: &ContentPart) -> usize {
    match part {
        ContentPart::Text { text } => text.len(),
        ContentPart::Image { data_url } => data_url.len(),
    }
}

fn is_blank(part: &ContentPart) -> bool {
    matches!(part, ContentPart::Text { text } if text.trim().is_empty())
}

const fn is_image(part: &ContentPart) -> bool {
    matches!(part, ContentPart::Image { .. })
}

/// A picture that is elsewhere. It is never fetched.
fn is_link(part: &ContentPart) -> bool {
    matches!(part, ContentPart::Image { data_url } if !data_url.starts_with("data:image/"))
}
