//! How many places of a pattern can be open at once: each is a stack of the engine's sampler.
//!
//! Repetitions are written out, as the engine's grammar does, and every character gets a number. Then all sets of places
//! that some text leads to are visited, until there are too many of them or one is too large.

use std::collections::{BTreeSet, HashSet};

use super::Regex;
use super::class::CharClass;

/// Places that may be open at once.
const MAX_WIDTH: usize = 16;
/// Sets of places that are looked at.
const MAX_SETS: usize = 4_096;

/// What was found.
pub(super) struct WidthFound {
    /// The most places that are open at once.
    pub(super) width: usize,
    /// Sets of places that were visited.
    pub(super) n_sets: usize,
}

/// The places that are open at once; `None` when they are too many.
pub(super) fn of(regex: &Regex) -> Option<WidthFound> {
    let mut places = Places::default();
    let whole = places.add(regex);
    let start: BTreeSet<usize> = whole.first.into_iter().collect();
    let mut width = 0;
    let mut seen = HashSet::from([start.clone()]);
    let mut todo = vec![start];
    while let Some(set) = todo.pop() {
        width = width.max(set.len());
        if set.len() > MAX_WIDTH || seen.len() > MAX_SETS {
            return None;
        }
        for next in places.steps(&set) {
            if seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    Some(WidthFound {
        width,
        n_sets: seen.len(),
    })
}

/// Every place where a character stands: what it takes, and which places may come next.
#[derive(Default)]
struct Places {
    classes: Vec<CharClass>,
    next: Vec<Vec<usize>>,
}

/// A part: the places that it may begin and end with.
#[derive(Clone, Default)]
struct Ends {
    first: Vec<usize>,
    last: Vec<usize>,
    may_be_empty: bool,
}

impl Places {
    fn add(&mut self, regex: &Regex) -> Ends {
        match regex {
            Regex::One(class) => self.place(class.clone()),
            Regex::Escape(class) => {
                let backslash = self.place(CharClass::one('\\'));
                let letter = self.place(class.clone());
                self.join(backslash, letter)
            }
            Regex::Sequence(parts) => parts.iter().fold(Ends::empty(), |before, part| {
                let part = self.add(part);
                self.join(before, part)
            }),
            Regex::Either(parts) => parts
                .iter()
                .fold(Ends::default(), |before, part| before.or(self.add(part))),
            Regex::Repeat(part, times) => self.repeat(part, times.min, times.max),
        }
    }

    fn repeat(&mut self, part: &Regex, min: u32, max: Option<u32>) -> Ends {
        // Optional copies nest, each inside the one before it: only the next one can follow a copy.
        let mut rest = Ends::empty();
        for _ in min..max.unwrap_or(min) {
            let one = self.add(part);
            rest = self.join(one, rest);
            rest.may_be_empty = true;
        }
        let mut all = Ends::empty();
        for copy in 0..min.max(u32::from(max.is_none())) {
            let mut one = self.add(part);
            if max.is_none() && copy + 1 >= min {
                self.connect(&one.last, &one.first);
            }
            one.may_be_empty = copy >= min;
            all = self.join(all, one);
        }
        self.join(all, rest)
    }

    fn place(&mut self, class: CharClass) -> Ends {
        let at = self.classes.len();
        self.classes.push(class);
        self.next.push(Vec::new());
        Ends {
            first: vec![at],
            last: vec![at],
            may_be_empty: false,
        }
    }

    fn join(&mut self, before: Ends, after: Ends) -> Ends {
        self.connect(&before.last, &after.first);
        let mut first = before.first;
        if before.may_be_empty {
            first.extend(&after.first);
        }
        let mut last = after.last;
        if after.may_be_empty {
            last.extend(&before.last);
        }
        Ends {
            first,
            last,
            may_be_empty: before.may_be_empty && after.may_be_empty,
        }
    }

    fn connect(&mut self, from: &[usize], to: &[usize]) {
        for place in from {
            self.next[*place].extend(to);
        }
    }

    /// The sets of places behind `set`, one for each kind of character that can come.
    fn steps(&self, set: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
        let mut borders: BTreeSet<u32> = BTreeSet::new();
        for place in set {
            for (low, high) in self.classes[*place].ranges() {
                borders.insert(*low);
                borders.insert(high + 1);
            }
        }
        let mut steps = Vec::with_capacity(borders.len());
        for character in borders {
            let mut next = BTreeSet::new();
            for place in set {
                if self.classes[*place].contains(character) {
                    next.extend(self.next[*place].iter().copied());
                }
            }
            if !next.is_empty() {
                steps.push(next);
            }
        }
        steps
    }
}

impl Ends {
    /// Of nothing at all.
    fn empty() -> Self {
        Self {
            may_be_empty: true,
            ..Self::default()
        }
    }

    fn or(mut self, other: Self) -> Self {
        self.first.extend(other.first);
        self.last.extend(other.last);
        self.may_be_empty |= other.may_be_empty;
        self
    }
}
