//! The news that this gateway has for the others: queued at once, and sent when the bus takes them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use redis::pipe;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{FIELD, NEWS, RETRY_PAUSE, Valkey};
use crate::bus::{BusError, News};
use crate::instance::InstanceId;

/// The most news that are queued. Beyond that they are dropped, and the others are told that they missed some.
const MAX_UNTOLD: usize = 4096;
/// News in one entry.
const MAX_TOLD_AT_ONCE: usize = 64;
/// About the most entries in the stream of news. A gateway that missed more reads the store.
const MAX_NEWS: usize = 10_000;

/// An entry of the stream of news.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ToldNews {
    pub(super) from: InstanceId,
    /// Whether there were more than it could hold, so that everybody must read the store.
    pub(super) missed: bool,
    pub(super) news: Vec<News>,
}

/// What the bus has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    held: Mutex<HeldNews>,
    came: Notify,
    /// Notified when nothing is left to tell.
    told: Notify,
}

#[derive(Debug, Default)]
struct HeldNews {
    news: VecDeque<News>,
    missed: bool,
    /// Whether some were taken that the bus does not have yet.
    is_telling: bool,
}

impl Untold {
    pub(super) fn add(&self, news: News) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.news.len() == MAX_UNTOLD {
            held.news.clear();
            held.missed = true;
        }
        held.news.push_back(news);
        drop(held);
        self.came.notify_one();
    }

    /// Waits for news and takes the oldest, and whether others were lost.
    async fn take(&self) -> (Vec<News>, bool) {
        loop {
            if let Some(taken) = self.take_now() {
                return taken;
            }
            self.told.notify_waiters();
            self.came.notified().await;
        }
    }

    fn take_now(&self) -> Option<(Vec<News>, bool)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let most = held.news.len().min(MAX_TOLD_AT_ONCE);
        let news: Vec<News> = held.news.drain(..most).collect();
        let missed = std::mem::take(&mut held.missed);
        held.is_telling = missed || !news.is_empty();
        held.is_telling.then_some((news, missed))
    }

    /// Waits until there is nothing to tell. Cancel-safe.
    pub(super) async fn told(&self) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // Enabled before the check, or a notification between the check and the wait would be missed.
            told.as_mut().enable();
            if self.is_empty() {
                return;
            }
            told.await;
        }
    }

    fn is_empty(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.news.is_empty() && !held.missed && !held.is_telling
    }
}

impl Valkey {
    /// Sends the queued news in their order. Runs until dropped.
    pub(super) async fn keep_telling(&self) {
        loop {
            let (news, missed) = self.shared.untold.take().await;
            let told = ToldNews {
                from: self.instance(),
                missed,
                news,
            };
            // When only the reply was lost, the entry is sent twice, which is harmless.
            while let Err(error) = self.tell_now(&told).await {
                tracing::debug!(%error, "news were not told yet");
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn tell_now(&self, told: &ToldNews) -> Result<(), BusError> {
        let entry = serde_json::to_string(told)?;
        let mut telling = pipe();
        telling
            .cmd("XADD")
            .arg(NEWS)
            .arg("MAXLEN")
            .arg("~")
            .arg(MAX_NEWS)
            .arg("*")
            .arg(FIELD)
            .arg(entry)
            .ignore();
        self.run::<()>(&telling).await
    }
}
