//! What a user can ask for that begins an answer, where the conversation is at home; `elsewhere.rs` finds out where that
//! is. `queue.rs` has the verbs for answers that run or wait.
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
use crate::conversation::admit::check_id;
use crate::conversation::log;
use crate::conversation::refusal::{
    BUSY, OTHER_REQUEST, Refusal, STORE_HANGS, TOO_MANY_ANSWERS, Unbegun, bad,
};
use crate::conversation::room::{LiveAnswer, MAX_QUEUED, Room, Stage};
use crate::identity::User;
use crate::protocol::record::{AnswerOptions, AnswerStatus, ContentPart, ErrorCode};
use crate::protocol::v2::{Accepted, Aim, Change, Regenerate, Send, WhenBusy};
use crate::state::Gateway;
use crate::store::{Begun, ConversationChange, NewOrOld, NewTurn, RequestKey};

/// The longest title that is made from a message's first words, in characters.
const TITLE_CHARS: usize = 60;
/// The title of a conversation that begins with a picture.
const PICTURE_TITLE: &str = "🖼";
/// What `send`, `regenerate` and `continue` came to.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) accepted: Accepted,
    pub(crate) room: Arc<Room>,
}

/// A turn as it is to be kept and begun.
struct PlannedTurn {
    id: String,
    digest: [u8; 32],
    parent: Option<Uuid>,
    question: Question,
    options: AnswerOptions,
    continues: bool,
}

/// The message that is answered.
enum Question {
    New(Uuid, Vec<ContentPart>),
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
    /// Takes a message and begins its answer, or lets it wait behind the one that runs. `digest` tells it from another
    /// request with its id, and a conversation that begins with it gets the id `new`.
    pub(super) async fn send_here(
        self: &Arc<Self>,
        user: &User,
        send: Send,
        digest: [u8; 32],
        new: Uuid,
    ) -> Result<Taken, Unbegun> {
        check_id(&send.id)?;
        let request = RequestKey {
            id: &send.id,
            digest,
        };
        if let Some(taken) = self.taken_before(user, &request).await? {
            return Ok(taken);
        }
        let parts = send.content.clone().into_parts();
        self.check_content(&parts)?;
        self.admit(user).await?;
        let Some(conversation) = send.conversation else {
            if send.parent.flatten().is_some() {
                return Err(bad("`parent` needs the `conversation` it is in").into());
            }
            let id = new;
            let room = self.rooms.enter(id, &user.id, 0);
            let turned = room.turn().await.ok_or(STORE_HANGS)?;
            if self.store.conversation(&user.id, id).await?.is_some() {
                // The same chat was begun a moment ago.
                drop(turned);
                let send = Send {
                    conversation: Some(id),
                    ..send
                };
                return Box::pin(self.send_here(user, send, digest, new)).await;
            }
            let system = send.options.system.clone();
            let options = self.effective(send.options, None)?;
            let title = title(&parts);
            let turn = PlannedTurn {
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
            let taken = self
                .begin(user, Arc::clone(&room), new, turn, Uuid::now_v7())
                .await;
            drop(turned);
            return taken;
        };
        if send.temporary {
            return Err(bad("only a new conversation can be `temporary`").into());
        }
        let (room, _) = self.enter(user, conversation).await?;
        let turned = room.turn().await.ok_or(STORE_HANGS)?;
        // Read again: the turn may have passed to others meanwhile.
        let kept = match self.store.conversation(&user.id, conversation).await? {
            Some(kept) => kept,
            None => return Err(Refusal::NOT_FOUND.into()),
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
                return Err(BUSY.into());
            }
            if room.state().waiting() >= MAX_QUEUED {
                return Err(Refusal::new(
                    ErrorCode::QueueFull,
                    "too many messages are waiting; wait for an answer first",
                )
                .into());
            }
        }
        let first_words = kept.title.is_empty().then(|| title(&parts));
        let turn = PlannedTurn {
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
            // The answer runs: a title that cannot be kept now is no reason to refuse it.
            if let Err(error) = self.change(user, conversation, &change).await {
                tracing::warn!(%error, "a conversation has no title yet");
            }
        }
        taken
    }

    /// Begins another answer beside one.
    pub(super) async fn regenerate_here(
        self: &Arc<Self>,
        user: &User,
        wish: Regenerate,
    ) -> Result<Taken, Unbegun> {
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
        let turn = PlannedTurn {
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
    pub(super) async fn go_on_here(
        self: &Arc<Self>,
        user: &User,
        aim: Aim,
    ) -> Result<Taken, Unbegun> {
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
        let turn = PlannedTurn {
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

    /// Keeps a turn and begins it, or lets it wait. The caller holds the room's turn.
    async fn begin(
        self: &Arc<Self>,
        user: &User,
        room: Arc<Room>,
        conversation: NewOrOld<'_>,
        turn: PlannedTurn,
        answer: Uuid,
    ) -> Result<Taken, Unbegun> {
        let started = Instant::now();
        if let Some(home) = room.state().home() {
            return Err(Unbegun::Elsewhere(home));
        }
        let begins_listed = matches!(
            conversation,
            NewOrOld::New {
                temporary: false,
                ..
            }
        );
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
            let before = self.taken_before(user, &request).await?;
            return before.ok_or(Unbegun::Refused(BUSY));
        }
        // Whoever waits in this conversation runs in the place of the answer before.
        let seat = if busy {
            None
        } else {
            Some(self.limits.answer(user).ok_or(TOO_MANY_ANSWERS)?)
        };
        let status = if busy {
            AnswerStatus::Waiting
        } else {
            AnswerStatus::Running
        };
        // Before anything is begun: what fails from here on must leave nothing running.
        let written = if turn.continues {
            let stored = self.store.answer(&user.id, answer).await?;
            stored.ok_or(Refusal::NOT_FOUND)?.written
        } else {
            Written::new()
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
        let (revision, begun) = match begun {
            Begun::Begun { revision, run } => (revision, run),
            Begun::Before(accepted) => return Ok(self.repeated(user, accepted).await),
            Begun::Conflict => return Err(OTHER_REQUEST.into()),
            Begun::Elsewhere(home) => return Err(Unbegun::Elsewhere(home)),
            Begun::NotFound => return Err(Refusal::NOT_FOUND.into()),
            Begun::Taken => {
                return Err(Refusal::new(
                    ErrorCode::Conflict,
                    "this answer is whole: there is nothing to continue",
                )
                .into());
            }
        };
        let live = LiveAnswer {
            id: answer,
            question: turn.question.id(),
            run: 0,
            begun,
            elsewhere: None,
            status,
            began_at: written.position(),
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
        let log = room.change(|state| {
            let log = state.open_log();
            // A chat over HTTP may begin anew under the id of one that was deleted.
            state.revive();
            state.add(live);
            let what = if busy {
                Change::Queue
            } else {
                Change::Messages
            };
            state.note(what, revision);
            log
        });
        if let Some(log) = log {
            log::spawn(self, Arc::clone(&room), log);
        }
        if begins_listed {
            room.tell_created();
        }
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

    /// What this request was given when it came before.
    async fn taken_before(
        self: &Arc<Self>,
        user: &User,
        request: &RequestKey<'_>,
    ) -> Result<Option<Taken>, Refusal> {
        match self.store.taken_before(&user.id, request).await? {
            Some(Begun::Before(accepted)) => Ok(Some(self.repeated(user, accepted).await)),
            Some(_) => Err(OTHER_REQUEST),
            None => Ok(None),
        }
    }

    async fn repeated(self: &Arc<Self>, user: &User, accepted: Accepted) -> Taken {
        let room = self
            .rooms
            .enter(accepted.conversation, &user.id, accepted.revision);
        // It may run at another gateway.
        self.follow(&room).await;
        let accepted = Accepted {
            duplicate: true,
            ..accepted
        };
        Taken { accepted, room }
    }
}

/// What tells two requests with one id apart.
pub(super) fn digest(request: &impl serde::Serialize) -> Result<[u8; 32], Refusal> {
    let body = serde_json::to_vec(request)
        .map_err(|_| Refusal::new(ErrorCode::Internal, "the gateway failed; try again"))?;
    Ok(Sha256::digest(&body).into())
}

/// The first words of a message, as the title of its conversation.
fn title(parts: &[ContentPart]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        ContentPart::Text { text } => Some(text.as_str()),
        ContentPart::Image { .. } => None,
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
