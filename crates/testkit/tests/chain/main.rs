//! The whole chain on the real llama-server and a real model, as a black box: what the README promises, seen from
//! outside. `cargo xtask test` starts the chain, names its addresses in the environment and runs these.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod async_openai;
mod cancelling;
mod chat;
mod continuing;
mod conversations;
mod dialects;
mod door;
mod engines;
mod fleet;
mod lost;
mod overlap;
mod schemas;
mod shield;
mod stack;
mod switching;
mod upgrade;
