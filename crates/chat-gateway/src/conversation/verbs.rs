//! Everything a user can ask for that begins, ends or changes an answer. The socket and the HTTP API both call these.
//!
//! Each verb first makes sure, in one step of the store, that what it names is the user's. What the store kept is shown to
//! watchers afterwards, never before.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::answer::task;
use crate::answer::written::Written;
use crate::completion::effective;
use crate::conversation::room::{LiveAnswer, MAX_QUEUED, Room, Stage};
use crate::identity::User;
use crate::protocol::reading::MAX_ID_CHARS;
use crate::protocol::record::{Author, Conversation, ErrorCode, Message, Options, Part, Status};
use crate::protocol::v2::{
    Accepted, Aim, Change, Done, EditQueued, Refused, Regenerate, Send, WhenBusy,
};
use crate::state::Gateway;
use crate::store::{Begun, ConversationChange, End, NewOrOld, NewTurn, RequestKey, StoreError};

/// The longest title that is made from a message's first words, in characters.
const TITLE_CHARS: usize = 60;
/// The title of a conversation that begins with a picture.
const PICTURE_TITLE: &str = "🖼";
/// Strings of `options.stop`.
const MAX_STOPS: usize = 4;
/// The most of all parts of one message, in bytes.
pub(crate) const MAX_CONTENT_BYTES: usize = 8 * 1024 * 1024;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: &'static str,
    pub(crate) retry_after_seconds: Option<u32>,
}

impl Refusal {
    pub(crate) const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self {
            code,
            message,
            retry_after_seconds: None,
        }
    }

    pub(crate) const NOT_FOUND: Self = Self::new(
        ErrorCode::NotFound,
        "there is no such conversation or message",
    );

    /// The frame that says so to whoever sent the frame `re`.
    pub(crate) fn frame(&self, re: Option<String>) -> Refused {
        Refused {
            re,
            code: self.code,
            message: self.message.to_owned(),
            retry_after_seconds: self.retry_after_seconds,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        STORE_HANGS
    }
}

const fn bad(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}

/// What `send`, `regenerate` and `continue` came to.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) accepted: Accepted,
    pub(crate) room: Arc<Room>,
}

/// A turn as it is to be kept and begun.
struct Turn {
    id: String,
    digest: [u8; 32],
    parent: Option<Uuid>,
    question: Question,
    options: Options,
    continues: bool,
}

/// The message that is answered.
enum Question {
    New(Uuid, Vec<Part>),
    Old(Uuid),
}

impl Question {
    const fn id(&self) -> Uuid {
        match self {
            Self::New(id, _) | Self::Old(id) => *id,
        }
    }
}

impl Gateway {
    /// Takes a message and begins its answer, or lets it wait behind the one that runs.
    pub(crate) async fn send(self: &Arc<Self>, user: &User, send: Send) -> Result<Taken, Refusal> {
        let digest = digest(&send)?;
        self.send_to(user, send, digest, Uuid::now_v7()).await
    }

    /// As [`Gateway::send`]: `digest` tells it from another request with its id, and a conversation that begins with it
    /// gets the id `new`.
    pub(crate) async fn send_to(
        self: &Arc<Self>,
        user: &User,
        send: Send,
        digest: [u8; 32],
        new: Uuid,
    ) -> Result<Taken, Refusal> {
        check_id(&send.id)?;
        let request = RequestKey {
            id: &send.id,
            digest,
        };
        if let Some(taken) = self.taken_before(user, &request).await? {
            return Ok(taken);
        }
        let parts = send.content.into_parts();
        self.check_content(&parts)?;
        self.admit(user).await?;
        let Some(conversation) = send.conversation else {
            if send.parent.flatten().is_some() {
                return Err(bad("`parent` needs the `conversation` it is in"));
            }
            let system = send.options.system.clone();
            let options = self.effective(send.options, None)?;
            let id = new;
            let title = title(&parts);
            let room = self.rooms.enter(id, &user.id, 0);
            let turn = Turn {
                id: send.id,
                digest,
                parent: None,
                question: Question::New(Uuid::now_v7(), parts),
                options,
                continues: false,
            };
            let new = NewOrOld::New {
                id,
                title: &title,
                temporary: send.temporary,
                system: system.as_deref(),
            };
            return self.begin(user, room, new, turn, Uuid::now_v7()).await;
        };
        if send.temporary {
            return Err(bad("only a new conversation can be `temporary`"));
        }
        let (room, _) = self.enter(user, conversation).await?;
        let turned = room.turn().await.ok_or(STORE_HANGS)?;
        // Read again: the turn may have passed to others meanwhile.
        let kept = match self.store.conversation(&user.id, conversation).await? {
            Some(kept) => kept,
            None => return Err(Refusal::NOT_FOUND),
        };
        let parent = match send.parent {
            None => kept.leaf,
            Some(None) => None,
            Some(Some(parent)) => Some(self.parent(user, conversation, parent).await?),
        };
        let request = RequestKey {
            id: &send.id,
            digest,
        };
        if room.state().is_busy() {
            // What runs may be the answer to this very frame, sent on another socket a moment ago.
            if let Some(taken) = self.taken_before(user, &request).await? {
                return Ok(taken);
            }
            if send.when_busy == WhenBusy::Reject {
                return Err(BUSY);
            }
            if room.state().waiting() >= MAX_QUEUED {
                return Err(Refusal::new(
                    ErrorCode::QueueFull,
                    "too many messages are waiting; wait for an answer first",
                ));
            }
        }
        let first_words = kept.title.is_empty().then(|| title(&parts));
        let turn = Turn {
            id: send.id,
            digest,
            parent,
            question: Question::New(Uuid::now_v7(), parts),
            options: self.effective(send.options, kept.system.as_deref())?,
            continues: false,
        };
        let old = NewOrOld::Old(conversation);
        let taken = self
            .begin(user, Arc::clone(&room), old, turn, Uuid::now_v7())
            .await;
        drop(turned);
        if let Some(title) = first_words.filter(|_| taken.is_ok()) {
            let change = ConversationChange {
                title: Some(title),
                ..ConversationChange::default()
            };
            self.change(user, conversation, &change).await?;
        }
        taken
    }

    /// Begins another answer beside one.
    pub(crate) async fn regenerate(
        self: &Arc<Self>,
        user: &User,
        wish: Regenerate,
    ) -> Result<Taken, Refusal> {
        let digest = digest(&wish)?;
        check_id(&wish.id)?;
        let request = RequestKey {
            id: &wish.id,
            digest,
        };
        if let Some(taken) = self.taken_before(user, &request).await? {
            return Ok(taken);
        }
        self.admit(user).await?;
        let (conversation, message) = self.answer_of(user, wish.message).await?;
        let (room, kept) = self.enter(user, conversation).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let question = message.parent.ok_or(Refusal::NOT_FOUND)?;
        let turn = Turn {
            id: wish.id,
            digest,
            parent: None,
            question: Question::Old(question),
            options: self.effective(wish.options, kept.system.as_deref())?,
            continues: false,
        };
        let old = NewOrOld::Old(conversation);
        self.begin(user, Arc::clone(&room), old, turn, Uuid::now_v7())
            .await
    }

    /// Goes on where an answer was cut.
    pub(crate) async fn go_on(self: &Arc<Self>, user: &User, aim: Aim) -> Result<Taken, Refusal> {
        let digest = digest(&("continue", &aim.id, aim.message))?;
        check_id(&aim.id)?;
        let request = RequestKey {
            id: &aim.id,
            digest,
        };
        if let Some(taken) = self.taken_before(user, &request).await? {
            return Ok(taken);
        }
        self.admit(user).await?;
        let (conversation, message) = self.answer_of(user, aim.message).await?;
        let (room, _) = self.enter(user, conversation).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let question = message.parent.ok_or(Refusal::NOT_FOUND)?;
        let options = message.answer.map(|answer| answer.options);
        let turn = Turn {
            id: aim.id,
            digest,
            parent: None,
            question: Question::Old(question),
            options: options.unwrap_or_default(),
            continues: true,
        };
        let old = NewOrOld::Old(conversation);
        self.begin(user, Arc::clone(&room), old, turn, aim.message)
            .await
    }

    /// Ends an answer that runs or waits. Its `done` comes once the model is free.
    pub(crate) async fn stop(self: &Arc<Self>, user: &User, aim: &Aim) -> Result<(), Refusal> {
        check_id(&aim.id)?;
        let (conversation, _) = self.answer_of(user, aim.message).await?;
        let (room, _) = self.enter(user, conversation).await?;
        self.stop_in(&room, aim.message).await
    }

    /// Ends this answer of the room, if it has not ended.
    pub(crate) async fn stop_in(
        self: &Arc<Self>,
        room: &Arc<Room>,
        answer: Uuid,
    ) -> Result<(), Refusal> {
        // At once, and whatever the store says: it is stopped when its turn comes, at the latest.
        if let Some(live) = room.state().answer(answer) {
            live.stop.cancel();
        }
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let status = room.state().answer(answer).map(|live| live.status);
        if status == Some(Status::Waiting) {
            self.end_waiting(room, answer, Status::Stopped).await?;
        }
        Ok(())
    }

    /// Ends an answer that was never begun. The caller holds the room's turn.
    pub(crate) async fn end_waiting(
        &self,
        room: &Room,
        answer: Uuid,
        status: Status,
    ) -> Result<(), StoreError> {
        let end = End::plain(status, Written::new());
        let revision = self.store.finish(answer, &end).await?;
        let done = Done {
            answer,
            position: 0,
            status,
            finish_reason: None,
            usage: None,
            timings: None,
            error: None,
            revision,
        };
        task::settle(room, done, Change::Queue);
        Ok(())
    }

    /// Puts other words into a message that still waits.
    pub(crate) async fn edit_queued(
        self: &Arc<Self>,
        user: &User,
        edit: EditQueued,
    ) -> Result<(), Refusal> {
        check_id(&edit.id)?;
        let parts = edit.content.into_parts();
        self.check_content(&parts)?;
        let (room, _) = self.room_of(user, edit.message).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let edited = self
            .store
            .edit_waiting(&user.id, edit.message, &parts)
            .await?;
        let (_, revision) = edited.ok_or(TOO_LATE)?;
        room.change(|state| state.note(Change::Queue, revision));
        Ok(())
    }

    /// Takes a message back that still waits.
    pub(crate) async fn drop_queued(
        self: &Arc<Self>,
        user: &User,
        aim: &Aim,
    ) -> Result<(), Refusal> {
        check_id(&aim.id)?;
        let (room, _) = self.room_of(user, aim.message).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let dropped = self.store.drop_waiting(&user.id, aim.message).await?;
        let (_, revision) = dropped.ok_or(TOO_LATE)?;
        room.change(|state| {
            let gone = |answer: &LiveAnswer| {
                answer.question == aim.message && answer.status == Status::Waiting
            };
            state.answers.retain(|answer| !gone(answer));
            state.note(Change::Queue, revision);
        });
        Ok(())
    }

    /// The room of a conversation of this user, and what is kept of it.
    pub(crate) async fn enter(
        &self,
        user: &User,
        conversation: Uuid,
    ) -> Result<(Arc<Room>, Conversation), Refusal> {
        let kept = self.store.conversation(&user.id, conversation).await?;
        let kept = kept.ok_or(Refusal::NOT_FOUND)?;
        let room = self.rooms.enter(conversation, &user.id, kept.revision);
        Ok((room, kept))
    }

    /// Stops what runs in a conversation of this user and deletes it.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        user: &User,
        conversation: Uuid,
    ) -> Result<(), Refusal> {
        let (room, kept) = self.enter(user, conversation).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        if !self.store.delete(&user.id, conversation).await? {
            return Err(Refusal::NOT_FOUND);
        }
        let revision = kept.revision.max(room.state().revision) + 1;
        room.change(|state| {
            for answer in &mut state.answers {
                answer.stop.cancel();
            }
            let waits = |answer: &LiveAnswer| answer.status == Status::Waiting;
            state.answers.retain(|answer| !waits(answer));
            state.note(Change::Deleted, revision);
        });
        Ok(())
    }

    async fn room_of(
        &self,
        user: &User,
        message: Uuid,
    ) -> Result<(Arc<Room>, Conversation), Refusal> {
        let found = self.store.message(&user.id, message).await?;
        let (conversation, message) = found.ok_or(Refusal::NOT_FOUND)?;
        if message.role != Author::User {
            return Err(bad("`message` must be a person's message, not an answer"));
        }
        self.enter(user, conversation).await
    }

    /// The answer with this id, if it is one and the user's.
    async fn answer_of(&self, user: &User, id: Uuid) -> Result<(Uuid, Message), Refusal> {
        let found = self.store.message(&user.id, id).await?;
        let (conversation, message) = found.ok_or(Refusal::NOT_FOUND)?;
        if message.role != Author::Assistant {
            return Err(bad("`message` must be an answer"));
        }
        Ok((conversation, message))
    }

    /// The answer that a message is to follow.
    async fn parent(&self, user: &User, conversation: Uuid, id: Uuid) -> Result<Uuid, Refusal> {
        let found = self.store.message(&user.id, id).await?;
        match found {
            Some((of, message)) if of == conversation && message.role == Author::Assistant => {
                Ok(id)
            }
            Some((of, _)) if of == conversation => Err(bad("`parent` must be an answer or null")),
            _ => Err(Refusal::NOT_FOUND),
        }
    }

    /// Keeps a turn and begins it, or lets it wait. The caller holds the room's turn unless the conversation is new.
    async fn begin(
        self: &Arc<Self>,
        user: &User,
        room: Arc<Room>,
        conversation: NewOrOld<'_>,
        turn: Turn,
        answer: Uuid,
    ) -> Result<Taken, Refusal> {
        let started = Instant::now();
        let request = RequestKey {
            id: &turn.id,
            digest: turn.digest,
        };
        let busy = room.state().is_busy();
        let must_be_idle = matches!(turn.question, Question::Old(_));
        let (question, parts) = match &turn.question {
            Question::New(id, parts) => (*id, Some((*id, parts.as_slice()))),
            Question::Old(id) => (*id, None),
        };
        if busy && must_be_idle {
            return self.taken_before(user, &request).await?.ok_or(BUSY);
        }
        // Whoever waits in this conversation runs in the place of the answer before.
        let seat = if busy {
            None
        } else {
            Some(self.limits.answer(user).ok_or(TOO_MANY_ANSWERS)?)
        };
        let status = if busy {
            Status::Waiting
        } else {
            Status::Running
        };
        let begun = if turn.continues {
            let options = &turn.options;
            self.store
                .resume(&user.id, &request, answer, options)
                .await?
        } else {
            let new = NewTurn {
                owner: &user.id,
                request,
                conversation,
                parent: if parts.is_some() {
                    turn.parent
                } else {
                    Some(question)
                },
                question: parts,
                answer,
                status,
                options: &turn.options,
            };
            self.store.begin(new).await?
        };
        let revision = match begun {
            Begun::Begun { revision } => revision,
            Begun::Before(accepted) => return Ok(self.repeated(user, accepted)),
            Begun::Conflict => return Err(OTHER_REQUEST),
            Begun::NotFound => return Err(Refusal::NOT_FOUND),
            Begun::Taken => {
                return Err(Refusal::new(
                    ErrorCode::Conflict,
                    "this answer is whole: there is nothing to continue",
                ));
            }
        };
        let written = match turn.continues {
            true => {
                let stored = self.store.answer(&user.id, answer).await?;
                stored.ok_or(Refusal::NOT_FOUND)?.written
            }
            false => Written::new(),
        };
        let live = LiveAnswer {
            id: answer,
            question: turn.question.id(),
            run: 0,
            status,
            written,
            options: turn.options.clone(),
            continues: turn.continues,
            lane: Arc::clone(&user.lane),
            stage: Stage::Unknown,
            stage_version: 0,
            context: None,
            done: None,
            stop: CancellationToken::new(),
        };
        room.change(|state| {
            state.add(live);
            let what = if busy {
                Change::Queue
            } else {
                Change::Messages
            };
            state.note(what, revision);
        });
        if let Some(seat) = seat {
            task::spawn(self, Arc::clone(&room), answer, seat);
        }
        tracing::debug!(%answer, waits = busy, ms = started.elapsed().as_millis() as u64, "accepted");
        let accepted = Accepted {
            re: turn.id,
            conversation: room.id,
            revision,
            message: question,
            answer,
            options: turn.options,
            duplicate: false,
        };
        Ok(Taken { accepted, room })
    }

    async fn admit(&self, user: &User) -> Result<(), Refusal> {
        if self.shutdown.is_draining() {
            return Err(Refusal {
                code: ErrorCode::ShuttingDown,
                message: "the server is restarting; send the message again in a moment",
                retry_after_seconds: Some(2),
            });
        }
        if let Err(wait) = self.limits.message(user) {
            return Err(Refusal {
                code: ErrorCode::RateLimited,
                message: "too many messages in a minute; wait a moment",
                retry_after_seconds: u32::try_from(wait.0.as_secs() + 1).ok(),
            });
        }
        if let Some(most) = self.config.bounds.tokens_per_day
            && self.store.tokens_today(&user.id).await? >= most.get()
        {
            let message = "the tokens of today are spent; come back tomorrow (UTC)";
            return Err(Refusal::new(ErrorCode::QuotaExceeded, message));
        }
        Ok(())
    }

    fn check_content(&self, parts: &[Part]) -> Result<(), Refusal> {
        let size = |part: &Part| match part {
            Part::Text { text } => text.len(),
            Part::Image { data_url } => data_url.len(),
        };
        let blank = |part: &Part| matches!(part, Part::Text { text } if text.trim().is_empty());
        let image = |part: &Part| matches!(part, Part::Image { .. });
        if parts.iter().map(size).sum::<usize>() > MAX_CONTENT_BYTES {
            return Err(Refusal::new(ErrorCode::TooLarge, "`content` is too large"));
        }
        if parts.iter().all(blank) {
            return Err(bad("`content` must not be empty"));
        }
        let data = |part: &Part| matches!(part, Part::Image { data_url } if !data_url.starts_with("data:image/"));
        if parts.iter().any(data) {
            return Err(bad("`data_url` must begin with data:image/"));
        }
        if parts.iter().any(image) && !self.upstream.model().images {
            return Err(Refusal::new(
                ErrorCode::UnsupportedContent,
                "this model does not read images",
            ));
        }
        Ok(())
    }

    /// The options as the model is asked with them: the conversation's and the operator's where they say nothing, and
    /// nothing beyond the limits.
    fn effective(&self, mut wish: Options, system: Option<&str>) -> Result<Options, Refusal> {
        let stop = wish.stop.as_deref().unwrap_or_default();
        if stop.len() > MAX_STOPS || stop.iter().any(String::is_empty) {
            return Err(bad("`options.stop` must be at most 4 strings, none empty"));
        }
        if wish.system.is_none() {
            wish.system = system.map(str::to_owned);
        }
        Ok(effective(&wish, &self.config))
    }

    /// What this request was given when it came before.
    async fn taken_before(
        &self,
        user: &User,
        request: &RequestKey<'_>,
    ) -> Result<Option<Taken>, Refusal> {
        match self.store.taken_before(&user.id, request).await? {
            Some(Begun::Before(accepted)) => Ok(Some(self.repeated(user, accepted))),
            Some(_) => Err(OTHER_REQUEST),
            None => Ok(None),
        }
    }

    fn repeated(&self, user: &User, accepted: Accepted) -> Taken {
        let room = self
            .rooms
            .enter(accepted.conversation, &user.id, accepted.revision);
        let accepted = Accepted {
            duplicate: true,
            ..accepted
        };
        Taken { accepted, room }
    }
}

const BUSY: Refusal = Refusal::new(
    ErrorCode::Busy,
    "an answer of this conversation runs; wait for its end or stop it",
);
const STORE_HANGS: Refusal = Refusal::new(
    ErrorCode::StorageUnavailable,
    "conversations cannot be kept at the moment; try again",
);
const OTHER_REQUEST: Refusal = Refusal::new(
    ErrorCode::Conflict,
    "this `id` was used for another request",
);
const TOO_MANY_ANSWERS: Refusal = Refusal::new(
    ErrorCode::RateLimited,
    "too many of your answers run at once; wait for one to end",
);
const TOO_LATE: Refusal = Refusal::new(
    ErrorCode::Conflict,
    "this message no longer waits: its answer has begun",
);

fn check_id(id: &str) -> Result<(), Refusal> {
    let length = id.chars().count();
    if (1..=MAX_ID_CHARS).contains(&length) {
        Ok(())
    } else {
        Err(bad("`id` must be 1 to 64 characters"))
    }
}

/// What tells two requests with one id apart.
fn digest(request: &impl serde::Serialize) -> Result<[u8; 32], Refusal> {
    let body = serde_json::to_vec(request)
        .map_err(|_| Refusal::new(ErrorCode::Internal, "the gateway failed; try again"))?;
    Ok(Sha256::digest(&body).into())
}

/// The first words of a message, as the title of its conversation.
fn title(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        Part::Image { .. } => None,
    });
    let mut lines = texts.flat_map(str::lines).map(str::trim);
    let Some(line) = lines.find(|line| !line.is_empty()) else {
        return PICTURE_TITLE.to_owned();
    };
    if line.chars().count() <= TITLE_CHARS {
        return line.to_owned();
    }
    let cut: String = line.chars().take(TITLE_CHARS).collect();
    // Whole words where there are words: Chinese has no spaces.
    let words = cut.rsplit_once(' ').map(|(words, _)| words);
    let words = words.filter(|words| words.chars().count() > TITLE_CHARS / 2);
    format!("{}…", words.unwrap_or(&cut))
}
