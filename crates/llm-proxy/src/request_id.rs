//! The id that a request has in the answer's header, in the log, in the audit and upstream.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use uuid::Uuid;

/// The request's id: in the answer's header, in the log, in the audit and upstream.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<(String, OnceLock<String>)>);

impl RequestId {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Uuid::now_v7().to_string(), OnceLock::new())))
    }

    /// Takes over the id that a caller gave, so that its log and ours speak of the same request. Only for a caller whose
    /// key was good, and only a UUID: a log must not hold what strangers write.
    pub(crate) fn adopt(&self, headers: &HeaderMap) {
        let given = headers
            .get("x-request-id")
            .and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
        if let Some(given) = given {
            self.0.1.get_or_init(|| given.to_string());
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.1.get().unwrap_or(&self.0.0)
    }
}
