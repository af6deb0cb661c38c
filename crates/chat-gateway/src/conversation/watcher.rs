//! Somebody who is shown a conversation: how much of each answer they have, and the frames that bring them up to date.
//!
//! A watcher holds positions, not text. However slow its reader is, it costs the same, and the next frame holds all that
//! came meanwhile.

use std::sync::Arc;

use uuid::Uuid;

use crate::answer::written::{RunKind, Written};
use crate::conversation::room::{Bell, LiveAnswer, Room, Stage};
use crate::protocol::record::{Message, Status};
use crate::protocol::v2::{Done, Held, Progress, ServerFrame};

/// The most text of one frame, in bytes; more becomes several frames.
const MAX_FRAME_TEXT_BYTES: usize = 256 * 1024;

/// How much somebody has of one answer.
#[derive(Debug)]
struct Cursor {
    answer: Uuid,
    run: u64,
    position: u64,
    stage_version: u32,
    context_told: bool,
    done: bool,
}

/// Somebody who is shown a conversation.
#[derive(Debug)]
pub(crate) struct Watcher {
    room: Arc<Room>,
    bell: Arc<Bell>,
    seen: u64,
    cursors: Vec<Cursor>,
}

impl Watcher {
    /// Rings `bell` from now on whenever there is something to show. Answers that have ended are shown only if they are
    /// among those `held`.
    pub(crate) fn new(room: Arc<Room>, bell: Arc<Bell>, held: &[Held]) -> Self {
        room.join(&bell);
        bell.now.notify_one();
        let state = room.state();
        let cursors = state.answers.iter().map(|answer| {
            let held = held.iter().find(|held| held.message == answer.id);
            Cursor {
                answer: answer.id,
                run: answer.run,
                position: held.map_or(0, |held| held.position),
                stage_version: 0,
                context_told: false,
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
        }
    }

    pub(crate) fn conversation(&self) -> Uuid {
        self.room.id
    }

    /// Whether an answer that is watched has not ended.
    pub(crate) fn is_live(&self) -> bool {
        self.room.state().is_busy()
    }

    /// Whether the room knows this answer, so that [`Watcher::frames`] shows it.
    pub(crate) fn shows(&self, answer: Uuid) -> bool {
        self.cursors.iter().any(|cursor| cursor.answer == answer)
    }

    /// What brings the reader up to date.
    pub(crate) fn frames(&mut self) -> Vec<ServerFrame> {
        let mut frames = Vec::new();
        let state = self.room.state();
        let known = |cursor: &Cursor| state.answers.iter().any(|live| live.id == cursor.answer);
        self.cursors.retain(known);
        for answer in &state.answers {
            let place = self
                .cursors
                .iter()
                .position(|cursor| cursor.answer == answer.id);
            let place = place.unwrap_or_else(|| {
                self.cursors.push(Cursor::new(answer));
                self.cursors.len() - 1
            });
            self.cursors[place].catch_up(answer, &mut frames);
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

impl Cursor {
    const fn new(answer: &LiveAnswer) -> Self {
        Self {
            answer: answer.id,
            run: answer.run,
            position: 0,
            stage_version: 0,
            context_told: false,
            done: false,
        }
    }

    fn catch_up(&mut self, answer: &LiveAnswer, frames: &mut Vec<ServerFrame>) {
        if self.run != answer.run {
            self.run = answer.run;
            self.stage_version = 0;
            self.context_told = false;
            self.done = false;
        }
        if self.done {
            return;
        }
        if let Some(context) = answer.context.filter(|_| !self.context_told) {
            self.context_told = true;
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
        self.position = text(
            answer.id,
            answer.status,
            &answer.written,
            self.position,
            frames,
        );
        if let Some((done, _)) = &answer.done {
            self.done = true;
            frames.push(ServerFrame::Done(done.clone()));
        }
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
        } => Some(ServerFrame::Progress(Progress {
            answer: answer.id,
            phase,
            done,
            total,
            cached,
        })),
    }
}

/// Everything after `position`, and the position after it.
fn text(
    answer: Uuid,
    status: Status,
    written: &Written,
    position: u64,
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
    let mut position = position;
    for (kind, mut run) in runs {
        while !run.is_empty() {
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
        text(message.id, answer.status, written, position, &mut frames);
        frames.push(ServerFrame::Done(Done {
            answer: message.id,
            position: written.position(),
            status: answer.status,
            finish_reason: answer.finish_reason,
            usage: answer.usage,
            timings: answer.timings,
            error: answer.error.clone(),
            revision,
        }));
    }
    frames
}
