//! The loop of one socket that speaks version 2: frames to the verbs, and what watchers lack to the browser. I/O only.
//!
//! Nothing waits in it for a slow reader. While the browser takes nothing, nothing is put together either; once it reads
//! again, one frame holds all that came meanwhile.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use crate::conversation::lists::{ListWatcher, TooMuchNews};
use crate::conversation::refusal::Refusal;
use crate::conversation::room::Bell;
use crate::conversation::verbs::Taken;
use crate::conversation::watcher::{self, Watcher};
use crate::identity::{User, UserSeat};
use crate::protocol::close::Close;
use crate::protocol::reading::{MAX_HELLO_BYTES, read};
use crate::protocol::record::ErrorCode;
use crate::protocol::v2::{
    Change, ClientFrame, HeldAnswer, RefusedFrame, ServerFrame, VERSION, Watch,
};
use crate::socket::welcome::welcome;
use crate::socket::{SocketEnd, closed_by, ended};
use crate::state::Gateway;
use crate::wire::{Heard, Wire};

/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that are read in a second, and at once; the rest waits in the network.
const FRAMES_PER_SECOND: u32 = 20;
/// Bad frames after which the socket is closed.
const MAX_BAD_FRAMES: u32 = 10;
/// Conversations that one socket may watch.
const MAX_WATCHED: usize = 32;
/// Answers that one `watch` may name.
const MAX_HELD: usize = 64;
/// The least time between two looks at what changed in the list, so that a conversation is told at most four times a
/// second.
const LIST_INTERVAL: Duration = Duration::from_millis(250);
/// Conversations of the list that are told at once; the others follow when the reader has taken these.
const MAX_NEWS_AT_ONCE: usize = 100;
/// The most seconds after which a client is asked to connect again, at a restart.
const MAX_AFTER_SECONDS: u64 = 5;

/// How long a socket waits, once the drain has ended, for the ends of the answers that it shows.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves one socket to its end. `first` is a frame that was already read. `user` is missing where the hello must bring a
/// ticket.
pub(crate) async fn run(
    wire: &mut Wire,
    gateway: &Arc<Gateway>,
    user: Option<User>,
    first: Option<Utf8Bytes>,
) -> (SocketEnd, u64) {
    let end = match Box::pin(enter(wire, gateway, user, first)).await {
        Ok((user, seat)) => {
            let mut session = V2Session {
                wire,
                gateway,
                user,
                bell: Arc::default(),
                watchers: Vec::new(),
                backlog: VecDeque::new(),
                expected: VecDeque::new(),
                list: None,
                bad_frames: 0,
                answers: 0,
                pace: ReadPace::new(),
            };
            let end = session.until_end().await;
            drop(seat);
            return (end, session.answers);
        }
        Err(end) => end,
    };
    (end, 0)
}

/// Waits for the hello and answers it.
async fn enter(
    wire: &mut Wire,
    gateway: &Gateway,
    user: Option<User>,
    first: Option<Utf8Bytes>,
) -> Result<(User, UserSeat), SocketEnd> {
    let hello = match first {
        Some(frame) => Ok(frame),
        None => match timeout(HELLO_TIMEOUT, hear(wire, gateway)).await {
            Ok(heard) => heard,
            Err(_) => Err(SocketEnd::Close(Close::NoHello)),
        },
    };
    let user = greet(wire, gateway, user, &hello?).await;
    let user = user.map_err(SocketEnd::Close)?;
    let seat = gateway.limits.user_seat(&user);
    let seat = seat.map_err(|_| SocketEnd::Close(Close::TooManySockets))?;
    wire.send_frame(&ServerFrame::Welcome(welcome(gateway, &user)));
    Ok((user, seat))
}

/// The first text frame.
async fn hear(wire: &mut Wire, gateway: &Gateway) -> Result<Utf8Bytes, SocketEnd> {
    loop {
        let heard = tokio::select! {
            heard = wire.next() => heard,
            () = gateway.shutdown.draining() => return Err(SocketEnd::Close(Close::Draining)),
        };
        match heard {
            Heard::Text(text) => return Ok(text),
            Heard::Room => {}
            other => return Err(ended(&other)),
        }
    }
}

/// Answers the hello.
async fn greet(
    wire: &mut Wire,
    gateway: &Gateway,
    user: Option<User>,
    frame: &str,
) -> Result<User, Close> {
    if frame.len() > MAX_HELLO_BYTES {
        refuse(wire, ErrorCode::TooLarge, "`hello` must be at most 8 KiB");
        return Err(Close::BadFrames);
    }
    let hello = match read(frame) {
        Ok(ClientFrame::Hello(hello)) => hello,
        Ok(_) => {
            let message = "the first frame must be `hello`";
            refuse(wire, ErrorCode::BadRequest, message);
            return Err(Close::NoHello);
        }
        Err(wrong) => {
            wire.send_frame(&ServerFrame::Error(*wrong));
            return Err(Close::BadFrames);
        }
    };
    if hello.version != VERSION {
        let message = "only version 2 is spoken here";
        refuse(wire, ErrorCode::UnsupportedVersion, message);
        return Err(Close::Version);
    }
    let ticket = hello.ticket.as_deref();
    let user = match ticket {
        Some(ticket) => match gateway.identity.redeem(ticket).await {
            Ok(user) => user,
            Err(error) => {
                tracing::error!(%error, "a ticket could not be redeemed");
                let message = "the ticket cannot be checked at the moment; try again with another";
                refuse(wire, ErrorCode::Internal, message);
                return Err(Close::Expired);
            }
        },
        None => user,
    };
    let Some(user) = user else {
        refuse(wire, ErrorCode::Unauthenticated, "nobody is signed in");
        return Err(Close::NotSignedIn);
    };
    Ok(user)
}

fn refuse(wire: &mut Wire, code: ErrorCode, message: &'static str) {
    wire.send_frame(&ServerFrame::Error(Refusal::new(code, message).frame(None)));
}

struct V2Session<'a> {
    wire: &'a mut Wire,
    gateway: &'a Arc<Gateway>,
    user: User,
    bell: Arc<Bell>,
    watchers: Vec<Watcher>,
    /// One is read at a time, so that at most one is in memory.
    backlog: VecDeque<Unshown>,
    /// Answers that another gateway owns and that the room does not know yet: it soon does, or the store has their ends.
    expected: VecDeque<Unshown>,
    /// Once the client wants to be told of its user's list.
    list: Option<ListWatcher>,
    bad_frames: u32,
    answers: u64,
    pace: ReadPace,
}

impl V2Session<'_> {
    async fn until_end(&mut self) -> SocketEnd {
        let gateway = Arc::clone(self.gateway);
        let bell = Arc::clone(&self.bell);
        let user = self.user.clone();
        let interval = gateway.config.delta_interval;
        let mut session_end = Box::pin(async { gateway.identity.ended(&user).await });
        let mut model = gateway.upstream.model_changes();
        let mut shown = Instant::now() - interval;
        let mut listed = shown - LIST_INTERVAL;
        let mut pending = false;
        let mut draining = false;
        let mut paused_until = None;
        let mut closes_at = None;
        loop {
            let clear = self.wire.is_clear();
            if clear && let Some(unshown) = self.backlog.pop_front() {
                self.show_stored(unshown).await;
                continue;
            }
            if draining && clear && !self.watchers.iter().any(Watcher::is_live_here) {
                return self.say_goodbye();
            }
            tokio::select! {
                heard = self.wire.next() => match heard {
                    Heard::Text(text) => {
                        paused_until = self.pace.count();
                        self.wire.pause(paused_until.is_some());
                        // On the heap: what a frame may set off is large, and most sockets wait.
                        if let Some(close) = Box::pin(self.hear(&text)).await {
                            return SocketEnd::Close(close);
                        }
                    }
                    Heard::Room => {}
                    Heard::Stalled => return SocketEnd::Close(Close::TooSlow),
                    Heard::Silent => return SocketEnd::Close(Close::NoPong),
                    other => return ended(&other),
                },
                () = sleep_until(paused_until.unwrap_or(shown)), if paused_until.is_some() => {
                    paused_until = None;
                    self.wire.pause(false);
                }
                () = bell.now.notified(), if clear => {
                    pending = false;
                    shown = Instant::now();
                    self.show();
                    self.backlog.append(&mut self.expected);
                }
                () = bell.soon.notified(), if clear && !pending => pending = true,
                () = sleep_until(shown + interval), if clear && pending => {
                    pending = false;
                    shown = Instant::now();
                    self.show();
                }
                () = came(self.list.as_ref(), listed + LIST_INTERVAL), if clear => {
                    listed = Instant::now();
                    if self.show_list().is_err() {
                        // The next socket reads the list anew.
                        return SocketEnd::Close(Close::TooSlow);
                    }
                }
                end = &mut session_end => return SocketEnd::Close(closed_by(end)),
                Ok(()) = model.changed() => {
                    let model = model.borrow_and_update().clone();
                    self.wire.send_frame(&ServerFrame::Model(model));
                }
                () = gateway.shutdown.draining(), if !draining => draining = true,
                // Running answers are interrupted now; their ends are still shown.
                () = gateway.shutdown.closing(), if closes_at.is_none() => {
                    closes_at = Some(Instant::now() + LAST_WORDS);
                }
                () = at(closes_at) => return self.say_goodbye(),
            }
        }
    }

    /// Sends what the watchers lack.
    fn show(&mut self) {
        for watcher in &mut self.watchers {
            for frame in watcher.frames() {
                self.wire.send_frame(&frame);
            }
            let conversation = watcher.conversation();
            let left_behind = watcher.left_behind().into_iter();
            self.backlog.extend(left_behind.map(|held| Unshown {
                conversation,
                held,
                re: None,
            }));
        }
    }

    /// Tells what changed in the list.
    fn show_list(&mut self) -> Result<(), TooMuchNews> {
        let Some(list) = &self.list else {
            return Ok(());
        };
        for news in list.take(MAX_NEWS_AT_ONCE)? {
            self.wire.send_frame(&ServerFrame::List(news));
        }
        Ok(())
    }

    fn say_goodbye(&mut self) -> SocketEnd {
        let chance = RandomState::new().build_hasher().finish() % MAX_AFTER_SECONDS;
        self.show();
        self.wire.send_frame(&ServerFrame::Goodbye {
            code: Close::Draining.code(),
            reason: Close::Draining.reason().to_owned(),
            after_seconds: u32::try_from(1 + chance).ok(),
        });
        SocketEnd::Close(Close::Draining)
    }

    /// Does what a frame asks for. Returns how the socket is closed, if it is.
    async fn hear(&mut self, text: &str) -> Option<Close> {
        let frame = match read(text) {
            Ok(frame) => frame,
            Err(refused) => return self.bad(*refused),
        };
        let re = id(&frame).map(str::to_owned);
        let done = self.act(frame).await;
        match (done, re) {
            (Ok(FrameReply::Done), Some(re)) => self.wire.send_frame(&ServerFrame::Ok { re }),
            (Ok(_), _) => {}
            (Err(refusal), re) => {
                self.gateway.metrics.refused(refusal.code.word());
                self.wire.send_frame(&ServerFrame::Error(refusal.frame(re)));
            }
        }
        None
    }

    async fn act(&mut self, frame: ClientFrame) -> Result<FrameReply, Refusal> {
        let gateway = Arc::clone(self.gateway);
        match frame {
            ClientFrame::Hello(_) => {
                let message = "`hello` is the first frame only";
                return Err(Refusal::new(ErrorCode::BadRequest, message));
            }
            ClientFrame::Ping {} => {
                self.wire.send_frame(&ServerFrame::Pong {});
                return Ok(FrameReply::Sent);
            }
            ClientFrame::Send(send) => {
                let taken = gateway.send(&self.user, send).await?;
                return Ok(self.accept(taken));
            }
            ClientFrame::Regenerate(wish) => {
                let taken = gateway.regenerate(&self.user, wish).await?;
                return Ok(self.accept(taken));
            }
            ClientFrame::Continue(aim) => {
                let taken = gateway.go_on(&self.user, aim).await?;
                return Ok(self.accept(taken));
            }
            ClientFrame::Stop(aim) => gateway.stop(&self.user, &aim).await?,
            ClientFrame::EditQueued(edit) => gateway.edit_queued(&self.user, edit).await?,
            ClientFrame::DropQueued(aim) => gateway.drop_queued(&self.user, &aim).await?,
            ClientFrame::Watch(watch) => {
                self.watch(watch).await?;
                return Ok(FrameReply::Sent);
            }
            ClientFrame::Unwatch(unwatch) => {
                let gone = unwatch.conversation;
                self.watchers
                    .retain(|watcher| watcher.conversation() != gone);
                self.backlog.retain(|unshown| unshown.conversation != gone);
                self.expected.retain(|unshown| unshown.conversation != gone);
            }
            ClientFrame::WatchList(_) => {
                let lists = &gateway.rooms.lists;
                self.list.get_or_insert_with(|| lists.watch(&self.user.id));
            }
        }
        Ok(FrameReply::Done)
    }

    /// Says what was taken, and shows the answer from its beginning unless the conversation is watched already.
    fn accept(&mut self, taken: Taken) -> FrameReply {
        let accepted = taken.accepted;
        self.answers += u64::from(!accepted.duplicate);
        let answer = accepted.answer;
        self.wire.send_frame(&ServerFrame::Accepted(accepted));
        if self.watches(taken.room.id) {
            return FrameReply::Sent;
        }
        if self.watchers.len() == MAX_WATCHED {
            let idle = self.watchers.iter().position(|watcher| !watcher.is_live());
            self.watchers.remove(idle.unwrap_or(0));
        }
        let conversation = taken.room.id;
        let mut watcher = Watcher::new(taken.room, Arc::clone(&self.bell), &[]);
        // It may have ended already: a moment ago, or long ago if the same frame was sent before.
        if !watcher.expect(answer) {
            let held = HeldAnswer {
                message: answer,
                position: 0,
            };
            let re = None;
            self.backlog.push_back(Unshown {
                conversation,
                held,
                re,
            });
        }
        self.watchers.push(watcher);
        FrameReply::Sent
    }

    fn watches(&self, conversation: Uuid) -> bool {
        let mut watchers = self.watchers.iter();
        watchers.any(|watcher| watcher.conversation() == conversation)
    }

    fn send_all(&mut self, frames: &[ServerFrame]) {
        for frame in frames {
            self.wire.send_frame(frame);
        }
    }

    async fn watch(&mut self, watch: Watch) -> Result<(), Refusal> {
        if watch.answers.len() > MAX_HELD {
            let message = "`answers` must name at most 64";
            return Err(Refusal::new(ErrorCode::BadRequest, message));
        }
        let conversation = watch.conversation;
        let re = watch.id;
        let (room, kept) = self.gateway.enter(&self.user, conversation).await?;
        self.watchers
            .retain(|watcher| watcher.conversation() != conversation);
        if self.watchers.len() == MAX_WATCHED {
            let message = "one socket watches at most 32 conversations; unwatch one first";
            return Err(Refusal::new(ErrorCode::BadRequest, message));
        }
        let watcher = Watcher::new(room, Arc::clone(&self.bell), &watch.answers);
        self.backlog
            .retain(|unshown| unshown.conversation != conversation);
        self.expected
            .retain(|unshown| unshown.conversation != conversation);
        for held in watch.answers {
            if !watcher.shows(held.message) {
                self.backlog.push_back(Unshown {
                    conversation,
                    held,
                    re: Some(re.clone()),
                });
            }
        }
        self.watchers.push(watcher);
        self.wire.send_frame(&ServerFrame::Ok { re });
        self.wire.send_frame(&ServerFrame::Changed {
            conversation,
            revision: kept.revision,
            what: Change::Messages,
        });
        Ok(())
    }

    /// Shows what the store has of an answer that has ended.
    async fn show_stored(&mut self, unshown: Unshown) {
        let Unshown {
            conversation,
            held,
            re,
        } = unshown;
        let found = self.gateway.store.answer(&self.user.id, held.message).await;
        let watcher = self
            .watchers
            .iter_mut()
            .find(|watcher| watcher.conversation() == conversation);
        let Some(watcher) = watcher else {
            return;
        };
        match found.map(|found| found.filter(|found| found.conversation == conversation)) {
            // It went on meanwhile: the room shows it, from where the reader is.
            Ok(Some(_)) if watcher.shows(held.message) => {
                watcher.follows(held.message, held.position);
            }
            Ok(Some(found)) => {
                let room = self.gateway.rooms.find(conversation);
                let revision = room.map_or(0, |room| room.state().revision);
                let frames =
                    watcher::stored(&found.message, &found.written, held.position, revision);
                if frames.is_empty() {
                    watcher.holds(held.message, held.position);
                    self.expected.push_back(Unshown {
                        conversation,
                        held,
                        re,
                    });
                    return;
                }
                watcher.holds(held.message, found.written.position());
                self.send_all(&frames);
            }
            // A message that was taken back, with its answer.
            Ok(None) if re.is_none() => {}
            Ok(None) => self.wire.send_frame(&ServerFrame::Error(RefusedFrame {
                re,
                code: ErrorCode::NotFound,
                message: format!(
                    "`answers`: this conversation has no answer {}",
                    held.message
                ),
                retry_after_seconds: None,
            })),
            Err(error) => {
                let refusal = Refusal::from(error);
                self.wire.send_frame(&ServerFrame::Error(refusal.frame(re)));
            }
        }
    }

    /// Counts a frame that means nothing.
    fn bad(&mut self, refused: RefusedFrame) -> Option<Close> {
        self.gateway.metrics.refused(refused.code.word());
        self.wire.send_frame(&ServerFrame::Error(refused));
        self.bad_frames += 1;
        (self.bad_frames == MAX_BAD_FRAMES).then_some(Close::BadFrames)
    }
}

/// Waits until there is news of the list, and at least until `earliest`. Cancel-safe.
async fn came(list: Option<&ListWatcher>, earliest: Instant) {
    let Some(list) = list else {
        return std::future::pending().await;
    };
    sleep_until(earliest).await;
    list.came().await;
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// An answer of no room that is still to be shown.
struct Unshown {
    conversation: Uuid,
    held: HeldAnswer,
    /// The `watch` that named it.
    re: Option<String>,
}

/// What a frame was answered with.
enum FrameReply {
    /// `ok` is still to be said.
    Done,
    /// It was said.
    Sent,
}

/// When the next frame may be read.
struct ReadPace {
    /// When as much time has passed as the frames that were read may take.
    even_at: Instant,
}

impl ReadPace {
    fn new() -> Self {
        let even_at = Instant::now();
        Self { even_at }
    }

    /// Counts a frame. Returns until when nothing is to be read, if it is not yet over.
    fn count(&mut self) -> Option<Instant> {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        self.even_at = self.even_at.max(now) + second / FRAMES_PER_SECOND;
        let next = self.even_at.checked_sub(second)?;
        (next > now).then_some(next)
    }
}

/// The id that a client gave its frame.
fn id(frame: &ClientFrame) -> Option<&str> {
    match frame {
        ClientFrame::Send(send) => Some(&send.id),
        ClientFrame::Regenerate(wish) => Some(&wish.id),
        ClientFrame::Continue(aim) | ClientFrame::Stop(aim) | ClientFrame::DropQueued(aim) => {
            Some(&aim.id)
        }
        ClientFrame::EditQueued(edit) => Some(&edit.id),
        ClientFrame::Watch(watch) => Some(&watch.id),
        ClientFrame::Unwatch(unwatch) => Some(&unwatch.id),
        ClientFrame::WatchList(wish) => Some(&wish.id),
        ClientFrame::Hello(_) | ClientFrame::Ping {} => None,
    }
}
