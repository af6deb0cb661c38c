//! A set of characters, as ranges in ascending order that neither meet nor overlap.

use std::fmt::Write as _;

const MAX: u32 = char::MAX as u32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CharClass(Vec<(u32, u32)>);

impl CharClass {
    pub(super) fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut ranges: Vec<(u32, u32)> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut out: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match out.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => out.push((low, high)),
            }
        }
        Self(out)
    }

    pub(super) fn one(character: char) -> Self {
        Self::of([(character.into(), character.into())])
    }

    pub(super) fn digits() -> Self {
        Self::of([(0x30, 0x39)])
    }

    pub(super) fn words() -> Self {
        Self::of([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
    }

    pub(super) fn spaces() -> Self {
        Self::of([
            (0x09, 0x0D),
            (0x20, 0x20),
            (0xA0, 0xA0),
            (0x2028, 0x2029),
            (0x3000, 0x3000),
        ])
    }

    /// What `.` stands for.
    pub(super) fn any_but_line_ends() -> Self {
        Self::of([(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]).negated()
    }

    /// What a JSON string may hold without a backslash.
    pub(super) fn plain() -> Self {
        Self::of([
            (0, 0x1F),
            (0x22, 0x22),
            (0x5C, 0x5C),
            (0x7F, 0x7F),
            (0xD800, 0xDFFF),
        ])
        .negated()
    }

    pub(super) fn negated(&self) -> Self {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for (low, high) in &self.0 {
            if next < *low {
                out.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= MAX {
            out.push((next, MAX));
        }
        Self(out)
    }

    pub(super) fn with(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        self.negated().with(&other.negated()).negated()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub(super) fn contains(&self, character: u32) -> bool {
        self.0
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&character))
    }

    /// In brackets, with everything but letters and digits as a number.
    pub(super) fn write(&self, out: &mut String) {
        out.push('[');
        for (low, high) in &self.0 {
            write_character(out, *low);
            if low < high {
                out.push('-');
                write_character(out, *high);
            }
        }
        out.push(']');
    }
}

fn write_character(out: &mut String, character: u32) {
    let plain = char::from_u32(character).filter(char::is_ascii_alphanumeric);
    let written = match plain {
        Some(plain) => {
            out.push(plain);
            Ok(())
        }
        None if character <= 0xFF => write!(out, "\\x{character:02X}"),
        None if character <= 0xFFFF => write!(out, "\\u{character:04X}"),
        None => write!(out, "\\U{character:08X}"),
    };
    written.expect("a string takes everything");
}
