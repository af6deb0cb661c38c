//! A `pattern`: read as a regular expression and written anew, in the few forms that llama.cpp takes as they are meant.
//!
//! llama.cpp wants `^...$`, knows no `\d`, lets `.` run over the string's closing quote, and lets a quantifier behind an
//! escaped character repeat the whole word before it. So every character leaves as a class of what a JSON
//! string may hold as it is, and everything else as a group.
//!
//! A grammar tries all ways through a pattern at once, for every token and with the whole vocabulary. `width` says how
//! many that are at most; a pattern with too many is not taken.

mod class;
mod parse;
mod width;

use std::fmt::Write as _;

use class::CharClass;

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 2_048;
/// Characters of a pattern with its repetitions written out: each is a rule of the grammar, or nearly.
const MAX_POSITIONS: usize = 1_000;
/// Times that a part may be repeated. llama.cpp forgets a larger bound.
const MAX_TIMES: u32 = 1_000;

/// A pattern that llama.cpp can hold.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    n_positions: usize,
    /// Sets of places that were visited.
    n_sets: usize,
    width: usize,
}

/// A regular expression over the characters of a JSON string. What is repeated is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Regex {
    One(CharClass),
    /// A character that a JSON string writes as a backslash and one of these.
    Escape(CharClass),
    Sequence(Vec<Regex>),
    Either(Vec<Regex>),
    Repeat(Box<Regex>, Times),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    min: u32,
    /// `None` is without end.
    max: Option<u32>,
}

/// Why a pattern is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PatternFault {
    /// No grammar can say it, or it is no pattern.
    Unknown(String),
    /// It is meant to stop the engine, or might as well be.
    TooMuch(String),
}

impl From<String> for PatternFault {
    fn from(problem: String) -> Self {
        Self::Unknown(problem)
    }
}

impl Pattern {
    /// Reads `text`, which matches anywhere in a string unless it is anchored.
    ///
    /// # Errors
    ///
    /// With what is wrong, to be read after "pattern".
    pub(super) fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.len() > MAX_BYTES {
            return Err(PatternFault::TooMuch(format!(
                "must have at most {MAX_BYTES} bytes"
            )));
        }
        Self::of(parse::parse(text)?)
    }

    /// With at least `min` and at most `max` characters as well; `None` when that cannot be said in a pattern.
    pub(super) fn with_length(self, min: u64, max: Option<u64>) -> Option<Self> {
        let shortest = self.regex.shortest();
        let longest = self.regex.longest();
        let is_short_enough = max.is_none_or(|max| longest.is_some_and(|longest| longest <= max));
        if shortest >= min && is_short_enough {
            return Some(self);
        }
        let Regex::Repeat(inner, times) = self.regex else {
            return None;
        };
        if inner.shortest() != 1 || inner.longest() != Some(1) {
            return None;
        }
        let least = times.min.max(u32::try_from(min).ok()?);
        let most = [times.max, max.and_then(|max| u32::try_from(max).ok())];
        let most = most.into_iter().flatten().min();
        if most.is_some_and(|most| most < least) {
            return None;
        }
        Self::of(Regex::Repeat(
            inner,
            Times {
                min: least,
                max: most,
            },
        ))
        .ok()
    }

    fn of(regex: Regex) -> Result<Self, PatternFault> {
        if regex.weight() > MAX_POSITIONS {
            return Err(PatternFault::TooMuch(
                "is too large with its groups repeated".to_owned(),
            ));
        }
        let n_positions = regex.positions();
        if n_positions > MAX_POSITIONS || regex.most_times() > MAX_TIMES {
            return Err(PatternFault::Unknown(format!(
                "must have at most {MAX_POSITIONS} characters with its repetitions written out"
            )));
        }
        let found = width::of(&regex);
        let found = found.ok_or_else(|| {
            PatternFault::TooMuch("can be read in too many ways at once".to_owned())
        })?;
        Ok(Self {
            regex,
            n_positions,
            n_sets: found.n_sets,
            width: found.width,
        })
    }

    /// Rules of the grammar, nearly.
    pub(super) fn n_rules(&self) -> usize {
        self.n_positions + self.regex.groups()
    }

    /// What it took to look at it, in the builder's steps.
    pub(super) fn n_steps(&self) -> usize {
        (self.n_positions + self.n_sets) / 4
    }

    /// Ways through it that are open at once.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// As it is sent.
    pub(super) fn text(&self) -> String {
        let mut out = String::from("^");
        self.regex.write(&mut out);
        out.push('$');
        out
    }
}

impl Regex {
    fn may_be_empty(&self) -> bool {
        self.shortest() == 0
    }

    fn shortest(&self) -> u64 {
        match self {
            Self::One(_) | Self::Escape(_) => 1,
            Self::Sequence(parts) => parts
                .iter()
                .map(Self::shortest)
                .fold(0, u64::saturating_add),
            Self::Either(parts) => parts.iter().map(Self::shortest).min().unwrap_or(0),
            Self::Repeat(part, times) => part.shortest().saturating_mul(times.min.into()),
        }
    }

    fn longest(&self) -> Option<u64> {
        match self {
            Self::One(_) | Self::Escape(_) => Some(1),
            Self::Sequence(parts) => parts
                .iter()
                .try_fold(0_u64, |sum, part| sum.checked_add(part.longest()?)),
            Self::Either(parts) => parts
                .iter()
                .try_fold(0, |most, part| Some(part.longest()?.max(most))),
            Self::Repeat(part, times) => part.longest()?.checked_mul(times.max?.into()),
        }
    }

    /// Characters with the repetitions written out.
    fn positions(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Escape(_) => 2,
            Self::Sequence(parts) | Self::Either(parts) => parts
                .iter()
                .map(Self::positions)
                .fold(0, usize::saturating_add),
            Self::Repeat(part, times) => part.positions().saturating_mul(times.copies()),
        }
    }

    /// The same, but a single character that is repeated counts once: it costs nearly nothing.
    fn weight(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Escape(_) => 2,
            Self::Sequence(parts) | Self::Either(parts) => parts
                .iter()
                .map(Self::weight)
                .fold(0, usize::saturating_add),
            Self::Repeat(part, _) if matches!(**part, Self::One(_)) => 1,
            Self::Repeat(part, times) => part.weight().saturating_mul(times.copies()),
        }
    }

    fn most_times(&self) -> u32 {
        match self {
            Self::One(_) | Self::Escape(_) => 0,
            Self::Sequence(parts) | Self::Either(parts) => {
                parts.iter().map(Self::most_times).max().unwrap_or(0)
            }
            Self::Repeat(part, times) => {
                part.most_times().max(times.min).max(times.max.unwrap_or(0))
            }
        }
    }

    fn groups(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Escape(_) => 1,
            Self::Sequence(parts) | Self::Either(parts) => {
                1 + parts.iter().map(Self::groups).sum::<usize>()
            }
            Self::Repeat(part, _) => 2 + part.groups(),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::One(class) => class.write(out),
            Self::Escape(class) => {
                out.push_str(r"(\\");
                class.write(out);
                out.push(')');
            }
            Self::Sequence(parts) => parts.iter().for_each(|part| part.write(out)),
            Self::Either(parts) => {
                out.push('(');
                for (at, part) in parts.iter().enumerate() {
                    if at > 0 {
                        out.push('|');
                    }
                    part.write(out);
                }
                out.push(')');
            }
            Self::Repeat(part, times) => {
                let is_group = matches!(**part, Self::Sequence(_) | Self::Repeat(..));
                if is_group {
                    out.push('(');
                }
                part.write(out);
                if is_group {
                    out.push(')');
                }
                times.write(out);
            }
        }
    }
}

impl Times {
    /// How often the grammar repeats the part, or what it grows to does.
    fn copies(self) -> usize {
        let copies = self.max.unwrap_or_else(|| self.min.max(1));
        usize::try_from(copies).unwrap_or(usize::MAX)
    }

    fn write(self, out: &mut String) {
        let Self { min, max } = self;
        let written = match (min, max) {
            (0, None) => write!(out, "*"),
            (1, None) => write!(out, "+"),
            (0, Some(1)) => write!(out, "?"),
            (_, None) => write!(out, "{{{min},}}"),
            (_, Some(max)) if min == max => write!(out, "{{{min}}}"),
            (_, Some(max)) => write!(out, "{{{min},{max}}}"),
        };
        written.expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests;
