//! The API over HTTP, beside the socket.

pub(crate) mod me;
