//! Keyword by keyword: what is sent for it, and what is said where it cannot be held.

use serde_json::{Value, json};

use super::super::{Schema, Unsupported};
use super::{built, refused, unheld};

fn becomes(given: &Value, sent: &Value) {
    assert_eq!(&built(given), sent, "for {given}");
    assert_eq!(unheld(given), Vec::<String>::new(), "for {given}");
    assert!(
        Schema::from_value(given, true).is_ok(),
        "under strict: {given}"
    );
}

/// Without `strict` it is left out and listed, under `strict` refused at the same place.
fn is_left_out(given: &Value, sent: &Value, place: &str) {
    assert_eq!(&built(given), sent, "for {given}");
    assert_eq!(unheld(given), [place], "for {given}");
    assert_eq!(refused(given).path, place, "for {given}");
}

#[test]
fn types_are_one_word_or_a_choice() {
    for kind in [
        "string", "integer", "number", "boolean", "null", "array", "object",
    ] {
        becomes(&json!({"type": kind}), &json!({"type": kind}));
        becomes(&json!({"type": [kind]}), &json!({"type": kind}));
    }
    becomes(&json!({}), &json!({}));
    becomes(&json!(true), &json!({}));
    becomes(
        &json!({"type": ["string", "null"]}),
        &json!({"type": ["string", "null"]}),
    );
    becomes(
        &json!({"type": ["null", "integer"], "minimum": 3}),
        &json!({"type": ["integer", "null"], "minimum": 3}),
    );
    becomes(
        &json!({"type": ["integer", "number"]}),
        &json!({"type": "number"}),
    );
    becomes(
        &json!({"type": ["array", "boolean"], "items": {"type": "string"}}),
        &json!({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}),
    );
    becomes(
        &json!({"type": "string", "nullable": true}),
        &json!({"type": ["string", "null"]}),
    );
    becomes(
        &json!({"enum": ["a"], "nullable": true, "type": "string"}),
        &json!({"enum": ["a", null]}),
    );
}

#[test]
fn a_schema_without_a_type_is_of_the_kind_that_its_keywords_speak_of() {
    becomes(
        &json!({"minLength": 3}),
        &json!({"type": "string", "minLength": 3}),
    );
    becomes(
        &json!({"minItems": 3}),
        &json!({"type": "array", "minItems": 3}),
    );
    becomes(
        &json!({"properties": {}}),
        &json!({"type": "object", "properties": {}}),
    );
    becomes(
        &json!({"required": ["a"]}),
        &json!({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": true}),
    );
    is_left_out(
        &json!({"minimum": 3}),
        &json!({"type": "number"}),
        "minimum",
    );
}

#[test]
fn annotations_are_kept_for_the_model_and_other_words_dropped() {
    becomes(
        &json!({"$schema": "x", "$id": "y", "$comment": "z", "title": "T", "description": "D", "type": "string",
                "default": null, "examples": ["a"], "deprecated": true, "x-order": 1, "markdownDescription": "m"}),
        &json!({"title": "T", "description": "D", "type": "string", "default": null, "examples": ["a"]}),
    );
    becomes(
        &json!({"description": "outer", "allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"description": "inner", "type": "null"}}}),
        &json!({"description": "outer", "$ref": "#/$defs/A", "$defs": {"A": {"description": "inner", "type": "null"}}}),
    );
}

#[test]
fn fields_that_say_nothing_are_taken() {
    becomes(
        &json!({"type": "string", "enum": null, "anyOf": [], "allOf": [], "oneOf": null, "pattern": "", "format": "",
                "$defs": {}, "minLength": 0, "uniqueItems": false, "nullable": false, "description": null}),
        &json!({"type": "string"}),
    );
    becomes(
        &json!({"type": "object", "required": [], "minProperties": 0}),
        &json!({"type": "object"}),
    );
}

#[test]
fn values_are_those_that_the_other_keywords_allow() {
    becomes(
        &json!({"const": {"b": 1, "a": 2}}),
        &json!({"const": {"b": 1, "a": 2}}),
    );
    becomes(&json!({"const": null}), &json!({"const": null}));
    becomes(
        &json!({"enum": ["a", "b", "a"]}),
        &json!({"type": "string", "enum": ["a", "b"]}),
    );
    becomes(
        &json!({"enum": ["a", 1, 1.5, null], "type": ["string", "integer"]}),
        &json!({"enum": ["a", 1]}),
    );
    becomes(
        &json!({"enum": ["a", "abc", 3, 9], "minLength": 2, "maximum": 5}),
        &json!({"enum": ["abc", 3]}),
    );
    becomes(
        &json!({"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}, {"const": 3}]}),
        &json!({"const": 3}),
    );
    is_left_out(
        &json!({"type": "integer", "enum": ["1", "2"]}),
        &json!({"type": "string", "enum": ["1", "2"]}),
        "type",
    );
    is_left_out(
        &json!({"enum": ["a", "b"], "pattern": "^a$"}),
        &json!({"type": "string", "enum": ["a", "b"]}),
        "enum",
    );
}

#[test]
fn bounds_of_integers_are_sent_where_the_converter_gets_them_right() {
    let integer = |more: Value| {
        let mut out = json!({"type": "integer"});
        out.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        out
    };
    for (given, sent) in [
        (json!({"minimum": 0}), json!({"minimum": 0})),
        (json!({"minimum": -5}), json!({"minimum": -5})),
        (
            json!({"minimum": 10}),
            json!({"minimum": 10, "maximum": 999_999_999_999_999_i64}),
        ),
        (json!({"maximum": 100}), json!({"maximum": 100})),
        (
            json!({"maximum": -1}),
            json!({"minimum": -999_999_999_999_999_i64, "maximum": -1}),
        ),
        (
            json!({"exclusiveMinimum": 0, "exclusiveMaximum": 10}),
            json!({"minimum": 1, "maximum": 9}),
        ),
        (
            json!({"minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false}),
            json!({"minimum": 1, "maximum": 9}),
        ),
        (
            json!({"minimum": 0.5, "maximum": 2.5}),
            json!({"minimum": 1, "maximum": 2}),
        ),
        (
            json!({"exclusiveMinimum": 0.5, "exclusiveMaximum": 2.5}),
            json!({"minimum": 1, "maximum": 2}),
        ),
        (
            json!({"minimum": 3, "exclusiveMinimum": 1}),
            json!({"minimum": 3}),
        ),
        (json!({"minimum": -1e300, "maximum": 1e300}), json!({})),
        (json!({"multipleOf": 1}), json!({})),
    ] {
        becomes(&integer(given), &integer(sent));
    }
    becomes(
        &json!({"type": "number", "multipleOf": 1.0, "minimum": 2}),
        &json!({"type": "integer", "minimum": 2}),
    );
    is_left_out(
        &json!({"type": "integer", "minimum": 1e16}),
        &json!({"type": "integer"}),
        "minimum",
    );
    is_left_out(
        &json!({"type": "integer", "maximum": -1e16}),
        &json!({"type": "integer"}),
        "maximum",
    );
    is_left_out(
        &json!({"type": "integer", "multipleOf": 5}),
        &json!({"type": "integer"}),
        "multipleOf",
    );
}

#[test]
fn bounds_of_other_numbers_are_not_held() {
    for keyword in [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ] {
        is_left_out(
            &json!({"type": "number", keyword: 0.5}),
            &json!({"type": "number"}),
            keyword,
        );
    }
}

#[test]
fn lengths_are_held_up_to_what_the_engine_counts_to() {
    becomes(
        &json!({"type": "string", "minLength": 1, "maxLength": 2000.0}),
        &json!({"type": "string", "minLength": 1, "maxLength": 2000}),
    );
    is_left_out(
        &json!({"type": "string", "maxLength": 2001}),
        &json!({"type": "string"}),
        "maxLength",
    );
    is_left_out(
        &json!({"type": "string", "minLength": 2001}),
        &json!({"type": "string"}),
        "minLength",
    );
    becomes(
        &json!({"type": "string", "pattern": "^[ab]+$", "maxLength": 9}),
        &json!({"type": "string", "pattern": "^[a-b]{1,9}$"}),
    );
    becomes(
        &json!({"type": "string", "pattern": "^[ab]*$", "minLength": 2}),
        &json!({"type": "string", "pattern": "^[a-b]{2,}$"}),
    );
    becomes(
        &json!({"type": "string", "pattern": "^ab$", "maxLength": 9}),
        &json!({"type": "string", "pattern": "^[a][b]$"}),
    );
    is_left_out(
        &json!({"type": "string", "pattern": "^ab+$", "maxLength": 9}),
        &json!({"type": "string", "pattern": "^[a][b]+$"}),
        "maxLength",
    );
    is_left_out(
        &json!({"type": "string", "pattern": "^ab+$", "minLength": 9}),
        &json!({"type": "string", "pattern": "^[a][b]+$"}),
        "minLength",
    );
}

#[test]
fn formats_are_patterns_where_they_can_be() {
    for format in [
        "date",
        "time",
        "date-time",
        "uuid",
        "email",
        "ipv4",
        "ipv6",
        "hostname",
        "duration",
    ] {
        let sent = built(&json!({"type": "string", "format": format}));
        assert_eq!(sent["format"], *format);
        assert!(
            sent["pattern"].as_str().unwrap().starts_with('^'),
            "{format}"
        );
        assert!(
            unheld(&json!({"type": "string", "format": format})).is_empty(),
            "{format}"
        );
    }
    becomes(
        &json!({"type": "integer", "format": "int32"}),
        &json!({"type": "integer"}),
    );
    becomes(
        &json!({"type": "string", "format": "password"}),
        &json!({"type": "string"}),
    );
    is_left_out(
        &json!({"type": "string", "format": "uri"}),
        &json!({"type": "string"}),
        "format",
    );
    // What generators of schemas write for a date: the pattern is held, and the caller is told of the format.
    let both = json!({"type": "string", "format": "date", "pattern": "^[a]$"});
    for is_strict in [false, true] {
        let schema = Schema::from_value(&both, is_strict).unwrap();
        assert_eq!(schema.unheld(), ["format"]);
        assert_eq!(json!(schema), json!({"type": "string", "pattern": "^[a]$"}));
    }
}

#[test]
fn items_are_counted_up_to_a_bound() {
    becomes(
        &json!({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1000}),
        &json!({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1000}),
    );
    is_left_out(
        &json!({"type": "array", "maxItems": 1001}),
        &json!({"type": "array"}),
        "maxItems",
    );
    is_left_out(
        &json!({"type": "array", "minItems": 1001}),
        &json!({"type": "array"}),
        "minItems",
    );
    is_left_out(
        &json!({"type": "array", "uniqueItems": true}),
        &json!({"type": "array"}),
        "uniqueItems",
    );
    is_left_out(
        &json!({"type": "array", "contains": {}}),
        &json!({"type": "array"}),
        "contains",
    );
    becomes(
        &json!({"type": "array", "items": false}),
        &json!({"type": "array", "maxItems": 0}),
    );
}

#[test]
fn places_of_an_array_are_written_out() {
    let pair = json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}]});
    becomes(
        &json!({"prefixItems": [{"type": "string"}, {"type": "null"}], "items": false, "minItems": 2}),
        &pair,
    );
    becomes(
        &json!({"type": "array", "items": [{"type": "string"}, {"type": "null"}]}),
        &pair,
    );
    becomes(
        &json!({"prefixItems": [{"type": "string"}, {"type": "null"}, {}], "maxItems": 2}),
        &pair,
    );
    becomes(
        &json!({"prefixItems": [{"type": "string"}], "items": {"type": "null"}, "minItems": 2}),
        &pair,
    );
    becomes(
        &json!({"items": [{"type": "string"}], "additionalItems": {"type": "null"}, "minItems": 2}),
        &pair,
    );
    assert!(
        refused(&json!({"prefixItems": [{}], "minItems": 100}))
            .problem
            .contains("64")
    );
}

#[test]
fn properties_keep_their_order_and_names() {
    becomes(
        &json!({"type": "object", "required": ["a", "z"], "properties": {"z": {"type": "null"}, "m": {}, "a": {}}}),
        &json!({"type": "object", "properties": {"z": {"type": "null"}, "m": {}, "a": {}}, "required": ["z", "a"]}),
    );
    let text = serde_json::to_string(
        &Schema::from_value(&json!({"properties": {"z": {}, "a": {}}}), true).unwrap(),
    )
    .unwrap();
    assert!(text.contains(r#"{"z":{},"a":{}}"#), "{text}");
    for name in ["", "*", &"x".repeat(129)] {
        assert_eq!(
            refused(&json!({"properties": {name: {}}})).path,
            "properties",
            "{name}"
        );
    }
}

#[test]
fn others_are_allowed_where_the_engine_can_tell_them_apart() {
    let object = |properties: Value, additional: Value| json!({"type": "object", "properties": properties, "additionalProperties": additional});
    becomes(
        &object(json!({"a": {}}), json!(true)),
        &object(json!({"a": {}}), json!(true)),
    );
    becomes(
        &object(json!({"a": {}}), json!({"type": "null"})),
        &object(json!({"a": {}}), json!({"type": "null"})),
    );
    for name in ["a-b", "a\"b", "a]b", "^a", "a\\b"] {
        becomes(
            &object(json!({name: {}}), json!(true)),
            &object(json!({name: {}}), json!(false)),
        );
    }
    becomes(
        &json!({"type": "object", "patternProperties": {"^.*$": {"type": "null"}}, "additionalProperties": false,
                "propertyNames": {"type": "string"}}),
        &json!({"type": "object", "additionalProperties": {"type": "null"}}),
    );
    is_left_out(
        &json!({"type": "object", "patternProperties": {"^a": {"type": "null"}}}),
        &json!({"type": "object", "additionalProperties": {"type": "null"}}),
        "patternProperties",
    );
    let free = json!({"type": "object"});
    is_left_out(
        &json!({"type": "object", "propertyNames": {"pattern": "^a"}}),
        &free,
        "propertyNames",
    );
    for keyword in ["minProperties", "maxProperties"] {
        is_left_out(&json!({"type": "object", keyword: 1}), &free, keyword);
    }
    for keyword in [
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "if",
        "not",
        "unevaluatedItems",
        "$dynamicRef",
    ] {
        is_left_out(&json!({"type": "object", keyword: {}}), &free, keyword);
    }
}

#[test]
fn what_is_required_but_not_described_is_there() {
    becomes(
        &json!({"type": "object", "properties": {"a": {}}, "required": ["b", "a"], "additionalProperties": {"type": "null"}}),
        &json!({"type": "object", "properties": {"a": {}, "b": {"type": "null"}}, "required": ["a", "b"],
                "additionalProperties": {"type": "null"}}),
    );
    is_left_out(
        &json!({"type": "object", "properties": {"a": {}}, "required": ["b"]}),
        &json!({"type": "object", "properties": {"a": {}}}),
        "required",
    );
}

#[test]
fn all_of_is_one_schema() {
    becomes(
        &json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                          {"properties": {"a": {"minLength": 2}, "b": {}}}]}),
        &json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 2}, "b": {}}, "required": ["a"]}),
    );
    becomes(
        &json!({"$ref": "#/$defs/A", "properties": {"b": {}}, "$defs": {"A": {"properties": {"a": {}}}}}),
        &json!({"type": "object", "properties": {"b": {}, "a": {}}}),
    );
    is_left_out(
        &json!({"allOf": [{"properties": {"a": {}}, "additionalProperties": false}, {"properties": {"b": {}}}]}),
        &json!({"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": false}),
        "allOf[0].additionalProperties",
    );
    is_left_out(
        &json!({"allOf": [{"pattern": "^a$"}, {"pattern": "^b$"}]}),
        &json!({"type": "string", "pattern": "^[a]$"}),
        "allOf[1].pattern",
    );
}

#[test]
fn each_alternative_also_holds_what_is_beside_the_choice() {
    let alternative = |required: &str| json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": [required]});
    becomes(
        &json!({"type": "object", "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        &json!({"anyOf": [alternative("a"), alternative("b")]}),
    );
    becomes(
        &json!({"anyOf": [{"type": "string"}, {"type": "integer"}], "type": "string"}),
        &json!({"type": "string"}),
    );
    becomes(
        &json!({"anyOf": [false, {"type": "null"}]}),
        &json!({"type": "null"}),
    );
}

#[test]
fn one_of_is_held_where_alternatives_exclude_each_other() {
    let cat = json!({"type": "object", "properties": {"kind": {"type": "string", "const": "cat"}}, "required": ["kind"], "additionalProperties": false});
    let dog = json!({"type": "object", "properties": {"kind": {"type": "string", "const": "dog"}}, "required": ["kind"], "additionalProperties": false});
    becomes(
        &json!({"oneOf": [cat, dog, {"type": "null"}]}),
        &json!({"anyOf": [cat, dog, {"type": "null"}]}),
    );
    is_left_out(
        &json!({"properties": {"a": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}}),
        &json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "number"}, {"type": "integer"}]}}}),
        "properties.a.oneOf",
    );
}

#[test]
fn references_lead_to_definitions_and_trees_are_fine() {
    let tree = json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}}});
    becomes(&tree, &tree);
    becomes(
        &json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}),
        &json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/schema"}, {"type": "null"}]}},
            "$defs": {"schema": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/schema"}, {"type": "null"}]}}}}}),
    );
    becomes(
        &json!({"properties": {"a": {"type": "null"}, "b": {"$ref": "#/properties/a"}}}),
        &json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"type": "null"}}}),
    );
    let alike = json!({"properties": {"x": {"$ref": "#/$defs/a_b"}, "y": {"$ref": "#/definitions/a-b"}},
        "$defs": {"a_b": {"type": "null"}}, "definitions": {"a-b": {"type": "string"}}});
    let names: Vec<String> = built(&alike)["$defs"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(names, ["ab", "abx1"]);
}

#[test]
fn tools_never_share_a_definition_by_its_name() {
    let tool = |kind: &str| json!({"$ref": "#/$defs/Item", "$defs": {"Item": {"type": kind}}});
    let mut one = Schema::from_value(&tool("string"), true).unwrap();
    let mut two = Schema::from_value(&tool("null"), true).unwrap();
    Schema::check_together(&mut [&mut one, &mut two]).unwrap();
    assert_eq!(json!(one), tool("string"));
    assert_eq!(
        json!(two),
        json!({"$ref": "#/$defs/Itemx1", "$defs": {"Itemx1": {"type": "null"}}})
    );
}

#[test]
fn tools_have_no_list_of_types_which_templates_fail_on() {
    let mut tool = Schema::from_value(&json!({"type": ["string", "null"]}), true).unwrap();
    Schema::check_together(&mut [&mut tool]).unwrap();
    assert_eq!(
        json!(tool),
        json!({"anyOf": [{"type": "string"}, {"type": "null"}]})
    );
}

#[test]
fn a_refusal_names_the_place_and_the_reason() {
    let given = json!({"type": "object", "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/N"}}},
        "$defs": {"N": {"type": "number", "maximum": 3}}});
    assert_eq!(
        refused(&given),
        Unsupported {
            path: "$defs.N.maximum".to_owned(),
            problem: "cannot be held by llama.cpp: leave it out, or leave out strict".to_owned()
        }
    );
    let given = json!({"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^(?=a)$"}]});
    assert_eq!(
        refused(&given),
        Unsupported {
            path: "anyOf[1].pattern".to_owned(),
            problem: "must not look around or set flags: leave it out, or leave out strict"
                .to_owned()
        }
    );
}
