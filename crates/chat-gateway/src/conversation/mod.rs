//! Conversations that outlive sockets: what is asked of one, what runs in it, and who watches.
//!
//! [`verbs`] and `queue.rs` are everything a user can ask for, for the socket and the HTTP API alike. A [`room::Room`] is
//! the live part of one conversation, and a [`watcher::Watcher`] is somebody who is shown it. What is kept is the store's.

mod admit;
pub(crate) mod context;
pub(crate) mod elsewhere;
mod fencing;
mod forget;
pub(crate) mod lists;
mod log;
mod mirror;
mod own;
mod queue;
pub(crate) mod refusal;
pub(crate) mod room;
pub(crate) mod rooms;
mod told;
pub(crate) mod verbs;
pub(crate) mod watcher;
