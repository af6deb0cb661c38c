//! Where a `$ref` leads: to the root, or along a JSON pointer to a schema of the same document.

use super::source::{Items, NamedSource, Source};

/// The longest reference, in bytes.
const MAX_BYTES: usize = 512;

/// The schema that `reference` names, or what is wrong with it.
pub(super) fn resolve<'a>(root: &'a Source, reference: &str) -> Result<&'a Source, String> {
    if reference.len() > MAX_BYTES {
        return Err(format!("must have at most {MAX_BYTES} bytes"));
    }
    let Some(pointer) = reference.strip_prefix('#') else {
        return Err("must begin with #: only places in the same schema are known".to_owned());
    };
    if pointer.contains(['~', '%']) {
        return Err("must not use escapes: name the definition with plain characters".to_owned());
    }
    let mut steps = pointer.split('/').skip(1);
    let is_anchor = !pointer.is_empty() && !pointer.starts_with('/');
    let mut place = (!is_anchor).then_some(root);
    while let Some(keyword) = steps.next() {
        place = place.and_then(|from| follow(from, keyword, &mut steps));
    }
    place.ok_or_else(|| "names a place that this schema does not have".to_owned())
}

/// The name that a reference shows: its last step.
pub(super) fn name(reference: &str) -> &str {
    reference.rsplit(['/', '#']).next().unwrap_or_default()
}

fn follow<'a, 'r>(
    from: &'a Source,
    keyword: &str,
    steps: &mut impl Iterator<Item = &'r str>,
) -> Option<&'a Source> {
    let from = from.keywords()?;
    match keyword {
        "$defs" => named(from.defs.as_ref(), steps.next()?),
        "definitions" => named(from.definitions.as_ref(), steps.next()?),
        "properties" => named(from.properties.as_ref(), steps.next()?),
        "patternProperties" => named(from.pattern_properties.as_ref(), steps.next()?),
        "additionalProperties" => from.additional_properties.as_ref(),
        "allOf" => at(from.all_of.as_deref(), steps.next()?),
        "anyOf" => at(from.any_of.as_deref(), steps.next()?),
        "oneOf" => at(from.one_of.as_deref(), steps.next()?),
        "prefixItems" => at(from.prefix_items.as_deref(), steps.next()?),
        "items" => match from.items.as_ref()? {
            Items::All(source) => Some(source),
            Items::Each(list) => at(Some(list), steps.next()?),
        },
        _ => None,
    }
}

fn named<'a>(sources: Option<&'a NamedSource<Source>>, name: &str) -> Option<&'a Source> {
    let mut entries = sources?.0.iter();
    entries
        .find(|(known, _)| known == name)
        .map(|(_, source)| source)
}

fn at<'a>(list: Option<&'a [Source]>, index: &str) -> Option<&'a Source> {
    list?.get(index.parse::<usize>().ok()?)
}
