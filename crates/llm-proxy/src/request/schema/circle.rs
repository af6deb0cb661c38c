//! Definitions that refer to each other in circles. A tree is fine: a property or an item lies between it and itself. A
//! definition that is itself, or can never end, is not.

use super::node::{Node, Part};

/// The number of a definition that stands for itself without a property or an item between.
pub(super) fn endless(defs: &[Part]) -> Option<usize> {
    // A definition is sound once all that it may stand for are. What never becomes sound runs in a circle.
    let mut is_sound = vec![false; defs.len()];
    while let Some(at) = (0..defs.len()).find(|at| !is_sound[*at] && stands(&defs[*at], &is_sound))
    {
        is_sound[at] = true;
    }
    is_sound.iter().position(|is_sound| !is_sound)
}

fn stands(part: &Part, is_sound: &[bool]) -> bool {
    match &part.node {
        Node::Reference(at) => is_sound[*at],
        Node::AnyOf { parts, .. } => parts.iter().all(|part| stands(part, is_sound)),
        _ => true,
    }
}

/// The number of a definition that no finite value holds.
pub(super) fn bottomless(defs: &[Part]) -> Option<usize> {
    let mut ends = vec![false; defs.len()];
    while let Some(at) = (0..defs.len()).find(|at| !ends[*at] && can_end(&defs[*at], &ends)) {
        ends[at] = true;
    }
    ends.iter().position(|ends| !ends)
}

fn can_end(part: &Part, ends: &[bool]) -> bool {
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
