//! What a user can ask for, at whichever gateway: done here, or by the gateway that owns what runs in the conversation.
//!
//! A conversation with open answers has a home. The mirror of its room says which one that is; a verb that goes there is
//! carried out as if the user's socket were there. A gateway that was called never calls another one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use crate::bus::{BusCall, BusError};
use crate::conversation::refusal::{ELSEWHERE, Refusal, Unbegun};
use crate::conversation::room::Room;
use crate::conversation::verbs::{Taken, digest};
use crate::identity::{User, UserRecord};
use crate::instance::InstanceId;
use crate::protocol::record::ErrorCode;
use crate::protocol::v2::{Accepted, Aim, EditQueued, RefusedFrame, Regenerate, Send};
use crate::state::Gateway;

/// Calls of other gateways that are carried out at once.
pub(crate) const MAX_CALLS: usize = 64;

/// How long the log is waited for that tells of an answer which another gateway has begun.
const MIRROR_PATIENCE: Duration = Duration::from_secs(1);

/// What a gateway asks a conversation's home for.
#[derive(Serialize, Deserialize)]
struct HomeCall {
    user: UserRecord,
    verb: HomeVerb,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HomeVerb {
    Send {
        send: Send,
        digest: [u8; 32],
        new: Uuid,
    },
    Regenerate(Regenerate),
    Continue(Aim),
    Stop(Aim),
    EditQueued(EditQueued),
    DropQueued(Aim),
}

/// What the home says: what was taken, by a verb that begins an answer, or why nothing was done.
type HomeReply = Result<Option<Accepted>, RefusedFrame>;

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
        let conversation = send.conversation.unwrap_or(new);
        match self.home_of(user, conversation).await? {
            Some(home) => {
                let verb = HomeVerb::Send { send, digest, new };
                self.begin_at(home, user, verb).await
            }
            None => {
                let shared = self.bus.shared();
                let verb = shared.map(|_| HomeVerb::Send {
                    send: send.clone(),
                    digest,
                    new,
                });
                let taken = self.send_here(user, send, digest, new).await;
                self.or_there(user, taken, verb).await
            }
        }
    }

    /// Begins another answer beside one.
    pub(crate) async fn regenerate(
        self: &Arc<Self>,
        user: &User,
        wish: Regenerate,
    ) -> Result<Taken, Refusal> {
        match self.home_with(user, wish.message).await? {
            Some(home) => self.begin_at(home, user, HomeVerb::Regenerate(wish)).await,
            None => {
                let taken = self.regenerate_here(user, wish.clone()).await;
                let verb = HomeVerb::Regenerate(wish);
                self.or_there(user, taken, Some(verb)).await
            }
        }
    }

    /// Goes on where an answer was cut.
    pub(crate) async fn go_on(self: &Arc<Self>, user: &User, aim: Aim) -> Result<Taken, Refusal> {
        match self.home_with(user, aim.message).await? {
            Some(home) => self.begin_at(home, user, HomeVerb::Continue(aim)).await,
            None => {
                let taken = self.go_on_here(user, aim.clone()).await;
                let verb = HomeVerb::Continue(aim);
                self.or_there(user, taken, Some(verb)).await
            }
        }
    }

    /// Ends an answer that runs or waits. Its `done` comes once the model is free.
    pub(crate) async fn stop(self: &Arc<Self>, user: &User, aim: &Aim) -> Result<(), Refusal> {
        if let Some(room) = self.rooms.with_own(&user.id, aim.message) {
            // The model must be free of what nobody wants, whatever becomes of the store.
            return self.stop_in(&room, aim.message).await;
        }
        match self.home_with(user, aim.message).await {
            Ok(Some(home)) => self
                .ask(home, user, HomeVerb::Stop(aim.clone()))
                .await
                .map(drop),
            Ok(None) => self.stop_here(user, aim).await,
            Err(refusal) => Err(refusal),
        }
    }

    /// Ends everything of the room that runs or waits.
    pub(crate) async fn stop_all(
        self: &Arc<Self>,
        user: &User,
        room: &Arc<Room>,
    ) -> Result<(), Refusal> {
        let elsewhere: Vec<Uuid> = {
            let state = room.state();
            let open = state.answers.iter().rev();
            let open = open.filter(|live| live.elsewhere.is_some() && !live.status.is_final());
            open.map(|live| live.id).collect()
        };
        // Where the bus is away the room does not know what runs elsewhere, but the store does.
        if elsewhere.is_empty() && self.store.home(room.id).await?.is_some() {
            return Err(ELSEWHERE);
        }
        for message in elsewhere {
            let id = Uuid::now_v7().to_string();
            self.stop(user, &Aim { id, message }).await?;
        }
        self.stop_all_here(room).await
    }

    /// Puts other words into a message that still waits.
    pub(crate) async fn edit_queued(
        self: &Arc<Self>,
        user: &User,
        edit: EditQueued,
    ) -> Result<(), Refusal> {
        match self.home_with(user, edit.message).await? {
            Some(home) => self
                .ask(home, user, HomeVerb::EditQueued(edit))
                .await
                .map(drop),
            None => self.edit_queued_here(user, edit).await,
        }
    }

    /// Takes a message back that still waits.
    pub(crate) async fn drop_queued(
        self: &Arc<Self>,
        user: &User,
        aim: &Aim,
    ) -> Result<(), Refusal> {
        match self.home_with(user, aim.message).await? {
            Some(home) => {
                let verb = HomeVerb::DropQueued(aim.clone());
                self.ask(home, user, verb).await.map(drop)
            }
            None => self.drop_queued_here(user, aim).await,
        }
    }

    /// The other gateway that owns what runs in a conversation of this user, if there is one.
    async fn home_of(
        self: &Arc<Self>,
        user: &User,
        conversation: Uuid,
    ) -> Result<Option<InstanceId>, Refusal> {
        if self.bus.shared().is_none() {
            return Ok(None);
        }
        match self.enter(user, conversation).await {
            Ok((room, _)) => {
                if let Some(valkey) = self.bus.shared() {
                    self.look_up_orphans(valkey, &room).await;
                }
                Ok(room.state().home())
            }
            // The verb says what is wrong, if anything is.
            Err(refusal) if refusal.code == ErrorCode::NotFound => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// As [`Gateway::home_of`], of the conversation that a message is in.
    async fn home_with(
        self: &Arc<Self>,
        user: &User,
        message: Uuid,
    ) -> Result<Option<InstanceId>, Refusal> {
        if self.bus.shared().is_none() {
            return Ok(None);
        }
        match self.store.message(&user.id, message).await? {
            // The store knows it also while the log that tells of it is on its way.
            Some((conversation, _)) => Ok(self.store.home(conversation).await?),
            None => Ok(None),
        }
    }

    /// What was taken here, or at the gateway that has begun an answer of the conversation meanwhile.
    async fn or_there(
        self: &Arc<Self>,
        user: &User,
        taken: Result<Taken, Unbegun>,
        verb: Option<HomeVerb>,
    ) -> Result<Taken, Refusal> {
        match (taken, verb) {
            (Err(Unbegun::Elsewhere(home)), Some(verb)) => self.begin_at(home, user, verb).await,
            (taken, _) => Ok(taken?),
        }
    }

    /// Lets the home do what begins an answer, and shows the room of it.
    async fn begin_at(
        self: &Arc<Self>,
        home: InstanceId,
        user: &User,
        verb: HomeVerb,
    ) -> Result<Taken, Refusal> {
        let accepted = self.ask(home, user, verb).await?;
        let accepted = accepted.ok_or(BusError::NoReply)?;
        let room = self
            .rooms
            .enter(accepted.conversation, &user.id, accepted.revision);
        self.follow(&room).await;
        // Watchers begin where the room is. Without it they are shown the answer once it is there, or from the store.
        timeout(MIRROR_PATIENCE, room.shows(accepted.answer))
            .await
            .ok();
        Ok(Taken { accepted, room })
    }

    /// Lets the home do something.
    async fn ask(
        &self,
        home: InstanceId,
        user: &User,
        verb: HomeVerb,
    ) -> Result<Option<Accepted>, Refusal> {
        let user = UserRecord::from(user);
        let call = serde_json::to_string(&HomeCall { user, verb }).map_err(BusError::from)?;
        let reply = self.bus.call(home, call).await?;
        let reply: HomeReply = serde_json::from_str(&reply).map_err(BusError::from)?;
        Ok(reply?)
    }

    /// Does what another gateway asks for, beside what else comes over the bus.
    pub(super) fn take_call(self: &Arc<Self>, call: BusCall) {
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            tracing::warn!("too many calls of other gateways at once: one is not answered");
            return;
        };
        let gateway = Arc::clone(self);
        self.shutdown.spawn(async move {
            let reply: HomeReply = match serde_json::from_str(&call.request) {
                Ok(call) => Box::pin(gateway.answer_call(call)).await,
                Err(_) => Err(BAD_CALL.frame(None)),
            };
            drop(permit);
            let Ok(reply) = serde_json::to_string(&reply) else {
                return;
            };
            if let Err(error) = gateway.bus.answer(&call, reply).await {
                tracing::warn!(%error, "a call of another gateway was not answered");
            }
        });
    }

    async fn answer_call(self: &Arc<Self>, call: HomeCall) -> HomeReply {
        let user = User::from(call.user);
        let done = match call.verb {
            HomeVerb::Send { send, digest, new } => {
                let taken = self.send_here(&user, send, digest, new).await;
                taken.map(|taken| Some(taken.accepted))
            }
            HomeVerb::Regenerate(wish) => {
                let taken = self.regenerate_here(&user, wish).await;
                taken.map(|taken| Some(taken.accepted))
            }
            HomeVerb::Continue(aim) => {
                let taken = self.go_on_here(&user, aim).await;
                taken.map(|taken| Some(taken.accepted))
            }
            HomeVerb::Stop(aim) => nothing_begun(self.stop_here(&user, &aim).await),
            HomeVerb::EditQueued(edit) => nothing_begun(self.edit_queued_here(&user, edit).await),
            HomeVerb::DropQueued(aim) => nothing_begun(self.drop_queued_here(&user, &aim).await),
        };
        done.map_err(|unbegun| Refusal::from(unbegun).frame(None))
    }
}

/// The reply to a verb that begins no answer.
fn nothing_begun(done: Result<(), Refusal>) -> Result<Option<Accepted>, Unbegun> {
    Ok(done.map(|()| None)?)
}

/// A gateway of another version asks for something that is not known here.
const BAD_CALL: Refusal = Refusal::new(
    ErrorCode::Internal,
    "the gateways have different versions; try again in a moment",
);
