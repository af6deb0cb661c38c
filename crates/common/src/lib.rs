//! What two or more of Corral's services need. Nothing here knows of chat, models or GGUF.
//!
//! Settings ([`mod@env`]), secrets ([`secret`]), logs ([`telemetry`], [`lines`]), traces ([`traces`]), the accept loop ([`server`]), the admin listener
//! ([`admin`]), shutdown ([`shutdown`]) and the error envelope of the OpenAI API ([`openai_error`]).

pub mod admin;
pub mod env;
pub mod lines;
pub mod openai_error;
pub mod secret;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod traces;
