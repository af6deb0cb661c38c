//! The live part of one conversation: the answers that run, wait or have just ended, and whom to wake when they change.
//!
//! One lock guards it all and is held for moments. Nothing is queued for watchers: they come and take what they lack. What
//! needs an order of its own over several steps (begin, end, next) holds [`Room::turn`] meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{MutexGuard as TurnGuard, Notify};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::answer::written::{RunKind, Written};
use crate::bus::{Following, News, NewsKind};
use crate::conversation::lists::Lists;
use crate::instance::InstanceId;
use crate::protocol::record::{AnswerOptions, AnswerStatus, ContextUse};
use crate::protocol::v2::{Change, Done, ListChange, ListNews, Phase};
use crate::store::AnswerRun;

/// How long an ended answer stays: the time in which a stream over HTTP may still be resumed. A slower watcher is shown the
/// rest from the store.
pub(crate) const GRACE: Duration = Duration::from_secs(60);
/// Answers that may wait in one conversation.
pub(crate) const MAX_QUEUED: usize = 8;
/// How long somebody waits for the turn of whoever begins or ends an answer. Only a store that hangs makes it long.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// How many kinds of [`Change`] there are.
const CHANGES: usize = 5;

/// Wakes somebody who watches.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    /// Something came that is shown at once: a beginning, an end, another stage.
    pub(crate) now: Notify,
    /// More text came; it may gather for a moment.
    pub(crate) soon: Notify,
}

/// What the model does for an answer, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Nothing is known.
    Unknown,
    /// It waits for the model.
    Queued {
        place: u32,
        wait_seconds: Option<u32>,
    },
    /// The model works on it.
    At {
        phase: Phase,
        done: Option<u32>,
        total: Option<u32>,
        cached: Option<u32>,
    },
}

/// An answer that runs, waits, or has just ended.
#[derive(Debug)]
pub(crate) struct LiveAnswer {
    pub(crate) id: Uuid,
    /// The message it answers.
    pub(crate) question: Uuid,
    /// Tells its runs apart: `continue` runs the same answer again.
    pub(crate) run: u64,
    /// What its writes in the store name.
    pub(crate) begun: AnswerRun,
    /// The gateway that owns it, if it is another one: then this is what its log says.
    pub(crate) elsewhere: Option<Elsewhere>,
    pub(crate) status: AnswerStatus,
    pub(crate) written: Written,
    pub(crate) options: AnswerOptions,
    /// Whether it goes on where it was cut.
    pub(crate) continues: bool,
    /// How much was kept of it when this run began. What somebody has beyond that is of an earlier run.
    pub(crate) began_at: u64,
    /// The user's name in llm-proxy's queue.
    pub(crate) lane: Arc<str>,
    pub(crate) stage: Stage,
    /// Grows with each change of `stage`.
    pub(crate) stage_version: u32,
    pub(crate) context: Option<ContextUse>,
    /// How it ended, and when.
    pub(crate) done: Option<(Done, Instant)>,
    pub(crate) stop: CancellationToken,
}

/// An answer of another gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) home: InstanceId,
    /// When something was last heard of it.
    pub(crate) heard: Instant,
}

/// The log of a room, just opened: whoever opened it writes it.
#[derive(Debug)]
pub(crate) struct OpenedLog {
    pub(crate) bell: Arc<Bell>,
    /// The revision from which on changes belong into it.
    pub(crate) seen: u64,
}

/// What an entry of another gateway's log came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MirroredEntry {
    /// Whether it brought nothing but more text.
    pub(crate) only_text: bool,
    /// Answers of which the log no longer tells: the store knows what became of them.
    pub(crate) doubtful: Vec<Uuid>,
}

/// What [`Room::turn`] guards is read and changed through this.
#[derive(Debug, Default)]
pub(crate) struct RoomState {
    pub(crate) revision: u64,
    /// The revision at which each kind of change last happened.
    changed: [u64; CHANGES],
    pub(crate) answers: Vec<LiveAnswer>,
    bells: Vec<Arc<Bell>>,
    /// Wakes whoever writes the room's log for other gateways, while somebody does.
    log: Option<Arc<Bell>>,
    runs: u64,
    /// Whether it was deleted: until it is there again, nothing more of it is told.
    deleted: bool,
    /// Whether its owner's list shows it, as far as is known: a temporary one is in no list.
    listed: bool,
}

impl RoomState {
    pub(crate) fn answer(&mut self, id: Uuid) -> Option<&mut LiveAnswer> {
        self.answers.iter_mut().find(|answer| answer.id == id)
    }

    /// The answers that this gateway owns.
    pub(crate) fn own(&self) -> impl Iterator<Item = &LiveAnswer> {
        self.answers.iter().filter(|live| live.elsewhere.is_none())
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.answers.iter().any(|answer| !answer.status.is_final())
    }

    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.answers.iter();
        waiting
            .filter(|answer| answer.status == AnswerStatus::Waiting)
            .count()
    }

    /// The other gateway that owns what runs or waits here, if one does.
    pub(crate) fn home(&self) -> Option<InstanceId> {
        let mut open = self.answers.iter().filter(|live| !live.status.is_final());
        open.find_map(|live| live.elsewhere.map(|elsewhere| elsewhere.home))
    }

    /// Opens the log for other gateways, unless it is open.
    pub(crate) fn open_log(&mut self) -> Option<OpenedLog> {
        if self.log.is_some() {
            return None;
        }
        let bell = Arc::<Bell>::default();
        self.log = Some(Arc::clone(&bell));
        // Whoever writes it looks at once.
        bell.now.notify_one();
        Some(OpenedLog {
            bell,
            seen: self.revision,
        })
    }

    pub(crate) const fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Nobody writes the log any more.
    pub(crate) fn close_log(&mut self) {
        self.log = None;
    }

    /// Adds an answer, instead of an earlier run of it.
    pub(crate) fn add(&mut self, mut answer: LiveAnswer) {
        self.runs += 1;
        answer.run = self.runs;
        self.answers.retain(|other| other.id != answer.id);
        self.answers.push(answer);
    }

    /// Puts the store's text in the place of what is known of an answer. Where the two differ, whoever has more than what
    /// they share is shown all of it.
    pub(crate) fn rewrite(&mut self, id: Uuid, written: Written) {
        let runs = self.runs + 1;
        let Some(answer) = self.answer(id) else {
            return;
        };
        let shared = answer.written.shared_with(&written);
        let is_other = shared < answer.written.position() && shared < written.position();
        answer.written = written;
        if is_other {
            answer.run = runs;
            answer.continues = true;
            answer.began_at = shared;
            self.runs = runs;
        }
    }

    /// The change `what` was kept as `revision`.
    pub(crate) fn note(&mut self, what: Change, revision: u64) {
        if self.deleted {
            return;
        }
        self.revision = self.revision.max(revision);
        self.changed[index(what)] = revision;
    }

    /// As [`RoomState::note`], of a change that another gateway kept. It may come late or twice.
    pub(crate) fn hear(&mut self, what: Change, revision: u64) {
        if revision > self.changed[index(what)] {
            self.note(what, revision);
        }
    }

    /// It was deleted, which was kept as `revision`: what runs is stopped, and what waits is gone.
    pub(crate) fn delete(&mut self, revision: u64) {
        for answer in &mut self.answers {
            answer.stop.cancel();
        }
        let answers = &mut self.answers;
        answers.retain(|answer| answer.status != AnswerStatus::Waiting);
        self.note(Change::Deleted, revision.max(self.revision + 1));
        self.deleted = true;
    }

    pub(crate) const fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// It is there again. Whoever was not told yet that it was deleted need not know.
    pub(crate) fn revive(&mut self) {
        self.deleted = false;
        self.changed[index(Change::Deleted)] = 0;
    }

    /// What to tell of it in the list, if it changed after `seen`.
    fn list_change_since(&self, seen: u64) -> Option<ListChange> {
        if !self.listed || self.revision <= seen {
            return None;
        }
        let is_deleted = self.changed[index(Change::Deleted)] > seen;
        Some(if is_deleted {
            ListChange::Deleted
        } else {
            ListChange::Changed
        })
    }

    /// What changed after `seen`.
    pub(crate) fn changes_since(&self, seen: u64) -> impl Iterator<Item = (Change, u64)> {
        let all = [
            Change::Title,
            Change::Messages,
            Change::Queue,
            Change::Settings,
            Change::Deleted,
        ];
        all.into_iter()
            .map(|what| (what, self.changed[index(what)]))
            .filter(move |(_, revision)| *revision > seen)
    }

    /// What to tell other gateways of what was noted after `seen`.
    fn news_since(&self, seen: u64) -> Option<NewsKind> {
        let changes: Vec<Change> = self.changes_since(seen).map(|(what, _)| what).collect();
        if changes.contains(&Change::Deleted) {
            return Some(NewsKind::Deleted);
        }
        (!changes.is_empty()).then_some(NewsKind::Changed(changes))
    }

    fn ring(&self) {
        for bell in self.bells.iter().chain(&self.log) {
            bell.now.notify_one();
        }
    }

    fn ring_soon(&self) {
        for bell in self.bells.iter().chain(&self.log) {
            bell.soon.notify_one();
        }
    }
}

const fn index(what: Change) -> usize {
    match what {
        Change::Title => 0,
        Change::Messages => 1,
        Change::Queue => 2,
        Change::Settings => 3,
        Change::Deleted => 4,
    }
}

/// The live part of one conversation.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: Uuid,
    pub(crate) owner: Arc<str>,
    /// Held over the steps of whatever begins or ends an answer, the store's included.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Held while the log of another gateway is begun to be followed.
    pub(crate) following: tokio::sync::Mutex<Option<FollowedRoom>>,
    state: Mutex<RoomState>,
    lists: Arc<Lists>,
}

/// The log of another gateway is followed until this is dropped.
#[derive(Debug)]
pub(crate) struct FollowedRoom {
    #[expect(dead_code, reason = "it is held, not read")]
    pub(crate) following: Following,
    pub(crate) since: Instant,
}

impl Room {
    pub(crate) fn new(id: Uuid, owner: Arc<str>, revision: u64, lists: Arc<Lists>) -> Self {
        Self {
            id,
            owner,
            turn: tokio::sync::Mutex::new(()),
            following: tokio::sync::Mutex::new(None),
            state: Mutex::new(RoomState {
                revision,
                ..RoomState::default()
            }),
            lists,
        }
    }

    /// Says whether its owner's list shows it.
    pub(crate) fn set_listed(&self, listed: bool) {
        self.state().listed = listed;
    }

    /// The list shows it from now on.
    pub(crate) fn tell_created(&self) {
        self.show_created();
        let revision = self.state().revision;
        self.tell_others(revision, true, false, NewsKind::Created);
    }

    /// As [`Room::tell_created`], at this gateway alone.
    pub(crate) fn show_created(&self) {
        let mut state = self.state();
        state.listed = true;
        let revision = state.revision;
        drop(state);
        self.tell_list(revision, ListChange::Created);
    }

    /// Tells the other gateways that it was brought back.
    pub(crate) fn tell_restored(&self) {
        let state = self.state();
        let revision = state.revision;
        let listed = state.listed;
        drop(state);
        self.tell_others(revision, listed, false, NewsKind::Restored);
    }

    fn tell_others(&self, revision: u64, listed: bool, logged: bool, what: NewsKind) {
        self.lists.tell_others(News {
            owner: self.owner.as_ref().to_owned(),
            conversation: self.id,
            revision,
            listed,
            logged,
            what,
        });
    }

    fn tell_list(&self, revision: u64, what: ListChange) {
        let news = ListNews {
            conversation: self.id,
            revision,
            what,
        };
        self.lists.tell(&self.owner, news);
    }

    /// The turn to begin, end or change an answer. `None` when the store keeps others too long.
    pub(crate) async fn turn(&self) -> Option<TurnGuard<'_, ()>> {
        timeout(TURN_PATIENCE, self.turn.lock()).await.ok()
    }

    /// Reads the state.
    pub(crate) fn state(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes every watcher, also those of the list when a change was noted. The other gateways are
    /// told of what was noted.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut RoomState) -> T) -> T {
        let mut state = self.state();
        let before = state.revision;
        let result = change(&mut state);
        let news = state.news_since(before);
        let revision = state.revision;
        let listed = state.listed;
        let logged = state.log.is_some();
        self.show(state, before);
        if let Some(what) = news {
            self.tell_others(revision, listed, logged, what);
        }
        result
    }

    /// As [`Room::change`], for what another gateway has told.
    pub(crate) fn change_as_told<T>(&self, change: impl FnOnce(&mut RoomState) -> T) -> T {
        let mut state = self.state();
        let before = state.revision;
        let result = change(&mut state);
        self.show(state, before);
        result
    }

    /// Shows what the log of another gateway says. Returns the answers that the store must be asked about at once.
    pub(crate) fn mirror(
        &self,
        apply: impl FnOnce(&mut RoomState, Instant) -> MirroredEntry,
    ) -> Vec<Uuid> {
        let mut state = self.state();
        let before = state.revision;
        let mirrored = apply(&mut state, Instant::now());
        if mirrored.only_text {
            state.ring_soon();
        } else {
            self.show(state, before);
        }
        mirrored.doubtful
    }

    /// Wakes whoever watches what changed after the revision `before`.
    fn show(&self, state: MutexGuard<'_, RoomState>, before: u64) {
        state.ring();
        let revision = state.revision;
        let list_change = state.list_change_since(before);
        drop(state);
        if let Some(what) = list_change {
            self.tell_list(revision, what);
        }
    }

    /// More of a running answer has come. Returns how many bytes of it there are.
    pub(crate) fn write(&self, answer: Uuid, kind: RunKind, text: &str) -> u64 {
        let phase = match kind {
            RunKind::Reasoning => Phase::Thinking,
            RunKind::Text => Phase::Writing,
        };
        let mut state = self.state();
        let Some(answer) = state.answer(answer) else {
            return 0;
        };
        let begins = set_stage(answer, Stage::of(phase));
        answer.written.push(kind, text);
        let position = answer.written.position();
        if begins {
            state.ring();
        } else {
            state.ring_soon();
        }
        position
    }

    /// The model does something else for the answer now.
    pub(crate) fn stage(&self, answer: Uuid, stage: Stage) {
        self.change(|state| {
            if let Some(answer) = state.answer(answer) {
                set_stage(answer, stage);
            }
        });
    }

    pub(crate) fn join(&self, bell: &Arc<Bell>) {
        self.state().bells.push(Arc::clone(bell));
    }

    pub(crate) fn leave(&self, bell: &Arc<Bell>) {
        let mut state = self.state();
        let place = state
            .bells
            .iter()
            .position(|other| Arc::ptr_eq(other, bell));
        if let Some(place) = place {
            state.bells.swap_remove(place);
        }
    }

    /// Waits until this answer is among those that run, wait or have just ended. Cancel-safe.
    pub(crate) async fn shows(&self, answer: Uuid) {
        let bell = Arc::<Bell>::default();
        let guest = RoomGuest::enter(self, &bell);
        while guest.room.state().answer(answer).is_none() {
            bell.now.notified().await;
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        !self.state().bells.is_empty()
    }

    /// Forgets answers that ended long ago; says whether nothing is left and nobody watches.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.answers.retain(|answer| {
            let ended = answer.done.as_ref();
            ended.is_none_or(|(_, at)| now.duration_since(*at) < GRACE)
        });
        state.answers.is_empty() && state.bells.is_empty()
    }
}

/// Whoever is woken by a room until this is dropped.
struct RoomGuest<'a> {
    room: &'a Room,
    bell: &'a Arc<Bell>,
}

impl<'a> RoomGuest<'a> {
    fn enter(room: &'a Room, bell: &'a Arc<Bell>) -> Self {
        room.join(bell);
        Self { room, bell }
    }
}

impl Drop for RoomGuest<'_> {
    fn drop(&mut self) {
        self.room.leave(self.bell);
    }
}

impl Stage {
    pub(crate) const fn of(phase: Phase) -> Self {
        Self::At {
            phase,
            done: None,
            total: None,
            cached: None,
        }
    }
}

/// Returns whether this is news.
fn set_stage(answer: &mut LiveAnswer, stage: Stage) -> bool {
    let is_news = answer.stage != stage;
    if is_news {
        answer.stage = stage;
        answer.stage_version += 1;
    }
    is_news
}
