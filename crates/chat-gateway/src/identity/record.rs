//! A user as one gateway tells another of them: who they are, their lane, and by what they are signed in.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{SignedInAs, User};

/// Somebody, on the bus. No part of it may reach a log.
#[derive(Serialize, Deserialize)]
pub(crate) struct UserRecord {
    id: String,
    name: Option<String>,
    lane: String,
    subject: Option<String>,
    token_id: Option<String>,
    expires: Option<SystemTime>,
}

impl From<&User> for UserRecord {
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

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name.map(Into::into),
            lane: record.lane.into(),
            session: Arc::new(SignedInAs {
                subject: record.subject.map(String::into_boxed_str),
                token_id: record.token_id.map(String::into_boxed_str),
                expires: record.expires,
            }),
        }
    }
}
