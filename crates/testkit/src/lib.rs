//! Scripted peers for tests.

pub mod fake_llama;
