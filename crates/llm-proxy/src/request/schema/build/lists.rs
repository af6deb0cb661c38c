//! Arrays: items of one kind and how many, or one schema for each place.

use super::super::facts::{Facts, Given, Stated, join};
use super::super::node::{ListNode, Node, SchemaPart};
use super::super::source::{Items, Source};
use super::{Builder, Unsupported};

/// Items that llama.cpp can count.
const MAX_ITEMS: u64 = 1_000;
/// Places that each have a schema.
const MAX_PLACES: usize = 64;

/// An array.
pub(super) fn list<'a>(
    builder: &mut Builder<'a>,
    facts: &Facts<'a>,
    path: &str,
) -> Result<Option<Node>, Unsupported> {
    let lists = &facts.lists;
    let mut min = lists
        .iter()
        .filter_map(|stated| stated.keywords.min_items)
        .map(|n| n.0)
        .max();
    let mut max = lists
        .iter()
        .filter_map(|stated| stated.keywords.max_items)
        .map(|n| n.0)
        .min();
    if max.is_some_and(|max| max < min.unwrap_or(0)) {
        return Ok(None);
    }
    if min.is_some_and(|min| min > MAX_ITEMS) {
        builder.unheld_because(path, "minItems", TOO_MANY)?;
        min = None;
    }
    if max.is_some_and(|max| max > MAX_ITEMS) {
        builder.unheld_because(path, "maxItems", TOO_MANY)?;
        max = None;
    }
    let min = min.unwrap_or(0);
    let n_places = lists
        .iter()
        .map(|stated| places(stated).len())
        .max()
        .unwrap_or(0);
    if n_places > 0 {
        return tuple(builder, lists, path, n_places, min, max);
    }
    let items = builder.build(&behind(lists, path))?;
    Ok(match items {
        Some(items) => Some(Node::List(Box::new(ListNode { items, min, max }))),
        None if min == 0 => Some(empty()),
        None => None,
    })
}

fn empty() -> Node {
    let items = SchemaPart::from(Node::Any);
    Node::List(Box::new(ListNode {
        items,
        min: 0,
        max: Some(0),
    }))
}

const TOO_MANY: &str = "cannot be held above 1000";

/// As many places as must be there, which are written out.
fn tuple<'a>(
    builder: &mut Builder<'a>,
    lists: &[Stated<'a>],
    path: &str,
    n_places: usize,
    min: u64,
    max: Option<u64>,
) -> Result<Option<Node>, Unsupported> {
    let min = usize::try_from(min).unwrap_or(usize::MAX);
    let max = max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let n = n_places.max(min).min(max);
    if n > MAX_PLACES {
        let problem = format!("must have at most {MAX_PLACES} places");
        return Err(Unsupported::new(&join(path, "prefixItems"), problem));
    }
    let mut parts: Vec<SchemaPart> = Vec::with_capacity(n);
    for at in 0..n {
        match builder.build(&place(lists, path, at))? {
            Some(part) => parts.push(part),
            None if at >= min => break,
            None => return Ok(None),
        }
    }
    Ok(Some(if parts.is_empty() {
        empty()
    } else {
        Node::Tuple(parts)
    }))
}

/// The schemas of single places.
fn places<'a>(stated: &Stated<'a>) -> &'a [Source] {
    match (&stated.keywords.prefix_items, &stated.keywords.items) {
        (Some(places), _) if !places.is_empty() => places,
        (_, Some(Items::Each(places))) => places,
        _ => &[],
    }
}

/// The schema of what comes behind the places.
fn rest<'a>(stated: &Stated<'a>) -> Option<Given<'a>> {
    match &stated.keywords.items {
        Some(Items::All(source)) => Some(Given::new(source, join(&stated.path, "items"))),
        Some(Items::Each(_)) => {
            let source = stated.keywords.additional_items.as_ref()?;
            Some(Given::new(source, join(&stated.path, "additionalItems")))
        }
        None => None,
    }
}

/// What holds at place `at`, in all of `lists`.
fn place<'a>(lists: &[Stated<'a>], path: &str, at: usize) -> Vec<Given<'a>> {
    let mut given = Vec::with_capacity(lists.len());
    for stated in lists {
        match places(stated).get(at) {
            Some(source) => {
                let path = join(&stated.path, &format!("prefixItems[{at}]"));
                given.push(Given::new(source, path));
            }
            None => given.extend(rest(stated)),
        }
    }
    or_anything(given, path)
}

fn behind<'a>(lists: &[Stated<'a>], path: &str) -> Vec<Given<'a>> {
    or_anything(lists.iter().filter_map(rest).collect(), path)
}

/// `given`, or what allows everything.
pub(super) fn or_anything<'a>(mut given: Vec<Given<'a>>, path: &str) -> Vec<Given<'a>> {
    if given.is_empty() {
        given.push(Given::new(&Source::Bool(true), path.to_owned()));
    }
    given
}
