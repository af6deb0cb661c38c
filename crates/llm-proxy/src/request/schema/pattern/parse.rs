//! Reads a regular expression as ECMA-262 writes it, as far as a grammar can follow.

use std::iter::Peekable;
use std::str::Chars;

use super::class::CharClass;
use super::{PatternFault, Regex, Times};

/// Groups in groups.
const MAX_DEPTH: usize = 24;
/// Alternatives in a group.
const MAX_BRANCHES: usize = 100;
/// Characters that a JSON string writes as a backslash and a letter, and that letter.
const ESCAPED: [(char, char); 7] = [
    ('"', '"'),
    ('\\', '\\'),
    ('\n', 'n'),
    ('\r', 'r'),
    ('\t', 't'),
    ('\u{8}', 'b'),
    ('\u{c}', 'f'),
];

/// The expression, anchored at both ends: what may stand around it is part of it.
pub(super) fn parse(text: &str) -> Result<Regex, PatternFault> {
    let mut parser = Parser {
        rest: text.chars().peekable(),
        depth: 0,
    };
    let mut branches = vec![parser.branch()?];
    while parser.takes('|') {
        branches.push(parser.branch()?);
    }
    match parser.rest.peek() {
        None => either(branches),
        Some(_) => Err(unknown("closes a group that is not open")),
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

/// What an escape stands for.
enum Escape {
    Class(CharClass),
    Character(char),
}

impl Parser<'_> {
    /// A whole alternative of the pattern: the only place where anchors are known.
    fn branch(&mut self) -> Result<Regex, PatternFault> {
        let starts = self.takes('^');
        let (mut parts, ends) = self.parts()?;
        if !starts {
            parts.insert(0, anything()?);
        }
        if !ends {
            parts.push(anything()?);
        }
        Ok(sequence(parts))
    }

    /// Parts up to `|`, `)` or the end, and whether `$` closes them.
    fn parts(&mut self) -> Result<(Vec<Regex>, bool), PatternFault> {
        let mut parts = Vec::new();
        while let Some(next) = self.rest.peek().copied() {
            match next {
                '|' | ')' => break,
                '$' => {
                    self.rest.next();
                    return match (self.depth, self.rest.peek()) {
                        (0, None | Some('|')) => Ok((parts, true)),
                        _ => Err(unknown("must have $ only at its end")),
                    };
                }
                _ => {
                    let part = self.part()?;
                    parts.push(self.quantified(part)?);
                }
            }
        }
        Ok((parts, false))
    }

    fn part(&mut self) -> Result<Regex, PatternFault> {
        match self.rest.next() {
            Some('(') => self.group(),
            Some('[') => self.class().and_then(|class| one(&class)),
            Some('.') => one(&CharClass::any_but_line_ends()),
            Some('\\') => match self.escape()? {
                Escape::Class(class) => one(&class),
                Escape::Character(character) => one(&CharClass::one(character)),
            },
            Some('^') => Err(unknown("must have ^ only at its beginning")),
            Some('*' | '+' | '?') => Err(unknown("repeats nothing")),
            Some(character) => one(&CharClass::one(character)),
            None => Err(unknown("ends too early")),
        }
    }

    fn group(&mut self) -> Result<Regex, PatternFault> {
        if self.takes('?') && !self.takes(':') {
            self.group_name()?;
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("must have at most {MAX_DEPTH} groups in groups");
            return Err(PatternFault::TooMuch(problem));
        }
        let mut branches = vec![sequence(self.parts()?.0)];
        while self.takes('|') {
            branches.push(sequence(self.parts()?.0));
        }
        self.depth -= 1;
        if self.takes(')') {
            either(branches)
        } else {
            Err(unknown("does not close a group"))
        }
    }

    /// `<name>` or `P<name>`: a group with a name is a group.
    fn group_name(&mut self) -> Result<(), PatternFault> {
        self.takes('P');
        let is_named = self.takes('<') && !matches!(self.rest.peek(), Some('=' | '!'));
        let ends = is_named && self.rest.any(|character| character == '>');
        if ends {
            Ok(())
        } else {
            Err(unknown("must not look around or set flags"))
        }
    }

    fn quantified(&mut self, part: Regex) -> Result<Regex, PatternFault> {
        let times = match self.rest.peek() {
            Some('*') => Times { min: 0, max: None },
            Some('+') => Times { min: 1, max: None },
            Some('?') => Times {
                min: 0,
                max: Some(1),
            },
            Some('{') => match self.counted() {
                Some(times) => return self.repeated(part, times),
                None => return Err(unknown("has a { that is no repetition")),
            },
            _ => return Ok(part),
        };
        self.rest.next();
        self.repeated(part, times)
    }

    fn repeated(&mut self, part: Regex, times: Times) -> Result<Regex, PatternFault> {
        // A lazy repetition takes the same strings.
        self.takes('?');
        if matches!(self.rest.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(unknown("repeats a repetition: put it into a group"));
        }
        if times.max.is_some_and(|max| max < times.min) {
            return Err(unknown("repeats at most fewer times than at least"));
        }
        repeat(part, times)
    }

    /// `{3}`, `{3,}`, `{3,5}`; also `{,5}`, as Python writes it.
    fn counted(&mut self) -> Option<Times> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next()? {
                '}' => break,
                character if text.len() < 24 => text.push(character),
                _ => return None,
            }
        }
        let (min, max) = text.split_once(',').unwrap_or((&text, &text));
        let min = if min.is_empty() { 0 } else { min.parse().ok()? };
        let max = if max.is_empty() {
            None
        } else {
            Some(max.parse().ok()?)
        };
        (text != "," && !text.is_empty()).then_some(Times { min, max })
    }

    /// What follows `[`.
    fn class(&mut self) -> Result<CharClass, PatternFault> {
        let is_negated = self.takes('^');
        let mut out = CharClass::default();
        loop {
            let member = match self.rest.next() {
                None => return Err(unknown("does not close a class")),
                Some(']') => break,
                Some(character) => self.member(character)?,
            };
            let Escape::Character(low) = member else {
                out = out.with(&member.class());
                continue;
            };
            let mut ahead = self.rest.clone();
            ahead.next();
            let is_range =
                self.rest.peek() == Some(&'-') && ahead.peek().is_some_and(|c| *c != ']');
            if !is_range {
                out = out.with(&CharClass::one(low));
                continue;
            }
            self.rest.next();
            let end = self.rest.next().unwrap_or_default();
            match self.member(end)? {
                Escape::Character(high) if low <= high => {
                    out = out.with(&CharClass::of([(low.into(), high.into())]));
                }
                _ => return Err(unknown("has a range that runs backwards")),
            }
        }
        Ok(if is_negated { out.negated() } else { out })
    }

    fn member(&mut self, character: char) -> Result<Escape, PatternFault> {
        match (character, self.rest.peek()) {
            ('\\', Some('b')) => {
                self.rest.next();
                Ok(Escape::Character('\u{8}'))
            }
            ('\\', _) => self.escape(),
            _ => Ok(Escape::Character(character)),
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<Escape, PatternFault> {
        let Some(letter) = self.rest.next() else {
            return Err(unknown("ends with a backslash"));
        };
        Ok(match letter {
            'd' => Escape::Class(CharClass::digits()),
            'D' => Escape::Class(CharClass::digits().negated()),
            'w' => Escape::Class(CharClass::words()),
            'W' => Escape::Class(CharClass::words().negated()),
            's' => Escape::Class(CharClass::spaces()),
            'S' => Escape::Class(CharClass::spaces().negated()),
            'n' => Escape::Character('\n'),
            'r' => Escape::Character('\r'),
            't' => Escape::Character('\t'),
            'f' => Escape::Character('\u{c}'),
            'v' => Escape::Character('\u{b}'),
            'x' => Escape::Character(self.hex(2)?),
            'u' if self.takes('{') => Escape::Character(self.hex_in_braces()?),
            'u' => Escape::Character(self.hex(4)?),
            other if other.is_alphanumeric() => {
                return Err(format!("must not use \\{other}").into());
            }
            other => Escape::Character(other),
        })
    }

    fn hex(&mut self, n: usize) -> Result<char, PatternFault> {
        let digits: String = self.rest.by_ref().take(n).collect();
        let is_whole = digits.len() == n && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = if is_whole {
            u32::from_str_radix(&digits, 16).ok()
        } else {
            None
        };
        code.and_then(char::from_u32)
            .ok_or_else(|| unknown("has an escape without its digits"))
    }

    fn hex_in_braces(&mut self) -> Result<char, PatternFault> {
        let digits: String = self
            .rest
            .by_ref()
            .take_while(|character| *character != '}')
            .collect();
        let code = u32::from_str_radix(&digits, 16).ok();
        code.and_then(char::from_u32)
            .ok_or_else(|| unknown("has an escape without its digits"))
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }
}

impl Escape {
    fn class(self) -> CharClass {
        match self {
            Self::Class(class) => class,
            Self::Character(character) => CharClass::one(character),
        }
    }
}

/// One character of `class`, as a JSON string writes it. Where some need a backslash, the plain ones are enough.
fn one(class: &CharClass) -> Result<Regex, PatternFault> {
    let plain = class.and(&CharClass::plain());
    if !plain.is_empty() {
        return Ok(Regex::One(plain));
    }
    let escaped = ESCAPED
        .iter()
        .filter(|(character, _)| class.contains(u32::from(*character)));
    let letters =
        CharClass::of(escaped.map(|(_, letter)| (u32::from(*letter), u32::from(*letter))));
    if letters.is_empty() {
        return Err(unknown(
            "asks for a character that no JSON string can hold here",
        ));
    }
    Ok(Regex::Escape(letters))
}

fn unknown(problem: &str) -> PatternFault {
    PatternFault::Unknown(problem.to_owned())
}

fn anything() -> Result<Regex, PatternFault> {
    repeat(
        one(&CharClass::any_but_line_ends())?,
        Times { min: 0, max: None },
    )
}

fn sequence(mut parts: Vec<Regex>) -> Regex {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        Regex::Sequence(parts)
    }
}

fn either(mut branches: Vec<Regex>) -> Result<Regex, PatternFault> {
    if branches.len() > MAX_BRANCHES {
        let problem = format!("must have at most {MAX_BRANCHES} alternatives in a group");
        return Err(PatternFault::TooMuch(problem));
    }
    let class = branches
        .iter()
        .try_fold(CharClass::default(), |all, branch| match branch {
            Regex::One(class) => Some(all.with(class)),
            _ => None,
        });
    Ok(match class {
        Some(class) => Regex::One(class),
        None if branches.len() == 1 => branches.remove(0),
        None => Regex::Either(branches),
    })
}

/// A repetition of what may be empty would have no end of ways through it.
fn repeat(part: Regex, times: Times) -> Result<Regex, PatternFault> {
    match part {
        _ if times.max == Some(0) => Ok(Regex::Sequence(Vec::new())),
        part if times
            == (Times {
                min: 1,
                max: Some(1),
            }) =>
        {
            Ok(part)
        }
        part if part.may_be_empty() => match part {
            part if times.max == Some(1) => Ok(part),
            Regex::Repeat(inner, Times { max: None, .. }) => {
                Ok(Regex::Repeat(inner, Times { min: 0, max: None }))
            }
            _ => Err(PatternFault::TooMuch(
                "repeats a part that may be empty".to_owned(),
            )),
        },
        part => Ok(Regex::Repeat(Box::new(part), times)),
    }
}
