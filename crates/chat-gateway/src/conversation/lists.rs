//! Who is shown a user's list of conversations: what changed in it, and whom to wake then.
//!
//! A watcher of the list holds the latest news of each conversation, not all of them. However slow its reader is, it costs
//! the same, and the next look tells what came meanwhile at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::bus::{Bus, News};
use crate::protocol::v2::{ListChange, ListNews};

/// Conversations whose news one watcher holds. With more it must read the list anew.
const MAX_NEWS: usize = 4096;

/// The watchers of every user's list at this gateway, and the way to the other gateways.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    watched: Mutex<HashMap<Arc<str>, Vec<Arc<Unread>>>>,
    bus: Bus,
}

impl Lists {
    pub(crate) fn new(bus: Bus) -> Self {
        Self {
            watched: Mutex::default(),
            bus,
        }
    }

    /// Somebody is told of this user's list from now on.
    pub(crate) fn watch(self: &Arc<Self>, owner: &Arc<str>) -> ListWatcher {
        let unread = Arc::new(Unread::default());
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let watchers = watched.entry(Arc::clone(owner)).or_default();
        watchers.push(Arc::clone(&unread));
        ListWatcher {
            lists: Arc::clone(self),
            owner: Arc::clone(owner),
            unread,
        }
    }

    /// Tells everybody who watches this user's list here.
    pub(crate) fn tell(&self, owner: &str, news: ListNews) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for unread in watched.get(owner).into_iter().flatten() {
            unread.add(news);
        }
    }

    /// Tells the other gateways of a conversation. Never waits.
    pub(crate) fn tell_others(&self, news: News) {
        self.bus.tell(news);
    }

    /// News may have been missed: whoever watches a list must read it anew.
    pub(crate) fn miss(&self) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for unread in watched.values().flatten() {
            unread.miss();
        }
    }
}

/// What one watcher was not told yet.
#[derive(Debug, Default)]
struct Unread {
    news: Mutex<UnreadNews>,
    came: Notify,
}

#[derive(Debug, Default)]
struct UnreadNews {
    latest: BTreeMap<Uuid, ListNews>,
    too_many: bool,
}

impl Unread {
    fn add(&self, news: ListNews) {
        let mut unread = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let before = unread.latest.get(&news.conversation).copied();
        if before.is_none() && unread.latest.len() == MAX_NEWS {
            unread.too_many = true;
        } else {
            let what = before.map_or(news.what, |before| after(before.what, news.what));
            let news = ListNews { what, ..news };
            unread.latest.insert(news.conversation, news);
        }
        drop(unread);
        self.came.notify_one();
    }

    fn miss(&self) {
        let mut unread = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        unread.too_many = true;
        drop(unread);
        self.came.notify_one();
    }
}

/// What two changes are together to somebody who was told of neither.
const fn after(before: ListChange, now: ListChange) -> ListChange {
    match (before, now) {
        (ListChange::Created, ListChange::Changed) => ListChange::Created,
        _ => now,
    }
}

/// More changed than is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuchNews;

/// Somebody who is told of a user's list, until it is dropped.
#[derive(Debug)]
pub(crate) struct ListWatcher {
    lists: Arc<Lists>,
    owner: Arc<str>,
    unread: Arc<Unread>,
}

impl ListWatcher {
    /// Waits until there is something to tell. Cancel-safe.
    pub(crate) async fn came(&self) {
        self.unread.came.notified().await;
    }

    /// The news of at most `most` conversations; with more, [`ListWatcher::came`] returns again at once.
    ///
    /// # Errors
    ///
    /// When too many conversations changed to tell of each.
    pub(crate) fn take(&self, most: usize) -> Result<Vec<ListNews>, TooMuchNews> {
        let news = &self.unread.news;
        let mut news = news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.too_many {
            return Err(TooMuchNews);
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, first)) = news.latest.pop_first()
        {
            taken.push(first);
        }
        if !news.latest.is_empty() {
            self.unread.came.notify_one();
        }
        Ok(taken)
    }
}

impl Drop for ListWatcher {
    fn drop(&mut self) {
        let mut watched = self
            .lists
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(watchers) = watched.get_mut(&self.owner) {
            watchers.retain(|other| !Arc::ptr_eq(other, &self.unread));
            if watchers.is_empty() {
                watched.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(conversation: Uuid, revision: u64, what: ListChange) -> ListNews {
        ListNews {
            conversation,
            revision,
            what,
        }
    }

    #[tokio::test]
    async fn a_slow_reader_holds_the_latest_news_of_each_conversation() {
        let lists = Arc::new(Lists::default());
        let owner = Arc::from("ann");
        let watcher = lists.watch(&owner);
        let [new, old, gone] = [1, 2, 3].map(Uuid::from_u128);
        lists.tell("ann", news(new, 1, ListChange::Created));
        for revision in 2..10_000 {
            lists.tell("ann", news(new, revision, ListChange::Changed));
            lists.tell("ann", news(old, revision, ListChange::Changed));
        }
        lists.tell("ann", news(gone, 1, ListChange::Created));
        lists.tell("ann", news(gone, 2, ListChange::Deleted));
        lists.tell("eve", news(Uuid::from_u128(4), 1, ListChange::Created));
        watcher.came().await;
        let told = watcher.take(2);
        let first = [
            news(new, 9_999, ListChange::Created),
            news(old, 9_999, ListChange::Changed),
        ];
        assert_eq!(told, Ok(first.to_vec()));
        watcher.came().await;
        let told = watcher.take(2);
        assert_eq!(told, Ok(vec![news(gone, 2, ListChange::Deleted)]));
    }

    #[test]
    fn news_of_too_many_conversations_are_not_held() {
        let lists = Arc::new(Lists::default());
        let watcher = lists.watch(&Arc::from("ann"));
        for id in 0..=MAX_NEWS as u128 {
            let id = Uuid::from_u128(id);
            lists.tell("ann", news(id, 1, ListChange::Created));
        }
        assert_eq!(watcher.take(1), Err(TooMuchNews));
    }

    #[test]
    fn whoever_left_leaves_nothing() {
        let lists = Arc::new(Lists::default());
        let owner = Arc::from("ann");
        let watchers = [lists.watch(&owner), lists.watch(&owner)];
        drop(watchers);
        assert!(lists.watched.lock().unwrap().is_empty());
    }
}
