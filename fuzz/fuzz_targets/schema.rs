//! Schemas that are generated from any bytes: whatever passes is converted by llama.cpp itself, if `CORRAL_SCHEMA_CONVERTER`
//! names its converter (`cargo xtask schemas` leaves it at `target/converter/converter`).

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| llm_proxy::fuzzing::schema(input));
