//! Turns of phrase that the house has given up, in pages, comments and messages.
//!
//! Only what can be found without understanding the sentence: verbs of position that mean "is", half sentences that lean
//! on the one before, and chains of "so that".

use super::unclean::{Finding, Habit};

/// Verbs of position; with one of [`PLACES`] behind them they nearly always mean "is".
const POSITIONS: &[&str] = &[
    "stand", "stands", "standing", "stood", "lie", "lies", "lying", "sit", "sits", "sitting",
];
const PLACES: &[&str] = &[
    "at", "before", "behind", "beside", "between", "here", "in", "nowhere", "on", "there", "twice",
    "under", "where", "within",
];
/// Whole phrases, in words.
const PHRASES: &[&[&str]] = &[
    &["likewise"],
    &["nor", "now"],
    &["so", "too"],
    &["ends", "never"],
    &["of", "equals"],
    &["stands", "open"],
];
const SO_THAT: &[&str] = &["so", "that"];

/// The findings in the page or source file at `path`.
pub(super) fn file(path: &str, text: &str) -> Vec<Finding> {
    let words = words(text, path.ends_with(".md"));
    let mut findings = Vec::new();
    let mut chained = 0;
    for (at, word) in words.iter().enumerate() {
        let rest = &words[at..];
        if begins_with(rest, SO_THAT) {
            chained += 1;
        }
        let what = position(rest).or_else(|| phrase(rest)).or_else(|| {
            (chained == 2 && begins_with(rest, SO_THAT))
                .then(|| "two \"so that\" in one sentence: make it two sentences".to_owned())
        });
        if word.ends_sentence {
            chained = 0;
        }
        findings.extend(what.map(|what| Finding::new(Habit::Prose, path, word.line, what)));
    }
    findings
}

/// A word in lower case.
#[derive(Debug)]
struct Word {
    text: String,
    line: usize,
    ends_sentence: bool,
}

/// The words of `text`. Of a page, what is code does not count.
fn words(text: &str, is_page: bool) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        if is_page && line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        if is_fenced {
            continue;
        }
        let is_blank = line.trim().trim_start_matches(['/', '!']).is_empty();
        if let Some(last) = found.last_mut().filter(|_| is_blank) {
            last.ends_sentence = true;
        }
        for (number, part) in line.split('`').enumerate() {
            if number % 2 == 0 {
                part_words(part, index + 1, &mut found);
            } else {
                // What is between backticks is one word that is in no list.
                found.push(Word {
                    text: String::new(),
                    line: index + 1,
                    ends_sentence: false,
                });
            }
        }
    }
    found
}

/// Adds the words of a part of a line.
fn part_words(part: &str, line: usize, found: &mut Vec<Word>) {
    // The mark of a comment ends no sentence.
    let pieces = part.split_whitespace();
    for piece in pieces.filter(|piece| !["//", "///", "//!"].contains(piece)) {
        let text = piece.trim_matches(|character: char| !character.is_alphanumeric());
        let ends_sentence = piece.contains(['.', ';', '{', '}', '!', '?', '|']);
        if text.is_empty() {
            if let Some(last) = found.last_mut().filter(|_| ends_sentence) {
                last.ends_sentence = true;
            }
        } else {
            found.push(Word {
                text: text.to_lowercase(),
                line,
                ends_sentence,
            });
        }
    }
}

fn begins_with(words: &[Word], phrase: &[&str]) -> bool {
    words.len() >= phrase.len()
        && words
            .iter()
            .zip(phrase)
            .all(|(word, text)| word.text == *text)
}

fn position(words: &[Word]) -> Option<String> {
    let [verb, place, ..] = words else {
        return None;
    };
    let is_position =
        POSITIONS.contains(&verb.text.as_str()) && PLACES.contains(&place.text.as_str());
    (is_position && !verb.ends_sentence)
        .then(|| format!("\"{} {}\": say what it is", verb.text, place.text))
}

fn phrase(words: &[Word]) -> Option<String> {
    let phrase = PHRASES.iter().find(|phrase| begins_with(words, phrase))?;
    Some(format!("\"{}\": write a whole sentence", phrase.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::file;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        file(path, text)
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn phrases_that_style_has_given_up_are_found_where_they_begin() {
        assert_eq!(lines("a.md", "# A\n\nIt stands in docs."), [3]);
        assert_eq!(
            lines("a.rs", "/// The header that stands\n/// at its end."),
            [1]
        );
        assert_eq!(lines("a.rs", "//! A figure stands\n//! in docs."), [1]);
        assert_eq!(lines("a.rs", "x();\nsay(\"failed; nor now\");"), [2]);
        assert_eq!(lines("a.md", "Likewise B. So too C."), [1, 1]);
    }

    #[test]
    fn two_so_that_in_one_sentence_are_found() {
        let chain = "It waits so that\n/// nobody leaves, so that all are served.";
        assert_eq!(lines("a.rs", &format!("/// {chain}")), [2]);
        assert_eq!(lines("a.md", "A so that B. C so that D."), [0; 0]);
        assert_eq!(lines("a.md", "A so that B\n\nC so that D."), [0; 0]);
    }

    #[test]
    fn code_and_other_meanings_are_left_alone() {
        for good in [
            "A header that lies is refused.",
            "Understand in time, `stands in`, standing order.",
            "```\nlikewise\n```",
            "let stands_in = 1;",
        ] {
            assert_eq!(lines("a.md", good), [0; 0], "{good}");
        }
    }
}
