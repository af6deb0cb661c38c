//! The reply to `hello`: who is signed in, what is refused beyond, and what this gateway can do.

use std::num::NonZeroU32;

use crate::completion::option_limits;
use crate::conversation::room::MAX_QUEUED;
use crate::identity::User;
use crate::protocol::v2::{FEATURES, Limits, Person, VERSION, Welcome};
use crate::state::Gateway;
use crate::wire::{MAX_MESSAGE_BYTES, PING_INTERVAL};

pub(super) fn welcome(gateway: &Gateway, user: &User) -> Welcome {
    let bounds = gateway.config.bounds;
    let features = FEATURES.iter();
    Welcome {
        version: VERSION,
        user: Person {
            id: user.id.to_string(),
            name: user.name.as_deref().map(str::to_owned),
        },
        heartbeat_seconds: PING_INTERVAL.as_secs() as u32,
        limits: Limits {
            message_bytes: MAX_MESSAGE_BYTES as u32,
            image_bytes: MAX_MESSAGE_BYTES as u32,
            queued: MAX_QUEUED as u32,
            messages_per_minute: bounds.messages_per_minute.map(NonZeroU32::get),
        },
        options: option_limits(&gateway.config),
        model: gateway.upstream.model(),
        features: features.map(|feature| (*feature).to_owned()).collect(),
    }
}
