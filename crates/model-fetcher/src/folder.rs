//! What is recorded in the models' folder, and the right to change it.

pub(crate) mod lock;
pub(crate) mod manifest;
pub(crate) mod models_lock;
