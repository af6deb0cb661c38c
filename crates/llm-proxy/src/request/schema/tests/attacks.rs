//! Schemas that harm the engine are refused, and the largest that do not are taken.

use serde_json::{Map, json};

use super::super::Schema;
use super::harmful;

#[test]
fn schemas_that_harm_the_engine_are_refused() {
    for (harm, given) in harmful::schemas() {
        let began = std::time::Instant::now();
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
