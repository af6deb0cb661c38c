//! What others ask of the fleet: where to send, what to tell callers and operators. Nothing here changes anything.

use std::sync::Arc;

use admission::placement::UpstreamId;
use llama_client::{TemplateFacts, Upstream};

use super::Fleet;
use super::member::MemberStatus;
use crate::error::Error;
use crate::observe::status::UpstreamStatus;

impl Fleet {
    /// Where a member is.
    pub(crate) fn upstream(&self, id: UpstreamId) -> Option<Upstream> {
        Some(self.member(id)?.upstream.clone())
    }

    /// An upstream that answers, for what takes no slot: one that is drained only if there is no other.
    pub(crate) fn any(&self) -> Option<(UpstreamId, Upstream)> {
        let roll = self.roll();
        roll.members
            .values()
            .filter(|member| member.is_up())
            .min_by_key(|member| roll.is_drained(member))
            .map(|member| (member.id, member.upstream.clone()))
    }

    /// Whether there is a choice.
    pub(crate) fn is_several(&self) -> bool {
        self.roll().members.len() > 1
    }

    /// The context of one slot, in tokens: the smallest of all upstreams that answer.
    pub(crate) fn n_ctx(&self) -> Option<u64> {
        self.statuses().filter_map(MemberStatus::n_ctx).min()
    }

    /// Whether every upstream that answers reads text only.
    pub(crate) fn is_blind(&self) -> bool {
        let mut up = self.statuses().filter(|status| status.is_up()).peekable();
        up.peek().is_some() && !up.any(MemberStatus::sees_images)
    }

    /// What the chat templates of all upstreams that answer can show.
    pub(crate) fn template(&self) -> TemplateFacts {
        self.statuses()
            .filter_map(MemberStatus::template)
            .fold(TemplateFacts::default(), TemplateFacts::and)
    }

    /// Every member, for an operator.
    pub(crate) fn status(&self) -> Vec<UpstreamStatus> {
        let roll = self.roll();
        let members: Vec<_> = roll
            .members
            .values()
            .map(|member| (Arc::clone(member), roll.is_drained(member)))
            .collect();
        drop(roll);
        members
            .iter()
            .map(|(member, is_drained)| {
                let status = member.status();
                let state = match is_drained {
                    true => format!("drained, gets no new requests; {}", status.sentence()),
                    false => status.sentence().to_owned(),
                };
                UpstreamStatus {
                    upstream: member.upstream.authority().to_owned(),
                    up: status.is_up() && !is_drained,
                    state,
                    slots: status.slots(),
                    busy: self.admission.ours_at(member.id).in_flight,
                    n_ctx: status.n_ctx(),
                    ejected_seconds: member.rest().as_secs_f64().ceil() as u64,
                }
            })
            .collect()
    }

    /// How many requests are in quarantine.
    pub(crate) fn n_quarantined(&self) -> usize {
        self.poison.n_quarantined()
    }

    /// Whether every upstream has been probed, or one answers.
    pub(crate) fn was_probed(&self) -> bool {
        let statuses: Vec<MemberStatus> = self.statuses().collect();
        statuses.iter().any(|status| status.is_up())
            || (!statuses.is_empty() && !statuses.contains(&MemberStatus::Unknown))
    }

    /// Why a request sent now would not be served, for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let roll = self.roll();
        // While an upstream is drained, requests wait for its successor.
        if roll.members.values().any(|member| member.is_up()) || !roll.drained.is_empty() {
            return Ok(());
        }
        if roll.members.is_empty() {
            return Err("PROXY_UPSTREAMS: no name was resolved to an address yet".to_owned());
        }
        let sentences: Vec<String> = roll
            .members
            .values()
            .map(|member| {
                let upstream = member.upstream.authority();
                format!("{upstream}: {}", member.status().sentence())
            })
            .collect();
        Err(sentences.join("; "))
    }

    /// Why a request sent now would not be served, for its caller.
    pub(crate) fn error(&self) -> Error {
        let statuses: Vec<MemberStatus> = self.statuses().collect();
        if statuses.contains(&MemberStatus::Loading) {
            Error::ModelLoading
        } else if statuses.contains(&MemberStatus::WrongKey) {
            Error::UpstreamKey
        } else {
            Error::UpstreamUnavailable
        }
    }

    fn statuses(&self) -> impl Iterator<Item = MemberStatus> {
        let roll = self.roll();
        let statuses: Vec<MemberStatus> = roll
            .members
            .values()
            .map(|member| member.status())
            .collect();
        statuses.into_iter()
    }
}
