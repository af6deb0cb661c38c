//! Connections that wait for their next request, the last used first.
//!
//! llama-server says that it keeps a connection, and closes it after every stream all the same (build 11434); a POST
//! that meets the close is lost, because it is never sent twice. So none is used again before one of the same upstream
//! was seen to stay open. llama-server also closes an idle one after 5 s; one that waited longer than [`MAX_IDLE`] is
//! not used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connection::Connection;

/// How long a connection may wait.
const MAX_IDLE: Duration = Duration::from_secs(3);
/// How long one must have stayed open to show that its upstream keeps them. The close comes within a millisecond, on a
/// machine that has one to spare.
const SETTLED: Duration = Duration::from_millis(500);
/// How many may wait for one upstream.
const MAX_WAITING: usize = 1024;

/// How many upstreams are known; those behind a name come and go.
const MAX_UPSTREAMS: usize = 1024;

/// What waits, by `HOST:PORT`. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<HashMap<String, Waiting>>>);

/// What waits for one upstream.
#[derive(Debug, Default)]
struct Waiting {
    /// The last used last.
    connections: Vec<Connection>,
    /// Whether it was seen to keep them.
    keeps: bool,
}

impl Pool {
    /// One that can be used now.
    pub(crate) fn take(&self, authority: &str) -> Option<Connection> {
        let mut waiting = self.lock();
        let waiting = waiting.get_mut(authority).filter(|waiting| waiting.keeps)?;
        let connection = waiting.connections.pop()?;
        if connection.idle_since.elapsed() > MAX_IDLE {
            // All others have waited longer still.
            waiting.connections.clear();
        } else if connection.is_quiet() {
            return Some(connection);
        } else {
            *waiting = Waiting::default();
        }
        None
    }

    /// Keeps one for the next request.
    pub(crate) fn give(&self, authority: &str, mut connection: Connection) {
        connection.idle_since = std::time::Instant::now();
        let mut all = self.lock();
        if !all.contains_key(authority) {
            if all.len() == MAX_UPSTREAMS {
                all.clear();
            }
            all.insert(authority.to_owned(), Waiting::default());
        }
        let Some(waiting) = all.get_mut(authority) else {
            return;
        };
        waiting.learn();
        if waiting.connections.len() < MAX_WAITING {
            waiting.connections.push(connection);
        }
    }

    /// Closes those that have waited too long.
    pub(crate) fn sweep(&self) {
        self.lock().retain(|_, waiting| {
            waiting
                .connections
                .retain(|connection| connection.idle_since.elapsed() <= MAX_IDLE);
            waiting.keeps || !waiting.connections.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Looks at the one that has waited longest, until it is known that they are kept.
    fn learn(&mut self) {
        let oldest = self
            .connections
            .first()
            .filter(|oldest| oldest.idle_since.elapsed() >= SETTLED);
        match oldest.map(Connection::is_quiet) {
            Some(true) => self.keeps = true,
            Some(false) if !self.keeps => self.connections.clear(),
            Some(false) | None => {}
        }
    }
}
