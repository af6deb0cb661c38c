//! Schemas that harm the engine are refused, and the largest that do not are taken.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::super::Schema;
use super::harmful;

#[test]
fn schemas_that_harm_the_engine_are_refused() {
    for (harm, given) in harmful::schemas() {
        let began = Instant::now();
        assert!(
            Schema::from_value(&given, false).is_err(),
            "{harm}: {given:.300}"
        );
        assert!(began.elapsed().as_secs() < 2, "{harm}: {given:.300}");
    }
}

#[test]
fn patterns_that_harm_the_engine_are_refused() {
    for given in harmful::patterns() {
        for is_strict in [false, true] {
            let refused = Schema::from_value(&given, is_strict).unwrap_err();
            assert_eq!(refused.path, "pattern", "{given:.300}");
        }
    }
}

#[test]
fn patterns_that_no_grammar_holds_are_left_out_unless_strict() {
    for given in harmful::unknown_patterns() {
        assert_eq!(
            Schema::from_value(&given, true).unwrap_err().path,
            "pattern",
            "{given}"
        );
        let schema = Schema::from_value(&given, false).unwrap();
        assert_eq!(json!(schema), json!({"type": "string"}), "{given}");
        assert_eq!(schema.unheld(), ["pattern"], "{given}");
    }
}

#[test]
fn the_largest_of_each_kind_pass() {
    for given in harmful::just_small_enough() {
        let built = Schema::from_value(&given, false);
        assert!(built.is_ok(), "{:?}: {given:.300}", built.err());
    }
}

#[test]
fn no_schema_keeps_the_proxy_itself_busy_or_fills_its_memory() {
    let words: Vec<String> = (0..60)
        .map(|at| format!("{}{at}", "w".repeat(60)))
        .collect();
    let costly = "^(ab|a[a-c])*[ab][a-c][ab][a-c][ab][a-c]$";
    let inlined = |n: usize, def: Value| {
        let each = json!({"$ref": "#/$defs/d", "minLength": 1});
        json!({"type": "array", "prefixItems": vec![json!({"anyOf": vec![each; n]}); 60], "$defs": {"d": def}})
    };
    let one_of = json!({"oneOf": vec![json!({"$ref": "#/$defs/d"}); 64]});
    let doubled = |at: usize| {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1), "minLength": 1});
        (format!("d{at}"), json!({"allOf": [next, next]}))
    };
    let mut defs: Map<String, Value> = (0..31).map(doubled).collect();
    defs.insert("d31".to_owned(), json!({"type": "string"}));
    let patterns: Vec<Value> = (0..9_000)
        .map(|at| json!({"pattern": format!("^a{at}[^b]+")}))
        .collect();
    for given in [
        json!({"type": "array", "items": {"anyOf": patterns}}),
        inlined(60, json!({"type": "string", "pattern": costly})),
        inlined(60, json!({"enum": words})),
        inlined(
            60,
            json!({"type": "string", "description": "x".repeat(100_000)}),
        ),
        inlined(60, json!({"type": "string", "default": vec!["x"; 20_000]})),
        json!({"type": "array", "prefixItems": vec![one_of; 60], "$defs": {"d": {"enum": words}}}),
        json!({"$ref": "#/$defs/d0", "minLength": 1, "$defs": defs}),
    ] {
        let began = Instant::now();
        let built = Schema::from_value(&given, false).map(|schema| json!(schema).to_string());
        let n_bytes = built.map_or(0, |text| text.len());
        assert!(n_bytes < 2_000_000, "{n_bytes} bytes: {given:.300}");
        assert!(
            began.elapsed().as_secs() < 4,
            "{:?}: {given:.300}",
            began.elapsed()
        );
    }
}

#[test]
fn tools_are_bounded_together() {
    let large = json!({"type": "object", "properties": (0..6).map(|at|
        (format!("p{at}"), json!({"type": "string", "maxLength": 1_900}))).collect::<Map<_, _>>()});
    let mut schemas: Vec<Schema> = (0..3)
        .map(|_| Schema::from_value(&large, false).unwrap())
        .collect();
    assert_eq!(
        Schema::check_together(&mut schemas[..2].iter_mut().collect::<Vec<_>>()),
        Ok(())
    );
    assert!(Schema::check_together(&mut schemas.iter_mut().collect::<Vec<_>>()).is_err());
}
