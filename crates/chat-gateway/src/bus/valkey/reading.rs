//! The one reader of a gateway: news, its inbox, and the logs of rooms that are followed, by one `XREAD BLOCK`.
//!
//! It owns its connection, and reconnects until it is dropped. It waits for the receiver of its events only while their
//! bounded channel is full.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamKey, StreamRangeReply, StreamReadReply};
use redis::{AsyncConnectionConfig, cmd};
use tokio::time::sleep;
use uuid::Uuid;

use super::telling::ToldNews;
use super::{
    BEGINNING, BusLetter, COMMAND_PATIENCE, EPOCH, FIELD, LOGS, NEWS, RETRY_PAUSE, Valkey, inbox,
    log,
};
use crate::bus::{BusCall, BusError, BusEvent};

/// How long one `XREAD` waits.
const BLOCK: Duration = Duration::from_secs(2);
/// Entries of one stream that one `XREAD` returns.
const MAX_READ: usize = 16;

/// How far the streams that every gateway reads were read.
#[derive(Debug)]
struct ReadMarks {
    /// `None` until it was connected once.
    epoch: Option<String>,
    news: String,
    inbox: String,
    /// Whether news may have been missed and nobody was told so yet.
    missed: bool,
}

impl Valkey {
    /// Reads, and sends what it read as events. Runs until dropped.
    pub(super) async fn keep_reading(&self) {
        let mut marks = ReadMarks {
            epoch: None,
            news: BEGINNING.to_owned(),
            inbox: BEGINNING.to_owned(),
            missed: true,
        };
        let mut is_first = true;
        loop {
            let lost = self.read(&mut marks).await;
            let is_up = self.shared.link.borrow().is_up;
            // Say it once for each loss, and once when the bus cannot be reached at the start.
            if is_up || is_first {
                tracing::warn!(error = %lost, "the bus is lost, retrying");
                self.shared.link.send_modify(|link| link.is_up = false);
                self.send(BusEvent::Lost).await;
            }
            is_first = false;
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Connects and reads until the connection is lost.
    async fn read(&self, marks: &mut ReadMarks) -> BusError {
        match self.read_on(marks).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn read_on(&self, marks: &mut ReadMarks) -> Result<std::convert::Infallible, BusError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_PATIENCE))
            .set_response_timeout(Some(BLOCK + COMMAND_PATIENCE));
        let client = &self.shared.client;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        self.find_marks(&mut connection, marks).await?;
        // From here on this gateway reads its inbox, so others may call it.
        self.beat().query_async::<()>(&mut connection).await?;
        self.shared.link.send_modify(|link| link.is_up = true);
        let missed = std::mem::take(&mut marks.missed);
        tracing::info!(missed, "the bus is connected");
        self.send(BusEvent::Back { missed }).await;
        loop {
            let reply = self.next(&mut connection, marks).await?;
            for stream in reply.into_iter().flat_map(|reply| reply.keys) {
                self.take(stream, marks).await;
            }
        }
    }

    /// Finds out where to read on, and whether news may have been missed.
    async fn find_marks(
        &self,
        connection: &mut MultiplexedConnection,
        marks: &mut ReadMarks,
    ) -> Result<(), BusError> {
        let new = Uuid::now_v7().to_string();
        let mut setting = cmd("SET");
        setting.arg(EPOCH).arg(new).arg("NX");
        setting.query_async::<()>(connection).await?;
        let epoch: String = cmd("GET").arg(EPOCH).query_async(connection).await?;
        if marks.epoch.is_none() {
            let mut looking = cmd("XREVRANGE");
            looking.arg(NEWS).arg("+").arg("-").arg("COUNT").arg(1);
            let last: StreamRangeReply = looking.query_async(connection).await?;
            let last = last.ids.into_iter().next();
            marks.news = last.map_or_else(|| BEGINNING.to_owned(), |entry| entry.id);
        } else if marks.epoch.as_ref() != Some(&epoch) {
            // Valkey has lost everything, so its streams begin anew.
            BEGINNING.clone_into(&mut marks.news);
            BEGINNING.clone_into(&mut marks.inbox);
            self.lose(marks);
        } else if marks.news != BEGINNING {
            let mut looking = cmd("XRANGE");
            looking.arg(NEWS).arg(&marks.news).arg(&marks.news);
            let last: StreamRangeReply = looking.query_async(connection).await?;
            if last.ids.is_empty() {
                // What was read last is gone, and with it perhaps what came after it.
                self.lose(marks);
            }
        }
        marks.epoch = Some(epoch);
        Ok(())
    }

    /// The bus has lost something that it held. Those who write logs begin them anew, and they are read from the beginning.
    fn lose(&self, marks: &mut ReadMarks) {
        marks.missed = true;
        for log in self.followed().values_mut() {
            BEGINNING.clone_into(&mut log.read);
        }
        self.shared.link.send_modify(|link| link.losses += 1);
    }

    /// What comes next in any of the streams. `None` when nothing came for [`BLOCK`].
    async fn next(
        &self,
        connection: &mut MultiplexedConnection,
        marks: &ReadMarks,
    ) -> Result<Option<StreamReadReply>, BusError> {
        let mut keys = vec![NEWS.to_owned(), inbox(self.instance())];
        let mut ids = vec![marks.news.clone(), marks.inbox.clone()];
        for (conversation, followed) in self.followed().iter() {
            keys.push(log(*conversation));
            ids.push(followed.read.clone());
        }
        let mut reading = cmd("XREAD");
        reading.arg("COUNT").arg(MAX_READ);
        reading.arg("BLOCK").arg(super::millis(BLOCK));
        reading.arg("STREAMS").arg(keys).arg(ids);
        Ok(reading.query_async(connection).await?)
    }

    /// Sends what was read of one stream.
    async fn take(&self, stream: StreamKey, marks: &mut ReadMarks) {
        if stream.key == NEWS {
            for entry in stream.ids {
                self.take_news(&entry).await;
                marks.news = entry.id;
            }
        } else if let Some(conversation) = stream.key.strip_prefix(LOGS) {
            let Ok(conversation) = conversation.parse::<Uuid>() else {
                return;
            };
            for entry in stream.ids {
                if let Some(entry) = entry.get(FIELD) {
                    self.send(BusEvent::Entry {
                        conversation,
                        entry,
                    })
                    .await;
                }
                if let Some(followed) = self.followed().get_mut(&conversation) {
                    followed.read = entry.id;
                }
            }
        } else {
            for entry in stream.ids {
                self.take_letter(&entry).await;
                marks.inbox = entry.id;
            }
        }
    }

    async fn take_news(&self, entry: &StreamId) {
        let Some(told) = parse::<ToldNews>(entry) else {
            return;
        };
        if told.from == self.instance() {
            return;
        }
        for news in told.news {
            self.send(BusEvent::News(news)).await;
        }
        if told.missed {
            self.send(BusEvent::Back { missed: true }).await;
        }
    }

    async fn take_letter(&self, entry: &StreamId) {
        match parse::<BusLetter>(entry) {
            Some(BusLetter::Call { from, id, request }) => {
                self.send(BusEvent::Call(BusCall { from, id, request }))
                    .await;
            }
            Some(BusLetter::Reply { id, reply }) => {
                let waiting = self.calls().remove(&id);
                if let Some(waiting) = waiting {
                    // Whoever asked may have left.
                    waiting.send(reply).ok();
                }
            }
            Some(BusLetter::Nudge) | None => {}
        }
    }

    async fn send(&self, event: BusEvent) {
        // The receiver is gone only when the gateway ends.
        self.shared.events.send(event).await.ok();
    }
}

/// Parses an entry. `None` when no gateway of this version wrote it.
fn parse<T: serde::de::DeserializeOwned>(entry: &StreamId) -> Option<T> {
    let text: String = entry.get(FIELD)?;
    match serde_json::from_str(&text) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            // Not the error's words: they may hold what was written.
            tracing::warn!(line = error.line(), "an entry of the bus cannot be read");
            None
        }
    }
}
