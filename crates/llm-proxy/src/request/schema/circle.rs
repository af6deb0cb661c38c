//! Definitions that refer to each other in circles. A tree is fine: it contains itself in a
//! property or an item. A
//! definition that is itself, or can never end, is not.

use super::node::{Node, SchemaPart};

/// Finds a definition that refers to itself without a property or an item between, and returns its number.
pub(super) fn endless(defs: &[SchemaPart]) -> Option<usize> {
    // A definition is sound once all that it may stand for are. What never becomes sound runs in a circle.
    first_outside(defs, stands)
}

/// The number of a definition that no finite value holds.
pub(super) fn bottomless(defs: &[SchemaPart]) -> Option<usize> {
    first_outside(defs, can_end)
}

/// The first definition outside the smallest set that `belongs` asks for: it is given a definition and the set so far.
fn first_outside(defs: &[SchemaPart], belongs: fn(&SchemaPart, &[bool]) -> bool) -> Option<usize> {
    let mut is_in = vec![false; defs.len()];
    loop {
        let n_before = is_in.iter().filter(|is_in| **is_in).count();
        // Both ways, because a chain of references may run in either.
        for at in (0..defs.len()).rev().chain(0..defs.len()) {
            is_in[at] = is_in[at] || belongs(&defs[at], &is_in);
        }
        let n_after = is_in.iter().filter(|is_in| **is_in).count();
        if n_after == n_before {
            return is_in.iter().position(|is_in| !is_in);
        }
    }
}

fn stands(part: &SchemaPart, is_sound: &[bool]) -> bool {
    match &part.node {
        Node::Reference(at) => is_sound[*at],
        Node::AnyOf { parts, .. } => parts.iter().all(|part| stands(part, is_sound)),
        _ => true,
    }
}

fn can_end(part: &SchemaPart, ends: &[bool]) -> bool {
    match &part.node {
        Node::Reference(at) => ends[*at],
        Node::AnyOf { parts, .. } => parts.iter().any(|part| can_end(part, ends)),
        Node::Tuple(parts) => parts.iter().all(|part| can_end(part, ends)),
        Node::List(list) => list.min == 0 || can_end(&list.items, ends),
        Node::Object(object) => object
            .properties
            .iter()
            .all(|known| !known.is_required || can_end(&known.part, ends)),
        _ => true,
    }
}
