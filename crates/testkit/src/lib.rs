//! Scripted peers for tests.

pub mod fake_hub;
pub mod fake_llama;
pub mod gguf;
pub mod ws_client;
