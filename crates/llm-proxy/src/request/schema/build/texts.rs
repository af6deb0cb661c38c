//! Strings: a pattern, a format as a pattern, or a length.

use std::sync::Arc;

use serde_json::Value;

use super::super::facts::{Facts, Stated, join};
use super::super::formats;
use super::super::node::{Node, TextNode};
use super::super::pattern::{Pattern, PatternFault};
use super::{Builder, Unsupported};

/// The longest length that llama.cpp counts to; it forgets a larger one.
const MAX_LENGTH: u64 = 2_000;

/// Steps of the builder that a pattern is worth: it takes as long as so many schemas.
const PATTERN_STEPS: usize = 16;

/// A string.
pub(super) fn text(
    builder: &mut Builder<'_>,
    facts: &Facts<'_>,
    path: &str,
) -> Result<Option<Node>, Unsupported> {
    let texts = &facts.texts;
    let min = minimum(texts);
    let max = maximum(texts);
    if max.is_some_and(|max| max < min) {
        return Ok(None);
    }
    let mut pattern = patterns(builder, texts)?;
    let format = format(builder, texts, pattern.is_some())?;
    if let Some((_, held)) = &format {
        pattern = Some(held.clone());
    }
    let format = format.map(|(word, _)| word);
    let mut text = TextNode {
        format,
        pattern: None,
        min,
        max,
    };
    let Some(pattern) = pattern else {
        if text.min > MAX_LENGTH {
            builder.unheld_because(path, "minLength", TOO_LONG)?;
            text.min = 0;
        }
        if text.max.is_some_and(|max| max > MAX_LENGTH) {
            builder.unheld_because(path, "maxLength", TOO_LONG)?;
            text.max = None;
        }
        return Ok(Some(Node::Text(text)));
    };
    let held = pattern.clone().with_length(min, max);
    if held.is_none() {
        let keyword = if max.is_some() {
            "maxLength"
        } else {
            "minLength"
        };
        builder.unheld_because(path, keyword, "cannot be held beside pattern or format")?;
    }
    text.pattern = Some(Arc::new(held.unwrap_or(pattern)));
    Ok(Some(Node::Text(text)))
}

const TOO_LONG: &str = "cannot be held above 2000";

impl Builder<'_> {
    /// Reads a pattern, once.
    fn pattern(
        &mut self,
        text: &str,
        path: &str,
    ) -> Result<Result<Pattern, PatternFault>, Unsupported> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        let pattern = Pattern::parse(text);
        let n_steps = pattern.as_ref().map_or(0, Pattern::n_steps);
        self.step(path, PATTERN_STEPS + text.len() / 8 + n_steps)?;
        self.patterns.insert(text.to_owned(), pattern.clone());
        Ok(pattern)
    }
}

/// Whether the lengths allow `value`, if it is a string.
pub(super) fn allows(texts: &[Stated<'_>], value: &Value) -> bool {
    let Some(value) = value.as_str() else {
        return true;
    };
    let length = value.chars().count() as u64;
    length >= minimum(texts) && maximum(texts).is_none_or(|max| length <= max)
}

fn minimum(texts: &[Stated<'_>]) -> u64 {
    texts
        .iter()
        .filter_map(|stated| stated.keywords.min_length)
        .map(|n| n.0)
        .max()
        .unwrap_or(0)
}

fn maximum(texts: &[Stated<'_>]) -> Option<u64> {
    texts
        .iter()
        .filter_map(|stated| stated.keywords.max_length)
        .map(|n| n.0)
        .min()
}

/// The pattern that is held. Of several only the first can be.
fn patterns(
    builder: &mut Builder<'_>,
    texts: &[Stated<'_>],
) -> Result<Option<Pattern>, Unsupported> {
    let mut held: Option<(&str, Pattern)> = None;
    for stated in texts {
        let Some(text) = stated
            .keywords
            .pattern
            .as_deref()
            .filter(|text| !text.is_empty())
        else {
            continue;
        };
        if let Some((known, _)) = &held {
            if *known != text {
                builder.unheld_because(&stated.path, "pattern", "is not the only one")?;
            }
            continue;
        }
        match builder.pattern(text, &stated.path)? {
            Ok(pattern) => held = Some((text, pattern)),
            Err(PatternFault::Unknown(problem)) => {
                builder.unheld_because(&stated.path, "pattern", &problem)?;
            }
            Err(PatternFault::TooMuch(problem)) => {
                return Err(Unsupported::new(&join(&stated.path, "pattern"), problem));
            }
        }
    }
    Ok(held.map(|(_, pattern)| pattern))
}

/// The format that is held, and its pattern.
fn format(
    builder: &mut Builder<'_>,
    texts: &[Stated<'_>],
    has_pattern: bool,
) -> Result<Option<(String, Pattern)>, Unsupported> {
    let mut held: Option<(String, Pattern)> = None;
    for stated in texts {
        let Some(word) = stated.keywords.format.as_deref() else {
            continue;
        };
        let is_held = held.as_ref().is_some_and(|(known, _)| known == word);
        if is_held || formats::says_nothing(word) {
            continue;
        }
        let pattern = match formats::pattern(word) {
            Some(text) => builder.pattern(&text, &stated.path)?.ok(),
            None => None,
        };
        match pattern {
            Some(pattern) if !has_pattern && held.is_none() => {
                held = Some((word.to_owned(), pattern));
            }
            // Those who write both say one thing twice, and the pattern is held.
            _ if has_pattern => builder.note(&stated.path, "format"),
            _ => builder.unheld(&stated.path, "format")?,
        }
    }
    Ok(held)
}
