//! The text of the keys file: TOML, one `[[key]]` table per key, all good or all refused.
//!
//! A problem is told with its line, the key's name and the field, and never with a value, because a value may be a key.
//! So serde's messages, which quote values, are never shown: a field that serde refuses is told by what it must be.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::value::{Datetime, Offset};

use crate::api::Scope;
use crate::auth::NOBODY;
use crate::auth::caller::Caller;
use crate::auth::key::{self, KeyDigest};
use crate::auth::limits::KeyLimits;

/// Problems that are told; further ones are counted.
const MAX_PROBLEMS: usize = 20;
/// A name is a label of metrics and a field of logs.
const MAX_NAME_BYTES: usize = 32;
/// Digests of one key at the same time: the new one, the one before it, and some to spare.
const MAX_DIGESTS: usize = 8;
const MAX_WEIGHT: u32 = 1000;

/// A `[[key]]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    name: String,
    sha256: Texts,
    models: Option<Texts>,
    scopes: Option<Texts>,
    weight: Option<NonZeroU32>,
    requests_at_once: Option<NonZeroUsize>,
    requests_per_minute: Option<NonZeroU32>,
    tokens_per_minute: Option<NonZeroU32>,
    tokens_per_day: Option<NonZeroU64>,
    not_before: Option<WrittenTime>,
    expires: Option<WrittenTime>,
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

/// Each field, and what it must be.
const FIELDS: [(&str, &str); 11] = [
    ("name", NAME),
    ("sha256", DIGEST),
    (
        "models",
        "a model's name in quotes, or a list of such names",
    ),
    ("scopes", SCOPES),
    ("weight", "a whole number from 1 to 1000"),
    ("requests_at_once", "a whole number of at least 1"),
    ("requests_per_minute", "a whole number from 1 to 4294967295"),
    ("tokens_per_minute", "a whole number from 1 to 4294967295"),
    ("tokens_per_day", "a whole number of at least 1"),
    ("not_before", TIME),
    ("expires", TIME),
];
const NAME: &str = "1 to 32 letters, digits, `.`, `_` and `-`, in quotes";
const DIGEST: &str = "the 64 hexadecimal digits of the key's SHA-256 in quotes, as `llm-proxy keys new NAME` prints them";
const SCOPES: &str = "a list of `chat`, `embeddings` and `tokens`, each in quotes";
const TIME: &str = "a time, written as 2027-01-31 or 2027-01-31T12:00:00Z, without quotes";

/// One key of the file.
#[derive(Debug)]
pub(super) struct KeyEntry {
    /// What opens it: one digest, or several while a key is being replaced.
    pub(super) digests: Vec<KeyDigest>,
    pub(super) caller: Caller,
    /// Where its table begins, from 1.
    pub(super) line: usize,
}

impl KeyEntry {
    /// The key as it is found by each of its digests.
    pub(super) fn callers(self) -> impl Iterator<Item = (KeyDigest, Arc<Caller>)> {
        let caller = self.caller;
        self.digests.into_iter().map(move |digest| {
            let caller = Caller {
                digest,
                ..caller.clone()
            };
            (digest, Arc::new(caller))
        })
    }

    /// Passes when the key is not that of `LLM_API_KEY`.
    pub(super) fn differs_from(&self, fixed: &Caller) -> Result<(), FileProblems> {
        let name = &self.caller.name;
        let field = if fixed.name == *name {
            "name"
        } else if self.digests.contains(&fixed.digest) {
            "sha256"
        } else {
            return Ok(());
        };
        let mut problems = FileProblems::default();
        let problem =
            format!("`{field}` is that of LLM_API_KEY; keep the key in one of the two places");
        problems.note(self.line, Some(name), &problem);
        Err(problems)
    }
}

/// What is wrong with a file: one sentence or more, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentences().join("; "))]
pub(super) struct FileProblems {
    told: Vec<(usize, String)>,
    n_more: usize,
}

impl FileProblems {
    /// For people: a line for each.
    pub(super) fn listed(&self, path: &Path) -> String {
        let lines = self.sentences().join("\n  ");
        format!("{}:\n  {lines}", path.display())
    }

    fn note(&mut self, line: usize, key: Option<&str>, problem: &str) {
        if self.is_full() {
            self.n_more += 1;
            return;
        }
        let key = key.map(|key| format!(", key \"{key}\""));
        let key = key.unwrap_or_default();
        self.told
            .push((line, format!("line {line}{key}: {problem}")));
    }

    fn is_full(&self) -> bool {
        self.told.len() == MAX_PROBLEMS
    }

    fn sentences(&self) -> Vec<String> {
        let mut told = self.told.clone();
        told.sort_by_key(|(line, _)| *line);
        let more = (self.n_more > 0).then(|| format!("and {} more", self.n_more));
        let told = told.into_iter().map(|(_, sentence)| sentence);
        told.chain(more).collect()
    }
}

/// Where the lines of a text end.
struct LineEnds(Vec<usize>);

impl LineEnds {
    fn of(bytes: &[u8]) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line, from 1, of the byte at `at`.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }
}

/// Any bytes as a keys file.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    if let Err(problems) = parse(input) {
        assert!(!problems.listed(Path::new("keys.toml")).is_empty());
    }
}

/// The keys in `bytes`: none in a file that is empty or has comments only.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<KeyEntry>, FileProblems> {
    let lines = LineEnds::of(bytes);
    let mut problems = FileProblems::default();
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = lines.line(error.valid_up_to());
            problems.note(line, None, "the file is not UTF-8 text");
            return Err(problems);
        }
    };
    let mut document = match DeTable::parse(text) {
        Ok(document) => document.into_inner(),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            problems.note(lines.line(at), None, &syntax(text, at, error.message()));
            return Err(problems);
        }
    };
    let keys = document.remove("key");
    for field in document.keys() {
        let problem =
            "the file may hold only tables with the heading [[key]], each with its fields below it";
        problems.note(lines.line(field.span().start), None, problem);
    }
    let mut entries = Vec::new();
    match keys.map(|keys| (keys.span().start, keys.into_inner())) {
        Some((_, DeValue::Array(tables))) => {
            let tables = tables.into_iter();
            entries.extend(tables.filter_map(|table| entry(table, &lines, &mut problems)));
        }
        Some((at, _)) => {
            let problem = "the heading of a key is [[key]], with two brackets";
            problems.note(lines.line(at), None, problem);
        }
        None => {}
    }
    find_twins(&entries, &mut problems);
    if problems == FileProblems::default() {
        Ok(entries)
    } else {
        Err(problems)
    }
}

/// What is wrong where the text is not TOML. A field without its quotes, or a word for a date, is told by what the field
/// must be.
fn syntax(text: &str, at: usize, message: &str) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let field = line.split_once('=').map(|(field, _)| field.trim());
    match field.and_then(|field| Some((field, wanted(field)?))) {
        Some((field, wanted)) => format!("`{field}` must be {wanted}"),
        None => format!("not TOML: {message}"),
    }
}

fn wanted(field: &str) -> Option<&'static str> {
    let known = FIELDS.iter().find(|(name, _)| *name == field);
    known.map(|(_, wanted)| *wanted)
}

/// What is wrong with a key, and the field that it shows at.
struct Fault {
    field: String,
    sentence: String,
}

impl Fault {
    /// `problem` continues the sentence that begins with the field's name.
    fn of(field: &str, problem: &str) -> Self {
        Self {
            field: field.to_owned(),
            sentence: format!("`{field}` {problem}"),
        }
    }
}

/// One key; `None` when something is wrong with it, of which the first is told.
fn entry(
    table: Spanned<DeValue<'_>>,
    lines: &LineEnds,
    problems: &mut FileProblems,
) -> Option<KeyEntry> {
    let span = table.span();
    let line = lines.line(span.start);
    let DeValue::Table(fields) = table.into_inner() else {
        problems.note(line, None, "a key is a table with the heading [[key]]");
        return None;
    };
    let value = Spanned::new(span, DeValue::Table(fields.clone()));
    let judged = KeyTable::deserialize(ValueDeserializer::from(value))
        .map_err(|error| unread(&fields, error.span().map_or(0, |span| span.start)))
        .and_then(|table| key_entry(table, line));
    let fault = match judged {
        Ok(entry) => return Some(entry),
        Err(fault) => fault,
    };
    let at = fields.get_key_value(fault.field.as_str());
    let line = at.map_or(line, |(field, _)| lines.line(field.span().start));
    let name = fields.get("name").and_then(|name| name.get_ref().as_str());
    let name = name.filter(|name| check_name(name).is_ok());
    problems.note(line, name, &fault.sentence);
    None
}

/// Why serde did not take the table: because of the field at `at`, or of one that is missing.
fn unread(table: &DeTable<'_>, at: usize) -> Fault {
    let mut fields = table.iter();
    let found = fields.find(|(name, value)| (name.span().start..value.span().end).contains(&at));
    let Some((name, _)) = found else {
        let missing = ["name", "sha256"]
            .into_iter()
            .find(|name| !table.contains_key(*name));
        let missing = missing.unwrap_or("name");
        let problem = format!("is missing: write {}", wanted(missing).unwrap_or_default());
        return Fault::of(missing, &problem);
    };
    let name: &str = name.get_ref();
    if let Some(wanted) = wanted(name) {
        return Fault::of(name, &format!("must be {wanted}"));
    }
    // A name that does not look like one may be a key in the wrong place.
    let is_plain = name.len() <= 24
        && !key::has_prefix(name.as_bytes())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let shown = if is_plain { name } else { "..." };
    let fields = FIELDS.map(|(field, _)| field).join(", ");
    Fault {
        field: name.to_owned(),
        sentence: format!("`{shown}` is not a field of a key; the fields are {fields}"),
    }
}

fn key_entry(table: KeyTable, line: usize) -> Result<KeyEntry, Fault> {
    check_name(&table.name).map_err(|problem| Fault::of("name", &problem))?;
    let digests = digests(table.sha256).map_err(|problem| Fault::of("sha256", &problem))?;
    let models = table.models.map(Vec::from);
    if models.as_ref().is_some_and(Vec::is_empty) {
        return Err(Fault::of(
            "models",
            "names no model; leave it out for all models",
        ));
    }
    let scopes = table.scopes.map_or(Ok(vec![Scope::Chat]), |scopes| {
        Vec::from(scopes).iter().map(|name| scope(name)).collect()
    });
    let scopes = scopes.map_err(|problem: String| Fault::of("scopes", &problem))?;
    let weight = table.weight.unwrap_or(NonZeroU32::MIN);
    if weight.get() > MAX_WEIGHT {
        return Err(Fault::of(
            "weight",
            &format!("must be at most {MAX_WEIGHT}"),
        ));
    }
    let not_before = time("not_before", table.not_before)?;
    let expires = time("expires", table.expires)?;
    if let (Some(not_before), Some(expires)) = (not_before, expires)
        && expires <= not_before
    {
        return Err(Fault::of("expires", "must be later than `not_before`"));
    }
    let caller = Caller {
        name: table.name.into(),
        digest: digests[0],
        weight,
        limits: KeyLimits {
            requests_at_once: table.requests_at_once,
            requests_per_minute: table.requests_per_minute,
            tokens_per_minute: table.tokens_per_minute,
            tokens_per_day: table.tokens_per_day,
        },
        models,
        scopes,
        not_before,
        expires,
        usage: Arc::default(),
    };
    Ok(KeyEntry {
        digests,
        caller,
        line,
    })
}

/// Passes when `name` can name a key.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if key::has_prefix(name.as_bytes()) {
        return Err("holds a key: take that key out of use, and write a name".to_owned());
    }
    if name == NOBODY {
        return Err(
            "stands for requests without a key in logs and metrics: choose another".to_owned(),
        );
    }
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
    let mut bytes = name.bytes();
    if fits && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Ok(())
    } else {
        Err(format!("must be {NAME}"))
    }
}

fn digests(texts: Texts) -> Result<Vec<KeyDigest>, String> {
    let texts = Vec::from(texts);
    if !(1..=MAX_DIGESTS).contains(&texts.len()) {
        return Err(format!("must be 1 to {MAX_DIGESTS} digests"));
    }
    texts.iter().map(|text| digest(text)).collect()
}

fn digest(text: &str) -> Result<KeyDigest, String> {
    if key::has_prefix(text.as_bytes()) {
        let advice = "take that key out of use, since it was in a file, and make another with `llm-proxy keys new NAME`";
        return Err(format!("holds a key instead of its digest: {advice}"));
    }
    let digest = KeyDigest::from_hex(text).ok_or_else(|| format!("must be {DIGEST}"))?;
    // It would open the door for everyone who sends no key.
    if digest == KeyDigest::of(b"") {
        return Err("is the digest of nothing: the text that was hashed was empty".to_owned());
    }
    Ok(digest)
}

impl From<Texts> for Vec<String> {
    fn from(texts: Texts) -> Self {
        match texts {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        }
    }
}

/// The scope with this name.
pub(super) fn scope(name: &str) -> Result<Scope, String> {
    let mut scopes = Scope::ALL.into_iter();
    let scope = scopes.find(|scope| scope.name() == name);
    scope.ok_or_else(|| format!("must be {SCOPES}"))
}

fn time(field: &str, written: Option<WrittenTime>) -> Result<Option<SystemTime>, Fault> {
    let time = match written {
        None => return Ok(None),
        Some(WrittenTime::Plain(datetime)) => point(&datetime),
        Some(WrittenTime::Quoted(text)) => moment(&text),
    };
    time.map(Some)
        .ok_or_else(|| Fault::of(field, &format!("must be {TIME}")))
}
/// Two keys must share neither a name nor a digest.
fn find_twins(entries: &[KeyEntry], problems: &mut FileProblems) {
    let mut names = HashMap::new();
    let mut digests = HashMap::new();
    for entry in entries {
        let line = entry.line;
        let name = &*entry.caller.name;
        if let Some(first) = names.insert(name, line) {
            let problem = format!("`name` is also that of the key on line {first}");
            problems.note(line, Some(name), &problem);
        }
        for digest in &entry.digests {
            let problem = match digests.insert(*digest, line) {
                None => continue,
                Some(first) if first == line => {
                    "`sha256` holds the same digest more than once".to_owned()
                }
                Some(first) => format!("`sha256` is also that of the key on line {first}"),
            };
            problems.note(line, Some(name), &problem);
        }
    }
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
