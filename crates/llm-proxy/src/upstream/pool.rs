//! Connections that wait for their next request, the last used first.
//!
//! llama-server closes an idle one after 5 s. One that waited longer than [`MAX_IDLE`] is not used for a POST, because
//! a POST is never sent twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connection::Connection;

/// How long a connection may wait.
const MAX_IDLE: Duration = Duration::from_secs(3);
/// How many may wait for one upstream.
const MAX_WAITING: usize = 1024;

/// What waits, by `HOST:PORT`. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<HashMap<String, Vec<Connection>>>>);

impl Pool {
    /// One that can be used now.
    pub(super) fn take(&self, authority: &str) -> Option<Connection> {
        let mut waiting = self.lock();
        let waiting = waiting.get_mut(authority)?;
        while let Some(connection) = waiting.pop() {
            if connection.idle_since.elapsed() > MAX_IDLE {
                // All others have waited longer still.
                waiting.clear();
            } else if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps one for the next request.
    pub(super) fn give(&self, authority: &str, mut connection: Connection) {
        connection.idle_since = std::time::Instant::now();
        let mut all = self.lock();
        match all.get_mut(authority) {
            Some(waiting) if waiting.len() >= MAX_WAITING => {}
            Some(waiting) => waiting.push(connection),
            None => drop(all.insert(authority.to_owned(), vec![connection])),
        }
    }

    /// Closes those that have waited too long.
    pub(super) fn sweep(&self) {
        self.lock().retain(|_, waiting| {
            waiting.retain(|connection| connection.idle_since.elapsed() <= MAX_IDLE);
            !waiting.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
