//! Any bytes as a request's body, on every route.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llm_proxy::fuzzing::body(input));
