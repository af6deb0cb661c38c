//! What several gateways tell each other, so that a user's socket may be at any of them.
//!
//! Without `GATEWAY_BUS` there is one gateway, and everything stays in this process (`local.rs`). With it, Valkey or Redis
//! carries news, logs of rooms, calls and tickets between gateways (`valkey/`). The store is the truth, not the bus: what
//! the bus loses is read from the store. The task that owns an answer never waits for the bus.

mod local;
mod news;
mod valkey;

use std::time::Duration;

use common::secret::Secret;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::instance::InstanceId;
use local::LocalBus;
pub use news::{News, NewsKind};
pub use valkey::{Following, Valkey};

/// How long a deposit is kept.
pub const DEPOSIT_LIFETIME: Duration = Duration::from_secs(60);
/// Deposits of one depositor that are kept at once; the oldest makes room.
pub const MAX_DEPOSITS_EACH: usize = 16;
/// How long the reply to a call is waited for.
pub const CALL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the bus stays connected after sockets were closed and answers interrupted.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The most events that wait to be taken. While so many wait, nothing more is read.
const MAX_EVENTS: usize = 256;

/// The way to the other gateways. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Bus {
    /// There is no other gateway.
    Local(LocalBus),
    /// They share a Valkey or a Redis.
    Valkey(Valkey),
}

/// What came over the bus.
#[derive(Debug)]
pub enum BusEvent {
    /// Another gateway changed something.
    News(News),
    /// The log of a room that is followed has another entry.
    Entry {
        /// The room's conversation.
        conversation: Uuid,
        /// What was appended.
        entry: String,
    },
    /// Another gateway asks for something.
    Call(BusCall),
    /// The bus cannot be reached. This gateway keeps trying.
    Lost,
    /// The bus can be reached, for the first time or again.
    Back {
        /// Whether news may have been missed: read the store.
        missed: bool,
    },
}

/// Something that another gateway asks for, to be answered with [`Bus::answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusCall {
    from: InstanceId,
    id: Uuid,
    /// What it asks for.
    pub request: String,
}

/// Why something could not be done over the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// `GATEWAY_BUS` cannot be used as it is.
    #[error("GATEWAY_BUS must be redis://HOST:PORT or rediss://HOST:PORT")]
    Address,
    /// There is no connection, or it failed meanwhile: whether anything was done is unknown.
    #[error("the bus failed: {0}")]
    Failed(#[from] redis::RedisError),
    /// No gateway of this version writes such a reply.
    #[error("the bus returned something that no gateway of this version wrote")]
    Foreign,
    /// The gateway that was called is dead.
    #[error("the gateway that was called is gone")]
    Dead,
    /// The gateway that was called did not reply in time: whether it did anything is unknown.
    #[error("the gateway that was called did not reply within {} s", CALL_PATIENCE.as_secs())]
    NoReply,
    /// There is no other gateway.
    #[error("there is no other gateway")]
    Alone,
}

/// Checks the address of a bus.
///
/// # Errors
///
/// In words that follow the setting's name and say what it must be.
pub(crate) fn check(address: &Secret) -> Result<(), &'static str> {
    let checked = valkey::check(address.expose());
    checked
        .map(drop)
        .map_err(|_| "must be redis://HOST:PORT or rediss://HOST:PORT")
}

impl From<serde_json::Error> for BusError {
    /// Without the error's own words: they may hold what was read.
    fn from(_: serde_json::Error) -> Self {
        Self::Foreign
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::Local(LocalBus::default())
    }
}

impl Bus {
    /// The bus of `instance` at `address`, or none. [`Bus::keep`] connects it. What comes over it is taken from the receiver.
    ///
    /// # Errors
    ///
    /// When `address` cannot be used.
    pub fn open(
        address: Option<&Secret>,
        instance: InstanceId,
    ) -> Result<(Self, mpsc::Receiver<BusEvent>), BusError> {
        let (events, received) = mpsc::channel(MAX_EVENTS);
        let bus = match address {
            None => Self::Local(LocalBus::default()),
            Some(address) => Self::Valkey(Valkey::open(address, instance, events)?),
        };
        Ok((bus, received))
    }

    /// The Valkey that other gateways share, if there may be any.
    #[must_use]
    pub const fn shared(&self) -> Option<&Valkey> {
        match self {
            Self::Local(_) => None,
            Self::Valkey(valkey) => Some(valkey),
        }
    }

    /// Keeps the bus connected, reads from it and tells what is queued, until it is dropped. Without a bus it ends at once.
    pub async fn keep(&self) {
        match self {
            Self::Local(_) => {}
            Self::Valkey(valkey) => valkey.keep().await,
        }
    }

    /// Tells the other gateways that this one has left, once [`Bus::keep`] has been dropped: it would say the opposite.
    pub async fn leave(&self) {
        match self {
            Self::Local(_) => {}
            Self::Valkey(valkey) => valkey.leave().await,
        }
    }

    /// Waits until the bus has taken all news that were told so far, for 2 s at most.
    pub async fn flush(&self) {
        match self {
            Self::Local(_) => {}
            Self::Valkey(valkey) => valkey.flush().await,
        }
    }

    /// Queues news for the other gateways. Never waits.
    pub fn tell(&self, news: News) {
        match self {
            Self::Local(_) => {}
            Self::Valkey(valkey) => valkey.tell(news),
        }
    }

    /// Keeps `value` for a minute. Whoever brings `key` first gets it, so `key` must be hard to guess.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn deposit(&self, depositor: &str, key: u128, value: String) -> Result<(), BusError> {
        match self {
            Self::Local(local) => {
                local.deposit(depositor, key, value);
                Ok(())
            }
            Self::Valkey(valkey) => valkey.deposit(depositor, key, &value).await,
        }
    }

    /// Takes what was deposited under `key`. Of all calls at all gateways, only the first gets it.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached. The deposit may be gone nevertheless.
    pub async fn withdraw(&self, key: u128) -> Result<Option<String>, BusError> {
        match self {
            Self::Local(local) => Ok(local.withdraw(key)),
            Self::Valkey(valkey) => valkey.withdraw(key).await,
        }
    }

    /// Asks another gateway, and waits for its reply.
    ///
    /// # Errors
    ///
    /// When it is dead, does not reply in time, or the bus cannot be reached.
    pub async fn call(&self, to: InstanceId, request: String) -> Result<String, BusError> {
        match self {
            Self::Local(_) => Err(BusError::Alone),
            Self::Valkey(valkey) => valkey.call(to, request).await,
        }
    }

    /// Replies to a call of another gateway.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub async fn answer(&self, call: &BusCall, reply: String) -> Result<(), BusError> {
        match self {
            Self::Local(_) => Err(BusError::Alone),
            Self::Valkey(valkey) => valkey.answer(call, reply).await,
        }
    }
}
