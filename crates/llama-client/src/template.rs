//! What a model's chat template can show, as `/props` says and as `/apply-template` shows.
//!
//! `/apply-template` is answered beside the engine and takes no slot. What an older build does not say is taken for
//! possible: a template that refuses is heard of with the request.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::props::Props;
use crate::upstream::Upstream;

/// A word that a template shows unless it leaves its message out.
const MARK: &str = "corralprobe";

/// What a model's chat template can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateFacts {
    /// Tools, and so the calls of tools.
    pub tools: bool,
    /// Two messages of one role in a row.
    pub repeated_roles: bool,
    /// A system message behind others.
    pub later_system: bool,
    /// A system message before all others.
    pub system: bool,
}

impl Default for TemplateFacts {
    fn default() -> Self {
        Self {
            tools: true,
            repeated_roles: true,
            later_system: true,
            system: true,
        }
    }
}

impl TemplateFacts {
    /// What both can show.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tools: self.tools && other.tools,
            repeated_roles: self.repeated_roles && other.repeated_roles,
            later_system: self.later_system && other.later_system,
            system: self.system && other.system,
        }
    }
}

/// What `/apply-template` answers.
#[derive(Deserialize)]
struct Applied {
    prompt: String,
}

impl Client {
    /// Finds out what the template of `upstream` can show. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the upstream does not answer.
    pub async fn template(
        &self,
        upstream: &Upstream,
        props: &Props,
    ) -> Result<TemplateFacts, Error> {
        Ok(TemplateFacts {
            tools: props.supports_tools(),
            repeated_roles: self.shows(upstream, &["user", "user"]).await?,
            later_system: self
                .shows(upstream, &["user", "assistant", "system", "user"])
                .await?,
            system: self.shows(upstream, &["system", "user"]).await?,
        })
    }

    /// Whether the prompt of a conversation of these roles holds each of its messages.
    async fn shows(&self, upstream: &Upstream, roles: &[&str]) -> Result<bool, Error> {
        let messages: Vec<Value> = roles
            .iter()
            .map(|role| json!({"role": role, "content": MARK}))
            .collect();
        let body = json!({"messages": messages}).to_string();
        let (status, answer) = self
            .post(upstream, "/apply-template", body.as_bytes())
            .await?;
        Ok(match status {
            StatusCode::OK => shown(&answer).is_none_or(|n| n >= roles.len()),
            StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR => false,
            _ => true,
        })
    }
}

/// How many messages the prompt in an answer holds; `None` when it is not llama-server's answer.
pub(crate) fn shown(answer: &[u8]) -> Option<usize> {
    let applied: Applied = serde_json::from_slice(answer).ok()?;
    Some(applied.prompt.matches(MARK).count())
}

#[cfg(test)]
mod tests {
    use super::{TemplateFacts, shown};

    #[test]
    fn a_prompt_that_leaves_a_message_out_does_not_show_it() {
        assert_eq!(
            shown(br#"{"prompt":"<user>corralprobe<user>corralprobe"}"#),
            Some(2)
        );
        assert_eq!(shown(br#"{"prompt":"<user>corralprobe"}"#), Some(1));
        assert_eq!(shown(b"{}"), None);
    }

    #[test]
    fn several_templates_can_show_what_each_of_them_can() {
        let all = TemplateFacts::default();
        let no_tools = TemplateFacts {
            tools: false,
            ..all
        };
        assert_eq!(all.and(no_tools), no_tools);
        assert_eq!(no_tools.and(all), no_tools);
    }
}
