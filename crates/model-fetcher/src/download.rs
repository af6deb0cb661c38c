//! From a resolved file to its bytes on the disk, verified.

mod behind;
mod inlet;
mod journal;
#[cfg(not(feature = "xet"))]
mod no_xet;
pub(crate) mod part;
mod progress;
mod ranges;
pub(crate) mod source;
pub(crate) mod transfer;
#[cfg(feature = "xet")]
mod xet;

#[cfg(not(feature = "xet"))]
pub(crate) use no_xet::{NoXetRange as XetRange, NoXetStorage as XetStorage};
#[cfg(feature = "xet")]
pub(crate) use xet::{XetRange, XetStorage};
