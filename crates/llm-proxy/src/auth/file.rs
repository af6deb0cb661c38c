//! The keys file: TOML, one `[[key]]` table per key, judged whole before any of it counts.
//!
//! Every problem is told with its line, the key's name and the field, and never with a value: a value may be a key.
//! Symbolic links are followed, because mounted secrets are links; what is no plain file is not opened.

use std::fs::File;
use std::io::Read as _;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::auth::caller::{Caller, Scope};
use crate::auth::key::{self, Digest};
use crate::auth::limits::Limits;
use crate::observe::metrics::NONE;

mod fields;

use fields::{Fields, Lines};

/// Room for some 20,000 keys.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Problems that are told; the rest is counted.
const MAX_PROBLEMS: usize = 20;
/// A name is a label of metrics and a field of logs.
const MAX_NAME_BYTES: usize = 32;
/// Digests of one key at the same time: the new one, the one before it, and some to spare.
const MAX_DIGESTS: usize = 8;
const MAX_WEIGHT: u64 = 1000;

/// One key of the file.
#[derive(Debug)]
pub(super) struct Entry {
    /// What opens it: one digest, or several while a key is being replaced.
    pub(super) digests: Vec<Digest>,
    pub(super) caller: Caller,
    /// Where its table begins, from 1.
    pub(super) line: usize,
}

/// What is wrong with a file: one sentence or more, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentences().join("; "))]
pub(super) struct Problems {
    told: Vec<(usize, String)>,
    n_more: usize,
}

impl Problems {
    /// One, on `line`.
    pub(super) fn one(line: usize, problem: impl Into<String>) -> Self {
        Self {
            told: vec![(line, problem.into())],
            n_more: 0,
        }
    }

    /// For people: a line for each.
    pub(super) fn listed(&self, path: &Path) -> String {
        let lines = self
            .sentences()
            .into_iter()
            .map(|problem| format!("\n  {problem}"));
        format!("{}:{}", path.display(), lines.collect::<String>())
    }

    fn note(&mut self, line: usize, problem: String) {
        if self.told.len() < MAX_PROBLEMS {
            self.told.push((line, problem));
        } else {
            self.n_more += 1;
        }
    }

    fn sentences(&self) -> Vec<String> {
        let mut told: Vec<_> = self.told.iter().collect();
        told.sort_by_key(|(line, _)| *line);
        let more = (self.n_more > 0).then(|| format!("and {} more", self.n_more));
        told.into_iter()
            .map(|(line, problem)| format!("line {line}{problem}"))
            .chain(more)
            .collect()
    }
}

/// Any bytes as a keys file.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    if let Err(problems) = parse(input) {
        assert!(!problems.listed(Path::new("keys.toml")).is_empty());
    }
}

/// The file's bytes.
pub(super) fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    let shown = path.display();
    // Opening a named pipe would wait for its writer.
    let found = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if !found.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "{shown} is larger than {} MiB",
            MAX_FILE_BYTES / 1024 / 1024
        ));
    }
    Ok(bytes.into())
}

/// The keys in `bytes`, at least one.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, Problems> {
    let lines = Lines::of(bytes);
    let text = str::from_utf8(bytes).map_err(|error| {
        Problems::one(
            lines.at(error.valid_up_to()),
            ": the file is not UTF-8 text",
        )
    })?;
    let mut document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Problems::one(lines.at(at), format!(": not TOML: {}", error.message()))
    })?;
    let mut problems = Problems::default();
    let tables = document.get_mut().remove("key");
    for field in document.get_ref().keys() {
        let problem =
            ": only tables with the heading [[key]] stand here, each with its fields below it";
        problems.note(lines.at(field.span().start), problem.to_owned());
    }
    let line = tables
        .as_ref()
        .map_or(1, |tables| lines.at(tables.span().start));
    let tables: Vec<_> = match tables.map(Spanned::into_inner) {
        Some(DeValue::Array(tables)) => tables.into_iter().collect(),
        Some(_) => {
            problems.note(
                line,
                ": the heading of a key is [[key]], with two brackets".to_owned(),
            );
            Vec::new()
        }
        None => Vec::new(),
    };
    if tables.is_empty() && problems == Problems::default() {
        problems.note(
            line,
            ": there is no key in the file; `llm-proxy keys new NAME` makes one".to_owned(),
        );
    }
    let entries: Vec<Entry> = tables
        .into_iter()
        .filter_map(|table| entry(table, &lines, &mut problems))
        .collect();
    find_twins(&entries, &mut problems);
    if problems == Problems::default() {
        Ok(entries)
    } else {
        Err(problems)
    }
}

/// One key; `None` when so much is wrong that there is none.
fn entry(table: Spanned<DeValue<'_>>, lines: &Lines, problems: &mut Problems) -> Option<Entry> {
    let line = lines.at(table.span().start);
    let DeValue::Table(table) = table.into_inner() else {
        problems.note(
            line,
            ": a key is a table with the heading [[key]]".to_owned(),
        );
        return None;
    };
    let mut fields = Fields::new(table, lines, line, problems);
    let name = fields.text("name");
    match &name {
        Some(name) => match is_name(name) {
            Ok(()) => fields.named(name),
            Err(problem) => fields.refuse("name", problem),
        },
        None => fields.require("name", "choose one, of letters, digits, `.`, `_` and `-`"),
    }
    let digests = match fields.texts("sha256") {
        Some(texts) if texts.is_empty() || texts.len() > MAX_DIGESTS => {
            fields.refuse("sha256", &format!("must be 1 to {MAX_DIGESTS} digests"));
            Vec::new()
        }
        Some(texts) => texts
            .iter()
            .filter_map(|text| fields.keep("sha256", digest(text)))
            .collect(),
        None => {
            fields.require(
                "sha256",
                "`llm-proxy keys new NAME` prints a key and its digest",
            );
            Vec::new()
        }
    };
    let models = fields.texts("models");
    if models.as_ref().is_some_and(Vec::is_empty) {
        fields.refuse("models", "names no model; leave it out for all models");
    }
    let scopes = match fields.texts("scopes") {
        Some(texts) => texts
            .iter()
            .filter_map(|text| fields.keep("scopes", scope(text)))
            .collect(),
        None => vec![Scope::Chat],
    };
    let weight = fields
        .number("weight", MAX_WEIGHT)
        .and_then(narrow)
        .unwrap_or(NonZeroU32::MIN);
    let limits = Limits {
        requests_at_once: fields
            .number("requests_at_once", u32::MAX.into())
            .and_then(narrow),
        requests_per_minute: fields
            .number("requests_per_minute", u32::MAX.into())
            .and_then(narrow),
        tokens_per_minute: fields
            .number("tokens_per_minute", u32::MAX.into())
            .and_then(narrow),
        tokens_per_day: fields.number("tokens_per_day", i64::MAX as u64),
    };
    let (not_before, expires) = (fields.moment("not_before"), fields.moment("expires"));
    if let (Some(not_before), Some(expires)) = (not_before, expires)
        && expires <= not_before
    {
        fields.refuse("expires", "must be later than `not_before`");
    }
    fields.refuse_rest();
    let name = name?.into();
    let usage = Arc::default();
    let caller = Caller {
        name,
        weight,
        limits,
        models,
        scopes,
        not_before,
        expires,
        usage,
    };
    Some(Entry {
        digests,
        caller,
        line,
    })
}

/// A number that was checked to fit.
fn narrow<T: TryFrom<NonZeroU64>>(number: NonZeroU64) -> Option<T> {
    T::try_from(number).ok()
}

/// Whether `name` can name a key.
pub(super) fn is_name(name: &str) -> Result<(), &'static str> {
    if key::has_prefix(name.as_bytes()) {
        return Err("holds a key: take that key out of use, and write a name");
    }
    if name == NONE {
        return Err("stands for requests without a key in logs and metrics: choose another");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return Err("must be 1 to 32 letters, digits, `.`, `_` and `-`");
    }
    Ok(())
}

fn digest(text: &str) -> Result<Digest, &'static str> {
    if key::has_prefix(text.as_bytes()) {
        return Err(
            "holds a key instead of its digest: take that key out of use, \
             since it has stood in a file, and make another with `llm-proxy keys new NAME`",
        );
    }
    match Digest::from_hex(text) {
        None => Err(
            "must be the 64 hexadecimal digits of the key's SHA-256, as `llm-proxy keys new NAME` prints them",
        ),
        Some(digest) if digest == Digest::of(b"") => {
            Err("is the digest of nothing: the text that was hashed was empty")
        }
        Some(digest) => Ok(digest),
    }
}

/// The scope of that name.
pub(super) fn scope(name: &str) -> Result<Scope, &'static str> {
    let found = Scope::ALL.into_iter().find(|scope| scope.name() == name);
    found.ok_or("may hold `chat`, `embeddings` and `tokens`")
}

/// A date or a moment as it may stand in the file.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    text.parse().ok().as_ref().and_then(fields::moment)
}

/// Two keys must share neither a name nor a digest.
fn find_twins(entries: &[Entry], problems: &mut Problems) {
    let (mut names, mut digests) = (
        std::collections::HashMap::new(),
        std::collections::HashMap::new(),
    );
    for entry in entries {
        let (line, name) = (entry.line, &*entry.caller.name);
        if is_name(name).is_err() {
            continue;
        }
        let mut note = |problem: &str| problems.note(line, format!(", key \"{name}\": {problem}"));
        if let Some(first) = names.insert(name, line) {
            note(&format!("`name` is also that of the key on line {first}"));
        }
        for digest in &entry.digests {
            match digests.insert(*digest, line) {
                Some(first) if first == line => note("`sha256` is twice the same"),
                Some(first) => note(&format!("`sha256` is also that of the key on line {first}")),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
