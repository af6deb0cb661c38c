//! Takes the fields out of one key's table, and notes what is wrong with each in words that name it.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use toml::de::{DeTable, DeValue};
use toml::value::{Datetime, Offset};

use crate::auth::file::Problems;
use crate::auth::key;

/// Where lines begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line, from 1, of the byte at `at`.
    pub(super) fn at(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }
}

/// The fields of one key that were not taken yet.
pub(super) struct Fields<'a, 'i> {
    table: DeTable<'i>,
    lines: &'a Lines,
    /// Where the table begins: the place of what is missing.
    line: usize,
    name: Option<String>,
    /// Each field that was asked for so far, and where it stands.
    places: Vec<(&'static str, Option<usize>)>,
    problems: &'a mut Problems,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(super) fn new(
        table: DeTable<'i>,
        lines: &'a Lines,
        line: usize,
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            table,
            lines,
            line,
            name: None,
            places: Vec::new(),
            problems,
        }
    }

    /// Problems from here on name the key.
    pub(super) fn named(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Notes that a field, which was taken, is wrong. `problem` continues the sentence that begins with its name.
    pub(super) fn refuse(&mut self, field: &'static str, problem: &str) {
        self.note(
            self.place(field).unwrap_or(self.line),
            &format!("`{field}` {problem}"),
        );
    }

    /// Notes that a field is missing, unless it is there and wrong.
    pub(super) fn require(&mut self, field: &'static str, advice: &str) {
        if self.place(field).is_none() {
            self.note(self.line, &format!("`{field}` is missing: {advice}"));
        }
    }

    /// Notes every field that nobody asked for.
    pub(super) fn refuse_rest(&mut self) {
        let known: Vec<&str> = self.places.iter().map(|(field, _)| *field).collect();
        for (field, _) in std::mem::take(&mut self.table) {
            let line = self.lines.at(field.span().start);
            // A name that does not look like one may be a key in the wrong place.
            let name = field.get_ref();
            let plain = name.len() <= 24
                && !key::has_prefix(name.as_bytes())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let name = if plain {
                format!("`{name}`")
            } else {
                "one".to_owned()
            };
            self.note(
                line,
                &format!(
                    "{name} is not a field of a key; the fields are {}",
                    known.join(", ")
                ),
            );
        }
    }

    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            DeValue::String(text) => Some(text.into_owned()),
            _ => self.not("text in quotes", field),
        }
    }

    /// One text, or a list of them.
    pub(super) fn texts(&mut self, field: &'static str) -> Option<Vec<String>> {
        let texts = match self.take(field)? {
            DeValue::String(text) => Some(vec![text.into_owned()]),
            DeValue::Array(items) => items
                .into_iter()
                .map(|item| match item.into_inner() {
                    DeValue::String(text) => Some(text.into_owned()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.or_else(|| self.not("text in quotes, or a list of such texts", field))
    }

    /// A whole number from 1 to `max`.
    pub(super) fn number(&mut self, field: &'static str, max: u64) -> Option<NonZeroU64> {
        let number = match self.take(field)? {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number
            .filter(|number| *number <= max)
            .and_then(NonZeroU64::new);
        number.or_else(|| self.not(&format!("a whole number from 1 to {max}"), field))
    }

    /// A date, which stands for its first moment in UTC, or a date and time with its offset; in quotes or not.
    pub(super) fn moment(&mut self, field: &'static str) -> Option<SystemTime> {
        let datetime = match self.take(field)? {
            DeValue::Datetime(datetime) => Some(datetime),
            DeValue::String(text) => text.parse().ok(),
            _ => None,
        };
        let moment = datetime.as_ref().and_then(moment);
        moment.or_else(|| {
            self.not(
                "a date as 2027-01-31, or a moment as 2027-01-31T12:00:00Z",
                field,
            )
        })
    }

    /// The value of a field that has one.
    pub(super) fn keep<T>(&mut self, field: &'static str, value: Result<T, &str>) -> Option<T> {
        value.map_err(|problem| self.refuse(field, problem)).ok()
    }

    fn take(&mut self, field: &'static str) -> Option<DeValue<'i>> {
        let entry = self.table.remove_entry(field);
        self.places.push((
            field,
            entry
                .as_ref()
                .map(|(name, _)| self.lines.at(name.span().start)),
        ));
        entry.map(|(_, value)| value.into_inner())
    }

    /// The line of a field that is there.
    fn place(&self, field: &str) -> Option<usize> {
        self.places.iter().find(|(asked, _)| *asked == field)?.1
    }

    fn not<T>(&mut self, wanted: &str, field: &'static str) -> Option<T> {
        self.refuse(field, &format!("must be {wanted}"));
        None
    }

    fn note(&mut self, line: usize, problem: &str) {
        let name = self
            .name
            .as_ref()
            .map(|name| format!(", key \"{name}\""))
            .unwrap_or_default();
        self.problems.note(line, format!("{name}: {problem}"));
    }
}

/// The moment that `datetime` names. Without an offset a time of day could be anywhere's.
pub(super) fn moment(datetime: &Datetime) -> Option<SystemTime> {
    let date = datetime.date?;
    let (midnight, offset) = match (datetime.time, datetime.offset) {
        (None, None) => (format!("{date}T00:00:00Z"), Offset::Z),
        (Some(time), Some(offset)) => (format!("{date}T{time}Z"), offset),
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let moment = humantime::parse_rfc3339(&midnight).ok()?;
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => minutes,
    };
    let shift = Duration::from_secs(u64::from(minutes.unsigned_abs()) * 60);
    if minutes > 0 {
        moment.checked_sub(shift)
    } else {
        moment.checked_add(shift)
    }
}
