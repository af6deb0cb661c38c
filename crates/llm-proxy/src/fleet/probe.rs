//! One probe of an upstream: what it says of itself, and whether its engine still works.
//!
//! `/props` is answered beside the engine, so it also answers when the engine is stuck. `/slots` goes through the
//! engine's queue without taking a slot; a completion of one token takes one and computes.

use std::time::Duration;

use bytes::Bytes;
use llama_client::{Client, Identity, Props, PropsError, SlotState, Upstream};

use super::Fleet;
use super::member::{Doubt, Member, MemberStatus};
use crate::api::Api;

/// How long `/props` may take; a busy machine is slow, not down.
pub(super) const PROPS_DEADLINE: Duration = Duration::from_secs(3);
/// The smallest question.
const ONE_TOKEN: &[u8] =
    br#"{"messages":[{"role":"user","content":"1"}],"max_tokens":1,"stream":true}"#;
/// The largest answer to it that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What ends a whole answer.
const DONE: &[u8] = b"data: [DONE]";

/// Probes a member; when there is a doubt, its engine too. `None` when `/props` took too long, which says little on a
/// busy machine. Cancel-safe.
pub(super) async fn probe(
    fleet: &Fleet,
    member: &Member,
    doubt: Option<Doubt>,
) -> Option<MemberStatus> {
    let status = tokio::time::timeout(PROPS_DEADLINE, props(fleet, member))
        .await
        .ok()?;
    match doubt.filter(|_| status.is_up()) {
        Some(doubt) if !works(fleet, &member.upstream, doubt).await => Some(MemberStatus::Stuck),
        _ => Some(status),
    }
}

/// Whether the engine works, in the way that settles `doubt`. Cancel-safe.
pub(super) async fn works(fleet: &Fleet, upstream: &Upstream, doubt: Doubt) -> bool {
    let works = tokio::time::timeout(fleet.probe_engine, engine(&fleet.client, upstream, doubt));
    works.await.unwrap_or(false)
}

/// Every slot; `None` where nothing says so in time. Cancel-safe.
pub(super) async fn slots(client: &Client, upstream: &Upstream) -> Option<Vec<SlotState>> {
    tokio::time::timeout(PROPS_DEADLINE, client.slots(upstream))
        .await
        .ok()?
        .ok()?
}

async fn props(fleet: &Fleet, member: &Member) -> MemberStatus {
    match fleet.client.props(&member.upstream).await {
        Ok(props) => up(fleet, member, &props).await,
        Err(PropsError::NotLlama) => MemberStatus::NotLlama,
        Err(PropsError::Upstream(error)) => {
            tracing::debug!(upstream = member.upstream.authority(), %error, "/props");
            match error {
                llama_client::Error::Loading => MemberStatus::Loading,
                llama_client::Error::WrongKey => MemberStatus::WrongKey,
                llama_client::Error::ConnectionRefused => MemberStatus::Gone,
                llama_client::Error::Unreachable | llama_client::Error::Disconnected => {
                    MemberStatus::Unreachable
                }
                _ => MemberStatus::Silent,
            }
        }
    }
}

/// What the upstream is. Its template is asked for once, before it gets requests.
async fn up(fleet: &Fleet, member: &Member, props: &Props) -> MemberStatus {
    let template = match member.status() {
        MemberStatus::Up { template, .. } => template,
        _ => {
            let asked = fleet.client.template(&member.upstream, props).await;
            // An upstream that broke off is probed again; until then everything is taken for possible.
            asked.unwrap_or_default()
        }
    };
    MemberStatus::Up {
        slots: props.total_slots,
        n_ctx: props.n_ctx(),
        sees_images: props.sees_images(),
        is_named_so: props
            .model_alias
            .as_deref()
            .is_none_or(|alias| alias == &*fleet.model),
        template,
    }
}

async fn engine(client: &Client, upstream: &Upstream, doubt: Doubt) -> bool {
    if doubt == Doubt::Silent {
        match client.slots(upstream).await {
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
    let question = Bytes::from_static(ONE_TOKEN);
    match client.open(upstream, Api::Chat.ask(), question, who).await {
        // Its header comes before it has computed anything.
        Ok(body) => {
            let answer = body.whole(MAX_ANSWER_BYTES).await;
            answer.is_ok_and(|answer| answer.windows(DONE.len()).any(|bytes| bytes == DONE))
        }
        Err(llama_client::Error::Refused(_)) => true,
        Err(_) => false,
    }
}
