//! The room of a conversation whose answers another gateway owns: what its log says is applied to the same state that an
//! answer's own task writes, so watchers, positions and replay are the same at every gateway.
//!
//! The log may say something twice, or leave a gap after the bus was away. Positions tell: what is known already is passed
//! over, and what does not follow is left out until a whole entry or the store has it. The store's word on an end is the
//! last one.

use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::answer::written::Written;
use crate::bus::Valkey;
use crate::conversation::log::{LoggedAnswer, LoggedBeginning, RoomEntry};
use crate::conversation::room::{
    Elsewhere, FollowedRoom, LiveAnswer, MirroredEntry, Room, RoomState,
};
use crate::protocol::v2::{Change, Done};
use crate::state::Gateway;
use crate::store::{AnswerRun, StoredAnswer};

/// How often answers of other gateways of which nothing was heard are looked up in the store: as often as they are kept.
const STORE_INTERVAL: Duration = Duration::from_secs(3);
/// How long a log is followed in which nothing runs.
const IDLE_FOLLOWED: Duration = Duration::from_secs(30);

/// Applies an entry of another gateway's log.
pub(crate) fn apply(state: &mut RoomState, entry: &RoomEntry, now: Instant) -> MirroredEntry {
    let mut mirrored = MirroredEntry {
        only_text: !entry.whole && entry.dropped.is_empty() && entry.changes.is_empty(),
        doubtful: Vec::new(),
    };
    for logged in &entry.answers {
        let elsewhere = Elsewhere {
            home: entry.home,
            heard: now,
        };
        let known = state.answer(logged.id).map(|live| live.begun);
        if state
            .answer(logged.id)
            .is_some_and(|live| is_open_here(live))
        {
            // A log from before it came here.
            continue;
        }
        if known.is_some_and(|known| known.run > logged.begun.run) {
            // From a gateway that was taken for dead and does not know it yet: somebody else has begun it again.
            continue;
        }
        if known != Some(logged.begun) {
            mirrored.only_text = false;
            // Who lacks an answer that has ended is shown it from the store, and so is one whose beginning is not known.
            let Some(beginning) = logged.beginning.as_ref().filter(|_| logged.from == 0) else {
                // Nor is it shown as it ended before.
                state.answers.retain(|live| live.id != logged.id);
                continue;
            };
            state.add(begun(logged, beginning, elsewhere));
        }
        let Some(live) = state.answer(logged.id) else {
            continue;
        };
        if live.done.is_some() || live.elsewhere.is_none() {
            continue;
        }
        if !extend(live, logged) {
            // An end is looked up at once; more text comes with the next whole entry, or from the store.
            let has_ended = logged.done.is_some();
            mirrored.doubtful.extend(has_ended.then_some(logged.id));
            continue;
        }
        live.elsewhere = Some(elsewhere);
        if live.stage != logged.stage || live.context != logged.context {
            mirrored.only_text = false;
            live.stage_version += u32::from(live.stage != logged.stage);
            live.stage = logged.stage;
            live.context = logged.context;
        }
        if let Some(done) = &logged.done {
            mirrored.only_text = false;
            live.status = done.status;
            live.done = Some((done.clone(), now));
        } else if !logged.status.is_final() {
            live.status = logged.status;
        }
    }
    // By whoever owns them: an owner that was taken for dead drops what another one has begun again.
    state.answers.retain(|live| {
        live.elsewhere
            .is_none_or(|elsewhere| elsewhere.home != entry.home)
            || !entry.dropped.contains(&live.id)
    });
    if entry.whole {
        mirrored.doubtful.extend(unnamed(state, entry));
    }
    for (what, revision) in &entry.changes {
        state.hear(*what, *revision);
    }
    mirrored
}

/// Whether this gateway writes it.
fn is_open_here(live: &LiveAnswer) -> bool {
    live.elsewhere.is_none() && !live.status.is_final()
}

/// Applies a log that was not followed before. What has ended in it is shown by the store, as everything that ended before
/// somebody came.
pub(crate) fn apply_all(
    state: &mut RoomState,
    entries: &[RoomEntry],
    now: Instant,
) -> MirroredEntry {
    let known: Vec<AnswerRun> = state.answers.iter().map(|live| live.begun).collect();
    let mut all = MirroredEntry::default();
    for entry in entries {
        all.doubtful.extend(apply(state, entry, now).doubtful);
    }
    state.answers.retain(|live| {
        live.elsewhere.is_none() || live.done.is_none() || known.contains(&live.begun)
    });
    all
}

fn begun(logged: &LoggedAnswer, beginning: &LoggedBeginning, elsewhere: Elsewhere) -> LiveAnswer {
    LiveAnswer {
        id: logged.id,
        question: beginning.question,
        run: 0,
        begun: logged.begun,
        elsewhere: Some(elsewhere),
        status: logged.status,
        written: Written::new(),
        options: beginning.options.clone(),
        continues: beginning.continues,
        began_at: beginning.began_at,
        // It is the home that asks the model.
        lane: Arc::from(""),
        stage: logged.stage,
        stage_version: 1,
        context: None,
        done: None,
        stop: CancellationToken::new(),
    }
}

/// Appends what is new of the text. Returns whether it follows what is there.
fn extend(live: &mut LiveAnswer, logged: &LoggedAnswer) -> bool {
    let have = live.written.position();
    let Some(known) = have.checked_sub(logged.from) else {
        return false;
    };
    let Ok(mut known) = usize::try_from(known) else {
        return false;
    };
    for (kind, piece) in &logged.text {
        let skipped = known.min(piece.len());
        known -= skipped;
        let Some(new) = piece.get(skipped..) else {
            return false;
        };
        live.written.push(*kind, new);
    }
    let is_behind = logged.done.as_ref().map_or(0, |done| done.position);
    live.written.position() >= is_behind
}

/// What runs or waits elsewhere, as far as is known, and is not in a whole entry.
fn unnamed(state: &RoomState, entry: &RoomEntry) -> Vec<Uuid> {
    let open = state.answers.iter().filter(|live| {
        live.elsewhere.is_some()
            && live.done.is_none()
            && !entry
                .answers
                .iter()
                .any(|logged| logged.begun == live.begun)
    });
    open.map(|live| live.id).collect()
}

impl Gateway {
    /// Follows the log of this room, if other gateways share the bus. What it says by now is applied when this returns.
    pub(crate) async fn follow(self: &Arc<Self>, room: &Arc<Room>) {
        let Some(valkey) = self.bus.shared() else {
            return;
        };
        if !valkey.link().borrow().is_up {
            return;
        }
        let mut following = room.following.lock().await;
        if let Some(followed) = following.as_mut() {
            followed.since = Instant::now();
            return;
        }
        match valkey.follow(room.id).await {
            Ok((guard, held)) => {
                let entries: Vec<RoomEntry> = held
                    .iter()
                    .filter_map(|entry| self.read_entry(entry))
                    .collect();
                let doubtful = room.mirror(|state, now| apply_all(state, &entries, now));
                self.look_up_soon(room, doubtful);
                self.read_again(valkey, room).await;
                *following = Some(FollowedRoom {
                    following: guard,
                    since: Instant::now(),
                });
                drop(following);
                self.look_up_orphans(valkey, room).await;
            }
            // The store shows what can be shown meanwhile.
            Err(error) => tracing::warn!(%error, "the log of a room is not followed"),
        }
    }

    /// Reads the log once more. An entry that came while the log was first read was applied before what it follows, and
    /// left out; what is known already is passed over.
    async fn read_again(self: &Arc<Self>, valkey: &Valkey, room: &Arc<Room>) {
        if room.state().home().is_none() {
            return;
        }
        for entry in valkey.held(room.id).await.unwrap_or_default() {
            self.mirror(room, &entry);
        }
    }

    /// Looks up what the log still says of a gateway that is gone.
    pub(super) async fn look_up_orphans(&self, valkey: &Valkey, room: &Room) {
        let Some(home) = room.state().home() else {
            return;
        };
        if matches!(valkey.lives(home).await, Ok(false)) {
            for answer in open_elsewhere(room) {
                self.look_up(room, answer).await;
            }
        }
    }

    /// Applies an entry of a room's log.
    pub(crate) fn mirror(self: &Arc<Self>, room: &Arc<Room>, entry: &str) {
        if let Some(entry) = self.read_entry(entry) {
            let doubtful = room.mirror(|state, now| apply(state, &entry, now));
            self.look_up_soon(room, doubtful);
        }
    }

    /// What an entry says; nothing when this gateway wrote it, or no gateway of this version.
    fn read_entry(&self, entry: &str) -> Option<RoomEntry> {
        let entry: RoomEntry = match serde_json::from_str(entry) {
            Ok(entry) => entry,
            Err(error) => {
                // Not the error's words: they may hold text.
                tracing::warn!(
                    line = error.line(),
                    "an entry of a room's log cannot be read"
                );
                return None;
            }
        };
        let here = self.bus.shared().map(Valkey::instance);
        (here != Some(entry.home)).then_some(entry)
    }

    pub(super) fn look_up_soon(self: &Arc<Self>, room: &Arc<Room>, answers: Vec<Uuid>) {
        for answer in answers {
            let gateway = Arc::clone(self);
            let room = Arc::clone(room);
            self.shutdown
                .spawn(async move { gateway.look_up(&room, answer).await });
        }
    }

    /// Looks up again and again what became of answers of other gateways, and leaves logs in which nothing runs. Runs until
    /// the drain begins.
    pub(crate) async fn keep_mirrored(self: &Arc<Self>, shutdown: &Shutdown) {
        if self.bus.shared().is_none() {
            return;
        }
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(STORE_INTERVAL) => {}
            }
            let is_up = self
                .bus
                .shared()
                .is_some_and(|valkey| valkey.link().borrow().is_up);
            for room in self.rooms.all() {
                if !is_up && room.is_watched() {
                    self.compare(&room).await;
                }
                for answer in unheard(&room) {
                    self.look_up(&room, answer).await;
                }
                leave_idle(&room);
            }
        }
    }

    /// Shows what the store has of an answer of another gateway.
    pub(super) async fn look_up(&self, room: &Room, answer: Uuid) {
        let before = room.state().answer(answer).map(|live| live.begun);
        let kept = match self.store.answer(&room.owner, answer).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%answer, %error, "an answer of another gateway was not looked up");
                return;
            }
        };
        let conversation = self.store.conversation(&room.owner, room.id).await;
        let revision = conversation.ok().flatten().map(|kept| kept.revision);
        room.change_as_told(|state| {
            if state.answer(answer).map(|live| live.begun) != before {
                // It was begun again while the store was asked.
                return;
            }
            let Some(kept) = kept else {
                // Taken back or deleted.
                state
                    .answers
                    .retain(|live| live.id != answer || live.elsewhere.is_none());
                return;
            };
            let revision = revision.unwrap_or(state.revision);
            if show_kept(state, kept, revision) {
                state.hear(Change::Messages, revision);
            }
        });
    }
}

/// Applies what the store has of an answer. Returns whether it has ended.
fn show_kept(state: &mut RoomState, kept: StoredAnswer, revision: u64) -> bool {
    let Some(live) = state.answer(kept.message.id) else {
        return false;
    };
    let is_open = live.done.is_none() && live.elsewhere.is_some();
    let Some(record) = kept.message.answer.filter(|_| is_open) else {
        return false;
    };
    if !record.status.is_final() {
        // The checkpoint may be older than what the log has said.
        if kept.written.as_str().starts_with(live.written.as_str()) {
            live.written = kept.written;
        }
        return false;
    }
    let done = Done {
        answer: live.id,
        position: kept.written.position(),
        status: record.status,
        finish_reason: record.finish_reason,
        usage: record.usage,
        timings: record.timings,
        error: record.error,
        joints: kept.written.joints(),
        revision,
    };
    live.status = record.status;
    live.done = Some((done, Instant::now()));
    state.rewrite(kept.message.id, kept.written);
    true
}

/// Answers of other gateways that run or wait, as far as is known.
pub(super) fn open_elsewhere(room: &Room) -> Vec<Uuid> {
    let state = room.state();
    let open = state.answers.iter();
    let open = open.filter(|live| live.elsewhere.is_some() && live.done.is_none());
    open.map(|live| live.id).collect()
}

/// Answers of other gateways of which nothing was heard for a while.
fn unheard(room: &Room) -> Vec<Uuid> {
    let state = room.state();
    let open = state.answers.iter().filter(|live| live.done.is_none());
    let unheard = open.filter(|live| {
        let elsewhere = live.elsewhere;
        elsewhere.is_some_and(|elsewhere| elsewhere.heard.elapsed() >= STORE_INTERVAL)
    });
    unheard.map(|live| live.id).collect()
}

/// Follows the log no longer when nothing runs there.
fn leave_idle(room: &Room) {
    // Whoever holds it is about to follow.
    let Ok(mut following) = room.following.try_lock() else {
        return;
    };
    let is_idle = room.state().home().is_none();
    following.take_if(|followed| is_idle && followed.since.elapsed() >= IDLE_FOLLOWED);
}

#[cfg(test)]
mod tests;
