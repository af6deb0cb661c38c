//! Scripted peers for tests.

pub mod fake_llama;
pub mod ws_client;
