//! Fills a folder with a verified GGUF model, then exits.
//!
//! Afterwards the file at its final path is complete and has the SHA-256 that the Hub published or that was pinned, or
//! it is not there. `main.rs` is the command line around [`fetch()`], [`import()`], [`list()`], [`prune()`],
//! [`status`] and [`verify()`].

mod advice;
mod api;
mod choice;
pub mod config;
pub mod disk;
mod download;
mod error;
mod fetch;
pub mod gguf;
mod hub;
mod import;
mod inlet;
mod journal;
mod list;
mod lock;
mod manifest;
mod memory;
mod models_lock;
mod part;
mod progress;
mod prune;
mod publish;
mod resolve;
mod retry;
mod select;
mod source;
mod survey;
mod transfer;
mod transport;
mod verify;

pub use choice::Choice;
pub use error::Error;
pub use fetch::fetch;
pub use import::import;
pub use list::{Listing, Offer, list};
pub use manifest::{Entry, Manifest, State};
pub use models_lock::{LockedFile, LockedModel, ModelsLock};
pub use prune::{Unwanted, prune};
pub use select::{FileName, RepositoryId};
pub use source::Mirror;
pub use survey::{Found, Status, Unfinished, status, verify};
pub use verify::Digest;
