//! What is asked of the upstreams for one request.

use std::num::NonZeroUsize;
use std::sync::Arc;

use admission::Asking;
use admission::placement::Prefix;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use common::server::ClientConnection;

use crate::api::Api;
use crate::auth::Caller;
use crate::fleet::RequestDigest;

/// Says what of a request was not met, although the request is no error.
const NOTICE: &str = "x-corral-notice";

/// A request that was checked.
pub(crate) struct Asked {
    pub(crate) api: Api,
    /// What each answer's upstream is sent. There is one for each answer.
    pub(crate) bodies: Vec<Bytes>,
    pub(crate) caller: Arc<Caller>,
    /// For whom it asks; empty when it does not say.
    pub(crate) user: Box<str>,
    /// An upper estimate of the prompt's length, in tokens.
    pub(crate) n_prompt_tokens: u32,
    /// The limit of each completion, in tokens.
    pub(crate) max_tokens: u64,
    /// Whether the caller wants the usage event of a stream.
    pub(crate) include_usage: bool,
    /// The prompt's beginning; empty where there is no choice of an upstream.
    pub(crate) prefix: Prefix,
    /// What the request is known by when an engine dies under it.
    pub(crate) digest: RequestDigest,
    /// Whether the caller wants to see its place in the queue.
    pub(crate) queue_events: bool,
    /// The caller's connection.
    pub(crate) connection: Option<ClientConnection>,
    /// What of the request was left out.
    pub(crate) notice: Option<HeaderValue>,
}

impl Asked {
    /// What the queue has to know of one answer.
    pub(crate) fn asking(&self) -> Asking<'_> {
        let limits = &self.caller.limits;
        let of_user = limits
            .requests_at_once_per_user
            .filter(|_| !self.user.is_empty());
        Asking {
            caller: &self.caller.name,
            weight: self.caller.weight,
            max_in_flight: limits
                .requests_at_once
                .map_or(usize::MAX, NonZeroUsize::get),
            user: &self.user,
            max_in_flight_of_user: of_user.map_or(usize::MAX, NonZeroUsize::get),
            n_prompt_tokens: self.n_prompt_tokens.into(),
            max_completion_tokens: self.max_tokens,
            n_bytes: self.bodies.first().map_or(0, Bytes::len),
            prefix: &self.prefix,
        }
    }

    /// Names in a header what of the request was left out.
    pub(crate) fn write_notice(&self, head: &mut HeaderMap) {
        if let Some(notice) = &self.notice {
            head.insert(NOTICE, notice.clone());
        }
    }
}
