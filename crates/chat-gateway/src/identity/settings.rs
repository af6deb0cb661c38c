//! The settings of who may chat and of how much one user may use.

use std::num::{NonZeroU32, NonZeroU64};

use common::env::{Environment, Variable};

use super::Bounds;

pub(crate) const SOCKETS_PER_USER: Variable = Variable::new(
    "GATEWAY_SOCKETS_PER_USER",
    "20",
    "Sockets that one user may have open, one for each tab; 0 sets no bound.",
);
pub(crate) const SOCKETS_PER_ADDRESS: Variable = Variable::new(
    "GATEWAY_SOCKETS_PER_ADDRESS",
    "100",
    "Sockets that may be open from one address; 0 sets no bound. Name the proxies in front in \
     `GATEWAY_TRUSTED_PROXIES`, or all who come through one of them count as one address.",
);
pub(crate) const MESSAGES_PER_MINUTE: Variable = Variable::new(
    "GATEWAY_MESSAGES_PER_MINUTE",
    "30",
    "Messages that one user may send in a minute; 0 sets no bound.",
);
pub(crate) const ANSWERS_PER_USER: Variable = Variable::new(
    "GATEWAY_ANSWERS_PER_USER",
    "4",
    "Answers of one user that run or wait for the model at once; 0 sets no bound.",
);
pub(crate) const TOKENS_PER_DAY: Variable = Variable::new(
    "GATEWAY_TOKENS_PER_DAY",
    "0",
    "Tokens of prompts and answers that one user may use in a day of UTC; 0 sets no bound.",
);

/// Reads the bounds of users and addresses.
pub(crate) fn bounds(env: &mut Environment) -> Bounds {
    Bounds {
        sockets_per_user: bound(env, &SOCKETS_PER_USER),
        sockets_per_address: bound(env, &SOCKETS_PER_ADDRESS),
        messages_per_minute: bound(env, &MESSAGES_PER_MINUTE),
        answers_per_user: bound(env, &ANSWERS_PER_USER),
        tokens_per_day: NonZeroU64::new(env.read(&TOKENS_PER_DAY)),
    }
}

fn bound(env: &mut Environment, variable: &Variable) -> Option<NonZeroU32> {
    NonZeroU32::new(env.read(variable))
}
