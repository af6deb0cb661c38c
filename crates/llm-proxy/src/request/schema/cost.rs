//! What a schema costs llama-server: rules of its grammar, and the bytes of their names.
//!
//! The figures follow llama.cpp's converter and the parser of its grammars, and are rounded up. A definition costs once,
//! however often it is referred to.

use super::node::{Bounds, Node, Object, SchemaPart, TextNode};

/// The path that a tool's rules begin with, in bytes.
const ROOT_BYTES: usize = 100;
/// The rules of any JSON value, which every grammar may hold once.
const VALUE_RULES: usize = 150;

/// Rules, the bytes of their names, and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SchemaCost {
    pub(super) n_rules: usize,
    pub(super) n_bytes: usize,
    /// Values of all `enum`s, also those that were given twice.
    pub(super) n_values: usize,
}

impl SchemaCost {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            n_rules: self.n_rules.saturating_add(other.n_rules),
            n_bytes: self.n_bytes.saturating_add(other.n_bytes),
            n_values: self.n_values.saturating_add(other.n_values),
        }
    }

    /// `n` rules whose names begin with a path of `path` bytes.
    fn rules(n: usize, path: usize) -> Self {
        let n_bytes = n.saturating_mul(path.saturating_add(16));
        Self {
            n_rules: n,
            n_bytes,
            n_values: 0,
        }
    }
}

/// Of a schema and its definitions.
pub(super) fn of<'a>(root: &SchemaPart, defs: impl Iterator<Item = &'a SchemaPart>) -> SchemaCost {
    let whole = part(root, ROOT_BYTES).and(SchemaCost::rules(VALUE_RULES, 0));
    defs.map(|def| part(def, ROOT_BYTES))
        .fold(whole, SchemaCost::and)
}

fn part(given: &SchemaPart, path: usize) -> SchemaCost {
    match &given.node {
        Node::Any | Node::Null | Node::Boolean | Node::Number | Node::Reference(_) => {
            SchemaCost::rules(1, path)
        }
        Node::Integer(bounds) => SchemaCost::rules(integer(*bounds), path),
        Node::Text(text) => SchemaCost::rules(text_rules(text), path),
        Node::Values(values) => {
            let n_bytes: usize = values.iter().map(|value| value.to_string().len()).sum();
            SchemaCost {
                n_rules: 1 + values.len(),
                n_bytes: n_bytes.saturating_mul(8),
                n_values: 0,
            }
        }
        Node::AnyOf { parts, .. } | Node::Tuple(parts) => {
            let inner = parts.iter().map(|inner| part(inner, path + 10));
            inner.fold(SchemaCost::rules(2, path), SchemaCost::and)
        }
        Node::List(list) => {
            let n = list.max.unwrap_or(list.min).max(2);
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            part(&list.items, path + 5).and(SchemaCost::rules(n.saturating_add(4), path))
        }
        Node::Object(given) => object(given, path),
    }
}

fn object(given: &Object, path: usize) -> SchemaCost {
    let n_optional = given
        .properties
        .iter()
        .filter(|known| !known.is_required)
        .count();
    // The converter writes the way from each to each again, and keeps those that differ.
    let ways = SchemaCost {
        n_rules: 0,
        ..SchemaCost::rules(n_optional * n_optional / 2, path)
    };
    let mut all = SchemaCost::rules(4 + 2 * n_optional, path).and(ways);
    for known in &given.properties {
        let path = path + 1 + known.name.len();
        all = all
            .and(part(&known.part, path))
            .and(SchemaCost::rules(2, path));
    }
    if let Some(others) = &given.others {
        let n_told_apart: usize = given.properties.iter().map(|known| known.name.len()).sum();
        let path = path + 16;
        all = all
            .and(part(others, path))
            .and(SchemaCost::rules(6 + 2 * n_told_apart, path));
    }
    all
}

/// The rules of an integer: for two bounds one for each digit of each length.
fn integer(bounds: Bounds) -> usize {
    match bounds {
        Bounds {
            min: None,
            max: None,
        } => 1,
        Bounds {
            min: Some(0..=9),
            max: None,
        } => 20,
        Bounds { min, max } => {
            let digits = [min, max]
                .into_iter()
                .flatten()
                .map(|n| n.unsigned_abs().max(1).ilog10() + 1);
            let digits = digits.max().unwrap_or(1) as usize;
            20 + 3 * digits * digits
        }
    }
}

fn text_rules(text: &TextNode) -> usize {
    match &text.pattern {
        Some(pattern) => 2 + 2 * pattern.n_rules(),
        None => {
            let n = text.max.unwrap_or(text.min);
            usize::try_from(n).unwrap_or(usize::MAX).saturating_add(2)
        }
    }
}
