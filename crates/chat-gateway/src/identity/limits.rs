//! What one user, and one address, may use at once: sockets, messages and answers.
//!
//! Counts are exact, and what a guard counts is free again when it is dropped. Only who holds or spent something is
//! kept, so idle users take no memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::User;
use super::address::subscriber;

/// The time in which a user may send as many messages as the setting says.
const MINUTE: Duration = Duration::from_secs(60);
/// The least time between two looks at who may be forgotten.
const MIN_SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// How often one user may have tokens counted in a minute.
const COUNTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).expect("it is not zero");
/// Users whose messages are counted at once.
const MAX_COUNTED_USERS: usize = 64 * 1024;

/// The bounds; none where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserBounds {
    /// Sockets of one user.
    pub sockets_per_user: Option<NonZeroU32>,
    /// Sockets from one address.
    pub sockets_per_address: Option<NonZeroU32>,
    /// Messages that one user may send in a minute.
    pub messages_per_minute: Option<NonZeroU32>,
    /// Answers of one user that run or wait for the model.
    pub answers_per_user: Option<NonZeroU32>,
    /// Tokens that one user may use in a day; the store counts them.
    pub tokens_per_day: Option<NonZeroU64>,
}

/// What is in use now.
#[derive(Debug)]
pub struct UserLimits {
    sockets_of_users: Arc<Occupied<Arc<str>>>,
    sockets_of_addresses: Arc<Occupied<IpAddr>>,
    answers: Arc<Occupied<Arc<str>>>,
    messages: Option<Messages>,
    counts: Messages,
}

/// One socket of a user and of an address, until it is dropped.
#[derive(Debug)]
pub struct SocketSeat {
    #[expect(dead_code, reason = "it is held, not read")]
    user: UserSeat,
    #[expect(dead_code, reason = "it is held, not read")]
    address: AddressSeat,
}

/// One socket of a user, until it is dropped.
#[derive(Debug)]
pub struct UserSeat(#[expect(dead_code, reason = "it is held, not read")] Counted<Arc<str>>);

/// One socket from an address, until it is dropped.
#[derive(Debug)]
pub struct AddressSeat(#[expect(dead_code, reason = "it is held, not read")] Counted<IpAddr>);

/// One answer of a user, until it is dropped.
#[derive(Debug)]
pub struct AnswerSeat(#[expect(dead_code, reason = "it is held, not read")] Counted<Arc<str>>);

/// Which bound of sockets is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManySockets {
    /// The user's.
    #[error("this user has too many sockets open")]
    PerUser,
    /// The address's.
    #[error("this address has too many sockets open")]
    PerAddress,
}

/// How long to wait before the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl UserLimits {
    /// Nothing is in use yet.
    #[must_use]
    pub fn new(bounds: UserBounds) -> Self {
        Self {
            sockets_of_users: Occupied::new(bounds.sockets_per_user),
            sockets_of_addresses: Occupied::new(bounds.sockets_per_address),
            answers: Occupied::new(bounds.answers_per_user),
            messages: bounds.messages_per_minute.map(Messages::new),
            counts: Messages::new(COUNTS_PER_MINUTE),
        }
    }

    /// Room for one more socket of `user` from `address`.
    ///
    /// # Errors
    ///
    /// With the bound that is reached; nothing is taken then.
    pub fn seat(&self, user: &User, address: IpAddr) -> Result<SocketSeat, TooManySockets> {
        let address = self.address_seat(address)?;
        let user = self.user_seat(user)?;
        Ok(SocketSeat { user, address })
    }

    /// Room for one more socket from `address`, whose user is not known yet. IPv6 counts by the network that one
    /// subscriber has.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn address_seat(&self, address: IpAddr) -> Result<AddressSeat, TooManySockets> {
        let seat = self.sockets_of_addresses.take(&subscriber(address));
        seat.map(AddressSeat).ok_or(TooManySockets::PerAddress)
    }

    /// Room for one more socket of `user`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn user_seat(&self, user: &User) -> Result<UserSeat, TooManySockets> {
        let seat = self.sockets_of_users.take(&user.id);
        seat.map(UserSeat).ok_or(TooManySockets::PerUser)
    }

    /// Counts one message of `user`. Who has been silent for a minute may send a minute's messages at once.
    ///
    /// # Errors
    ///
    /// With how long to wait; the message is not counted then.
    pub fn message(&self, user: &User) -> Result<(), RetryAfter> {
        let messages = self.messages.as_ref();
        messages.map_or(Ok(()), |messages| messages.count(&user.id))
    }

    /// Notes that `user` has tokens counted.
    ///
    /// # Errors
    ///
    /// With how long to wait; it is not noted then.
    pub fn count(&self, user: &User) -> Result<(), RetryAfter> {
        self.counts.count(&user.id)
    }

    /// Room for one more answer of `user`.
    #[must_use]
    pub fn answer(&self, user: &User) -> Option<AnswerSeat> {
        self.answers.take(&user.id).map(AnswerSeat)
    }
}

/// How many of something each `K` holds, and how many it may.
#[derive(Debug)]
struct Occupied<K: Eq + Hash + Clone> {
    most: Option<NonZeroU32>,
    held: Mutex<HashMap<K, u32>>,
}

/// One of them.
#[derive(Debug)]
struct Counted<K: Eq + Hash + Clone> {
    /// `None` where there is no bound.
    place: Option<(Arc<Occupied<K>>, K)>,
}

impl<K: Eq + Hash + Clone> Occupied<K> {
    fn new(most: Option<NonZeroU32>) -> Arc<Self> {
        let held = Mutex::default();
        Arc::new(Self { most, held })
    }

    fn take(self: &Arc<Self>, key: &K) -> Option<Counted<K>> {
        let Some(most) = self.most else {
            return Some(Counted { place: None });
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key.clone()).or_default();
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        let place = Some((Arc::clone(self), key.clone()));
        Some(Counted { place })
    }
}

impl<K: Eq + Hash + Clone> Drop for Counted<K> {
    fn drop(&mut self) {
        let Some((occupied, key)) = &self.place else {
            return;
        };
        let mut held = occupied.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                held.remove(key);
            }
        }
    }
}

/// The messages of the last minute, as a moment for each user: when all of them will be forgotten (GCRA).
#[derive(Debug)]
struct Messages {
    /// What one message takes of the minute.
    share: Duration,
    counted: Mutex<CountedUsers>,
}

#[derive(Debug)]
struct CountedUsers {
    forgotten_at: HashMap<Arc<str>, Instant>,
    swept_at: Instant,
}

impl Messages {
    fn new(per_minute: NonZeroU32) -> Self {
        Self {
            share: MINUTE / per_minute.get(),
            counted: Mutex::new(CountedUsers {
                forgotten_at: HashMap::new(),
                swept_at: Instant::now(),
            }),
        }
    }

    fn count(&self, user: &Arc<str>) -> Result<(), RetryAfter> {
        let now = Instant::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = counted.forgotten_at.len() >= MAX_COUNTED_USERS;
        // A sweep looks at everybody, so a flood of new users must not bring it about with each message.
        let pause = if is_full { MIN_SWEEP_PAUSE } else { MINUTE };
        if now - counted.swept_at >= pause {
            counted
                .forgotten_at
                .retain(|_, forgotten_at| *forgotten_at > now);
            counted.swept_at = now;
        }
        let forgotten_at = counted.forgotten_at.get(user).copied().unwrap_or(now);
        let next = forgotten_at.max(now) + self.share;
        let ahead = next - now;
        if ahead > MINUTE {
            return Err(RetryAfter(ahead - MINUTE));
        }
        if let Some(forgotten_at) = counted.forgotten_at.get_mut(user) {
            *forgotten_at = next;
        } else if counted.forgotten_at.len() < MAX_COUNTED_USERS {
            counted.forgotten_at.insert(Arc::clone(user), next);
        } else {
            return Err(RetryAfter(self.share));
        }
        Ok(())
    }
}
