//! Schemas that kill llama-server or stop it for minutes, each tried on its own converter or on the whole engine, and the
//! largest that do not. The chain's tests send them too.

use serde_json::{Map, Value, json};

fn chain(n: usize, def: impl Fn(usize) -> Value, last: &Value) -> Value {
    let mut defs: Map<String, Value> = (0..n).map(|at| (format!("a{at}"), def(at))).collect();
    defs.insert(format!("a{n}"), last.clone());
    json!({"$ref": "#/$defs/a0", "$defs": defs})
}

fn next(at: usize) -> Value {
    json!({"$ref": format!("#/$defs/a{}", at + 1)})
}

fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// Each with what the engine does with it.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let text = json!({"type": "string"});
    let long = "x".repeat(60_000);
    let many = |n: usize| (0..n).map(|at| format!("w{at}")).collect::<Vec<_>>();
    let optional: Map<String, Value> = (0..2_000)
        .map(|at| (format!("p{at}"), text.clone()))
        .collect();
    let ranges: Vec<Value> =
        (0..100_i64).map(|at| json!({"type": "integer", "minimum": 1_000_000 + at, "maximum": 900_000_000_000_000_i64 + at})).collect();
    let alike = |at: usize| {
        let fields = |key: &str| json!({"type": "object", "properties": {"x": next(at), key: {}}, "required": ["x"]});
        json!({"anyOf": [fields("y"), fields("z"), fields("v")]})
    };
    let tree = |key: &str| json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/a0"}, key: {}}, "required": ["x"]});
    let kinds = json!([
        "string", "integer", "boolean", "number", "null", "array", "object"
    ]);
    let nested_kinds = (0..20).fold(json!({}), |inner, _| json!({"type": kinds, "items": inner}));
    let escaped = json!({"type": "object", "properties": {"definitions": {"a/b": {"anyOf": [{"$ref": "#/properties/definitions/a~1b"}]}}},
                         "anyOf": [{"$ref": "#/properties/definitions/a~1b"}]});
    vec![
        ("stack overflow", json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}})),
        ("stack overflow", json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}})),
        ("stack overflow", json!({"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}],
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}, {}]}, "b": {"allOf": [{"$ref": "#/$defs/a"}, {}]}}})),
        ("stack overflow", json!({"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}], "type": ["object", "null"],
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}})),
        ("left recursion", json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}})),
        ("left recursion", json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]})),
        ("never ends", json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})),
        ("stack overflow", json!({"type": "object", "properties": {long.clone(): {}}, "additionalProperties": true})),
        ("stack overflow", json!({"type": "object", "properties": {"é".repeat(9_000): {}}})),
        ("stack overflow", json!({"type": "object", "properties": {"a": {}}, "required": ["a", long]})),
        ("loses its root", json!({"type": "object", "properties": {"": {"type": "string"}, "a": {}}})),
        ("repeats a property", json!({"type": "object", "properties": {"*": {"type": "string"}}, "additionalProperties": true})),
        ("busy for ever", chain(16, |at| json!({"anyOf": vec![next(at); 16]}), &text)),
        ("busy for ever", chain(40, |at| json!({"anyOf": [next(at), next(at)]}), &text)),
        ("busy for ever", chain(12, alike, &text)),
        ("busy for ever", json!({"$ref": "#/$defs/a0", "$defs": {"a0": {"anyOf": [tree("y"), tree("z"), {"type": "null"}]}}})),
        ("busy for ever", chain(30, |at| json!({"allOf": [{"anyOf": [next(at), {"minLength": 1}]}, {"anyOf": [next(at), {"maxLength": 9}]}]}), &text)),
        ("busy for ever", json!({"type": "object", "properties": {"definitions": {"type": "object", "properties": {
            "a": {"anyOf": vec![json!({"$ref": "#/properties/definitions/properties/b"}); 16]},
            "b": {"anyOf": vec![json!({"$ref": "#/properties/definitions/properties/c"}); 16]},
            "c": {"anyOf": vec![json!({"$ref": "#/properties/definitions/properties/d"}); 16]},
            "d": {"type": "string"}}}}})),
        ("busy for ever", escaped),
        ("busy for ever", nested_kinds),
        ("busy for ever", json!({"enum": many(20_000)})),
        ("seconds for a token", json!({"enum": many(500)})),
        ("seconds for a token", json!({"anyOf": many(500).iter().map(|word| json!({"const": word})).collect::<Vec<_>>()})),
        ("values by the thousand", json!({"enum": vec!["x"; 512]})),
        ("values by the thousand", json!({"type": "array", "prefixItems": vec![json!({"enum": vec!["x"; 500]}); 7]})),
        ("busy for ever", json!({"type": "object", "properties": optional})),
        ("busy for ever", json!({"type": "array", "items": {"anyOf": ranges}})),
        ("too deep", (0..40).fold(json!({}), |inner, _| json!({"type": "array", "items": inner}))),
        ("too deep", chain(200, |at| json!({"type": "array", "items": next(at)}), &text)),
        ("too many rules", json!({"type": "array", "items": {"type": "object", "properties": (0..30).map(|at|
            (format!("p{at}"), json!({"type": "string", "maxLength": 1_999}))).collect::<Map<_, _>>()}})),
        ("too many rules", chain(30, |at| json!({"type": "array", "maxItems": 999, "items": next(at)}), &json!({"type": "string", "maxLength": 2_000}))),
        ("megabytes of names", (0..24).fold(json!({"type": "string", "maxLength": 1_900}), |inner, _|
            json!({"type": "object", "properties": {"n".repeat(128): inner}, "required": ["n".repeat(128)]}))),
        ("megabytes", json!({"const": "x".repeat(100_000)})),
        ("nothing", json!({"type": "object", "properties": {"a": false}, "required": ["a"]})),
        ("nothing", json!({"type": "string", "minLength": 3, "maxLength": 2})),
        ("nothing", json!({"type": "integer", "minimum": 3, "maximum": 2})),
        ("nothing", json!(false)),
        ("an error of the engine", json!({"type": "float"})),
        ("an error of the engine", json!({"type": "object", "properties": []})),
        ("an error of the engine", json!({"$ref": "https://example.org/schema"})),
        ("an error of the engine", json!({"$ref": "#/$defs/missing"})),
        ("an error of the engine", json!({"minLength": -1})),
    ]
}

/// Patterns that stop the engine.
pub(super) fn patterns() -> Vec<Value> {
    let words: Vec<String> = (0..2_000).map(|at| format!("w{at}")).collect();
    [
        "^(a?){500}$".to_owned(),
        "^((a?){30}){30}$".to_owned(),
        "^((a+)+)+(b?){500}$".to_owned(),
        format!("^{}$", "a*".repeat(200)),
        format!("^({})*$", vec!["a"; 400].join("|")),
        format!("^({})$", words.join("|")),
        "^(a|aa){500}$".to_owned(),
        "^(ab|cd)*ab(ab|cd){20}$".to_owned(),
        format!("^{}a{}$", "(".repeat(200), ")".repeat(200)),
        format!("^{}$", "a".repeat(3_000)),
    ]
    .iter()
    .map(|text| pattern(text))
    .collect()
}

/// Patterns that no grammar holds, or that are none.
pub(super) fn unknown_patterns() -> Vec<Value> {
    [
        "^(a?){9999999999999999999}{18446744073709551615}$",
        "^[a-z]{2000}$",
        "^[a-z]{100,3000}$",
        "^(?=a)a$",
        "^(a$",
        "^a)$",
        "^[a$",
        "^*$",
        r"^\p{L}$",
        r"^(a)\1$",
        r"^a\b$",
        "^a{3,2}$",
    ]
    .map(pattern)
    .into()
}

/// The largest of each kind that pass.
pub(super) fn just_small_enough() -> Vec<Value> {
    let text = json!({"type": "string"});
    let words: Vec<String> = (0..300).map(|at| format!("w{at}")).collect();
    let optional: Map<String, Value> = (0..128)
        .map(|at| (format!("p{at}"), text.clone()))
        .collect();
    let required: Map<String, Value> = (0..2_000)
        .map(|at| (format!("p{at}"), text.clone()))
        .collect();
    let names: Vec<&String> = required.keys().collect();
    let ranges: Vec<Value> =
        (0..8_i64).map(|at| json!({"type": "integer", "minimum": 1_000_000 + at, "maximum": 900_000_000_000_000_i64 + at})).collect();
    let alike = |at: usize| {
        let fields = |key: &str| json!({"type": "object", "properties": {"x": next(at), key: {}}, "required": ["x"]});
        json!({"anyOf": [fields("y"), fields("z")]})
    };
    let deep = |name: &str| {
        (0..28).fold(
            json!({"type": "string"}),
            |inner, _| json!({"type": "object", "properties": {name: inner}}),
        )
    };
    vec![
        json!({"enum": words}),
        json!({"type": "array", "items": {"enum": words}, "minItems": 1_000}),
        json!({"type": "object", "properties": optional}),
        json!({"type": "object", "properties": required, "required": names}),
        json!({"type": "array", "items": {"anyOf": ranges}}),
        chain(4, alike, &json!({"type": "boolean"})),
        deep("a"),
        deep(&"é".repeat(60)),
        json!({"type": "string", "minLength": 2_000, "maxLength": 2_000}),
        json!({"type": "array", "minItems": 1_000, "maxItems": 1_000, "items": {"type": "string", "maxLength": 2_000}}),
        json!({"type": "object", "properties": (0..11).map(|at|
            (format!("p{at}"), json!({"type": "string", "maxLength": 2_000}))).collect::<Map<_, _>>()}),
        pattern("^(ab|cd){240}$"),
        pattern(&format!("^{}$", "a*".repeat(15))),
        pattern(&format!("^({})*$", vec!["a"; 15].join("|"))),
        pattern("^(a|aa){5}$"),
        json!({"type": "object", "properties": {"n".repeat(128): {}, "m".repeat(128): {}}, "additionalProperties": {"type": "integer"}}),
        json!({"type": "string", "minLength": 1, "maxLength": 1_000_000_000}),
        json!({"type": "array", "minItems": 1_000_000, "items": {"type": "string"}}),
        json!({"type": "integer", "minimum": 2_000_000_000_000_000_000_i64}),
        json!({"type": "integer", "minimum": -999_999_999_999_998_i64, "maximum": 999_999_999_999_998_i64}),
    ]
}
