//! How many ways through a schema can be open at once.
//!
//! llama-server's sampler follows all of them, each with the whole vocabulary, for every token. Alternatives that begin
//! alike stay open side by side, and multiply when they hold such alternatives in turn: thirty rules are enough for a
//! million ways. Alternatives of different kinds, or objects whose first properties tell them apart, do not.

use std::cell::Cell;

use super::exclusive::Differ;
use super::node::{Bounds, Node, Object, SchemaPart};

/// Ways that are open at once.
pub(super) const MAX_WIDTH: usize = 400;

/// Parts that are looked at, before the schema counts as endless.
const MAX_STEPS: usize = 300_000;

/// The ways through `root`; [`usize::MAX`] when there is no end of them.
pub(super) fn of(root: &SchemaPart, defs: &[SchemaPart]) -> usize {
    let mut widths = Widths {
        defs,
        known: vec![0; defs.len()],
        differ: Differ::new(defs),
        n_steps: Cell::new(0),
    };
    // Definitions refer to each other in circles, so the figures grow until they agree or are too large.
    loop {
        let mut has_grown = false;
        for at in (0..defs.len()).rev() {
            let width = widths.part(&defs[at]);
            if width > MAX_WIDTH {
                return usize::MAX;
            }
            has_grown |= width > widths.known[at];
            widths.known[at] = width;
        }
        if !has_grown {
            return widths.part(root);
        }
    }
}

/// The widths of definitions as far as they are known.
struct Widths<'a> {
    defs: &'a [SchemaPart],
    known: Vec<usize>,
    differ: Differ<'a>,
    n_steps: Cell<usize>,
}

/// An alternative that is neither a reference nor a choice.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'a> {
    pub(super) part: &'a SchemaPart,
    /// The definition through which it was reached.
    via: Option<usize>,
}

/// An alternative that is an object.
#[derive(Clone, Copy)]
struct Way<'a> {
    object: &'a Object,
    via: Option<usize>,
}

impl<'a> Widths<'a> {
    fn part(&self, part: &'a SchemaPart) -> usize {
        if !self.takes(1) {
            return usize::MAX;
        }
        match &part.node {
            Node::Any => 20,
            Node::Null | Node::Boolean => 6,
            Node::Number => 12,
            Node::Integer(Bounds {
                min: None | Some(0..=9),
                max: None,
            }) => 9,
            Node::Integer(_) => 44,
            Node::Values(values) => values.len() + 6,
            Node::Text(text) => 6 + text.pattern.as_ref().map_or(0, |pattern| pattern.width()),
            Node::Reference(at) => self.known[*at],
            Node::AnyOf { parts, .. } => self.any_of(parts),
            Node::List(list) => self.part(&list.items).max(8),
            Node::Tuple(parts) => self.most(parts.iter()).max(8),
            Node::Object(object) => self.object(object),
        }
    }

    /// Counts `n` steps, and says whether there were so many left.
    fn takes(&self, n: usize) -> bool {
        self.n_steps.set(self.n_steps.get() + n);
        self.n_steps.get() <= MAX_STEPS
    }

    fn most(&self, parts: impl Iterator<Item = &'a SchemaPart>) -> usize {
        parts.map(|part| self.part(part)).max().unwrap_or(0)
    }

    fn object(&self, object: &'a Object) -> usize {
        let n_optional = object
            .properties
            .iter()
            .filter(|known| !known.is_required)
            .count();
        let known = object.properties.iter().map(|known| &known.part);
        // Behind each comma any of them may come, and so may the two kinds of space before it.
        self.most(known.chain(object.others.as_deref()))
            .max(3 * n_optional + 8)
    }

    fn leaf(&self, leaf: Leaf<'a>) -> usize {
        leaf.via
            .map_or_else(|| self.part(leaf.part), |at| self.known[at])
    }

    fn way(&self, way: Way<'a>) -> usize {
        way.via
            .map_or_else(|| self.object(way.object), |at| self.known[at])
    }

    fn any_of(&self, parts: &'a [SchemaPart]) -> usize {
        let Some(leaves) = leaves(parts, self.defs) else {
            return usize::MAX;
        };
        if !self.takes(leaves.len()) {
            return usize::MAX;
        }
        let mut objects: Vec<Way<'a>> = Vec::new();
        let mut at_first = 0_usize;
        let mut lists = 0_usize;
        let mut others = 0_usize;
        let mut anything = 0_usize;
        for leaf in leaves {
            match &leaf.part.node {
                Node::Object(object) => objects.push(Way {
                    object,
                    via: leaf.via,
                }),
                Node::List(_) | Node::Tuple(_) => lists = lists.saturating_add(self.leaf(leaf)),
                Node::Any => anything += 20,
                _ => others = others.saturating_add(self.part(leaf.part)),
            }
            at_first += 1;
        }
        let later = self.side_by_side(&objects, 0).max(lists);
        at_first
            .saturating_add(others)
            .max(later)
            .saturating_add(anything)
    }

    /// Objects that are alike up to their property `at`, and may be told apart by it.
    fn side_by_side(&self, ways: &[Way<'a>], at: usize) -> usize {
        if let [] | [_] = ways {
            return ways.iter().map(|way| self.way(*way)).sum();
        }
        if !self.takes(ways.len() * ways.len()) {
            return usize::MAX;
        }
        let mut most = ways.len() * 8;
        let mut rest = ways.to_vec();
        while let Some(first) = rest.pop() {
            let mut alike = vec![first];
            let name = required(first.object, at).map(|(name, _)| name);
            rest.retain(|other| {
                let other_name = required(other.object, at).map(|(name, _)| name);
                let is_alike = name.is_none() || other_name.is_none() || name == other_name;
                if is_alike {
                    alike.push(*other);
                }
                !is_alike
            });
            most = most.max(self.alike(&alike, at));
        }
        most
    }

    /// Objects whose property `at` has the same name, or may be any of several.
    fn alike(&self, ways: &[Way<'a>], at: usize) -> usize {
        let values = ways
            .iter()
            .map(|way| required(way.object, at).map(|(_, part)| part));
        let values: Option<Vec<&'a SchemaPart>> = values.collect();
        let Some(values) = values.filter(|values| values.len() > 1) else {
            return ways
                .iter()
                .map(|way| self.way(*way))
                .fold(0, usize::saturating_add);
        };
        let mut most = values
            .iter()
            .map(|value| self.part(value))
            .fold(0, usize::saturating_add);
        // Objects whose values differ part here; each stays beside those that do not differ from it.
        for (at_first, first) in values.iter().enumerate() {
            let mut group: Vec<Way<'a>> = Vec::with_capacity(ways.len());
            for (other, way) in ways.iter().enumerate() {
                if other == at_first || !self.differ.differ(first, values[other]) {
                    group.push(*way);
                }
            }
            most = most.max(self.side_by_side(&group, at + 1));
            if most > MAX_WIDTH || group.len() == ways.len() {
                break;
            }
        }
        most
    }
}

/// The property that comes at place `at`, when it must be there: those come first, in their order.
fn required(object: &Object, at: usize) -> Option<(&str, &SchemaPart)> {
    let known = object
        .properties
        .iter()
        .filter(|known| known.is_required)
        .nth(at)?;
    Some((known.name.as_str(), &known.part))
}

/// The alternatives with references and choices in choices followed; `None` when they are too many.
pub(super) fn leaves<'a>(parts: &'a [SchemaPart], defs: &'a [SchemaPart]) -> Option<Vec<Leaf<'a>>> {
    let mut todo: Vec<Leaf<'a>> = parts.iter().map(|part| Leaf { part, via: None }).collect();
    let mut leaves = Vec::new();
    let mut n_seen = 0;
    while let Some(leaf) = todo.pop() {
        n_seen += 1;
        if n_seen > 4 * MAX_WIDTH {
            return None;
        }
        match &leaf.part.node {
            Node::Reference(at) => {
                todo.push(Leaf {
                    part: defs.get(*at)?,
                    via: leaf.via.or(Some(*at)),
                });
            }
            Node::AnyOf { parts, .. } => {
                todo.extend(parts.iter().map(|part| Leaf {
                    part,
                    via: leaf.via,
                }));
            }
            _ => leaves.push(leaf),
        }
    }
    (leaves.len() <= MAX_WIDTH).then_some(leaves)
}
