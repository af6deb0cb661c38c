//! Objects: known properties in their order, and whether others may be there.

use std::collections::HashMap;

use super::super::facts::{Facts, Given, Stated, join};
use super::super::node::{Node, Object, Property};
use super::super::source::{JsonKind, Keywords, NamedSource, OneOrMany, Required, Source};
use super::lists::or_anything;
use super::{Builder, Unsupported};

/// The longest name, in bytes: names become names of rules, which are repeated on every level below.
const MAX_NAME_BYTES: usize = 128;
/// Bytes of all names beside which llama.cpp can still tell other names.
const MAX_TOLD_APART: usize = 400;
/// Properties of one object that may be left out. The grammar has a way from each to each.
const MAX_OPTIONAL: usize = 128;

/// An object.
pub(super) fn object<'a>(
    builder: &mut Builder<'a>,
    facts: &Facts<'a>,
    path: &str,
) -> Result<Option<Node>, Unsupported> {
    let objects = &facts.objects;
    let others = others(builder, objects)?;
    let required = required(builder, objects)?;
    let mut properties: Vec<Property> = Vec::new();
    for (name, given) in known(builder, objects)? {
        check_name(name, path)?;
        let is_required = required.contains_key(name);
        match builder.build(&given)? {
            Some(part) => properties.push(Property {
                name: name.to_owned(),
                part,
                is_required,
            }),
            None if is_required => return Ok(None),
            None => {}
        }
    }
    let missing = missing(&required, &properties);
    for name in missing {
        check_name(name, path)?;
        let Some(given) = &others else {
            builder.unheld_because(path, "required", "names a property that may not be there")?;
            continue;
        };
        let Some(part) = builder.build(given)? else {
            return Ok(None);
        };
        properties.push(Property {
            name: name.to_owned(),
            part,
            is_required: true,
        });
    }
    let n_optional = properties.iter().filter(|known| !known.is_required).count();
    if n_optional > MAX_OPTIONAL {
        let problem = format!("must have at most {MAX_OPTIONAL} that are not required");
        return Err(Unsupported::new(&join(path, "properties"), problem));
    }
    // What may be there need not be: where llama.cpp cannot tell others from the known, there are none.
    let others = match others {
        Some(given) if can_be_told_apart(&properties) => builder.build(&given)?.map(Box::new),
        Some(_) | None => None,
    };
    let is_closed = others.is_none()
        && objects
            .iter()
            .any(|stated| explicit(stated.keywords).is_some());
    Ok(Some(Node::Object(Object {
        properties,
        others,
        is_closed,
    })))
}

/// Every property that is named, with all that is said of it.
fn known<'a>(
    builder: &mut Builder<'a>,
    objects: &[Stated<'a>],
) -> Result<Vec<(&'a str, Vec<Given<'a>>)>, Unsupported> {
    let mut all: Vec<(&'a str, Vec<Given<'a>>)> = Vec::new();
    let mut places: HashMap<&'a str, usize> = HashMap::new();
    for stated in objects {
        let path = join(&stated.path, "properties");
        for (name, source) in entries(stated.keywords.properties.as_ref()) {
            builder.step(&path, 1)?;
            let at = *places.entry(name).or_insert_with(|| {
                all.push((name, Vec::new()));
                all.len() - 1
            });
            all[at].1.push(Given::new(source, join(&path, name)));
        }
    }
    if let [_, _, ..] = objects {
        for stated in objects {
            restrict(builder, stated, &mut all)?;
        }
    }
    Ok(all)
}

/// What one of several schemas says of properties that only the others name.
fn restrict<'a>(
    builder: &mut Builder<'a>,
    stated: &Stated<'a>,
    all: &mut [(&'a str, Vec<Given<'a>>)],
) -> Result<(), Unsupported> {
    let Some((keyword, source)) = explicit(stated.keywords) else {
        return Ok(());
    };
    let own: HashMap<&str, ()> = entries(stated.keywords.properties.as_ref())
        .map(|(name, _)| (name, ()))
        .collect();
    let foreign = all.iter_mut().filter(|(name, _)| !own.contains_key(name));
    for (_, given) in foreign {
        builder.step(&stated.path, 1)?;
        if matches!(source, Source::Bool(false)) {
            // Meant as "nothing beyond all of this", though it says that the others' properties are forbidden.
            builder.unheld_because(
                &stated.path,
                keyword,
                "forbids what another schema beside it names",
            )?;
        } else {
            given.push(Given::new(source, join(&stated.path, keyword)));
        }
    }
    Ok(())
}

/// What properties hold that are not named; `None` when there are none.
fn others<'a>(
    builder: &mut Builder<'a>,
    objects: &[Stated<'a>],
) -> Result<Option<Vec<Given<'a>>>, Unsupported> {
    let mut given: Vec<Given<'a>> = Vec::new();
    let mut is_closed = false;
    let mut is_open = true;
    for stated in objects {
        let keywords = stated.keywords;
        if let Some(names) = &keywords.property_names
            && !says_nothing_of_names(names)
        {
            builder.unheld(&stated.path, "propertyNames")?;
        }
        let pattern = by_pattern(builder, stated)?;
        match (pattern, explicit(keywords)) {
            (Some(source), None | Some((_, Source::Bool(false)))) => {
                given.push(Given::new(source, join(&stated.path, "patternProperties")));
            }
            (_, Some((_, Source::Bool(all)))) => is_closed |= !all,
            (_, Some((keyword, source))) => {
                given.push(Given::new(source, join(&stated.path, keyword)));
            }
            (None, None) => {
                is_open &= keywords.properties.is_none();
                continue;
            }
        }
    }
    let is_said = objects
        .iter()
        .any(|stated| explicit(stated.keywords).is_some());
    if is_closed || (given.is_empty() && !is_open && !is_said) {
        return Ok(None);
    }
    let path = objects.first().map_or("", |stated| &stated.path);
    Ok(Some(or_anything(given, path)))
}

/// The schema of properties whose names match a pattern. Names cannot be held, unless every name matches.
fn by_pattern<'a>(
    builder: &mut Builder<'a>,
    stated: &Stated<'a>,
) -> Result<Option<&'a Source>, Unsupported> {
    let mut patterns = entries(stated.keywords.pattern_properties.as_ref());
    let Some((pattern, source)) = patterns.next() else {
        return Ok(None);
    };
    let is_any = matches!(pattern, "" | ".*" | "^.*$" | "^.*" | ".+" | "^.+$");
    if !is_any || patterns.next().is_some() {
        builder.unheld(&stated.path, "patternProperties")?;
    }
    Ok(Some(source))
}

fn explicit(keywords: &Keywords) -> Option<(&'static str, &Source)> {
    let additional = keywords.additional_properties.as_ref();
    let unevaluated = keywords.unevaluated_properties.as_ref();
    additional
        .map(|source| ("additionalProperties", source))
        .or_else(|| unevaluated.map(|source| ("unevaluatedProperties", source)))
}

/// The names that must be there, each with its place in the list.
fn required<'a>(
    builder: &mut Builder<'a>,
    objects: &[Stated<'a>],
) -> Result<HashMap<&'a str, usize>, Unsupported> {
    let mut all = HashMap::new();
    for stated in objects {
        match &stated.keywords.required {
            Some(Required::Names(names)) => {
                builder.step(&stated.path, names.len())?;
                for name in names {
                    let at = all.len();
                    all.entry(name.as_str()).or_insert(at);
                }
            }
            Some(Required::Flag(true)) => builder.unheld(&stated.path, "required")?,
            Some(Required::Flag(false)) | None => {}
        }
    }
    Ok(all)
}

/// Required names that no schema describes, in their order.
fn missing<'a>(required: &HashMap<&'a str, usize>, known: &[Property]) -> Vec<&'a str> {
    let known: HashMap<&str, ()> = known
        .iter()
        .map(|known| (known.name.as_str(), ()))
        .collect();
    let mut missing: Vec<(&str, usize)> = required
        .iter()
        .filter(|(name, _)| !known.contains_key(*name))
        .map(|(n, at)| (*n, *at))
        .collect();
    missing.sort_unstable_by_key(|(_, at)| *at);
    missing.into_iter().map(|(name, _)| name).collect()
}

/// `*` is llama.cpp's own name for all others, and an empty name makes it lose the grammar's root.
fn check_name(name: &str, path: &str) -> Result<(), Unsupported> {
    let path = join(path, "properties");
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let problem = format!("must have names of 1 to {MAX_NAME_BYTES} bytes");
        return Err(Unsupported::new(&path, problem));
    }
    if name == "*" {
        return Err(Unsupported::new(&path, "must not have the name *"));
    }
    Ok(())
}

/// llama.cpp writes names into classes of characters as they are.
fn can_be_told_apart(properties: &[Property]) -> bool {
    let n_bytes: usize = properties.iter().map(|known| known.name.len()).sum();
    n_bytes <= MAX_TOLD_APART
        && !properties
            .iter()
            .any(|known| known.name.contains(is_special))
}

fn is_special(character: char) -> bool {
    character.is_control() || matches!(character, '"' | '\\' | '^' | '[' | ']' | '-')
}

fn says_nothing_of_names(names: &Source) -> bool {
    match names {
        Source::Bool(all) => *all,
        Source::Keywords(keywords) => {
            let is_string = matches!(keywords.kind, None | Some(OneOrMany::One(JsonKind::String)));
            is_string && only_kind(keywords)
        }
    }
}

/// Whether `type` is all that is asserted.
fn only_kind(keywords: &Keywords) -> bool {
    keywords.reference.is_none()
        && keywords.constant.is_none()
        && keywords.values.is_none()
        && keywords.all_of.is_none()
        && keywords.any_of.is_none()
        && keywords.one_of.is_none()
        && !keywords.speaks_of_strings()
        && keywords.unheld().next().is_none()
}

fn entries(named: Option<&NamedSource<Source>>) -> impl Iterator<Item = (&str, &Source)> {
    named
        .into_iter()
        .flat_map(|named| named.0.iter())
        .map(|(name, source)| (name.as_str(), source))
}
