//! llama-server's wire: connections, answers, events, props and slots.
//!
//! It knows how llama-server speaks and nothing of keys, queues or fairness. It never rewrites an event, and an answer
//! whose end is in doubt is an [`Error`], never a shorter answer.

mod client;
mod connection;
mod error;
pub mod events;
mod framing;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod pool;
mod props;
mod refusal;
mod template;
mod upstream;

pub use client::{Ask, Body, Client, Identity, traceparent};
pub use error::{EngineRefusal, Error};
pub use props::{Props, PropsError, SlotState};
pub use template::TemplateFacts;
pub use upstream::{InvalidUpstream, Upstream};
