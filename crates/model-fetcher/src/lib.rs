//! Fills a folder with a verified GGUF model, then exits.
//!
//! Afterwards the file at its final path is complete and has the SHA-256 that the Hub published or that was pinned, or
//! it is not there. `main.rs` is the command line around [`fetch()`], [`import()`], [`list()`], [`prune()`],
//! [`status`] and [`verify()`].
//!
//! The folders, each of which uses only those after it: `commands` (what the program can do), `download` (ranges, the
//! part file, its journal), `folder` (what is recorded in the models' folder), `judge` (digest, header, disk, memory,
//! publication) and `hub` (what the Hub says).

mod commands;
pub mod config;
mod digest;
mod download;
mod error;
mod folder;
pub mod gguf;
mod http;
mod hub;
mod judge;
mod names;
pub mod proxies;
mod retry;

pub use commands::fetch::fetch;
pub use commands::import::import;
pub use commands::list::{Listing, Offer, list};
pub use commands::prune::{Unwanted, prune};
pub use commands::survey::{Found, Status, Unfinished, status, verify};
pub use digest::Digest;
pub use error::Error;
pub use folder::manifest::{Entry, FileState, Manifest};
pub use folder::models_lock::{LockedFile, LockedModel, ModelsLock};
pub use judge::disk;
pub use names::choice::Choice;
pub use names::mirror::Mirror;
pub use names::{FileName, RepositoryId};
