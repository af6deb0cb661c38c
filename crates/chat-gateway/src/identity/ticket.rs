//! One-time tickets: how somebody who is signed in over HTTP says so on a socket.
//!
//! A ticket is 128 random bits and is good once, for a minute, at any gateway. The bus keeps who it stands for, and bounds
//! how many one user has.

use std::time::Duration;

use super::{User, UserRecord};
use crate::bus::{Bus, BusError, DEPOSIT_LIFETIME};

/// How long a ticket is good.
pub(crate) const TICKET_LIFETIME: Duration = DEPOSIT_LIFETIME;
/// Hexadecimal digits of 128 bits.
const DIGITS: usize = 32;

/// The tickets that are good.
#[derive(Debug)]
pub(super) struct Tickets(Bus);

impl Tickets {
    /// The tickets of all gateways that share `bus`.
    pub(super) const fn new(bus: Bus) -> Self {
        Self(bus)
    }

    /// A new ticket for `user`.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached.
    pub(super) async fn issue(&self, user: &User) -> Result<String, BusError> {
        let number = u128::from_be_bytes(super::random());
        let record = serde_json::to_string(&UserRecord::from(user))?;
        self.0.deposit(&user.id, number, record).await?;
        Ok(format!("{number:0DIGITS$x}"))
    }

    /// Whose ticket it is, the first time.
    ///
    /// # Errors
    ///
    /// When the bus cannot be reached. The ticket may be burned then.
    pub(super) async fn redeem(&self, ticket: &str) -> Result<Option<User>, BusError> {
        let is_ticket =
            ticket.len() == DIGITS && ticket.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(ticket, 16).ok();
        let Some(number) = number.filter(|_| is_ticket) else {
            return Ok(None);
        };
        let Some(record) = self.0.withdraw(number).await? else {
            return Ok(None);
        };
        let record: UserRecord = serde_json::from_str(&record)?;
        Ok(Some(record.into()))
    }
}
