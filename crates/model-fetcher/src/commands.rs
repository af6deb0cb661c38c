//! What the program can do, one file per command.

mod candidates;
pub(crate) mod fetch;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod prune;
mod resolve;
pub(crate) mod survey;
