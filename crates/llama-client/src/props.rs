//! What llama-server says of itself: `/props` and `/slots`.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::upstream::Upstream;

/// The most slots that an upstream is believed to have.
pub(crate) const MAX_SLOTS: usize = 4096;

/// What is read of `/props`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Props {
    /// How many requests run at once.
    pub total_slots: usize,
    default_generation_settings: GenerationSettings,
    /// The model's alias. Older builds do not say it.
    pub model_alias: Option<String>,
    /// Older builds do not say this either.
    modalities: Option<Modalities>,
    chat_template_caps: Option<TemplateCaps>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct GenerationSettings {
    n_ctx: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Modalities {
    #[serde(default)]
    vision: bool,
}

/// What the chat template can show, as llama-server found out by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct TemplateCaps {
    supports_tools: Option<bool>,
}

/// What is read of one slot in `/slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "SlotFields")]
pub struct SlotState {
    /// Whether it computes, for anybody.
    pub is_busy: bool,
    /// The number of its last task, which tells whether it was used between two looks.
    pub last_task: Option<i64>,
    /// A number that grows with each step of the engine; `None` where the build does not say it.
    pub progress: Option<u64>,
}

#[derive(Deserialize)]
struct SlotFields {
    is_processing: bool,
    id_task: Option<i64>,
    n_prompt_tokens_processed: Option<u64>,
    /// Builds differ in its shape: a list of one here.
    #[serde(default)]
    next_token: Value,
}

impl From<SlotFields> for SlotState {
    fn from(fields: SlotFields) -> Self {
        let n_prompt = fields.n_prompt_tokens_processed;
        let n_decoded = fields.next_token[0]["n_decoded"].as_u64();
        Self {
            is_busy: fields.is_processing,
            last_task: fields.id_task,
            progress: n_prompt
                .zip(n_decoded)
                .map(|(n_prompt, n_decoded)| n_prompt.saturating_add(n_decoded)),
        }
    }
}

/// Why there are no props.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropsError {
    /// There was no answer at all.
    #[error(transparent)]
    Upstream(#[from] Error),
    /// What answers is no llama-server with a model.
    #[error("what answers is not a llama-server with a model")]
    NotLlama,
}

impl Props {
    /// The context of one slot, in tokens.
    #[must_use]
    pub fn n_ctx(&self) -> u64 {
        self.default_generation_settings.n_ctx
    }

    /// Whether the model reads images; true where the build does not say so.
    #[must_use]
    pub fn sees_images(&self) -> bool {
        self.modalities
            .as_ref()
            .is_none_or(|modalities| modalities.vision)
    }

    /// Whether the chat template shows tools; true where the build does not say so.
    #[must_use]
    pub fn supports_tools(&self) -> bool {
        self.chat_template_caps
            .as_ref()
            .and_then(|caps| caps.supports_tools)
            .unwrap_or(true)
    }

    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body)
            .ok()
            .filter(|props: &Self| (1..=MAX_SLOTS).contains(&props.total_slots))
    }
}

impl Client {
    /// Asks for `/props`, which llama-server answers beside its engine. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When there is no answer, or when it is not llama-server's.
    pub async fn props(&self, upstream: &Upstream) -> Result<Props, PropsError> {
        let (status, body) = self.get(upstream, "/props").await?;
        match status {
            StatusCode::OK => Props::parse(&body).ok_or(PropsError::NotLlama),
            StatusCode::SERVICE_UNAVAILABLE => Err(Error::Loading.into()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::WrongKey.into()),
            _ => Err(PropsError::NotLlama),
        }
    }

    /// Every slot; `None` where `/slots` is switched off. It goes through the engine's queue. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When there is no answer, or when it is not llama-server's.
    pub async fn slots(&self, upstream: &Upstream) -> Result<Option<Vec<SlotState>>, Error> {
        let (status, body) = self.get(upstream, "/slots").await?;
        match status {
            StatusCode::OK => slots(&body).map(Some).ok_or(Error::Invalid),
            StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND => Ok(None),
            _ => Err(Error::Invalid),
        }
    }
}

pub(crate) fn slots(body: &Bytes) -> Option<Vec<SlotState>> {
    serde_json::from_slice(body)
        .ok()
        .filter(|slots: &Vec<SlotState>| slots.len() <= MAX_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::Props;

    #[test]
    fn a_slot_says_whether_it_is_busy_and_how_far_it_is() {
        let slots = br#"[{"id":0,"is_processing":true,"id_task":7,"n_prompt_tokens_processed":40,"next_token":[{"n_decoded":2}]},
            {"id":1,"is_processing":false}, {"id":2,"is_processing":true,"id_task":9,"next_token":{"n_decoded":2}}]"#;
        let slot = |is_busy, last_task, progress| super::SlotState {
            is_busy,
            last_task,
            progress,
        };
        assert_eq!(
            super::slots(&bytes::Bytes::from_static(slots)).unwrap(),
            [
                slot(true, Some(7), Some(42)),
                slot(false, None, None),
                slot(true, Some(9), None)
            ]
        );
    }

    #[test]
    fn what_has_no_slot_or_more_than_any_machine_is_no_llama_server() {
        let slots = |n: u64| {
            let body =
                format!(r#"{{"total_slots":{n},"default_generation_settings":{{"n_ctx":512}}}}"#);
            Props::parse(body.as_bytes()).map(|props| props.total_slots)
        };
        assert_eq!(
            [0, 1, 4096, 4097, u64::MAX].map(slots),
            [None, Some(1), Some(4096), None, None]
        );
    }
}
