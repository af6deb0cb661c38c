//! Everything that goes over the wire to browsers: the frames of both versions, and what is kept of conversations.
//!
//! Nothing else is serialised. docs/protocol.md says the same to authors of frontends; JSON Schemas and TypeScript types
//! are generated from here.

pub mod close;
pub(crate) mod complaint;
pub mod limits;
mod objects;
pub mod reading;
pub mod record;
pub mod rest;
mod surrogates;
pub mod ui_stream;
pub mod v1;
pub mod v2;

pub use surrogates::mend_surrogates;
