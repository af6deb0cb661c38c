//! One answer has one owner: what becomes of the answers of a gateway that died, and of a gateway that was only taken for
//! dead.
//!
//! The store decides who owns an answer. Each write names the run of the answer, and the store refuses writes to a run that
//! another gateway has ended. The former owner then shows what the store has, as a mirror does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::answer::written::Written;
use crate::bus::{News, NewsKind};
use crate::conversation::mirror::open_elsewhere;
use crate::conversation::room::{Elsewhere, Room};
use crate::instance::InstanceId;
use crate::protocol::record::AnswerStatus;
use crate::protocol::v2::Change;
use crate::state::Gateway;
use crate::store::{AnswerEnd, AnswerRun, InterruptedAnswer, OwnOpen, StoreError};

/// How often a gateway looks whether another has died.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Conversations of dead gateways whose answers are interrupted at once.
const INTERRUPTED_AT_ONCE: usize = 4;
/// How often it looks whether what is its own is written. That reads a row for each open answer.
const OWN_INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer of this gateway may be in the store and in no room. Between the two steps that begin it lie
/// milliseconds.
const LOST_AFTER: Duration = Duration::from_secs(5);

impl Gateway {
    /// Interrupts the answers of gateways that have died, and tells everybody, until the drain begins. Cancel-safe.
    pub(crate) async fn keep_watch(self: &Arc<Self>, shutdown: &Shutdown) {
        if !self.store.is_shared() {
            return;
        }
        let mut watching = tokio::time::interval(WATCH_INTERVAL);
        watching.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = HashMap::new();
        let mut own_from = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                _ = watching.tick() => {}
            }
            if !self.store.may_judge() {
                continue;
            }
            let looked = match self.store.orphaned().await {
                Ok(orphaned) => {
                    let looks = stream::iter(orphaned).map(|orphan| self.interrupt_in(orphan));
                    looks
                        .buffer_unordered(INTERRUPTED_AT_ONCE)
                        .collect::<()>()
                        .await;
                    if own_from <= Instant::now() {
                        own_from = Instant::now() + OWN_INTERVAL;
                        self.look_after_own(&mut lost).await
                    } else {
                        Ok(())
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = looked {
                tracing::warn!(%error, "cannot look for gateways that died, retrying");
            }
        }
    }

    /// Interrupts what dead gateways left open in a conversation. One that fails holds up no other.
    async fn interrupt_in(self: &Arc<Self>, conversation: Uuid) {
        match self.store.interrupt_in(conversation).await {
            Ok(interrupted) => {
                for answer in interrupted {
                    tracing::warn!(answer = %answer.answer, "interrupted an answer of a gateway that died");
                    self.tell_interrupted(answer).await;
                }
            }
            Err(error) => {
                tracing::warn!(%conversation, %error, "cannot interrupt what a dead gateway left, retrying");
            }
        }
    }

    /// Interrupts what is this gateway's by the store's word and has no task: the reply to the commit that began it was
    /// lost, and whoever asked was told that nothing was kept. `lost` says since when each has been missed.
    async fn look_after_own(
        self: &Arc<Self>,
        lost: &mut HashMap<AnswerRun, Instant>,
    ) -> Result<(), StoreError> {
        let mut open = self.store.own_open().await?;
        open.retain(|open| !self.writes(open));
        lost.retain(|run, _| open.iter().any(|open| open.run == *run));
        for open in open {
            let since = *lost.entry(open.run).or_insert_with(Instant::now);
            if since.elapsed() < LOST_AFTER {
                continue;
            }
            let kept = self.store.answer(&open.owner, open.run.answer).await?;
            let written = kept.map_or_else(Written::new, |kept| kept.written);
            let end = AnswerEnd::plain(AnswerStatus::Interrupted, written);
            let revision = match self.store.finish(open.run, &end).await {
                Ok(revision) => revision,
                Err(StoreError::Gone) => continue,
                Err(error) => return Err(error),
            };
            tracing::warn!(answer = %open.run.answer, "interrupted an answer that nobody writes");
            self.tell_interrupted(InterruptedAnswer {
                answer: open.run.answer,
                conversation: open.conversation,
                owner: open.owner,
                revision,
                listed: open.listed,
            })
            .await;
        }
        Ok(())
    }

    /// Whether a task of this gateway writes it, or will.
    fn writes(&self, open: &OwnOpen) -> bool {
        let Some(room) = self.rooms.find(open.conversation) else {
            return false;
        };
        let state = room.state();
        let mut own = state.own();
        own.any(|live| live.begun == open.run && !live.status.is_final())
    }

    /// Shows an answer that this gateway has interrupted to whoever watches it, here and elsewhere.
    async fn tell_interrupted(self: &Arc<Self>, interrupted: InterruptedAnswer) {
        let InterruptedAnswer {
            answer,
            conversation,
            owner,
            revision,
            listed,
        } = interrupted;
        let news = News {
            owner,
            conversation,
            revision,
            listed,
            logged: false,
            what: NewsKind::Changed(vec![Change::Messages]),
        };
        match self.rooms.find(conversation) {
            Some(room) => self.look_up(&room, answer).await,
            None => {
                if let Some(listed) = news.of_list() {
                    self.rooms.lists.tell(&news.owner, listed);
                }
            }
        }
        self.rooms.lists.tell_others(news);
    }

    /// Shows what the store has of an answer, after the store has refused to write this run of it. Returns `false` when the
    /// answer does not exist any more, because its conversation was deleted. In both cases the caller must stop writing it.
    pub(crate) async fn give_up(self: &Arc<Self>, room: &Arc<Room>, run: AnswerRun) -> bool {
        if !self.store.is_shared() {
            return false;
        }
        let answer = run.answer;
        match self.store.answer(&room.owner, answer).await {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(error) => tracing::warn!(%answer, %error, "an answer was not looked up"),
        }
        tracing::warn!(%answer, "another gateway took this one for dead: it writes this answer no more");
        room.change_as_told(|state| {
            if let Some(live) = state.answer(answer).filter(|live| live.begun == run) {
                live.elsewhere = Some(Elsewhere {
                    // Whoever ended it, or writes it again: its log says who that is.
                    home: InstanceId::generate(),
                    heard: Instant::now(),
                });
            }
        });
        self.look_up(room, answer).await;
        // Another gateway may write it again: its log shows it then.
        self.forget_open(room, run);
        self.follow(room).await;
        true
    }

    /// Drops this run from the room if its end is not known here.
    fn forget_open(&self, room: &Room, run: AnswerRun) {
        room.change_as_told(|state| {
            let answers = &mut state.answers;
            answers.retain(|live| live.begun != run || live.done.is_some());
        });
    }

    /// Looks up at once all answers in this room that run or wait at other gateways.
    pub(super) fn look_up_open(self: &Arc<Self>, room: &Arc<Room>) {
        let open = open_elsewhere(room);
        self.look_up_soon(room, open);
    }
}
