//! Whether two schemas can hold the same value. Where they cannot, `oneOf` is `anyOf`, and a grammar holds it.

use std::cell::Cell;

use super::facts::Kinds;
use super::node::{Node, Object, SchemaPart};
use super::source::JsonKind;
use super::width::leaves;

/// Values and alternatives that are compared for one schema; beyond it everything is in doubt.
const MAX_COMPARED: usize = 500_000;

/// Compares the parts of one schema.
pub(super) struct Differ<'a> {
    defs: &'a [SchemaPart],
    n_left: Cell<usize>,
}

impl<'a> Differ<'a> {
    pub(super) fn new(defs: &'a [SchemaPart]) -> Self {
        Self {
            defs,
            n_left: Cell::new(MAX_COMPARED),
        }
    }

    /// Whether each value holds at most one of `parts`. When in doubt it is `false`.
    pub(super) fn is_one_of(&self, parts: &[SchemaPart]) -> bool {
        let mut pairs = parts.iter().enumerate();
        pairs.all(|(at, part)| {
            let mut others = parts[at + 1..].iter();
            others.all(|other| self.differ(part, other))
        })
    }

    /// Whether no value holds both. When in doubt it is `false`.
    pub(super) fn differ(&self, one: &SchemaPart, other: &SchemaPart) -> bool {
        let ones = leaves(std::slice::from_ref(one), self.defs);
        let others = leaves(std::slice::from_ref(other), self.defs);
        let (Some(ones), Some(others)) = (ones, others) else {
            return false;
        };
        let n_pairs = ones.len() * others.len();
        self.takes(ones.len() + others.len() + n_pairs)
            && ones.iter().all(|one| {
                let mut others = others.iter();
                others.all(|other| self.leaves_differ(one.part, other.part))
            })
    }

    fn leaves_differ(&self, one: &SchemaPart, other: &SchemaPart) -> bool {
        if kinds(&one.node).and(kinds(&other.node)) == Kinds::NONE {
            return true;
        }
        match (&one.node, &other.node) {
            (Node::Values(ones), Node::Values(others)) => {
                self.takes(ones.len() * others.len())
                    && ones.iter().all(|one| !others.contains(one))
            }
            (Node::Object(one), Node::Object(other)) => {
                self.tells_apart(one, other) && self.tells_apart(other, one)
            }
            _ => false,
        }
    }

    /// Whether something that `other` demands is never in `one`: a property, or one of its values.
    fn tells_apart(&self, one: &Object, other: &Object) -> bool {
        let mut demanded = other.properties.iter().filter(|known| known.is_required);
        demanded.any(|demanded| {
            if !self.takes(one.properties.len()) {
                return false;
            }
            let known = one
                .properties
                .iter()
                .find(|known| known.name == demanded.name);
            match known {
                None => one.others.is_none(),
                Some(known) => self.values_differ(&known.part, &demanded.part),
            }
        })
    }

    /// Without references: what tells objects apart is nearly always a constant.
    fn values_differ(&self, one: &SchemaPart, other: &SchemaPart) -> bool {
        is_plain(one) && is_plain(other) && self.leaves_differ(one, other)
    }

    /// Counts `n` comparisons, and says whether there were so many left.
    fn takes(&self, n: usize) -> bool {
        let left = self.n_left.get().checked_sub(n);
        self.n_left.set(left.unwrap_or(0));
        left.is_some()
    }
}

fn kinds(node: &Node) -> Kinds {
    match node {
        Node::Any | Node::Reference(_) | Node::AnyOf { .. } => Kinds::default(),
        Node::Values(values) => {
            let kinds = values.iter().map(Kinds::of_value);
            kinds.fold(Kinds::NONE, Kinds::or)
        }
        Node::Null => Kinds::one(JsonKind::Null),
        Node::Boolean => Kinds::one(JsonKind::Boolean),
        Node::Number => Kinds::one(JsonKind::Number),
        Node::Integer(_) => Kinds::one(JsonKind::Integer),
        Node::Text(_) => Kinds::one(JsonKind::String),
        Node::List(_) | Node::Tuple(_) => Kinds::one(JsonKind::Array),
        Node::Object(_) => Kinds::one(JsonKind::Object),
    }
}

/// Whether a part holds no reference and no other part.
fn is_plain(part: &SchemaPart) -> bool {
    !matches!(
        part.node,
        Node::Reference(_) | Node::AnyOf { .. } | Node::Object(_)
    )
}
