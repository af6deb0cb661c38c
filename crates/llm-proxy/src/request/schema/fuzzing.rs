//! The fuzz target of the schema builder.

use std::sync::Mutex;

use super::{Schema, converter, generate};

/// What `cargo fuzz` gives any bytes to: a schema is generated from them, and what passes is converted by llama.cpp.
#[expect(
    clippy::disallowed_methods,
    reason = "a fuzz target has no configuration"
)]
pub fn fuzz(input: &[u8]) {
    static CONVERTER: Mutex<Option<converter::Converter>> = Mutex::new(None);
    let Ok(given) = generate::schema(&mut arbitrary::Unstructured::new(input)) else {
        return;
    };
    let Ok(schema) = Schema::from_value(&given, false) else {
        return;
    };
    let Some(program) = std::env::var_os("CORRAL_SCHEMA_CONVERTER") else {
        return;
    };
    let sent = serde_json::to_string(&schema).expect("a schema is JSON");
    let mut converter = CONVERTER.lock().expect("nobody panicked before");
    let converter = converter.get_or_insert_with(|| converter::Converter::new(program.as_ref()));
    match converter.convert(&sent) {
        converter::Conversion::Converted(converted) => assert!(converted.rules <= schema.n_rules()),
        other => panic!("{other:?} for {sent}"),
    }
}
