//! One-time tickets: how somebody who is signed in over HTTP says so on a socket.
//!
//! A ticket is 128 random bits, is good once and for a minute, and is kept in this process alone. The table is bounded
//! for each user and as a whole; the oldest ticket makes room.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::User;

/// How long a ticket is good.
pub(crate) const TICKET_LIFETIME: Duration = Duration::from_secs(60);
/// Tickets of one user that are good at once.
const MAX_PER_USER: usize = 16;
/// Tickets that are good at once.
const MAX_TICKETS: usize = 16 * 1024;
/// Hexadecimal digits of 128 bits.
const DIGITS: usize = 32;

/// The tickets that are good.
#[derive(Default)]
pub(super) struct Tickets(Mutex<Issued>);

#[derive(Default)]
struct Issued {
    users: HashMap<u128, User>,
    /// Every ticket of `users`, oldest first, and some that were burned.
    ages: VecDeque<(Instant, u128)>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// A new ticket for `user`.
    pub(super) fn issue(&self, user: &User) -> String {
        let number = u128::from_be_bytes(super::random());
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.forget_expired();
        issued.make_room(user);
        issued.users.insert(number, user.clone());
        issued.ages.push_back((Instant::now(), number));
        format!("{number:0DIGITS$x}")
    }

    /// Whose ticket it is, the first time.
    pub(super) fn redeem(&self, ticket: &str) -> Option<User> {
        let is_ticket =
            ticket.len() == DIGITS && ticket.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(ticket, 16)
            .ok()
            .filter(|_| is_ticket)?;
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.forget_expired();
        issued.users.remove(&number)
    }
}

impl Issued {
    fn forget_expired(&mut self) {
        while let Some((since, number)) = self.ages.front() {
            if since.elapsed() < TICKET_LIFETIME && self.users.contains_key(number) {
                break;
            }
            self.users.remove(number);
            self.ages.pop_front();
        }
    }

    fn make_room(&mut self, user: &User) {
        // Burned tickets keep their place in `ages` until they are the oldest; this drops them when they are many.
        if self.ages.len() >= MAX_TICKETS {
            self.ages
                .retain(|(_, number)| self.users.contains_key(number));
        }
        let n_theirs = self
            .users
            .values()
            .filter(|other| other.id == user.id)
            .count();
        let oldest = if n_theirs >= MAX_PER_USER {
            let mut ages = self.ages.iter();
            ages.find(|(_, number)| {
                self.users
                    .get(number)
                    .is_some_and(|other| other.id == user.id)
            })
        } else if self.users.len() >= MAX_TICKETS {
            self.ages
                .iter()
                .find(|(_, number)| self.users.contains_key(number))
        } else {
            None
        };
        let oldest = oldest.map(|(_, number)| *number);
        if let Some(oldest) = oldest {
            self.users.remove(&oldest);
        }
    }
}
