//! Whether bytes are a model that may be published here, and the publication.

pub mod disk;
pub(crate) mod hash;
pub(crate) mod header;
pub(crate) mod memory;
pub(crate) mod publish;
