//! What a JSON schema may cost llama-server, which makes a grammar of it and tries that for every token, for all slots
//! at once: no cancelling helps while it does. Two hundred bytes are enough to stop it for minutes.
//!
//! It bounds three things: how much stands there, what patterns and ranges of integers grow to, and what `$ref`s grow to.

use std::collections::HashMap;

use serde_json::Value;

use super::json::depth;

/// Levels of a JSON schema.
const MAX_DEPTH: usize = 32;
/// Items, fields and what weighs as much. An `enum` of 500 values stops the engine for half a second, one of 20,000 for
/// minutes.
const MAX_ENTRIES: usize = 512;
/// The same for the schemas of all tools of a request, of which the engine makes one grammar.
const MAX_ENTRIES_TOGETHER: usize = 2_048;
/// The same with every `$ref` followed: sixteen levels of sixteen references each stop it for ever.
const MAX_EXPANDED: usize = 8_192;
/// What a choice in a `pattern` weighs (`^(a?){500}$` stops it), and a bound of an integer (a hundred ranges stop it).
const CHOICE_WEIGHT: usize = 16;

/// What is wrong with `schema`, if anything is.
pub(super) fn problem(schema: &Value) -> Option<String> {
    if depth(schema) > MAX_DEPTH {
        return Some(format!("must be nested at most {MAX_DEPTH} deep"));
    }
    if weight(schema) > MAX_ENTRIES {
        return Some(format!(
            "must have at most {MAX_ENTRIES} entries; a bound of an integer and a choice in a pattern count as {CHOICE_WEIGHT}"
        ));
    }
    let mut references = References {
        root: schema,
        known: HashMap::new(),
    };
    (references.expand(schema) > MAX_EXPANDED)
        .then(|| format!("must have at most {MAX_EXPANDED} entries with its references followed"))
}

/// Whether the schemas of one request are too much together.
pub(super) fn problem_together<'a>(schemas: impl Iterator<Item = &'a Value>) -> Option<String> {
    (schemas.map(weight).fold(0, usize::saturating_add) > MAX_ENTRIES_TOGETHER).then(|| {
        format!("must have at most {MAX_ENTRIES_TOGETHER} entries in all their parameters")
    })
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len() + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => fields.iter().fold(fields.len(), |sum, (name, value)| {
            let own = match (name.as_str(), value) {
                ("pattern", Value::String(pattern)) => {
                    choices(pattern).saturating_mul(CHOICE_WEIGHT)
                }
                (
                    "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum",
                    Value::Number(_),
                ) => CHOICE_WEIGHT,
                _ => weight(value),
            };
            sum.saturating_add(own)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The choices that `pattern` grows to: alternatives and quantifiers, those of a repeated group once per repetition.
fn choices(pattern: &str) -> usize {
    let mut characters = pattern.chars();
    let (mut outer, mut here, mut group) = (Vec::new(), 0_usize, None);
    while let Some(character) = characters.next() {
        let before = group.take();
        match character {
            '\\' => drop(characters.next()),
            '[' => while !matches!(characters.next(), None | Some(']')) {},
            '(' => outer.push(std::mem::take(&mut here)),
            ')' => {
                group = Some(here);
                here = here.saturating_add(outer.pop().unwrap_or_default());
            }
            '|' | '*' | '+' | '?' => here = here.saturating_add(1),
            '{' => {
                let times = characters
                    .by_ref()
                    .take_while(|character| *character != '}')
                    .collect::<String>();
                let times = times
                    .split(',')
                    .filter_map(|n| n.trim().parse().ok())
                    .max()
                    .unwrap_or(1);
                // A single character is repeated at no further cost.
                let grown = before.map_or(1, |inside: usize| {
                    inside.saturating_add(1).saturating_mul(times)
                });
                here = here.saturating_add(grown);
                group = Some(grown);
            }
            _ => {}
        }
    }
    outer.into_iter().fold(here, usize::saturating_add)
}

/// The references met so far, and what each grows to; 0 while it is being followed, so that a circle counts once.
struct References<'a> {
    root: &'a Value,
    known: HashMap<&'a str, usize>,
}

impl<'a> References<'a> {
    fn expand(&mut self, value: &'a Value) -> usize {
        match value {
            Value::Array(items) => items.iter().fold(items.len(), |sum, item| {
                sum.saturating_add(self.expand(item))
            }),
            Value::Object(fields) => fields.iter().fold(fields.len(), |sum, (name, value)| {
                let own = match (name.as_str(), value) {
                    ("$ref", Value::String(reference)) => self.follow(reference),
                    ("$defs" | "definitions", _) => 0,
                    _ => self.expand(value),
                };
                sum.saturating_add(own)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    fn follow(&mut self, reference: &'a str) -> usize {
        if let Some(known) = self.known.get(reference) {
            return *known;
        }
        self.known.insert(reference, 0);
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer));
        let grown = target.map_or(0, |target| self.expand(target));
        self.known.insert(reference, grown);
        grown
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{choices, problem};

    fn pattern(pattern: &str) -> Value {
        json!({"type": "string", "pattern": pattern})
    }

    fn fan(width: usize, levels: usize) -> Value {
        let level = |at| {
            (
                format!("a{at}"),
                json!({"anyOf": vec![json!({"$ref": format!("#/$defs/a{}", at + 1)}); width]}),
            )
        };
        let mut defs: serde_json::Map<_, _> = (0..levels).map(level).collect();
        defs.insert(format!("a{levels}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/a0", "$defs": defs})
    }

    #[test]
    fn schemas_that_stop_the_engine_are_refused_and_common_ones_pass() {
        let range = |at: i64| json!({"type": "integer", "minimum": at, "maximum": 1_000_000_000_000_000_i64 + at});
        for stops in [
            pattern("^(a?){500}$"),
            pattern("^((a?){30}){30}$"),
            pattern(&"a*".repeat(200)),
            pattern(&format!("^({})*$", vec!["a"; 400].join("|"))),
            pattern("^(a?){9999999999999999999}{18446744073709551615}$"),
            json!({"enum": vec!["x"; 512]}),
            json!({"anyOf": (0..20).map(range).collect::<Vec<_>>()}),
            fan(16, 16),
            (0..40).fold(json!({}), |inner, _| json!({"items": inner})),
        ] {
            assert!(problem(&stops).is_some(), "{stops}");
        }
        let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
            "name": {"type": "string", "pattern": r"^[a-z(|]{1,500}\(x\)\d{3}-\d{4}$"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}, "pattern": {"type": "string"}}}}});
        let uuid = pattern("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$");
        for passes in [
            tree,
            uuid,
            pattern("^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$"),
            fan(2, 6),
            json!({"$ref": "#"}),
        ] {
            assert_eq!(problem(&passes), None, "{passes}");
        }
    }

    #[test]
    fn a_repeated_group_counts_as_often_as_it_is_repeated() {
        assert_eq!(choices("abc"), 0);
        assert_eq!(choices(r"a*b|[*+?]\*"), 2);
        assert_eq!(choices("a{3,9}"), 1);
        assert_eq!(choices("(a?){5}"), 1 + 2 * 5);
        assert_eq!(choices("((a?){5}){5}"), 11 + 12 * 5);
        assert_eq!(choices("((("), 0);
    }
}
