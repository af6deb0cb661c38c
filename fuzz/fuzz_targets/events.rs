//! Any bytes as a stream of events.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llm_proxy::fuzzing::events(input));
