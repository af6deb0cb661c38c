//! One look at an upstream: what it says of itself, and whether its engine still works.
//!
//! `/props` is answered beside the engine, so it answers also when the engine is stuck. `/slots` goes through the
//! engine's queue without taking a slot; a completion of one token takes one and computes.

use std::time::Duration;

use bytes::Bytes;

use llama_client::{Client, Identity, PropsError, Upstream};

use super::{Doubt, Fleet, Status};
use crate::api::Api;

/// How long `/props` may take; a busy machine is slow, not down.
const PROPS_DEADLINE: Duration = Duration::from_secs(3);
/// The smallest question.
const ONE_TOKEN: &[u8] =
    br#"{"messages":[{"role":"user","content":"1"}],"max_tokens":1,"stream":true}"#;
/// The largest answer to it that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
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

/// How many slots compute, for anybody; `None` where nothing says so in time. Cancel-safe.
pub(super) async fn n_busy(client: &Client, upstream: &Upstream) -> Option<usize> {
    tokio::time::timeout(PROPS_DEADLINE, client.n_busy(upstream))
        .await
        .ok()?
        .ok()?
}

async fn props(client: &Client, upstream: &Upstream, model: &str) -> Status {
    match client.props(upstream).await {
        Ok(props) => Status::Up {
            slots: props.total_slots,
            n_ctx: props.n_ctx(),
            sees_images: props.sees_images(),
            is_named_so: props.model_alias.is_none_or(|alias| alias == model),
        },
        Err(PropsError::NotLlama) => Status::NotLlama,
        Err(PropsError::Upstream(llama_client::Error::Loading)) => Status::Loading,
        Err(PropsError::Upstream(llama_client::Error::WrongKey)) => Status::WrongKey,
        Err(PropsError::Upstream(error)) => {
            tracing::debug!(upstream = upstream.authority(), %error, "/props");
            Status::Unreachable
        }
    }
}

async fn engine(client: &Client, upstream: &Upstream, doubt: Doubt) -> bool {
    if doubt == Doubt::Silent {
        match client.n_busy(upstream).await {
            Ok(Some(_)) => return true,
            // `/slots` is switched off there.
            Ok(None) => {}
            Err(_) => return false,
        }
    }
    let who = Identity {
        request_id: "probe",
        traceparent: None,
    };
    match client
        .open(
            upstream,
            Api::Chat.ask(),
            Bytes::from_static(ONE_TOKEN),
            who,
        )
        .await
    {
        // Its header comes before it has computed anything.
        Ok(body) => {
            let answer = body.whole(MAX_ANSWER_BYTES).await;
            answer.is_ok_and(|answer| answer.windows(DONE.len()).any(|bytes| bytes == DONE))
        }
        Err(llama_client::Error::Refused(_)) => true,
        Err(_) => false,
    }
}
