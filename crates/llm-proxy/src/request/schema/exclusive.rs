//! Whether two schemas can hold the same value. Where they cannot, `oneOf` is `anyOf`, and a grammar holds it.

use super::facts::Kinds;
use super::node::{Node, Object, Part};
use super::source::Kind;
use super::width::leaves;

/// Pairs of alternatives that are compared.
const MAX_PAIRS: usize = 4_096;

/// Whether each value holds at most one of `parts`. When in doubt it is `false`.
pub(super) fn is_one_of(parts: &[Part], defs: &[Part]) -> bool {
    let n = parts.len();
    n * n <= MAX_PAIRS
        && parts.iter().enumerate().all(|(at, part)| {
            parts[at + 1..]
                .iter()
                .all(|other| differ(part, other, defs))
        })
}

/// Whether no value holds both. When in doubt it is `false`.
pub(super) fn differ(one: &Part, other: &Part, defs: &[Part]) -> bool {
    let ones = leaves(std::slice::from_ref(one), defs);
    let others = leaves(std::slice::from_ref(other), defs);
    match (ones, others) {
        (Some(ones), Some(others)) if ones.len() * others.len() <= MAX_PAIRS => {
            ones.iter().all(|one| {
                others
                    .iter()
                    .all(|other| leaves_differ(one.part, other.part))
            })
        }
        _ => false,
    }
}

fn leaves_differ(one: &Part, other: &Part) -> bool {
    if kinds(&one.node).and(kinds(&other.node)) == Kinds::NONE {
        return true;
    }
    match (&one.node, &other.node) {
        (Node::Values(ones), Node::Values(others)) => ones.iter().all(|one| !others.contains(one)),
        (Node::Object(one), Node::Object(other)) => {
            tells_apart(one, other) && tells_apart(other, one)
        }
        _ => false,
    }
}

/// Whether something that `other` demands is never in `one`: a property, or one of its values.
fn tells_apart(one: &Object, other: &Object) -> bool {
    let demanded = other.properties.iter().filter(|known| known.is_required);
    demanded.into_iter().any(|demanded| {
        let known = one
            .properties
            .iter()
            .find(|known| known.name == demanded.name);
        match known {
            None => one.others.is_none(),
            Some(known) => values_differ(&known.part, &demanded.part),
        }
    })
}

/// Without references: what tells objects apart is nearly always a constant.
fn values_differ(one: &Part, other: &Part) -> bool {
    match (&one.node, &other.node) {
        (Node::Reference(_) | Node::AnyOf { .. }, _)
        | (_, Node::Reference(_) | Node::AnyOf { .. }) => false,
        (Node::Object(_), Node::Object(_)) => false,
        _ => leaves_differ(one, other),
    }
}

fn kinds(node: &Node) -> Kinds {
    match node {
        Node::Any | Node::Reference(_) | Node::AnyOf { .. } => Kinds::default(),
        Node::Values(values) => values
            .iter()
            .fold(Kinds::NONE, |all, value| all.or(Kinds::of_value(value))),
        Node::Null => Kinds::one(Kind::Null),
        Node::Boolean => Kinds::one(Kind::Boolean),
        Node::Number => Kinds::one(Kind::Number),
        Node::Integer(_) => Kinds::one(Kind::Integer),
        Node::Text(_) => Kinds::one(Kind::String),
        Node::List(_) | Node::Tuple(_) => Kinds::one(Kind::Array),
        Node::Object(_) => Kinds::one(Kind::Object),
    }
}
