//! The rooms that are open: one for each conversation that has a live answer or a watcher.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bus::Bus;
use crate::conversation::lists::Lists;
use crate::conversation::room::Room;

/// How often rooms that nobody needs are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The open rooms, and who is told of the lists of all.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    open: Mutex<HashMap<Uuid, Arc<Room>>>,
    pub(crate) lists: Arc<Lists>,
}

impl Rooms {
    pub(crate) fn new(bus: Bus) -> Self {
        Self {
            open: Mutex::default(),
            lists: Arc::new(Lists::new(bus)),
        }
    }

    /// The room of a conversation that is known to be `owner`'s.
    pub(crate) fn enter(&self, id: Uuid, owner: &Arc<str>, revision: u64) -> Arc<Room> {
        let mut rooms = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(id).or_insert_with(|| {
            let lists = Arc::clone(&self.lists);
            Arc::new(Room::new(id, Arc::clone(owner), revision, lists))
        });
        Arc::clone(room)
    }

    /// The room of a conversation, if it is open.
    pub(crate) fn find(&self, id: Uuid) -> Option<Arc<Room>> {
        let rooms = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&id).cloned()
    }

    /// The room of this owner in which this gateway writes this answer, without a look into the store.
    pub(crate) fn with_own(&self, owner: &str, answer: Uuid) -> Option<Arc<Room>> {
        let mut rooms = self.all().into_iter();
        rooms.find(|room| &*room.owner == owner && room.state().own().any(|live| live.id == answer))
    }

    /// All rooms that are open.
    pub(crate) fn all(&self) -> Vec<Arc<Room>> {
        let rooms = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.values().cloned().collect()
    }

    /// Closes rooms that nobody needs, until the drain begins. Cancel-safe.
    pub(crate) async fn keep_tidy(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
            let now = Instant::now();
            let mut rooms = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            // Who holds an Arc may be about to use the room; entering again must give the same one.
            rooms.retain(|_, room| Arc::strong_count(room) > 1 || !room.sweep(now));
            for room in rooms.values() {
                room.sweep(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
