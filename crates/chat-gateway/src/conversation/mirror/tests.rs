//! Watchers of a mirror are shown what watchers at home are shown, whatever the bus loses or says twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{apply, apply_all};
use crate::answer::task::settle;
use crate::answer::written::{RunKind, Written};
use crate::bus::Bus;
use crate::conversation::lists::Lists;
use crate::conversation::log::{LogWriter, RoomEntry};
use crate::conversation::room::{Bell, LiveAnswer, Room, Stage};
use crate::conversation::watcher::Watcher;
use crate::instance::InstanceId;
use crate::protocol::record::{AnswerOptions, AnswerStatus};
use crate::protocol::v2::{Change, Done, Phase, ServerFrame};
use crate::store::AnswerRun;

/// A room at its home, the writer of its log, and its mirror with somebody who watches it.
struct Mirrored {
    home: Arc<Room>,
    writer: LogWriter,
    mirror: Arc<Room>,
    reader: Reader,
    revision: u64,
    /// Answers that were begun, also again.
    runs: u32,
}

/// Somebody who joins what they are shown, as a client does.
struct Reader {
    watcher: Watcher,
    texts: BTreeMap<Uuid, String>,
    ends: BTreeMap<Uuid, Vec<Done>>,
    changes: Vec<(Change, u64)>,
}

fn room(id: Uuid) -> Arc<Room> {
    let lists = Arc::new(Lists::new(Bus::default()));
    Arc::new(Room::new(id, Arc::from("ann"), 0, lists))
}

fn live(id: Uuid, status: AnswerStatus, written: Written) -> LiveAnswer {
    LiveAnswer {
        id,
        question: Uuid::from_u128(1),
        run: 0,
        begun: AnswerRun::first(id),
        elsewhere: None,
        status,
        continues: !written.is_empty(),
        began_at: written.position(),
        written,
        options: AnswerOptions::none(),
        lane: Arc::from("lane"),
        stage: Stage::Unknown,
        stage_version: 0,
        context: None,
        done: None,
        stop: CancellationToken::new(),
    }
}

impl Reader {
    fn new(room: &Arc<Room>) -> Self {
        Self {
            watcher: Watcher::new(Arc::clone(room), Arc::<Bell>::default(), &[]),
            texts: BTreeMap::new(),
            ends: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Reads one batch. Returns whether anything was in it.
    fn read(&mut self) -> bool {
        let frames = self.watcher.frames();
        let is_any = !frames.is_empty();
        for frame in frames {
            match frame {
                ServerFrame::Delta {
                    answer,
                    position,
                    text,
                    reasoning,
                } => {
                    let joined = self.texts.entry(answer).or_default();
                    joined.push_str(&text.or(reasoning).unwrap());
                    assert_eq!(joined.len() as u64, position, "a gap or a byte twice");
                }
                ServerFrame::Snapshot {
                    answer,
                    position,
                    text,
                    reasoning,
                    ..
                } => {
                    let joined = reasoning.unwrap_or_default() + &text;
                    assert_eq!(joined.len() as u64, position);
                    self.texts.insert(answer, joined);
                }
                ServerFrame::Done(done) => {
                    let joined = self.texts.entry(done.answer).or_default();
                    assert_eq!(
                        joined.len() as u64,
                        done.position,
                        "the end before the text"
                    );
                    self.ends.entry(done.answer).or_default().push(done);
                }
                ServerFrame::Changed { revision, what, .. } => self.changes.push((what, revision)),
                _ => {}
            }
        }
        is_any
    }
}

impl Mirrored {
    fn new() -> Self {
        let id = Uuid::from_u128(7);
        let mirror = room(id);
        Self {
            home: room(id),
            writer: LogWriter::new(InstanceId::known(Uuid::from_u128(2)), 0),
            reader: Reader::new(&mirror),
            mirror,
            revision: 0,
            runs: 0,
        }
    }

    fn note(&mut self, what: Change) {
        self.revision += 1;
        let revision = self.revision;
        self.home.change(|state| state.note(what, revision));
    }

    fn begin(&mut self, id: Uuid, written: Written) {
        let is_busy = self.home.state().is_busy();
        let status = if is_busy {
            AnswerStatus::Waiting
        } else {
            AnswerStatus::Running
        };
        self.runs += 1;
        let mut begun = live(id, status, written);
        begun.begun.run = self.runs;
        self.home.change(|state| state.add(begun));
        self.note(Change::Messages);
    }

    fn running(&self) -> Option<Uuid> {
        let state = self.home.state();
        let mut answers = state.answers.iter();
        answers
            .find(|live| live.status == AnswerStatus::Running)
            .map(|live| live.id)
    }

    fn end(&mut self, status: AnswerStatus) {
        let Some(id) = self.running() else {
            return;
        };
        self.revision += 1;
        let position = self.home.state().answer(id).unwrap().written.position();
        let done = Done {
            answer: id,
            position,
            status,
            finish_reason: None,
            usage: None,
            timings: None,
            error: None,
            joints: Vec::new(),
            revision: self.revision,
        };
        settle(&self.home, done, Change::Messages);
        self.home.change(|state| {
            let mut answers = state.answers.iter_mut();
            let next = answers.find(|live| live.status == AnswerStatus::Waiting);
            if let Some(next) = next {
                next.status = AnswerStatus::Running;
            }
        });
    }

    /// What is to be logged now, as it comes out of the bus.
    fn entry(&mut self) -> Option<RoomEntry> {
        let (entry, _) = self.writer.entry(&self.home.state())?;
        let text = serde_json::to_string(&entry).unwrap();
        Some(serde_json::from_str(&text).unwrap())
    }

    fn take(&self, entry: &RoomEntry) {
        let doubtful = self.mirror.mirror(|state, now| apply(state, entry, now));
        self.look_up(&doubtful);
    }

    /// What the store would say: what is at home, if it is there, has been kept.
    fn look_up(&self, doubtful: &[Uuid]) {
        for id in doubtful {
            let mut home = self.home.state();
            let kept = home
                .answer(*id)
                .map(|live| (live.written.clone(), live.done.clone()));
            drop(home);
            self.mirror.change_as_told(|state| {
                let Some((written, done)) = kept else {
                    state.answers.retain(|live| live.id != *id);
                    return;
                };
                let Some(live) = state.answer(*id).filter(|live| live.done.is_none()) else {
                    return;
                };
                if let Some((done, _)) = done {
                    live.written = written;
                    live.status = done.status;
                    live.done = Some((done, Instant::now()));
                }
            });
        }
    }

    fn sync(&mut self) {
        while let Some(entry) = self.entry() {
            self.take(&entry);
        }
    }
}

#[test]
fn a_mirror_shows_text_and_end_and_then_the_change() {
    let mut pair = Mirrored::new();
    let id = Uuid::from_u128(10);
    pair.begin(id, Written::new());
    pair.sync();
    pair.reader.read();
    pair.home.write(id, RunKind::Reasoning, "hm ");
    pair.home.write(id, RunKind::Text, "Once upon");
    pair.sync();
    pair.reader.read();
    pair.home.write(id, RunKind::Text, " a time ∎");
    pair.end(AnswerStatus::Done);
    pair.sync();
    pair.reader.read();
    assert_eq!(pair.reader.texts[&id], "hm Once upon a time ∎");
    assert_eq!(pair.reader.ends[&id].len(), 1);
    assert_eq!(
        pair.reader.changes,
        [(Change::Messages, 1), (Change::Messages, 2)]
    );
    assert_eq!(pair.entry().map(|entry| entry.answers.len()), None);
}

/// How often a stage is shown.
fn stages(frames: &[ServerFrame]) -> usize {
    let stages = frames.iter();
    stages
        .filter(|frame| matches!(frame, ServerFrame::Progress(_)))
        .count()
}

#[test]
fn a_stage_is_shown_at_the_mirror_once() {
    let mut pair = Mirrored::new();
    let id = Uuid::from_u128(10);
    pair.begin(id, Written::new());
    pair.home.stage(id, Stage::of(Phase::Loading));
    pair.sync();
    assert_eq!(stages(&pair.reader.watcher.frames()), 1);
    pair.home.write(id, RunKind::Text, "a");
    pair.home.write(id, RunKind::Text, "b");
    pair.sync();
    assert_eq!(stages(&pair.reader.watcher.frames()), 1);
    pair.home.write(id, RunKind::Text, "c");
    pair.sync();
    assert_eq!(stages(&pair.reader.watcher.frames()), 0);
}

fn is_snapshot_at_7(frame: &ServerFrame) -> bool {
    matches!(frame, ServerFrame::Snapshot { position: 7, .. })
}

#[test]
fn an_answer_that_goes_on_elsewhere_begins_with_a_snapshot() {
    let mut pair = Mirrored::new();
    let id = Uuid::from_u128(10);
    pair.begin(id, Written::of("", "It was "));
    pair.sync();
    let frames = pair.reader.watcher.frames();
    assert!(frames.iter().any(is_snapshot_at_7), "{frames:?}");
}

#[test]
fn what_had_ended_before_somebody_came_is_not_shown_again() {
    let mut pair = Mirrored::new();
    let [old, new] = [10, 11].map(Uuid::from_u128);
    let mut log = Vec::new();
    pair.begin(old, Written::new());
    pair.home.write(old, RunKind::Text, "old");
    pair.end(AnswerStatus::Done);
    log.extend(pair.entry());
    pair.begin(new, Written::new());
    pair.home.write(new, RunKind::Text, "new");
    log.extend(pair.entry());
    let doubtful = pair.mirror.mirror(|state, now| apply_all(state, &log, now));
    assert!(doubtful.is_empty(), "{doubtful:?}");
    while pair.reader.read() {}
    assert_eq!(pair.reader.texts, BTreeMap::from([(new, "new".to_owned())]));
    assert_eq!(pair.reader.ends, BTreeMap::new());
}

#[test]
fn an_answer_that_was_taken_back_leaves_the_mirror_without_an_end() {
    let mut pair = Mirrored::new();
    let [first, waiting] = [10, 11].map(Uuid::from_u128);
    pair.begin(first, Written::new());
    pair.begin(waiting, Written::new());
    pair.sync();
    assert_eq!(pair.mirror.state().waiting(), 1);
    pair.home
        .change(|state| state.answers.retain(|live| live.id != waiting));
    pair.note(Change::Queue);
    pair.sync();
    assert_eq!(pair.mirror.state().waiting(), 0);
    while pair.reader.read() {}
    assert_eq!(pair.reader.ends, BTreeMap::new());
}

#[test]
fn a_mirror_writes_nothing_into_a_log() {
    let mut pair = Mirrored::new();
    let id = Uuid::from_u128(10);
    pair.begin(id, Written::new());
    pair.home.write(id, RunKind::Text, "text");
    pair.sync();
    let mut own = LogWriter::new(
        InstanceId::known(Uuid::from_u128(3)),
        pair.mirror.state().revision,
    );
    assert!(own.entry(&pair.mirror.state()).is_none());
    let home = InstanceId::known(Uuid::from_u128(2));
    assert_eq!(pair.mirror.state().home(), Some(home));
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Begin(u8),
    Write(RunKind, String),
    Stage,
    End(bool),
    DropWaiting,
    /// Entries arrive: all of them.
    Sync,
    /// The next entry arrives twice.
    Twice,
    /// The next entry is lost, and the writer is told so.
    Lose,
    /// The next entry arrives, and the writer thinks it was lost.
    Doubt,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(RunKind::Text), Just(RunKind::Reasoning)];
    prop_oneof![
        2 => (0_u8..6).prop_map(Step::Begin),
        8 => (kind, "[a-z∎ ]{1,40}").prop_map(|(kind, text)| Step::Write(kind, text)),
        1 => large_text().prop_map(|text| Step::Write(RunKind::Text, text)),
        1 => Just(Step::Stage),
        2 => any::<bool>().prop_map(Step::End),
        1 => Just(Step::DropWaiting),
        4 => Just(Step::Sync),
        2 => Just(Step::Twice),
        2 => Just(Step::Lose),
        2 => Just(Step::Doubt),
        5 => Just(Step::Read),
    ]
}

/// More than one entry holds.
fn large_text() -> impl Strategy<Value = String> {
    (60_000_usize..150_000).prop_map(|length| "x".repeat(length))
}

impl Mirrored {
    fn run(&mut self, step: Step) {
        match step {
            Step::Begin(number) => {
                let id = Uuid::from_u128(100 + u128::from(number));
                let before = {
                    let mut state = self.home.state();
                    state
                        .answer(id)
                        .map(|live| (live.status, live.written.clone()))
                };
                match before {
                    None => self.begin(id, Written::new()),
                    Some((status, written))
                        if status.is_final() && !self.home.state().is_busy() =>
                    {
                        self.begin(id, written);
                    }
                    Some(_) => {}
                }
            }
            Step::Write(kind, text) => {
                if let Some(id) = self.running() {
                    self.home.write(id, kind, &text);
                }
            }
            Step::Stage => {
                if let Some(id) = self.running() {
                    self.home.stage(id, Stage::of(Phase::Loading));
                }
            }
            Step::End(is_whole) => self.end(if is_whole {
                AnswerStatus::Done
            } else {
                AnswerStatus::Stopped
            }),
            Step::DropWaiting => self.home.change(|state| {
                let answers = &mut state.answers;
                answers.retain(|live| live.status != AnswerStatus::Waiting);
            }),
            Step::Sync => self.sync(),
            Step::Twice => {
                if let Some(entry) = self.entry() {
                    self.take(&entry);
                    self.take(&entry);
                }
            }
            Step::Lose => {
                if self.entry().is_some() {
                    self.writer.begin_anew();
                }
            }
            Step::Doubt => {
                if let Some(entry) = self.entry() {
                    self.take(&entry);
                    self.writer.begin_anew();
                }
            }
            Step::Read => {
                self.reader.read();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_byte_is_lost_or_shown_twice_and_each_answer_ends_once(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut pair = Mirrored::new();
        for step in steps {
            pair.run(step);
        }
        while pair.running().is_some() {
            pair.end(AnswerStatus::Done);
        }
        pair.sync();
        while pair.reader.read() {}
        let home: Vec<(Uuid, String, Done)> = {
            let state = pair.home.state();
            let ended = state.answers.iter();
            ended
                .map(|live| {
                    let done = live.done.clone().unwrap().0;
                    (live.id, live.written.as_str().to_owned(), done)
                })
                .collect()
        };
        prop_assert!(!pair.mirror.state().is_busy());
        for (id, text, done) in home {
            // One that was begun and ended before anything of it arrived is the store's to show.
            if pair.mirror.state().answer(id).is_none() {
                continue;
            }
            prop_assert_eq!(&pair.reader.texts.get(&id).cloned().unwrap_or_default().len(), &text.len());
            let ends = &pair.reader.ends[&id];
            prop_assert_eq!(ends.last(), Some(&done));
            let mut revisions: Vec<u64> = ends.iter().map(|done| done.revision).collect();
            revisions.dedup();
            prop_assert_eq!(revisions.len(), ends.len());
        }
    }
}
