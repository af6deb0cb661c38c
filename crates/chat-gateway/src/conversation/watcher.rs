//! Somebody who is shown a conversation: how much of each answer they have, and the frames that bring them up to date.
//!
//! A watcher holds positions, not text. However slow its reader is, it costs the same, and the next frame holds all that
//! came meanwhile.

use std::sync::Arc;

use uuid::Uuid;

use crate::answer::written::{RunKind, Written};
use crate::conversation::room::{Bell, LiveAnswer, Room, Stage};
use crate::protocol::record::{AnswerStatus, ContextUse, Message};
use crate::protocol::v2::{AnswerProgress, Done, HeldAnswer, ServerFrame};

/// The most text of one `delta`, in bytes; more becomes several frames. A slow line must bring one whole frame before the
/// socket counts as stalled.
const MAX_FRAME_TEXT_BYTES: usize = 16 * 1024;
/// The text of one answer that is put into frames at once, in bytes. The rest follows when the reader has taken them.
const MAX_BATCH_BYTES: usize = 8 * MAX_FRAME_TEXT_BYTES;

/// Answers whose positions are remembered after they have ended, because they may go on.
const MAX_CURSORS: usize = 64;

/// How much somebody has of one answer.
#[derive(Debug)]
struct AnswerCursor {
    answer: Uuid,
    run: u64,
    /// `None`: nothing of it was shown, and nothing is known to be held.
    position: Option<u64>,
    stage_version: u32,
    /// It changes when the model finds the prompt too long.
    context_told: Option<ContextUse>,
    done: bool,
}

/// Somebody who is shown a conversation.
#[derive(Debug)]
pub(crate) struct Watcher {
    room: Arc<Room>,
    bell: Arc<Bell>,
    seen: u64,
    cursors: Vec<AnswerCursor>,
    left_behind: Vec<HeldAnswer>,
}

impl Watcher {
    /// Rings `bell` from now on whenever there is something to show. Answers that have ended are shown only if they are
    /// among those `held`.
    pub(crate) fn new(room: Arc<Room>, bell: Arc<Bell>, held: &[HeldAnswer]) -> Self {
        room.join(&bell);
        bell.now.notify_one();
        let state = room.state();
        let cursors = state.answers.iter().map(|answer| {
            let held = held.iter().find(|held| held.message == answer.id);
            AnswerCursor {
                answer: answer.id,
                // Of no run that is known, if it was held.
                run: if held.is_some() { 0 } else { answer.run },
                position: held.map(|held| held.position),
                stage_version: 0,
                context_told: None,
                done: answer.done.is_some() && held.is_none(),
            }
        });
        let cursors = cursors.collect();
        let seen = state.revision;
        drop(state);
        Self {
            room,
            bell,
            seen,
            cursors,
            left_behind: Vec::new(),
        }
    }

    pub(crate) fn conversation(&self) -> Uuid {
        self.room.id
    }

    /// Whether an answer that is watched has not ended.
    pub(crate) fn is_live(&self) -> bool {
        self.room.state().is_busy()
    }

    /// Whether an answer that is watched has not ended and belongs to this gateway, so that the gateway waits for its end.
    pub(crate) fn is_live_here(&self) -> bool {
        let state = self.room.state();
        state.own().any(|live| !live.status.is_final())
    }

    /// Whether the room knows this answer, so that [`Watcher::frames`] shows it.
    pub(crate) fn shows(&self, answer: Uuid) -> bool {
        self.room.state().answer(answer).is_some()
    }

    /// Shows this answer from its beginning, also if it has ended. Returns whether the room knows it.
    pub(crate) fn expect(&mut self, answer: Uuid) -> bool {
        let mut cursors = self.cursors.iter_mut();
        let cursor = cursors.find(|cursor| cursor.answer == answer);
        if let Some(cursor) = cursor {
            cursor.position = None;
            cursor.done = false;
            return true;
        }
        false
    }

    /// The reader has so much of an answer that has ended. If it goes on, it goes on from there.
    pub(crate) fn holds(&mut self, answer: Uuid, position: u64) {
        self.set(answer, position, true);
    }

    /// The reader has so much of an answer that the room knows, and lacks the rest.
    pub(crate) fn follows(&mut self, answer: Uuid, position: u64) {
        self.set(answer, position, false);
        self.bell.now.notify_one();
    }

    fn set(&mut self, answer: Uuid, position: u64, done: bool) {
        self.cursors.retain(|cursor| cursor.answer != answer);
        self.cursors.push(AnswerCursor {
            answer,
            // Of no run: the next one begins at the position.
            run: 0,
            position: Some(position),
            stage_version: 0,
            context_told: None,
            done,
        });
    }

    /// What the reader has of answers that left the room before it had them whole: a very slow reader's, or dropped ones.
    pub(crate) fn left_behind(&mut self) -> Vec<HeldAnswer> {
        std::mem::take(&mut self.left_behind)
    }

    /// What brings the reader up to date, or a good part of it; the bell then rings again for the rest.
    pub(crate) fn frames(&mut self) -> Vec<ServerFrame> {
        let mut frames = Vec::new();
        let state = self.room.state();
        let left_behind = &mut self.left_behind;
        let too_many = self.cursors.len() > MAX_CURSORS;
        self.cursors.retain(|cursor| {
            let is_live = state.answers.iter().any(|live| live.id == cursor.answer);
            if !is_live && !cursor.done {
                left_behind.push(HeldAnswer {
                    message: cursor.answer,
                    position: cursor.position.unwrap_or(0),
                });
            }
            is_live || (cursor.done && !too_many)
        });
        for answer in &state.answers {
            let place = self
                .cursors
                .iter()
                .position(|cursor| cursor.answer == answer.id);
            let place = place.unwrap_or_else(|| {
                self.cursors.push(AnswerCursor::new(answer));
                self.cursors.len() - 1
            });
            if !self.cursors[place].catch_up(answer, &mut frames) {
                self.bell.now.notify_one();
            }
        }
        // Last: whoever fetches the conversation then has the `done` of what has ended in it.
        for (what, revision) in state.changes_since(self.seen) {
            frames.push(ServerFrame::Changed {
                conversation: self.room.id,
                revision,
                what,
            });
        }
        self.seen = state.revision;
        frames
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.room.leave(&self.bell);
    }
}

impl AnswerCursor {
    const fn new(answer: &LiveAnswer) -> Self {
        Self {
            answer: answer.id,
            run: answer.run,
            position: None,
            stage_version: 0,
            context_told: None,
            done: false,
        }
    }

    /// Returns whether that was all.
    fn catch_up(&mut self, answer: &LiveAnswer, frames: &mut Vec<ServerFrame>) -> bool {
        if self.run != answer.run {
            self.run = answer.run;
            self.stage_version = 0;
            self.context_told = None;
            self.done = false;
            // It may have been cut before what the reader has: the same position is of another text now.
            let has_more = self
                .position
                .is_some_and(|position| position > answer.began_at);
            if answer.continues && has_more {
                self.position = Some(u64::MAX);
            }
        }
        if self.done {
            return true;
        }
        if let Some(context) = answer.context
            && self.context_told != Some(context)
        {
            self.context_told = Some(context);
            frames.push(ServerFrame::Context {
                answer: answer.id,
                left_out: context.left_out,
                used: context.used,
                size: context.size,
            });
        }
        if self.stage_version != answer.stage_version {
            self.stage_version = answer.stage_version;
            frames.extend(stage(answer));
        }
        // Whoever holds an answer that goes on, from before, gets no delta of what they have: it is replaced.
        let start = match self.position {
            None if answer.continues && !answer.written.is_empty() => u64::MAX,
            position => position.unwrap_or(0),
        };
        let most = MAX_BATCH_BYTES;
        let position = text(
            answer.id,
            answer.status,
            &answer.written,
            start,
            most,
            frames,
        );
        self.position = Some(position);
        if position < answer.written.position() {
            return false;
        }
        if let Some((done, _)) = &answer.done {
            self.done = true;
            frames.push(ServerFrame::Done(done.clone()));
        }
        true
    }
}

fn stage(answer: &LiveAnswer) -> Option<ServerFrame> {
    match answer.stage {
        Stage::Unknown => None,
        _ if answer.done.is_some() => None,
        Stage::Queued {
            place,
            wait_seconds,
        } => Some(ServerFrame::Queued {
            answer: answer.id,
            place,
            wait_seconds,
        }),
        Stage::At {
            phase,
            done,
            total,
            cached,
        } => Some(ServerFrame::Progress(AnswerProgress {
            answer: answer.id,
            phase,
            done,
            total,
            cached,
        })),
    }
}

/// What comes after `position`, about `most` bytes of it, and the position after that.
fn text(
    answer: Uuid,
    status: AnswerStatus,
    written: &Written,
    position: u64,
    most: usize,
    frames: &mut Vec<ServerFrame>,
) -> u64 {
    let end = written.position();
    let Some(runs) = written.slice_from(position) else {
        let (reasoning, text) = written.split();
        frames.push(ServerFrame::Snapshot {
            answer,
            position: end,
            text,
            reasoning: Some(reasoning).filter(|reasoning| !reasoning.is_empty()),
            status,
        });
        return end;
    };
    let limit = position.saturating_add(most as u64);
    let mut position = position;
    for (kind, mut run) in runs {
        while !run.is_empty() {
            if position >= limit {
                return position;
            }
            let (piece, rest) = run.split_at(run.floor_char_boundary(MAX_FRAME_TEXT_BYTES));
            position += piece.len() as u64;
            let piece = Some(piece.to_owned());
            let (text, reasoning) = match kind {
                RunKind::Text => (piece, None),
                RunKind::Reasoning => (None, piece),
            };
            frames.push(ServerFrame::Delta {
                answer,
                position,
                text,
                reasoning,
            });
            run = rest;
        }
    }
    end
}

/// The frames that show an answer which is no longer live to somebody who has it up to `position`. Empty unless `message`
/// is an answer that has ended.
pub(crate) fn stored(
    message: &Message,
    written: &Written,
    position: u64,
    revision: u64,
) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    if let Some(answer) = message
        .answer
        .as_ref()
        .filter(|answer| answer.status.is_final())
    {
        let all = usize::MAX;
        text(
            message.id,
            answer.status,
            written,
            position,
            all,
            &mut frames,
        );
        frames.push(ServerFrame::Done(Done {
            answer: message.id,
            position: written.position(),
            status: answer.status,
            finish_reason: answer.finish_reason,
            usage: answer.usage,
            timings: answer.timings,
            error: answer.error.clone(),
            joints: written.joints(),
            revision,
        }));
    }
    frames
}
