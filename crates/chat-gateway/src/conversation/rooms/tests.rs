//! Rooms that nobody needs are closed, and no other.

use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Rooms, SWEEP_INTERVAL};
use crate::answer::written::Written;
use crate::conversation::room::{Bell, GRACE, LiveAnswer, Room, Stage};
use crate::protocol::record::{AnswerOptions, AnswerStatus};
use crate::protocol::v2::{Change, Done};
use crate::store::AnswerRun;

fn owner() -> Arc<str> {
    Arc::from("somebody")
}

/// An answer that has just ended, or one that runs.
fn answer(is_done: bool) -> LiveAnswer {
    let id = Uuid::now_v7();
    let status = if is_done {
        AnswerStatus::Done
    } else {
        AnswerStatus::Running
    };
    let done = Done {
        answer: id,
        position: 0,
        status,
        finish_reason: None,
        usage: None,
        timings: None,
        error: None,
        joints: Vec::new(),
        revision: 1,
    };
    LiveAnswer {
        id,
        question: Uuid::now_v7(),
        run: 0,
        begun: AnswerRun::first(id),
        elsewhere: None,
        status,
        began_at: 0,
        written: Written::of("", "words"),
        options: AnswerOptions::none(),
        continues: false,
        lane: owner(),
        stage: Stage::Unknown,
        stage_version: 0,
        context: None,
        done: is_done.then(|| (done, Instant::now())),
        stop: CancellationToken::new(),
    }
}

/// Lets so much time pass while rooms are kept tidy. Returns how many there are then.
async fn tidied(rooms: &Rooms, time: Duration) -> usize {
    let shutdown = Shutdown::new();
    tokio::select! {
        () = rooms.keep_tidy(&shutdown) => {}
        () = tokio::time::sleep(time) => {}
    }
    rooms.open.lock().unwrap().len()
}

fn entered(rooms: &Rooms, is_done: bool) -> Arc<Room> {
    let room = rooms.enter(Uuid::now_v7(), &owner(), 0);
    room.change(|state| {
        state.add(answer(is_done));
        state.note(Change::Messages, 1);
    });
    room
}

#[tokio::test(start_paused = true)]
async fn a_thousand_conversations_used_once_leave_nothing() {
    let rooms = Rooms::default();
    for _ in 0..1_000 {
        drop(entered(&rooms, true));
    }
    assert_eq!(tidied(&rooms, GRACE - SWEEP_INTERVAL).await, 1_000);
    assert_eq!(tidied(&rooms, 3 * SWEEP_INTERVAL).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_room_stays_while_something_runs_or_somebody_watches() {
    let rooms = Rooms::default();
    let running = entered(&rooms, false).id;
    let watched = entered(&rooms, true);
    let bell = Arc::new(Bell::default());
    watched.join(&bell);
    let id = watched.id;
    drop(watched);
    assert_eq!(tidied(&rooms, 3 * GRACE).await, 2);
    let watched = rooms.enter(id, &owner(), 0);
    // Who watches keeps the room, but not the text of answers that ended.
    assert!(watched.state().answers.is_empty());
    watched.leave(&bell);
    drop(watched);
    assert_eq!(tidied(&rooms, 2 * SWEEP_INTERVAL).await, 1);
    assert_eq!(rooms.enter(running, &owner(), 0).state().answers.len(), 1);
}
