//! JSON schemas on the real engine: what it answers holds every keyword of the table in docs/clients.md, what cannot be
//! held is refused under `strict`, and nothing that passes stops the engine or the others.

use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use serde_json::{Value, json};

use crate::stack::Stack;

#[path = "../../../llm-proxy/src/request/schema/generate.rs"]
mod generate;
#[path = "../../../llm-proxy/src/request/schema/tests/harmful.rs"]
mod harmful;

/// Generated schemas that are sent.
const N_GENERATED: u64 = 300;
/// The longest, in bytes.
const MAX_BYTES: usize = 200_000;
/// Tokens of an answer to them: the first ones are those with the most ways open.
const N_TOKENS: u32 = 12;
/// How long another caller may wait for a short answer meanwhile, beyond what it takes on an idle engine.
const PROMPTLY: Duration = Duration::from_secs(1);
/// What the engine may grow by.
const MAX_GROWTH_KIB: u64 = 200 * 1024;

type Check = fn(&Value) -> bool;

impl Stack {
    /// The answer to a request with `schema`, as status and body.
    async fn shaped(&self, schema: &Value, is_strict: bool, max_tokens: u32) -> (u16, Value) {
        let mut body = self.question("Tell me about a horse.", false, max_tokens);
        body["response_format"] = json!({"type": "json_schema",
            "json_schema": {"name": "s", "strict": is_strict, "schema": schema}});
        let answer = self.completion(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// How long a short answer takes now.
    async fn short_answer(&self) -> Duration {
        let began = Instant::now();
        let asked = self.completion(&self.question("Hello", false, 1));
        assert_eq!(asked.send().await.unwrap().status(), 200);
        began.elapsed()
    }

    /// The answer to `schema`, and how long a short answer took beside it.
    async fn shaped_beside_another(&self, schema: &Value) -> ((u16, Value), Duration) {
        tokio::join!(self.shaped(schema, false, N_TOKENS), self.short_answer())
    }

    /// The engine's memory.
    fn engine_kib(&self) -> u64 {
        let Some(pid) = &self.engine_pid else {
            return 0;
        };
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the engine is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .expect("it has memory")
    }
}

/// Each keyword, and what an answer that holds it looks like. Without the keyword the model would write something else.
fn keywords() -> Vec<(Value, Check)> {
    let tree = json!({"type": "object", "properties": {"name": {"enum": ["a", "b"]}, "children": {"type": "array", "maxItems": 2,
        "items": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/leaf"}]}}}, "required": ["name", "children"]});
    vec![
        (json!({"type": "object", "properties": {}}), |answer| {
            *answer == json!({})
        }),
        (
            json!({"type": "array", "items": {"type": "null"}, "maxItems": 3}),
            Value::is_array,
        ),
        (json!({"type": "string", "maxLength": 9}), Value::is_string),
        (json!({"type": "integer"}), Value::is_i64),
        (json!({"type": "number"}), Value::is_number),
        (json!({"type": "boolean"}), Value::is_boolean),
        (json!({"type": "null"}), Value::is_null),
        (json!({"type": ["null", "boolean"]}), |answer| {
            answer.is_null() || answer.is_boolean()
        }),
        (json!({"type": "boolean", "nullable": true}), |answer| {
            answer.is_null() || answer.is_boolean()
        }),
        (
            json!({"const": {"z": [1, "\"\\\n é"], "a": null}}),
            |answer| *answer == json!({"z": [1, "\"\\\n é"], "a": null}),
        ),
        (json!({"enum": ["zebra", 7, null]}), |answer| {
            [json!("zebra"), json!(7), Value::Null].contains(answer)
        }),
        (
            json!({"enum": ["zebra", "ox", 7], "type": "string", "maxLength": 2}),
            |answer| *answer == "ox",
        ),
        (
            json!({"type": "object", "required": ["z", "a"], "properties": {"z": {"const": 1}, "a": {"const": 2}}}),
            |answer| *answer == json!({"z": 1, "a": 2}),
        ),
        (
            json!({"type": "object", "properties": {"x": {"const": 1}}, "additionalProperties": false}),
            |answer| *answer == json!({}) || *answer == json!({"x": 1}),
        ),
        (
            json!({"type": "object", "required": ["x"], "properties": {"x": {"const": 1}}, "additionalProperties": {"const": 2}}),
            |answer| {
                answer["x"] == 1
                    && answer
                        .as_object()
                        .unwrap()
                        .iter()
                        .all(|(name, value)| name == "x" || value == 2)
            },
        ),
        (
            json!({"type": "object", "required": ["x"], "additionalProperties": {"const": 2}}),
            |answer| answer["x"] == 2,
        ),
        (
            json!({"type": "object", "patternProperties": {"^.*$": {"const": 2}}, "required": ["x"]}),
            |answer| answer["x"] == 2,
        ),
        (
            json!({"$ref": "#/$defs/a_b", "$defs": {"a_b": {"const": 1}, "a-b": {"const": 2}}}),
            |answer| *answer == 1,
        ),
        (
            json!({"$ref": "#/definitions/a", "definitions": {"a": {"const": 1}}}),
            |answer| *answer == 1,
        ),
        (
            json!({"required": ["a", "b"], "properties": {"a": {"const": 1}, "b": {"$ref": "#/properties/a"}}}),
            |answer| answer["b"] == 1,
        ),
        (
            json!({"$ref": "#/$defs/tree", "$defs": {"tree": tree, "leaf": {"const": "leaf"}}}),
            |answer| answer["children"].is_array(),
        ),
        (json!({"anyOf": [{"const": 1}, {"const": 2}]}), |answer| {
            *answer == 1 || *answer == 2
        }),
        (json!({"oneOf": [{"const": 1}, {"const": 2}]}), |answer| {
            *answer == 1 || *answer == 2
        }),
        (
            json!({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"const": 2}}, "required": ["b"]}]}),
            |answer| *answer == json!({"a": 1, "b": 2}),
        ),
        (
            json!({"properties": {"a": {"const": 1}, "b": {"const": 2}}, "anyOf": [{"required": ["a", "b"]}]}),
            |answer| *answer == json!({"a": 1, "b": 2}),
        ),
        (
            json!({"type": "array", "items": {"const": 1}, "minItems": 3, "maxItems": 3}),
            |answer| *answer == json!([1, 1, 1]),
        ),
        (
            json!({"type": "array", "items": {"const": 1}, "maxItems": 0}),
            |answer| *answer == json!([]),
        ),
        (
            json!({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}),
            |answer| *answer == json!([1, 2]),
        ),
        (
            json!({"type": "array", "items": [{"const": 1}, {"const": 2}]}),
            |answer| *answer == json!([1, 2]),
        ),
        (
            json!({"type": "string", "minLength": 12, "maxLength": 12}),
            |answer| answer.as_str().unwrap().chars().count() == 12,
        ),
        (
            json!({"type": "string", "pattern": r"^\d{3}-\w\s[^a-z]$"}),
            |answer| {
                let text: Vec<char> = answer.as_str().unwrap().chars().collect();
                text.len() == 7
                    && text[..3].iter().all(char::is_ascii_digit)
                    && text[5] == ' '
                    && !text[6].is_ascii_lowercase()
            },
        ),
        (
            json!({"type": "string", "pattern": r#"^"a\.b\\"$"#}),
            |answer| *answer == "\"a.b\\\"",
        ),
        (
            json!({"type": "string", "pattern": "^[a-c]+$", "minLength": 4, "maxLength": 6}),
            |answer| {
                let text = answer.as_str().unwrap();
                (4..=6).contains(&text.len())
                    && text.bytes().all(|byte| (b'a'..=b'c').contains(&byte))
            },
        ),
        (json!({"type": "string", "format": "date"}), |answer| {
            let text = answer.as_str().unwrap();
            text.len() == 10
                && (1..=12).contains(&text[5..7].parse::<u8>().unwrap())
                && (1..=31).contains(&text[8..].parse::<u8>().unwrap())
        }),
        (json!({"type": "string", "format": "time"}), |answer| {
            answer.as_str().unwrap()[..2].parse::<u8>().unwrap() < 24
        }),
        (json!({"type": "string", "format": "date-time"}), |answer| {
            answer.as_str().unwrap().as_bytes()[10] == b'T'
        }),
        (json!({"type": "string", "format": "uuid"}), |answer| {
            answer
                .as_str()
                .unwrap()
                .split('-')
                .map(str::len)
                .eq([8, 4, 4, 4, 12])
        }),
        (json!({"type": "string", "format": "email"}), |answer| {
            answer
                .as_str()
                .unwrap()
                .split_once('@')
                .unwrap()
                .1
                .contains('.')
        }),
        (json!({"type": "string", "format": "ipv4"}), |answer| {
            answer
                .as_str()
                .unwrap()
                .parse::<std::net::Ipv4Addr>()
                .is_ok()
        }),
        (json!({"type": "string", "format": "ipv6"}), |answer| {
            answer
                .as_str()
                .unwrap()
                .parse::<std::net::Ipv6Addr>()
                .is_ok()
        }),
        (json!({"type": "string", "format": "hostname"}), |answer| {
            answer
                .as_str()
                .unwrap()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        }),
        (json!({"type": "string", "format": "duration"}), |answer| {
            answer.as_str().unwrap().starts_with('P')
        }),
        (
            json!({"type": "integer", "minimum": 100, "maximum": 102}),
            |answer| (100..=102).contains(&answer.as_i64().unwrap()),
        ),
        (json!({"type": "integer", "minimum": 100}), |answer| {
            answer.as_i64().unwrap() >= 100
        }),
        (json!({"type": "integer", "maximum": -100}), |answer| {
            answer.as_i64().unwrap() <= -100
        }),
        (
            json!({"type": "integer", "exclusiveMinimum": 6, "exclusiveMaximum": 8}),
            |answer| *answer == 7,
        ),
        (
            json!({"type": "integer", "minimum": 6.5, "maximum": 7.5}),
            |answer| *answer == 7,
        ),
        (
            json!({"type": "number", "multipleOf": 1, "maximum": 3}),
            |answer| answer.as_i64().unwrap() <= 3,
        ),
    ]
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn every_keyword_that_is_taken_holds_in_the_answer() {
    let stack = Stack::running();
    for (schema, holds) in keywords() {
        let (status, answer) = stack.shaped(&schema, true, 200).await;
        assert_eq!(status, 200, "{schema}: {answer}");
        let choice = &answer["choices"][0];
        let text = choice["message"]["content"].as_str().unwrap();
        // Nothing ends an object of any properties but the limit of tokens.
        let whole = match choice["finish_reason"].as_str() {
            Some("length") => text.rsplit_once(',').map(|(whole, _)| format!("{whole}}}")),
            _ => Some(text.to_owned()),
        };
        let whole = whole.unwrap_or_else(|| panic!("{schema}: {text}"));
        let value: Value = serde_json::from_str(&whole)
            .unwrap_or_else(|error| panic!("{schema}: {error} in {text}"));
        assert!(holds(&value), "{schema}: {text}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_keyword_that_cannot_be_held_is_a_400_under_strict_and_else_left_out() {
    let stack = Stack::running();
    for (schema, keyword) in [
        (json!({"type": "number", "minimum": 3}), "minimum"),
        (json!({"type": "number", "maximum": 3}), "maximum"),
        (json!({"type": "integer", "multipleOf": 3}), "multipleOf"),
        (json!({"not": {"type": "null"}, "type": "boolean"}), "not"),
        (
            json!({"type": "array", "uniqueItems": true, "maxItems": 1}),
            "uniqueItems",
        ),
        (
            json!({"type": "array", "contains": {}, "maxItems": 1}),
            "contains",
        ),
        (
            json!({"type": "object", "properties": {}, "minProperties": 1}),
            "minProperties",
        ),
        (
            json!({"type": "object", "properties": {}, "maxProperties": 1}),
            "maxProperties",
        ),
        (
            json!({"type": "object", "properties": {}, "propertyNames": {"pattern": "a"}}),
            "propertyNames",
        ),
        (
            json!({"type": "object", "patternProperties": {"^a": {}}}),
            "patternProperties",
        ),
        (
            json!({"type": "object", "properties": {}, "dependentRequired": {}}),
            "dependentRequired",
        ),
        (json!({"type": "object", "properties": {}, "if": {}}), "if"),
        (json!({"type": "string", "format": "uri"}), "format"),
        (json!({"type": "string", "pattern": "^(?=a)b$"}), "pattern"),
        (json!({"type": "string", "maxLength": 2_001}), "maxLength"),
        (
            json!({"oneOf": [{"type": "number"}, {"type": "integer"}]}),
            "oneOf",
        ),
    ] {
        let (status, answer) = stack.shaped(&schema, true, 8).await;
        assert_eq!(status, 400, "{schema}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("{keyword}`")),
            "{schema}: {message}"
        );
        let (status, answer) = stack.shaped(&schema, false, 8).await;
        assert_eq!(status, 200, "{schema}: {answer}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn no_schema_that_harms_the_engine_reaches_it() {
    let stack = Stack::running();
    let schemas = harmful::schemas().into_iter().map(|(_, schema)| schema);
    for schema in schemas.chain(harmful::patterns()) {
        if schema.is_object() {
            let (status, answer) = stack.shaped(&schema, false, 4).await;
            assert_eq!(
                (status, &answer["src"]),
                (400, &json!("llm-proxy")),
                "{schema:.300}"
            );
        }
    }
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn whatever_schema_passes_others_are_answered_and_the_engine_stays_small() {
    let stack = Stack::running();
    let idle = stack.short_answer().await.max(stack.short_answer().await);
    let before = stack.engine_kib();
    let mut slowest = Duration::ZERO;
    let mut n_passed = 0_u32;
    let mut n_refused = 0_u32;
    let largest = harmful::just_small_enough()
        .into_iter()
        .chain(harmful::unknown_patterns());
    for schema in largest.chain((0..N_GENERATED).filter_map(generated)) {
        let ((status, answer), mut waited) = stack.shaped_beside_another(&schema).await;
        // A schema that holds others up does so each time. A machine that stood still does not.
        if waited >= PROMPTLY + idle {
            waited = stack.shaped_beside_another(&schema).await.1;
        }
        slowest = slowest.max(waited);
        match (status, answer["src"].as_str()) {
            (200, _) => n_passed += 1,
            (400, Some("llm-proxy")) => n_refused += 1,
            _ => panic!("{status}: {answer} for {schema:.900}"),
        }
        assert!(
            waited < PROMPTLY + idle,
            "{waited:?} beside {idle:?} for {schema:.900}"
        );
    }
    stack.engine_lives().await;
    let after = stack.engine_kib();
    println!(
        "{n_passed} passed, {n_refused} refused; others waited {slowest:?} at most, {idle:?} alone; {before} then {after} KiB"
    );
    assert!(
        after.saturating_sub(before) < MAX_GROWTH_KIB,
        "{before} then {after} KiB"
    );
}

/// The schema of number `n`, unless it is `true` or `false`, or too long for a body.
fn generated(n: u64) -> Option<Value> {
    let mut state = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::new();
    for _ in 0..128 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    let schema = generate::schema(&mut Unstructured::new(&bytes)).ok()?;
    Some(schema).filter(|schema| schema.is_object() && schema.to_string().len() < MAX_BYTES)
}
