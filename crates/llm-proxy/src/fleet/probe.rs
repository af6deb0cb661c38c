//! One look at an upstream: what it says of itself, and whether its engine still works.
//!
//! `/props` is answered beside the engine, so it answers also when the engine is stuck. `/slots` goes through the
//! engine's queue without taking a slot; a completion of one token takes one and computes.

use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;

use super::{Doubt, Fleet, Status};
use crate::api::Api;
use crate::config::Upstream;
use crate::error::Error;
use crate::upstream::{Client, Identity};

/// How long `/props` may take; a busy machine is slow, not down.
const PROPS_DEADLINE: Duration = Duration::from_secs(3);
/// The smallest question.
const ONE_TOKEN: &[u8] =
    br#"{"messages":[{"role":"user","content":"1"}],"max_tokens":1,"stream":true}"#;
/// The largest answer to it that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The most slots that an upstream is believed to have.
const MAX_SLOTS: usize = 4096;
/// What ends a whole answer.
const DONE: &[u8] = b"data: [DONE]";

/// Looks at `upstream`; when there is a doubt, at its engine too. `None` when `/props` took too long, which says little
/// on a busy machine. Cancel-safe.
pub(super) async fn look(
    fleet: &Fleet,
    upstream: &Upstream,
    doubt: Option<Doubt>,
) -> Option<Status> {
    let client = &fleet.client;
    let status = tokio::time::timeout(PROPS_DEADLINE, props(client, upstream, &fleet.model))
        .await
        .ok()?;
    let Some(doubt) = doubt.filter(|_| status.is_up()) else {
        return Some(status);
    };
    let works = tokio::time::timeout(fleet.probe_engine, engine(client, upstream, doubt)).await;
    Some(if works.unwrap_or(false) {
        status
    } else {
        Status::Stuck
    })
}

/// How many slots compute, for whomever; `None` where `/slots` is switched off. Cancel-safe.
pub(super) async fn n_busy(client: &Client, upstream: &Upstream) -> Option<usize> {
    let (status, body) = tokio::time::timeout(PROPS_DEADLINE, client.get(upstream, "/slots"))
        .await
        .ok()?
        .ok()?;
    let slots: Vec<Slot> = serde_json::from_slice(&body)
        .ok()
        .filter(|_| status == StatusCode::OK)?;
    Some(slots.iter().filter(|slot| slot.is_processing).count())
}

async fn props(client: &Client, upstream: &Upstream, model: &str) -> Status {
    match client.get(upstream, "/props").await {
        Err(error) => {
            tracing::debug!(upstream = upstream.authority(), %error, "/props");
            Status::Unreachable
        }
        Ok((StatusCode::OK, body)) => {
            Props::parse(&body).map_or(Status::NotLlama, |props| Status::Up {
                slots: props.total_slots,
                n_ctx: props.default_generation_settings.n_ctx,
                sees_images: props.modalities.is_none_or(|modalities| modalities.vision),
                is_named_so: props.model_alias.is_none_or(|alias| alias == model),
            })
        }
        Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => Status::Loading,
        Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)) => Status::WrongKey,
        Ok(_) => Status::NotLlama,
    }
}

async fn engine(client: &Client, upstream: &Upstream, doubt: Doubt) -> bool {
    if doubt == Doubt::Silent {
        match client.get(upstream, "/slots").await {
            Ok((StatusCode::OK, _)) => return true,
            // Switched off there.
            Ok((StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND, _)) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    let who = Identity {
        request_id: "probe",
        traceparent: None,
    };
    match client
        .open(upstream, Api::Chat, Bytes::from_static(ONE_TOKEN), who)
        .await
    {
        // Its header comes before it has computed anything.
        Ok(body) => {
            let answer = body.whole(MAX_ANSWER_BYTES).await;
            answer.is_ok_and(|answer| answer.windows(DONE.len()).any(|bytes| bytes == DONE))
        }
        Err(Error::UpstreamRefused(_)) => true,
        Err(_) => false,
    }
}

/// What is read of one slot in `/slots`.
#[derive(Debug, Deserialize)]
struct Slot {
    is_processing: bool,
}

/// What is read of llama-server's `/props`.
#[derive(Debug, Deserialize)]
struct Props {
    total_slots: usize,
    default_generation_settings: Settings,
    /// Older ones do not say.
    model_alias: Option<String>,
    /// Nor this.
    modalities: Option<Modalities>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    n_ctx: u64,
}

#[derive(Debug, Deserialize)]
struct Modalities {
    #[serde(default)]
    vision: bool,
}

impl Props {
    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body)
            .ok()
            .filter(|props: &Self| (1..=MAX_SLOTS).contains(&props.total_slots))
    }
}

/// Any bytes as `/props`, and as `/slots`.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    if let Some(props) = Props::parse(input) {
        assert!(props.total_slots <= MAX_SLOTS);
    }
    let _judged = serde_json::from_slice::<Vec<Slot>>(input);
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
