//! Any bytes as an upstream's answer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llama_client::fuzzing::answer(input));
