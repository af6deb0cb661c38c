//! Any bytes as what llama-server says of itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llama_client::fuzzing::props(input));
