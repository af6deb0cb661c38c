//! The task that owns one answer: it asks the model, adds what comes to the room, keeps it, and ends it exactly once.
//!
//! It belongs to no socket. It ends by itself, by a stop, or when the gateway stops; then the next answer that waits in the
//! conversation begins.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::answer::Answer;
use crate::answer::written::RunKind;
use crate::connection::Outcome;
use crate::conversation::context;
use crate::conversation::room::{Room, Stage};
use crate::error::Failure;
use crate::event::{Event, Finish};
use crate::identity::AnswerSeat;
use crate::protocol::record::{AnswerProblem, AnswerStatus, AnswerTimings};
use crate::protocol::v2::{Change, Done, Phase};
use crate::state::Gateway;
use crate::store::{AnswerEnd, AnswerRun, StoreError};

/// The time between two checkpoints of a running answer.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(3);
/// The largest answer that is kept, in bytes.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// How long the end of an answer is held back while the store does not take it.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// The pause before the store is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How an answer came to its end.
enum TaskEnding {
    Finished(Finish),
    Failed(Failure),
    Stopped,
    Interrupted,
}

/// When the parts of an answer came.
#[derive(Clone, Copy)]
struct Stopwatch {
    begun: Instant,
    first: Option<Instant>,
    last: Instant,
}

/// Runs an answer that the room holds as running, and after it those that wait. `seat` is the conversation's place among
/// the answers of its user that may run at once.
pub(crate) fn spawn(gateway: &Arc<Gateway>, room: Arc<Room>, answer: Uuid, seat: AnswerSeat) {
    let task = run(Arc::clone(gateway), room, answer, seat);
    gateway.shutdown.spawn(task);
}

async fn run(gateway: Arc<Gateway>, room: Arc<Room>, mut answer: Uuid, seat: AnswerSeat) {
    let mut seat = Some(seat);
    loop {
        one(&gateway, &room, answer, &mut seat).await;
        // Without a seat nothing waited when the answer ended: what has come since has a task of its own.
        if seat.is_none() {
            return;
        }
        match next(&gateway, &room).await {
            Some(waiting) => answer = waiting,
            None => return,
        }
    }
}

/// Runs one answer to its end.
async fn one(gateway: &Arc<Gateway>, room: &Arc<Room>, id: Uuid, seat: &mut Option<AnswerSeat>) {
    let stop = room.state().answer(id).map(|answer| answer.stop.clone());
    let Some(stop) = stop else {
        return;
    };
    let begun = Instant::now();
    let mut clock = Stopwatch {
        begun,
        first: None,
        last: begun,
    };
    let mut asked = None;
    let ending = {
        let answering = answer(gateway, room, id, &mut clock, &mut asked);
        tokio::select! {
            ending = answering => ending,
            () = stop.cancelled() => TaskEnding::Stopped,
            () = gateway.shutdown.closing() => TaskEnding::Interrupted,
        }
    };
    if let Some(asked) = asked.take() {
        asked.settle(ending.outcome());
    }
    conclude(gateway, room, id, ending, clock, seat).await;
}

/// Asks the model and adds what comes to the room. Not cancel-safe, but dropping it is how an answer is stopped: the
/// connection to llm-proxy closes with it.
async fn answer(
    gateway: &Arc<Gateway>,
    room: &Arc<Room>,
    id: Uuid,
    clock: &mut Stopwatch,
    asked: &mut Option<Answer>,
) -> TaskEnding {
    let mut prompt = match context::Prompt::of(gateway, room, id).await {
        Ok(prompt) => prompt,
        Err(failure) => return TaskEnding::Failed(failure),
    };
    let answer = asked.insert(Answer::begin(Arc::clone(gateway), prompt.ask()));
    let mut checkpoints = tokio::time::interval(CHECKPOINT_INTERVAL);
    checkpoints.set_missed_tick_behavior(MissedTickBehavior::Delay);
    checkpoints.tick().await;
    let mut unwatched = Unwatched::default();
    // Pieces that came since the model was last asked. Each is at least a token.
    let mut n_pieces = 0;
    let mut losses = Losses::default();
    let mut kept = 0;
    // Beside the answer: a store that hangs must not hold up what the model writes.
    let mut keeping: Option<Keeping<'_>> = None;
    loop {
        let event = tokio::select! {
            event = answer.next() => event,
            now_kept = ended(&mut keeping) => {
                let Some(now_kept) = now_kept else {
                    // The store takes no more of it: `conclude` finds out why.
                    return TaskEnding::Interrupted;
                };
                kept = now_kept;
                keeping = None;
                continue;
            }
            _ = checkpoints.tick() => {
                if unwatched.is_over(gateway, room) && answer.others_wait() {
                    return TaskEnding::Stopped;
                }
                if keeping.is_none() {
                    keeping = Some(Box::pin(checkpoint(gateway, room, id, kept)));
                }
                continue;
            }
        };
        match event {
            // What llm-proxy tells of the wait may be read after the first character.
            Event::Queued { .. } | Event::Loading | Event::Prompt { .. } if n_pieces > 0 => {}
            Event::Queued {
                position,
                wait_seconds,
            } => {
                room.stage(
                    id,
                    Stage::Queued {
                        place: position,
                        wait_seconds,
                    },
                );
            }
            Event::Loading => room.stage(id, Stage::of(Phase::Loading)),
            Event::Prompt {
                done,
                total,
                cached,
            } => {
                let stage = Stage::At {
                    phase: Phase::Prompt,
                    done: Some(done),
                    total: Some(total),
                    cached,
                };
                room.stage(id, stage);
            }
            Event::Reasoning(text) => {
                clock.tick();
                n_pieces += 1;
                if room.write(id, RunKind::Reasoning, &text) > MAX_ANSWER_BYTES {
                    return TaskEnding::Failed(Failure::Oversized);
                }
            }
            Event::Text(text) => {
                clock.tick();
                n_pieces += 1;
                if room.write(id, RunKind::Text, &text) > MAX_ANSWER_BYTES {
                    return TaskEnding::Failed(Failure::Oversized);
                }
            }
            Event::Finished(finish) => return TaskEnding::Finished(finish),
            Event::Failed(Failure::ContextFull(overflow))
                if n_pieces == 0 && prompt.shorten(room, id, overflow) =>
            {
                answer.again(prompt.ask());
            }
            Event::Failed(failure) => {
                let most = gateway.config.continue_lost_answers;
                if !losses.may_go_on(failure, most) || !prompt.go_on(room, id, n_pieces) {
                    return TaskEnding::Failed(losses.reason(failure, n_pieces));
                }
                losses.note(failure);
                n_pieces = 0;
                answer.go_on(prompt.ask());
            }
        }
    }
}

/// The engines that an answer lost.
#[derive(Default)]
struct Losses {
    n: u32,
    last: Option<Failure>,
}

impl Losses {
    /// Whether an answer that failed goes on at another engine, which happens `most` times.
    const fn may_go_on(&self, failure: Failure, most: u32) -> bool {
        failure.is_loss() && self.n < most
    }

    const fn note(&mut self, failure: Failure) {
        self.n += 1;
        self.last = Some(failure);
    }

    /// Why an answer failed. When another engine could not even begin to go on, that is the loss before it.
    fn reason(&self, failure: Failure, n_pieces: u32) -> Failure {
        self.last.filter(|_| n_pieces == 0).unwrap_or(failure)
    }
}

/// A checkpoint under way.
type Keeping<'a> = Pin<Box<dyn Future<Output = Option<u64>> + Send + 'a>>;

/// Waits for the checkpoint; without one, for ever. Cancel-safe.
async fn ended(keeping: &mut Option<Keeping<'_>>) -> Option<u64> {
    match keeping {
        Some(keeping) => keeping.await,
        None => std::future::pending().await,
    }
}

/// Keeps what has come since `kept` bytes; returns how much is kept, and `None` when the answer is no longer this task's to
/// write. A store that fails now may take the next.
async fn checkpoint(gateway: &Gateway, room: &Room, id: Uuid, kept: u64) -> Option<u64> {
    let (begun, written) = {
        let mut state = room.state();
        match state.answer(id) {
            Some(answer) if answer.written.position() > kept => {
                (answer.begun, answer.written.clone())
            }
            _ => return Some(kept),
        }
    };
    match gateway.store.checkpoint(begun, &written).await {
        Ok(()) => Some(written.position()),
        Err(StoreError::Gone) => None,
        Err(error) => {
            tracing::warn!(answer = %id, %error, "a checkpoint was not kept");
            Some(kept)
        }
    }
}

/// Keeps how the answer ended, and shows it. The seat is free before that, unless another answer waits to have it.
async fn conclude(
    gateway: &Arc<Gateway>,
    room: &Arc<Room>,
    id: Uuid,
    ending: TaskEnding,
    clock: Stopwatch,
    seat: &mut Option<AnswerSeat>,
) {
    let _turn = room.turn.lock().await;
    let Some((begun, written, context)) = ({
        let mut state = room.state();
        state
            .answer(id)
            .map(|answer| (answer.begun, answer.written.clone(), answer.context))
    }) else {
        return;
    };
    let position = written.position();
    let mut end = AnswerEnd {
        error: ending.problem(),
        timings: clock.timings(),
        context,
        ..AnswerEnd::plain(ending.status(position), written)
    };
    if let TaskEnding::Finished(finish) = &ending {
        end.finish_reason = Some(finish.reason);
        end.usage = finish.usage;
        if let (Some(usage), Some(context)) = (finish.usage, &mut end.context) {
            context.used = usage.prompt_tokens;
        }
        if let Some(timings) = &mut end.timings {
            timings.tokens_per_second = finish.tokens_per_second;
        }
    }
    let Some(revision) = keep(gateway, room, begun, &end).await else {
        if room.state().waiting() == 0 {
            drop(seat.take());
        }
        return;
    };
    let done = Done {
        answer: id,
        position,
        status: end.status,
        finish_reason: end.finish_reason,
        usage: end.usage,
        timings: end.timings,
        error: end.error,
        joints: end.written.joints(),
        revision,
    };
    if room.state().waiting() == 0 {
        drop(seat.take());
    }
    settle(room, done, Change::Messages);
}

/// Keeps an end, and returns the revision then; `None` when another gateway has ended the answer, which is shown then.
///
/// A file that does not take it in time is asked again in the background, and whoever watches is told meanwhile. A database
/// that gateways share is waited for: another one may have ended the answer in it.
async fn keep(
    gateway: &Arc<Gateway>,
    room: &Arc<Room>,
    begun: AnswerRun,
    end: &AnswerEnd,
) -> Option<u64> {
    let id = begun.answer;
    let patience = Instant::now() + STORE_PATIENCE;
    loop {
        match gateway.store.finish(begun, end).await {
            Ok(revision) => return Some(revision),
            Err(StoreError::Gone) if gateway.give_up(room, begun).await => return None,
            // Its conversation was deleted meanwhile, which makes no tokens free.
            Err(StoreError::Gone) => {
                if let Err(error) = gateway.store.spend(&room.owner, end).await {
                    tracing::warn!(answer = %id, %error, "the tokens of a deleted answer were not counted");
                }
                return Some(room.state().revision);
            }
            Err(error)
                if !gateway.shutdown.is_closing()
                    && (gateway.store.is_shared() || Instant::now() < patience) =>
            {
                tracing::warn!(answer = %id, %error, "the end of an answer was not kept, trying again");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(answer = %id, %error, "the end of an answer is not kept yet");
                if gateway.store.is_shared() {
                    // The gateway stops. Another one interrupts what it leaves.
                    return None;
                }
                let late = keep_late(Arc::clone(gateway), Arc::clone(room), begun, end.clone());
                gateway.shutdown.spawn(late);
                return Some(room.state().revision);
            }
        }
    }
}

/// Keeps an end once the store works again. When the gateway stops it tries a last time.
async fn keep_late(gateway: Arc<Gateway>, room: Arc<Room>, begun: AnswerRun, end: AnswerEnd) {
    loop {
        let is_last = gateway.shutdown.is_draining();
        match gateway.store.finish(begun, &end).await {
            Ok(revision) => {
                room.change(|state| state.note(Change::Messages, revision));
                return;
            }
            Err(StoreError::Gone) => return,
            Err(_) if is_last => return,
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(STORE_PAUSE) => {}
            () = gateway.shutdown.draining() => {}
        }
    }
}

/// Shows how an answer ended to everybody who watches.
pub(crate) fn settle(room: &Room, done: Done, what: Change) {
    room.change(|state| {
        let revision = done.revision;
        if let Some(answer) = state.answer(done.answer) {
            answer.status = done.status;
            answer.done = Some((done, Instant::now()));
        }
        state.note(what, revision);
    });
}

/// Begins the next answer that waits in the conversation. While the gateway stops, those that wait are interrupted.
async fn next(gateway: &Arc<Gateway>, room: &Arc<Room>) -> Option<Uuid> {
    loop {
        let turn = room.turn.lock().await;
        let begun = {
            let state = room.state();
            // What runs or waits at another gateway is begun there.
            // A message that came since the last answer ended may have begun one, with a task of its own.
            if state
                .own()
                .any(|answer| answer.status == AnswerStatus::Running)
            {
                return None;
            }
            state
                .own()
                .find(|answer| answer.status == AnswerStatus::Waiting)
                .map(|answer| answer.begun)
        }?;
        let id = begun.answer;
        if gateway.shutdown.is_draining() {
            let ended = gateway
                .end_waiting(room, id, AnswerStatus::Interrupted)
                .await;
            if ended.is_err() {
                // At the next start the store finds it waiting, and interrupts it.
                return None;
            }
            continue;
        }
        match gateway.store.start(begun).await {
            Ok(revision) => {
                room.change(|state| {
                    if let Some(answer) = state.answer(id) {
                        answer.status = AnswerStatus::Running;
                    }
                    state.note(Change::Queue, revision);
                });
                return Some(id);
            }
            // Another gateway has ended it, or its conversation was deleted.
            Err(StoreError::Gone) => {
                if !gateway.give_up(room, begun).await {
                    room.change(|state| state.answers.retain(|live| live.id != id));
                }
            }
            Err(error) => {
                tracing::warn!(answer = %id, %error, "an answer could not be begun, trying again");
                // Others may stop or drop it meanwhile.
                drop(turn);
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}

/// Since when nobody has watched.
#[derive(Default)]
struct Unwatched(Option<Instant>);

impl Unwatched {
    /// Whether nobody has watched for as long as the operator allows.
    fn is_over(&mut self, gateway: &Gateway, room: &Room) -> bool {
        let Some(limit) = gateway.config.unwatched else {
            return false;
        };
        // Nobody knows who watches at other gateways.
        if gateway.bus.shared().is_some() {
            return false;
        }
        if room.is_watched() {
            self.0 = None;
            return false;
        }
        let since = *self.0.get_or_insert_with(Instant::now);
        since.elapsed() >= limit
    }
}

impl Stopwatch {
    fn tick(&mut self) {
        self.last = Instant::now();
        self.first.get_or_insert(self.last);
    }

    fn timings(self) -> Option<AnswerTimings> {
        let first = self.first?;
        Some(AnswerTimings {
            first_token_ms: millis(first - self.begun),
            writing_ms: millis(self.last - first),
            tokens_per_second: None,
        })
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl TaskEnding {
    /// The status of an answer of `position` bytes that ended this way.
    fn status(&self, position: u64) -> AnswerStatus {
        match self {
            Self::Finished(_) => AnswerStatus::Done,
            Self::Stopped => AnswerStatus::Stopped,
            Self::Interrupted => AnswerStatus::Interrupted,
            // The model's service died in the middle: what there is can be continued.
            Self::Failed(Failure::Interrupted | Failure::EngineLost | Failure::Disconnected)
                if position > 0 =>
            {
                AnswerStatus::Interrupted
            }
            Self::Failed(_) => AnswerStatus::Failed,
        }
    }

    fn problem(&self) -> Option<AnswerProblem> {
        let failure = match self {
            Self::Failed(failure) => *failure,
            Self::Interrupted => Failure::ShuttingDown,
            Self::Finished(_) | Self::Stopped => return None,
        };
        Some(AnswerProblem {
            code: failure.code(),
            message: failure.message().to_owned(),
        })
    }

    const fn outcome(&self) -> Outcome {
        match self {
            Self::Finished(_) => Outcome::Done,
            Self::Stopped => Outcome::Stopped,
            Self::Interrupted => Outcome::Failed(Failure::ShuttingDown),
            Self::Failed(failure) => Outcome::Failed(*failure),
        }
    }
}
