//! What llama-server says of itself: `/props` and `/slots`.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

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
pub struct SlotState {
    /// Whether it computes, for anybody.
    #[serde(rename = "is_processing")]
    pub is_busy: bool,
    /// The number of its last task, which tells whether it was used between two looks.
    #[serde(rename = "id_task")]
    pub last_task: Option<i64>,
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
