//! One file per noun of the public surface.

pub(crate) mod chat;
pub(crate) mod health;
pub(crate) mod models;
pub(crate) mod status;
