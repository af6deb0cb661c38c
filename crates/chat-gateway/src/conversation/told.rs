//! What other gateways tell, shown to whoever watches here.
//!
//! News say what changed and never how: whoever is told reads the store. When some were missed, everything that somebody
//! watches is compared with the store.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::bus::{BusEvent, News, NewsKind};
use crate::conversation::room::Room;
use crate::protocol::v2::Change;
use crate::state::Gateway;

impl Gateway {
    /// Takes what comes over the bus, for as long as the bus is kept.
    pub(crate) async fn keep_told(self: &Arc<Self>, mut events: mpsc::Receiver<BusEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                BusEvent::News(news) => self.hear(&news),
                BusEvent::Back { missed: true } => {
                    self.metrics.bus_up.set(1);
                    self.rooms.lists.miss();
                    // Beside what comes meanwhile: the store may be slow.
                    let gateway = Arc::clone(self);
                    self.shutdown.spawn(async move { gateway.catch_up().await });
                }
                BusEvent::Back { missed: false } => {
                    self.metrics.bus_up.set(1);
                    // Whoever began to watch meanwhile has no log yet.
                    let gateway = Arc::clone(self);
                    self.shutdown.spawn(async move {
                        for room in gateway.rooms.all() {
                            gateway.follow(&room).await;
                        }
                    });
                }
                BusEvent::Lost => {
                    self.metrics.bus_up.set(0);
                }
                BusEvent::Entry {
                    conversation,
                    entry,
                } => {
                    if let Some(room) = self.rooms.find(conversation) {
                        self.mirror(&room, &entry);
                    }
                }
                BusEvent::Call(call) => self.take_call(call),
            }
        }
    }

    /// Shows what another gateway changed.
    fn hear(self: &Arc<Self>, news: &News) {
        let Some(room) = self.rooms.find(news.conversation) else {
            if let Some(listed) = news.of_list() {
                self.rooms.lists.tell(&news.owner, listed);
            }
            return;
        };
        let revision = news.revision;
        if news.listed {
            room.set_listed(true);
        }
        if news.logged && matches!(news.what, NewsKind::Changed(_)) {
            // The log says it together with the answers that changed, and in their order.
            let gateway = Arc::clone(self);
            self.shutdown
                .spawn(async move { gateway.follow(&room).await });
            return;
        }
        match &news.what {
            NewsKind::Created => room.show_created(),
            NewsKind::Changed(kinds) => {
                room.change_as_told(|state| {
                    for kind in kinds {
                        state.hear(*kind, revision);
                    }
                });
                // It may be the end of an answer whose owner has died.
                self.look_up_open(&room);
            }
            NewsKind::Deleted => room.change_as_told(|state| state.delete(revision)),
            NewsKind::Restored => {
                room.change_as_told(|state| {
                    state.revive();
                    state.hear(Change::Messages, revision);
                });
                if news.listed {
                    room.show_created();
                }
            }
        }
    }

    /// Compares every open room with the store.
    async fn catch_up(self: &Arc<Self>) {
        for room in self.rooms.all() {
            self.follow(&room).await;
            self.compare(&room).await;
        }
    }

    /// Tells whoever watches this room what they have missed of the conversation.
    pub(super) async fn compare(&self, room: &Room) {
        match self.store.conversation(&room.owner, room.id).await {
            Ok(Some(kept)) => room.change_as_told(|state| {
                if kept.revision > state.revision {
                    state.revive();
                    state.hear(Change::Messages, kept.revision);
                }
            }),
            // A room of a conversation that was never kept has nobody to tell.
            Ok(None) if room.state().revision == 0 => {}
            Ok(None) => room.change_as_told(|state| {
                if !state.is_deleted() {
                    let revision = state.revision + 1;
                    state.delete(revision);
                }
            }),
            Err(error) => {
                tracing::warn!(%error, "a conversation was not compared with the store");
            }
        }
    }
}
