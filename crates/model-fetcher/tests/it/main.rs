//! What model-fetcher promises, at the wire: the real library and the real binary against a scripted Hub.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod choosing;
mod crashes;
mod credentials;
mod gguf_header;
mod help;
mod hostile_hub;
mod import;
mod import_set;
mod list;
mod locked;
mod machine;
mod memory;
mod mirrors;
mod network;
mod official_client;
mod once;
mod processes;
mod prune;
mod refusals;
mod rough_network;
mod support;
mod wrong_bytes;
mod xet;
mod xet_crashes;
