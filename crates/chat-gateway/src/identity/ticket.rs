//! One-time tickets: how somebody who is signed in over HTTP says so on a socket.
//!
//! A ticket is 128 random bits and is good once, for a minute, at any gateway. The bus keeps who it stands for, and bounds
//! how many one user has.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{SignedInAs, User};
use crate::bus::{Bus, BusError, DEPOSIT_LIFETIME};

/// How long a ticket is good.
pub(crate) const TICKET_LIFETIME: Duration = DEPOSIT_LIFETIME;
/// Hexadecimal digits of 128 bits.
const DIGITS: usize = 32;

/// The tickets that are good.
#[derive(Debug)]
pub(super) struct Tickets(Bus);

/// Whom a ticket stands for.
#[derive(Serialize, Deserialize)]
struct TicketHolder {
    id: String,
    name: Option<String>,
    lane: String,
    subject: Option<String>,
    token_id: Option<String>,
    expires: Option<SystemTime>,
}

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
        let holder = serde_json::to_string(&TicketHolder::from(user))?;
        self.0.deposit(&user.id, number, holder).await?;
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
        let Some(holder) = self.0.withdraw(number).await? else {
            return Ok(None);
        };
        let holder: TicketHolder = serde_json::from_str(&holder)?;
        Ok(Some(holder.into()))
    }
}

impl From<&User> for TicketHolder {
    fn from(user: &User) -> Self {
        let session = &user.session;
        Self {
            id: user.id.as_ref().to_owned(),
            name: user.name.as_deref().map(str::to_owned),
            lane: user.lane.as_ref().to_owned(),
            subject: session.subject.as_deref().map(str::to_owned),
            token_id: session.token_id.as_deref().map(str::to_owned),
            expires: session.expires,
        }
    }
}

impl From<TicketHolder> for User {
    fn from(holder: TicketHolder) -> Self {
        Self {
            id: holder.id.into(),
            name: holder.name.map(Into::into),
            lane: holder.lane.into(),
            session: std::sync::Arc::new(SignedInAs {
                subject: holder.subject.map(String::into_boxed_str),
                token_id: holder.token_id.map(String::into_boxed_str),
                expires: holder.expires,
            }),
        }
    }
}
