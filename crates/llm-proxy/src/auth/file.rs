//! The text of the keys file: TOML, one `[[key]]` table per key, all good or all refused.
//!
//! A problem is told with its line and field, and never with a value, because a value may be a key. So serde's messages,
//! which quote values, are never shown: a field that is wrong is told by what it must be.

use std::collections::{HashMap, HashSet};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer, Error};
use toml::value::{Datetime, Offset};

use crate::api::Scope;
use crate::auth::NOBODY;
use crate::auth::caller::Caller;
use crate::auth::key::{self, KeyDigest};
use crate::auth::limits::KeyLimits;

/// A name is a label of metrics and a field of logs.
const MAX_NAME_BYTES: usize = 32;
/// Digests of one key at the same time: the new one, the one before it, and some to spare.
const MAX_DIGESTS: usize = 8;
const MAX_WEIGHT: u32 = 1000;

/// What each field must be.
const FIELDS: [(&str, &str); 12] = [
    ("name", NAME),
    ("sha256", DIGESTS),
    ("models", MODELS),
    ("scopes", SCOPES),
    ("weight", WEIGHT),
    ("requests_at_once", COUNT),
    ("requests_at_once_per_user", COUNT),
    ("requests_per_minute", RATE),
    ("tokens_per_minute", RATE),
    ("tokens_per_day", COUNT),
    ("not_before", TIME),
    ("expires", TIME),
];
const NAME: &str = "must be 1 to 32 letters, digits, `.`, `_` and `-`, in quotes";
const DIGESTS: &str = "must be the 64 hexadecimal digits of the key's SHA-256, in quotes, as `llm-proxy keys new` \
                       prints them, or a list of up to 8";
const MODELS: &str =
    "must be a model's name in quotes, or a list of such names; leave it out for all models";
const SCOPES: &str =
    "must be a list of `chat`, `embeddings`, `tokens` and `delegate`, each in quotes";
const WEIGHT: &str = "must be a whole number from 1 to 1000";
const COUNT: &str = "must be a whole number of at least 1";
const RATE: &str = "must be a whole number from 1 to 4294967295";
const TIME: &str = "must be a time, written as 2027-01-31 or 2027-01-31T12:00:00Z, without quotes";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysToml {
    #[serde(default)]
    key: Vec<Spanned<KeyTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    name: Spanned<String>,
    sha256: Spanned<Texts>,
    models: Option<Spanned<Texts>>,
    scopes: Option<Spanned<Texts>>,
    weight: Option<Spanned<NonZeroU32>>,
    requests_at_once: Option<NonZeroUsize>,
    requests_at_once_per_user: Option<NonZeroUsize>,
    requests_per_minute: Option<NonZeroU32>,
    tokens_per_minute: Option<NonZeroU32>,
    tokens_per_day: Option<NonZeroU64>,
    not_before: Option<Spanned<WrittenTime>>,
    expires: Option<Spanned<WrittenTime>>,
}

/// One text, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// A date or a moment as TOML has it, or the same in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenTime {
    Plain(Datetime),
    Quoted(String),
}

/// One key of the file.
#[derive(Debug)]
pub(super) struct KeyEntry {
    /// What opens it: one digest, or several while a key is being replaced.
    pub(super) digests: Vec<KeyDigest>,
    /// The key as it is found by the first of them.
    pub(super) caller: Caller,
}

/// A byte of the file, and what is wrong there.
type Fault = (usize, String);

/// Any bytes as a keys file.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    drop(parse(input));
}

/// The keys in `bytes`: none in a file that is empty or has comments only.
///
/// # Errors
///
/// The first problem, in words for the operator.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<KeyEntry>, String> {
    entries(bytes).map_err(|(at, problem)| {
        let before = bytes.iter().take(at);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: {problem}")
    })
}

fn entries(bytes: &[u8]) -> Result<Vec<KeyEntry>, Fault> {
    let text = str::from_utf8(bytes)
        .map_err(|error| (error.valid_up_to(), "the file is not UTF-8 text".to_owned()))?;
    let document = DeTable::parse(text).map_err(|error| {
        known_field(text, &error).unwrap_or_else(|| {
            let problem = format!("not TOML: {}", error.message());
            (start(&error), problem)
        })
    })?;
    let document = KeysToml::deserialize(Deserializer::from(document))
        .map_err(|error| known_field(text, &error).unwrap_or_else(|| wrong_table(text, &error)))?;
    let mut names = HashSet::new();
    let mut holders = HashMap::new();
    let mut entries = Vec::new();
    for table in document.key {
        let at = table.span().start;
        let entry = key_entry(table.into_inner())?;
        let name = &entry.caller.name;
        if !names.insert(Arc::clone(name)) {
            let problem = format!("another key before this has the name \"{name}\" too");
            return Err((at, problem));
        }
        for digest in &entry.digests {
            if let Some(holder) = holders.insert(*digest, Arc::clone(name)) {
                let problem = format!("this digest of \"{name}\" is given to \"{holder}\" already");
                return Err((at, problem));
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Where TOML or serde gave up.
fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// The fault of a field whose value cannot be read, from its line.
fn known_field(text: &str, error: &Error) -> Option<Fault> {
    let at = start(error);
    let (field, _) = text.get(..at)?.rsplit('\n').next()?.split_once('=')?;
    let mut fields = FIELDS.iter();
    let (field, must_be) = fields.find(|(known, _)| *known == field.trim())?;
    Some((at, format!("`{field}` {must_be}")))
}

/// The fault of a table as a whole.
fn wrong_table(text: &str, error: &Error) -> Fault {
    let message = error.message();
    let missing = ["`name`", "`sha256`"].into_iter();
    let mut missing = missing.filter(|field| message.ends_with(&format!("missing field {field}")));
    let problem = if let Some(field) = missing.next() {
        format!("this key has no {field}; `llm-proxy keys new` prints both")
    } else if message.starts_with("unknown field") {
        let span = error.span().unwrap_or_default();
        let field = text.get(span).unwrap_or_default();
        // What does not look like a field may be a key in the wrong place.
        let is_plain = field.len() <= 24
            && field
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase());
        let shown = if is_plain && !key::has_prefix(field.as_bytes()) {
            field
        } else {
            "..."
        };
        let fields = FIELDS.map(|(field, _)| field).join(", ");
        format!("`{shown}` is not a field of a [[key]]; those are {fields}")
    } else {
        "a key is a table with the heading [[key]], in two brackets".to_owned()
    };
    (start(error), problem)
}

fn key_entry(table: KeyTable) -> Result<KeyEntry, Fault> {
    let digests = checked("sha256", table.sha256, digests)?;
    let expires_at = table.expires.as_ref().map_or(0, |time| time.span().start);
    let caller = Caller {
        name: checked("name", table.name, name_of)?,
        digest: digests[0],
        weight: optional("weight", table.weight, weight_of)?.unwrap_or(NonZeroU32::MIN),
        limits: KeyLimits {
            requests_at_once: table.requests_at_once,
            requests_at_once_per_user: table.requests_at_once_per_user,
            requests_per_minute: table.requests_per_minute,
            tokens_per_minute: table.tokens_per_minute,
            tokens_per_day: table.tokens_per_day,
        },
        models: optional("models", table.models, some)?,
        scopes: optional("scopes", table.scopes, scopes_of)?.unwrap_or(vec![Scope::Chat]),
        not_before: optional("not_before", table.not_before, time_of)?,
        expires: optional("expires", table.expires, time_of)?,
        usage: Arc::default(),
    };
    if caller.expires.is_some() && caller.expires <= caller.not_before {
        let problem = "`expires` must be later than `not_before`";
        return Err((expires_at, problem.to_owned()));
    }
    Ok(KeyEntry { digests, caller })
}

/// The value of a field, which says what is wrong with it in words that follow its name.
fn checked<T, U>(
    field: &str,
    value: Spanned<T>,
    check: impl Fn(T) -> Result<U, &'static str>,
) -> Result<U, Fault> {
    let at = value.span().start;
    check(value.into_inner()).map_err(|problem| (at, format!("`{field}` {problem}")))
}

/// The same for a field that may be left out.
fn optional<T, U>(
    field: &str,
    value: Option<Spanned<T>>,
    check: impl Fn(T) -> Result<U, &'static str>,
) -> Result<Option<U>, Fault> {
    value.map(|value| checked(field, value, check)).transpose()
}

/// A text that can name a key.
pub(super) fn name_of(name: String) -> Result<Arc<str>, &'static str> {
    if key::has_prefix(name.as_bytes()) {
        return Err("holds a key: take that key out of use, and write a name");
    }
    if name == NOBODY {
        return Err("stands for requests without a key in logs and metrics: choose another");
    }
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
    let mut bytes = name.bytes();
    if fits && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Ok(name.into())
    } else {
        Err(NAME)
    }
}

fn digests(texts: Texts) -> Result<Vec<KeyDigest>, &'static str> {
    let texts = some(texts)?;
    if texts.len() > MAX_DIGESTS {
        return Err(DIGESTS);
    }
    texts.iter().map(|text| digest(text)).collect()
}

fn digest(text: &str) -> Result<KeyDigest, &'static str> {
    if key::has_prefix(text.as_bytes()) {
        return Err(
            "holds a key instead of its digest: take that key out of use, since it was in a file, \
             and make another with `llm-proxy keys new`",
        );
    }
    let digest = KeyDigest::from_hex(text).ok_or(DIGESTS)?;
    // It would open the door for everyone who sends no key.
    if digest == KeyDigest::of(b"") {
        return Err("is the digest of nothing: the text that was hashed was empty");
    }
    Ok(digest)
}

/// At least one text.
fn some(texts: Texts) -> Result<Vec<String>, &'static str> {
    match texts {
        Texts::One(text) => Ok(vec![text]),
        Texts::Many(texts) if texts.is_empty() => Err("is an empty list: leave it out or fill it"),
        Texts::Many(texts) => Ok(texts),
    }
}

fn scopes_of(texts: Texts) -> Result<Vec<Scope>, &'static str> {
    some(texts)?.iter().map(|name| scope(name)).collect()
}

/// The scope with this name.
pub(super) fn scope(name: &str) -> Result<Scope, &'static str> {
    let mut scopes = Scope::ALL.into_iter();
    scopes.find(|scope| scope.name() == name).ok_or(SCOPES)
}

fn weight_of(weight: NonZeroU32) -> Result<NonZeroU32, &'static str> {
    if weight.get() > MAX_WEIGHT {
        return Err(WEIGHT);
    }
    Ok(weight)
}

fn time_of(written: WrittenTime) -> Result<SystemTime, &'static str> {
    let time = match written {
        WrittenTime::Plain(datetime) => point(&datetime),
        WrittenTime::Quoted(text) => moment(&text),
    };
    time.ok_or(TIME)
}

/// A date or a time as the file may have it.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    point(&text.parse().ok()?)
}

/// The first moment of a date in UTC, or a time with its offset. A time of day without an offset could be anywhere's.
fn point(datetime: &Datetime) -> Option<SystemTime> {
    let date = datetime.date?;
    let (time, offset) = match (datetime.time, datetime.offset) {
        (None, None) => ("00:00:00".to_owned(), Offset::Z),
        (Some(time), Some(offset)) => (time.to_string(), offset),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let utc = humantime::parse_rfc3339(&format!("{date}T{time}Z")).ok()?;
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => minutes,
    };
    let shift = Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60);
    if minutes > 0 {
        utc.checked_sub(shift)
    } else {
        utc.checked_add(shift)
    }
}

#[cfg(test)]
mod tests;
