//! What schemas become. `converter` gives what passes to llama.cpp's own code; the others need nothing.

use serde_json::{Value, json};

use super::{Schema, Unsupported};

mod attacks;
mod converter;
mod harmful;
mod keywords;
mod real_life;

/// What `given` becomes without `strict`.
fn built(given: &Value) -> Value {
    let schema = Schema::from_value(given, false)
        .unwrap_or_else(|error| panic!("{error:?} for {given:.400}"));
    serde_json::to_value(schema).unwrap()
}

/// The keywords of `given` that are not held.
fn unheld(given: &Value) -> Vec<String> {
    Schema::from_value(given, false).unwrap().unheld().to_vec()
}

/// Why `given` is refused under `strict`.
fn refused(given: &Value) -> Unsupported {
    match Schema::from_value(given, true) {
        Ok(schema) => panic!("{given:.400} became {}", json!(schema)),
        Err(error) => error,
    }
}
