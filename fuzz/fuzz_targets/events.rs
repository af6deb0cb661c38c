//! Any bytes as a stream of events.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llama_client::fuzzing::events(input));
