//! The bus of several gateways: streams, calls and deposits in one Valkey or Redis (7 or newer).
//!
//! One connection takes all commands and reconnects by itself. A second one only reads, because `XREAD BLOCK` holds up
//! every other command on its connection. News, calls and logs are entries of streams. A reader that was away goes on
//! where it was; with pub/sub it would miss what came meanwhile.

mod reading;
mod telling;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::secret::Secret;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::streams::StreamRangeReply;
use redis::{Client, FromRedisValue, IntoConnectionInfo as _, Pipeline, cmd, pipe};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    BusCall, BusError, BusEvent, CALL_PATIENCE, DEPOSIT_LIFETIME, LAST_WORDS, MAX_DEPOSITS_EACH,
    News,
};
use crate::instance::InstanceId;
use telling::Untold;

/// The stream of all news.
const NEWS: &str = "corral:news";
/// Changes when Valkey has lost what it held.
const EPOCH: &str = "corral:epoch";
/// The names of rooms' logs begin with this.
const LOGS: &str = "corral:room:";
/// The one field of every entry.
const FIELD: &str = "e";
/// The place before the first entry of a stream.
const BEGINNING: &str = "0-0";
/// How long a command waits for its reply, or for a connection.
const COMMAND_PATIENCE: Duration = Duration::from_secs(2);
/// The pause before a lost connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a gateway says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long it counts as alive after that.
const ALIVE: Duration = Duration::from_secs(6);
/// How long calls wait for a gateway that does not read.
const INBOX_LIFETIME: Duration = Duration::from_mins(1);
/// About the most calls and replies that wait for one gateway.
const MAX_INBOX: usize = 1_000;
/// How long the log of a room outlives its last entry.
const LOG_LIFETIME: Duration = Duration::from_hours(1);
/// How long it is kept once nothing runs in its room: for those who are about to read its end.
const CLOSED_LOG_LIFETIME: Duration = Duration::from_mins(1);

/// The connection to the Valkey of all gateways. Cheap to clone.
#[derive(Clone)]
pub struct Valkey {
    shared: Arc<ValkeyShared>,
}

struct ValkeyShared {
    instance: InstanceId,
    client: Client,
    commands: ConnectionManager,
    untold: Untold,
    /// The rooms whose logs are read, each with the last entry that was read.
    followed: Mutex<HashMap<Uuid, FollowedLog>>,
    /// Where the reply to each call is awaited.
    calls: Mutex<HashMap<Uuid, oneshot::Sender<String>>>,
    events: mpsc::Sender<BusEvent>,
    link: watch::Sender<BusLink>,
}

#[derive(Debug)]
struct FollowedLog {
    followers: usize,
    read: String,
}

/// The state of the bus, for those who write logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusLink {
    /// Whether it can be reached.
    pub is_up: bool,
    /// Grows each time the bus has lost what it held.
    pub losses: u64,
}

/// An entry in the inbox of a gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BusLetter {
    /// Wakes the reader, which then also reads the logs that are followed since.
    Nudge,
    Call {
        from: InstanceId,
        id: Uuid,
        request: String,
    },
    Reply {
        id: Uuid,
        reply: String,
    },
}

/// The log of a room is read until this is dropped.
#[derive(Debug)]
pub struct Following {
    valkey: Valkey,
    conversation: Uuid,
}

impl fmt::Debug for Valkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Valkey").field(&self.instance()).finish()
    }
}

impl Valkey {
    /// # Errors
    ///
    /// When `address` cannot be used.
    pub(super) fn open(
        address: &Secret,
        instance: InstanceId,
        events: mpsc::Sender<BusEvent>,
    ) -> Result<Self, BusError> {
        let client = Client::open(check(address.expose())?)?;
        // A command fails at once when the server is away: whoever waits for it can say so, and try again.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(RETRY_PAUSE)
            .set_connection_timeout(Some(COMMAND_PATIENCE))
            .set_response_timeout(Some(COMMAND_PATIENCE));
        let commands = client.get_connection_manager_lazy(config)?;
        Ok(Self {
            shared: Arc::new(ValkeyShared {
                instance,
                client,
                commands,
                untold: Untold::default(),
                followed: Mutex::default(),
                calls: Mutex::default(),
                events,
                link: watch::Sender::default(),
            }),
        })
    }

    /// The gateway that this process is.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.shared.instance
    }

    /// The state of the bus, now and after each change.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<BusLink> {
        self.shared.link.subscribe()
    }

    pub(super) async fn keep(&self) {
        tokio::select! {
            () = self.keep_reading() => {}
            () = self.keep_telling() => {}
            () = self.keep_alive() => {}
        }
    }

    pub(super) async fn leave(&self) {
        if !self.shared.link.borrow().is_up {
            return;
        }
        let mut leaving = pipe();
        leaving.cmd("DEL").arg(alive(self.instance())).ignore();
        // Without it the others take this gateway for alive for some seconds more.
        self.run::<()>(&leaving).await.ok();
    }

    /// Waits until the bus has taken all news, for [`LAST_WORDS`] at most.
    pub(crate) async fn flush(&self) {
        timeout(LAST_WORDS, self.shared.untold.told()).await.ok();
    }

    pub(super) fn tell(&self, news: News) {
        self.shared.untold.add(news);
    }

    /// Appends to the log of a room. A `whole` entry replaces all earlier ones.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached. Whether the entry was appended is then unknown.
    pub async fn append(
        &self,
        conversation: Uuid,
        entry: &str,
        whole: bool,
    ) -> Result<(), BusError> {
        let log = log(conversation);
        let mut adding = cmd("XADD");
        adding.arg(&log);
        if whole {
            adding.arg("MAXLEN").arg(1);
        }
        adding.arg("*").arg(FIELD).arg(entry);
        let mut both = pipe();
        both.add_command(adding).ignore();
        both.cmd("PEXPIRE")
            .arg(&log)
            .arg(millis(LOG_LIFETIME))
            .ignore();
        self.run::<()>(&both).await
    }

    /// Lets the log of a room end, in which nothing runs any more.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached; the log then ends by itself later.
    pub async fn end_log(&self, conversation: Uuid) -> Result<(), BusError> {
        let mut ending = pipe();
        ending
            .cmd("PEXPIRE")
            .arg(log(conversation))
            .arg(millis(CLOSED_LOG_LIFETIME))
            .ignore();
        self.run::<()>(&ending).await
    }

    /// Reads the log of a room: what it holds now is returned, and what is appended later comes as [`BusEvent::Entry`]. An
    /// entry may come twice.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn follow(&self, conversation: Uuid) -> Result<(Following, Vec<String>), BusError> {
        let log = log(conversation);
        let mut reading = pipe();
        reading.cmd("XRANGE").arg(&log).arg("-").arg("+");
        let (held,): (StreamRangeReply,) = self.run(&reading).await?;
        let read = held.ids.last().map_or(BEGINNING, |entry| entry.id.as_str());
        self.followed()
            .entry(conversation)
            .or_insert_with(|| FollowedLog {
                followers: 0,
                read: read.to_owned(),
            })
            .followers += 1;
        let following = Following {
            valkey: self.clone(),
            conversation,
        };
        let entries = held.ids.iter().filter_map(|entry| entry.get(FIELD));
        let entries = entries.collect();
        // The reader waits for the logs that it knew when it began to wait.
        self.post(self.instance(), &BusLetter::Nudge).await?;
        Ok((following, entries))
    }

    /// What the log of a room holds now.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn held(&self, conversation: Uuid) -> Result<Vec<String>, BusError> {
        let mut reading = pipe();
        reading
            .cmd("XRANGE")
            .arg(log(conversation))
            .arg("-")
            .arg("+");
        let (held,): (StreamRangeReply,) = self.run(&reading).await?;
        let entries = held.ids.iter().filter_map(|entry| entry.get(FIELD));
        Ok(entries.collect())
    }

    pub(super) async fn deposit(
        &self,
        depositor: &str,
        key: u128,
        value: &str,
    ) -> Result<(), BusError> {
        let theirs = format!("corral:deposits:{depositor}");
        let deposit = deposit_key(key);
        let mut adding = pipe();
        adding
            .cmd("SET")
            .arg(&deposit)
            .arg(value)
            .arg("PX")
            .arg(millis(DEPOSIT_LIFETIME))
            .ignore();
        adding.cmd("RPUSH").arg(&theirs).arg(&deposit).ignore();
        adding
            .cmd("PEXPIRE")
            .arg(&theirs)
            .arg(millis(DEPOSIT_LIFETIME))
            .ignore();
        let newest = -(MAX_DEPOSITS_EACH as isize);
        adding.cmd("LRANGE").arg(&theirs).arg(0).arg(newest - 1);
        adding
            .cmd("LTRIM")
            .arg(&theirs)
            .arg(newest)
            .arg(-1)
            .ignore();
        // Try twice: the first command after a restart of Valkey meets the broken connection. A deposit made twice is the same.
        let (oldest,): (Vec<String>,) = match self.run(&adding).await {
            Ok(oldest) => oldest,
            Err(_) => self.run(&adding).await?,
        };
        if !oldest.is_empty() {
            let mut removing = pipe();
            removing.cmd("DEL").arg(oldest).ignore();
            self.run::<()>(&removing).await?;
        }
        Ok(())
    }

    pub(super) async fn withdraw(&self, key: u128) -> Result<Option<String>, BusError> {
        let mut taking = pipe();
        taking.cmd("GETDEL").arg(deposit_key(key));
        let (value,): (Option<String>,) = self.run(&taking).await?;
        Ok(value)
    }

    /// Whether this gateway was heard of a moment ago.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn lives(&self, instance: InstanceId) -> Result<bool, BusError> {
        let mut asking = pipe();
        asking.cmd("EXISTS").arg(alive(instance));
        let (lives,): (bool,) = self.run(&asking).await?;
        Ok(lives)
    }

    pub(super) async fn call(&self, to: InstanceId, request: String) -> Result<String, BusError> {
        if !self.lives(to).await? {
            return Err(BusError::Dead);
        }
        let id = Uuid::now_v7();
        let (reply, replied) = oneshot::channel();
        let waiting = WaitingCall { valkey: self, id };
        self.calls().insert(id, reply);
        let from = self.instance();
        let calling = async {
            self.post(to, &BusLetter::Call { from, id, request })
                .await?;
            replied.await.map_err(|_| BusError::NoReply)
        };
        let reply = timeout(CALL_PATIENCE, calling).await;
        drop(waiting);
        reply.unwrap_or(Err(BusError::NoReply))
    }

    pub(super) async fn answer(&self, call: &BusCall, reply: String) -> Result<(), BusError> {
        let id = call.id;
        self.post(call.from, &BusLetter::Reply { id, reply }).await
    }

    /// Puts something into the inbox of a gateway.
    async fn post(&self, to: InstanceId, letter: &BusLetter) -> Result<(), BusError> {
        let inbox = inbox(to);
        let letter = serde_json::to_string(letter)?;
        let mut posting = pipe();
        posting
            .cmd("XADD")
            .arg(&inbox)
            .arg("MAXLEN")
            .arg("~")
            .arg(MAX_INBOX)
            .arg("*")
            .arg(FIELD)
            .arg(letter)
            .ignore();
        posting
            .cmd("PEXPIRE")
            .arg(&inbox)
            .arg(millis(INBOX_LIFETIME))
            .ignore();
        self.run::<()>(&posting).await
    }

    /// Says again and again that this gateway lives.
    async fn keep_alive(&self) {
        let mut beats = tokio::time::interval(HEARTBEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            // The reader says so when the bus is lost.
            self.run::<()>(&self.beat()).await.ok();
        }
    }

    fn beat(&self) -> Pipeline {
        let mut beating = pipe();
        beating
            .cmd("SET")
            .arg(alive(self.instance()))
            .arg(1)
            .arg("PX")
            .arg(millis(ALIVE))
            .ignore();
        beating
    }

    /// Runs commands one after the other, in one round trip.
    async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, BusError> {
        let mut connection = self.shared.commands.clone();
        Ok(commands.query_async(&mut connection).await?)
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<Uuid, FollowedLog>> {
        let followed = self.shared.followed.lock();
        followed.unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<String>>> {
        let calls = self.shared.calls.lock();
        calls.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose reply is awaited. When it is dropped, nobody awaits the reply any more.
struct WaitingCall<'a> {
    valkey: &'a Valkey,
    id: Uuid,
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.valkey.calls().remove(&self.id);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followed = self.valkey.followed();
        if let Some(log) = followed.get_mut(&self.conversation) {
            log.followers -= 1;
            if log.followers == 0 {
                followed.remove(&self.conversation);
            }
        }
    }
}

/// Parses the address.
pub(super) fn check(address: &str) -> Result<redis::ConnectionInfo, BusError> {
    let has_scheme = address.starts_with("redis://") || address.starts_with("rediss://");
    let info = address.into_connection_info();
    info.ok().filter(|_| has_scheme).ok_or(BusError::Address)
}

fn log(conversation: Uuid) -> String {
    format!("{LOGS}{conversation}")
}

fn inbox(instance: InstanceId) -> String {
    format!("corral:inbox:{instance}")
}

fn alive(instance: InstanceId) -> String {
    format!("corral:alive:{instance}")
}

/// Deposits are named by a digest: the name shows nobody the key that a ticket is made of.
fn deposit_key(key: u128) -> String {
    let digest = Sha256::digest(key.to_be_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("corral:deposit:{digits}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
