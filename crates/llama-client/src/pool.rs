//! Connections that wait for their next request, the last used first.
//!
//! llama-server closes an idle connection after 5 s, so none is used that waited longer than [`MAX_IDLE`]. It also
//! closes one after every stream, so streams neither take one from here nor leave one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::connection::UpstreamConnection;

/// How long a connection may wait.
const MAX_IDLE: Duration = Duration::from_secs(3);
/// How many may wait, for all upstreams.
const MAX_WAITING: usize = 1024;

/// What waits, by `HOST:PORT`. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<HashMap<Arc<str>, Vec<UpstreamConnection>>>>);

impl Pool {
    /// One that can be used now.
    pub(crate) fn take(&self, authority: &str) -> Option<UpstreamConnection> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = all.get_mut(authority)?.pop()?;
        let is_fresh = connection.idle_since.elapsed() <= MAX_IDLE;
        (is_fresh && connection.is_quiet()).then_some(connection)
    }

    /// Keeps one for the next request, and closes those that have waited too long.
    pub(crate) fn give(&self, authority: &Arc<str>, mut connection: UpstreamConnection) {
        connection.idle_since = std::time::Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| {
            waiting.retain(|connection| connection.idle_since.elapsed() <= MAX_IDLE);
            !waiting.is_empty()
        });
        if all.values().map(Vec::len).sum::<usize>() < MAX_WAITING {
            all.entry(Arc::clone(authority))
                .or_default()
                .push(connection);
        }
    }
}
