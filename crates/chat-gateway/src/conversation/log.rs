//! The log of a room for other gateways: what is appended to the answers that this gateway owns, and how they end.
//!
//! Whoever writes it is a reader of the room like a watcher: it holds positions, takes what it lacks when the bus takes
//! entries, and nothing is queued for it. So the owner of an answer never waits for the bus, and a slow bus gets fewer and
//! larger entries. A whole entry says everything that has not ended, and drops what was logged before it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use crate::answer::written::RunKind;
use crate::bus::Valkey;
use crate::conversation::room::{LiveAnswer, OpenedLog, Room, RoomState, Stage};
use crate::instance::InstanceId;
use crate::protocol::record::{AnswerOptions, AnswerStatus, ContextUse};
use crate::protocol::v2::{Change, Done};
use crate::state::Gateway;
use crate::store::AnswerRun;

/// The least time between two entries of one room.
const ENTRY_INTERVAL: Duration = Duration::from_millis(20);
/// The pause before a bus that took no entry is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The text of one answer in one entry, in bytes; more becomes several entries.
const MAX_ENTRY_TEXT_BYTES: usize = 64 * 1024;
/// About what an entry takes beside its text, in bytes.
const ENTRY_BYTES: usize = 400;
/// The size after which a log begins anew with a whole entry, in bytes.
const MAX_LOG_BYTES: usize = 2 * 1024 * 1024;

/// What happened to the answers of a room.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RoomEntry {
    /// Who owns them.
    pub(crate) home: InstanceId,
    /// Whether every answer that has not ended is in it.
    pub(crate) whole: bool,
    pub(crate) answers: Vec<LoggedAnswer>,
    /// Answers that were taken back while they waited.
    pub(crate) dropped: Vec<Uuid>,
    /// What was kept meanwhile, with its revisions.
    pub(crate) changes: Vec<(Change, u64)>,
}

/// What happened to one answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoggedAnswer {
    pub(crate) id: Uuid,
    pub(crate) begun: AnswerRun,
    /// With its first entry, and with whole ones.
    pub(crate) beginning: Option<LoggedBeginning>,
    pub(crate) status: AnswerStatus,
    /// The position before `text`.
    pub(crate) from: u64,
    pub(crate) text: Vec<(RunKind, String)>,
    pub(crate) stage: Stage,
    pub(crate) context: Option<ContextUse>,
    /// Only behind all of its text.
    pub(crate) done: Option<Done>,
}

/// What stays as it is for one run of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoggedBeginning {
    pub(crate) question: Uuid,
    pub(crate) options: AnswerOptions,
    pub(crate) continues: bool,
    /// How much was kept of it before.
    pub(crate) began_at: u64,
}

/// Writes the log of this room until nothing runs or waits in it.
pub(crate) fn spawn(gateway: &Gateway, room: Arc<Room>, opened: OpenedLog) {
    let Some(valkey) = gateway.bus.shared() else {
        room.state().close_log();
        return;
    };
    let valkey = valkey.clone();
    let shutdown = gateway.shutdown.clone();
    gateway.shutdown.spawn(async move {
        tokio::select! {
            () = write(&valkey, &room, opened) => {}
            // The last entries of a bus that works are written long before that.
            () = async { shutdown.closing().await; sleep(2 * RETRY_PAUSE).await } => {}
        }
    });
}

async fn write(valkey: &Valkey, room: &Room, opened: OpenedLog) {
    let OpenedLog { bell, seen } = opened;
    let mut link = valkey.link();
    let mut writer = LogWriter::new(valkey.instance(), seen);
    let mut losses = link.borrow_and_update().losses;
    loop {
        let has_link = tokio::select! {
            () = bell.now.notified() => true,
            () = bell.soon.notified() => true,
            changed = link.changed() => changed.is_ok(),
        };
        if !has_link {
            return;
        }
        let now = link.borrow_and_update().losses;
        if now != losses {
            losses = now;
            writer.begin_anew();
        }
        let Some((entry, is_all)) = next(room, &mut writer) else {
            if room.state().has_log() {
                continue;
            }
            // News of the end may still wait.
            valkey.flush().await;
            if !room.state().has_log() {
                valkey.end_log(room.id).await.ok();
            }
            return;
        };
        let Ok(text) = serde_json::to_string(&entry) else {
            continue;
        };
        match valkey.append(room.id, &text, entry.whole).await {
            Ok(()) => sleep(ENTRY_INTERVAL).await,
            Err(error) => {
                tracing::debug!(%error, "an entry of a room's log was not taken");
                // Nobody knows whether it was. A whole entry is right in both cases.
                writer.begin_anew();
                if gives_up(room) {
                    return;
                }
                sleep(RETRY_PAUSE).await;
            }
        }
        if !is_all || writer.is_new {
            bell.now.notify_one();
        }
    }
}

/// What is to be logged. When there is nothing, and nothing runs or waits, the log is closed.
fn next(room: &Room, writer: &mut LogWriter) -> Option<(RoomEntry, bool)> {
    let mut state = room.state();
    let entry = writer.entry(&state);
    if entry.is_none() && !has_own(&state) {
        state.close_log();
    }
    entry
}

/// The bus was away until nobody could follow an answer of this room any more: the store has them.
fn gives_up(room: &Room) -> bool {
    let mut state = room.state();
    let has_none = state.own().next().is_none();
    if has_none {
        state.close_log();
    }
    has_none
}

/// Whether an answer of this gateway runs or waits.
fn has_own(state: &RoomState) -> bool {
    state.own().any(|live| !live.status.is_final())
}

/// How much of an answer was logged.
#[derive(Debug)]
struct LogCursor {
    id: Uuid,
    begun: AnswerRun,
    position: u64,
    status: AnswerStatus,
    stage_version: u32,
    context: Option<ContextUse>,
    done: bool,
}

/// How much of a room was logged.
#[derive(Debug)]
pub(crate) struct LogWriter {
    home: InstanceId,
    /// Whether the next entry must be whole.
    is_new: bool,
    /// The revision up to which changes were logged, and the one before the last entry.
    seen: u64,
    seen_before: u64,
    cursors: Vec<LogCursor>,
    logged_bytes: usize,
}

impl LogWriter {
    pub(crate) const fn new(home: InstanceId, seen: u64) -> Self {
        Self {
            home,
            is_new: true,
            seen,
            seen_before: seen,
            cursors: Vec::new(),
            logged_bytes: 0,
        }
    }

    /// What was logged last may not have arrived: the next entry is whole.
    pub(crate) const fn begin_anew(&mut self) {
        self.is_new = true;
        self.seen = self.seen_before;
    }

    /// What is to be logged, and whether that is all of it.
    pub(crate) fn entry(&mut self, state: &RoomState) -> Option<(RoomEntry, bool)> {
        let mut running = state
            .own()
            .filter(|live| live.status == AnswerStatus::Running);
        let begins = running.any(|live| !self.runs(live));
        let whole = self.is_new || begins || self.logged_bytes > MAX_LOG_BYTES;
        let mut entry = RoomEntry {
            home: self.home,
            whole,
            answers: Vec::new(),
            dropped: Vec::new(),
            changes: Vec::new(),
        };
        if whole {
            self.cursors.retain(|cursor| cursor.done);
            self.logged_bytes = 0;
        }
        let mut is_all = true;
        for live in state.own() {
            is_all &= self.log(live, whole, &mut entry);
        }
        let dropped = self.cursors.extract_if(.., |cursor| {
            !state.answers.iter().any(|live| live.id == cursor.id)
        });
        let dropped = dropped.filter(|cursor| !cursor.done);
        entry.dropped.extend(dropped.map(|cursor| cursor.id));
        // Last: whoever fetches the conversation then has the `done` of what has ended in it.
        if is_all {
            // That it was deleted is news by itself.
            let changes = state.changes_since(self.seen);
            let changes = changes.filter(|(what, _)| *what != Change::Deleted);
            entry.changes.extend(changes);
            self.seen_before = self.seen;
            self.seen = state.revision;
        }
        let is_empty =
            entry.answers.is_empty() && entry.dropped.is_empty() && entry.changes.is_empty();
        if is_empty {
            return None;
        }
        self.is_new = false;
        Some((entry, is_all))
    }

    /// Whether it was logged that this answer runs.
    fn runs(&self, live: &LiveAnswer) -> bool {
        self.cursors
            .iter()
            .any(|cursor| cursor.begun == live.begun && cursor.status == AnswerStatus::Running)
    }

    /// Logs what is new of an answer. Returns whether that is all of it.
    fn log(&mut self, live: &LiveAnswer, whole: bool, entry: &mut RoomEntry) -> bool {
        let known = self
            .cursors
            .iter()
            .position(|cursor| cursor.begun == live.begun);
        let is_new = known.is_none();
        let place = known.unwrap_or_else(|| {
            self.cursors.retain(|cursor| cursor.id != live.id);
            self.cursors.push(LogCursor::new(live));
            self.cursors.len() - 1
        });
        let cursor = &mut self.cursors[place];
        let was_done = cursor.done;
        if was_done && !whole {
            return true;
        }
        let from = if was_done {
            live.written.position()
        } else {
            cursor.position
        };
        let mut text = Vec::new();
        let mut position = from;
        let mut rest = MAX_ENTRY_TEXT_BYTES;
        for (kind, run) in live.written.slice_from(from).unwrap_or_default() {
            let (piece, _) = run.split_at(run.floor_char_boundary(rest));
            if piece.is_empty() {
                break;
            }
            rest -= piece.len();
            position += piece.len() as u64;
            text.push((kind, piece.to_owned()));
        }
        self.logged_bytes += MAX_ENTRY_TEXT_BYTES - rest + ENTRY_BYTES;
        let is_all = position == live.written.position();
        let done = live.done.as_ref().filter(|_| is_all);
        let is_news = is_new
            || !text.is_empty()
            || done.is_some()
            || (cursor.status != live.status && live.done.is_none())
            || cursor.stage_version != live.stage_version
            || cursor.context != live.context;
        cursor.position = position;
        cursor.stage_version = live.stage_version;
        cursor.context = live.context;
        cursor.status = live.status;
        cursor.done = done.is_some();
        if is_news {
            // One that has ended is named, so that nobody waits for it, and not begun anew.
            let begins = is_new || (whole && !was_done);
            let beginning = begins.then(|| LoggedBeginning {
                question: live.question,
                options: live.options.clone(),
                continues: live.continues,
                began_at: live.began_at,
            });
            entry.answers.push(LoggedAnswer {
                id: live.id,
                begun: live.begun,
                beginning,
                status: live.status,
                from,
                text,
                stage: live.stage,
                context: live.context,
                done: done.map(|(done, _)| done.clone()),
            });
        }
        is_all
    }
}

impl LogCursor {
    const fn new(live: &LiveAnswer) -> Self {
        Self {
            id: live.id,
            begun: live.begun,
            position: 0,
            status: AnswerStatus::Waiting,
            stage_version: 0,
            context: None,
            done: false,
        }
    }
}

#[cfg(test)]
mod tests;
