//! From a resolved file to its bytes on the disk, verified.

mod behind;
mod inlet;
mod journal;
pub(crate) mod part;
mod progress;
mod ranges;
pub(crate) mod source;
pub(crate) mod transfer;
