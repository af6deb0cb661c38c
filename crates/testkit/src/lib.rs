//! Scripted peers for tests: llama-server, the Hub, an OTLP collector, a browser's socket, GGUF files of any size, a Valkey, and Corral's own built
//! binaries as child processes. Waiting in here is for events, never for time.

pub mod fake_collector;
pub mod fake_hub;
pub mod fake_llama;
pub mod gguf;
pub mod observability;
pub mod postgres;
pub mod service;
pub mod tools;
pub mod v2_client;
pub mod valkey;
pub mod wan;
pub mod ws_client;
