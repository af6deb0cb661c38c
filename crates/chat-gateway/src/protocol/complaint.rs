//! What is wrong with a frame or a body, as a sentence in plain English that names the field.
//!
//! serde's own words quote what the client wrote and speak of Rust's types. A sentence says what is expected. It repeats
//! nothing that the client wrote except names of fields, and those only up to a length.

use serde_json::Error;
use serde_json::error::Category;

/// The longest sentence, in characters.
pub(crate) const MAX_CHARS: usize = 240;
/// The most of a field's name, in characters.
const MAX_NAME_CHARS: usize = 48;

/// The sentence for an error at this path of the frame; `.` is the frame itself.
pub(crate) fn sentence(path: &str, error: &Error) -> String {
    if matches!(error.classify(), Category::Io | Category::Eof) {
        return "this is not one whole JSON object".to_owned();
    }
    let text = error.to_string();
    // Without the place in the text, which means nothing to who wrote an object.
    let reason = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(reason, _)| reason);
    let sentence = if let Some(field) = quoted(reason, "missing field ") {
        format!("{} is missing", name(&below(path, field)))
    } else if let Some(field) = quoted(reason, "duplicate field ") {
        format!("{} is given more than once", name(&below(path, field)))
    } else {
        format!("{} {}", name(path), predicate(reason))
    };
    sentence.chars().take(MAX_CHARS).collect()
}

/// What is wrong, in words that follow the name of the field.
fn predicate(reason: &str) -> String {
    // What is expected comes last, in our own words: what the client wrote is before it.
    let expected = reason
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    match expected {
        Some(known) if reason.starts_with("unknown field ") => {
            format!("is not known; expected {known}")
        }
        Some(expected) => format!("must be {}", plain(expected)),
        None if reason.starts_with("UUID parsing failed") => "must be a UUID".to_owned(),
        None if reason.starts_with("recursion limit") => "is nested too deeply".to_owned(),
        None if reason.starts_with("number out of range") => "must be a smaller number".to_owned(),
        None => "is not valid JSON".to_owned(),
    }
}

/// What serde expects, in plain words.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number from 0 to 9007199254740991",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "variant identifier" => "a string",
        uuid if uuid.contains("UUID") => "a UUID",
        expected => expected,
    }
}

/// The name that follows these words in backquotes.
fn quoted<'a>(reason: &'a str, words: &str) -> Option<&'a str> {
    let rest = reason.strip_prefix(words)?.strip_prefix('`')?;
    rest.strip_suffix('`')
}

fn below(path: &str, field: &str) -> String {
    if path == "." {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// A field's name, as a sentence shows it.
fn name(path: &str) -> String {
    if path == "." {
        return "this".to_owned();
    }
    let mut shown: String = path.chars().take(MAX_NAME_CHARS).collect();
    if shown.len() < path.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}
