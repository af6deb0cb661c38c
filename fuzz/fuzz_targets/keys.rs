//! Any bytes as a keys file.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llm_proxy::fuzzing::keys(input));
