//! A request that was checked, and who sent it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use admission::Asking;
use admission::placement::Prefix;
use axum::http::{HeaderMap, HeaderValue};
use common::server::Connection;

use crate::api::Api;
use crate::auth::Caller;
use crate::request::Checked;

/// Says what of a request was not met, although the request is no error.
const NOTICE: &str = "x-corral-notice";

/// A request that was checked, and who sent it.
pub(crate) struct Asked {
    pub(crate) api: Api,
    pub(crate) caller: Arc<Caller>,
    pub(crate) request: Checked,
    /// The prompt's beginning; empty where there is no choice of an upstream.
    pub(crate) prefix: Prefix,
    /// Whether the caller wants to see its place in the queue.
    pub(crate) queue_events: bool,
    pub(crate) connection: Option<Connection>,
}

impl Asked {
    /// What the queue has to know of one answer.
    pub(crate) fn asking(&self) -> Asking<'_> {
        let at_once = self.caller.limits.requests_at_once;
        Asking {
            caller: &self.caller.name,
            weight: self.caller.weight,
            max_in_flight: at_once.map_or(usize::MAX, NonZeroUsize::get),
            n_prompt_tokens: self.request.n_prompt_tokens().into(),
            max_completion_tokens: self.request.max_tokens,
            n_bytes: self.request.n_bytes(),
            prefix: &self.prefix,
        }
    }

    /// Names in a header what of the request was left out.
    pub(crate) fn write_notice(&self, head: &mut HeaderMap) {
        if let Some(notice) = self.request.notice()
            && let Ok(notice) = HeaderValue::try_from(notice)
        {
            head.insert(NOTICE, notice);
        }
    }
}
