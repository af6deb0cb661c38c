//! Rust source as a list of lexemes, which is all that the style rules need: comments are gone, literals are empty, and
//! what is compiled for tests alone can be left out. It parses nothing, so the inside of a macro counts like other code.

/// A word, a number, a literal (as `"`) or one mark of punctuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lexeme<'a> {
    pub(super) text: &'a str,
    /// The line it begins in, from 1.
    pub(super) line: usize,
}

impl Lexeme<'_> {
    /// Whether it is an identifier or a keyword.
    pub(super) fn is_word(self) -> bool {
        self.text
            .starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// All lexemes of `text`.
pub(super) fn lexemes(text: &str) -> Vec<Lexeme<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match comment(rest) {
            Some(length) => length,
            None => match literal(rest) {
                Some(length) => {
                    found.push(Lexeme { text: "\"", line });
                    length
                }
                None if first.is_alphanumeric() || first == '_' => {
                    let length = word(rest);
                    let text = &rest[..length];
                    found.push(Lexeme { text, line });
                    length
                }
                None => {
                    let length = first.len_utf8();
                    let text = &rest[..length];
                    if !first.is_whitespace() {
                        found.push(Lexeme { text, line });
                    }
                    length
                }
            },
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The lexemes without the items that are marked `#[cfg(test)]`.
pub(super) fn without_tests<'a>(lexemes: &[Lexeme<'a>]) -> Vec<Lexeme<'a>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(lexemes.len());
    let mut at = 0;
    while at < lexemes.len() {
        if begins_with(&lexemes[at..], &MARK) {
            at = item_end(lexemes, at + MARK.len());
        } else {
            kept.push(lexemes[at]);
            at += 1;
        }
    }
    kept
}

/// Whether `lexemes` begins with `texts`.
pub(super) fn begins_with(lexemes: &[Lexeme<'_>], texts: &[&str]) -> bool {
    lexemes.len() >= texts.len()
        && lexemes
            .iter()
            .zip(texts)
            .all(|(lexeme, text)| lexeme.text == *text)
}

/// Where the bracket closes that opens at `at`: the index of its partner.
pub(super) fn partner(lexemes: &[Lexeme<'_>], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, lexeme) in lexemes.iter().enumerate().skip(at) {
        match lexeme.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// Behind the item that begins at `at`: its semicolon or its closing brace.
fn item_end(lexemes: &[Lexeme<'_>], mut at: usize) -> usize {
    while let Some(lexeme) = lexemes.get(at) {
        at = match lexeme.text {
            ";" => return at + 1,
            "{" => {
                let behind = partner(lexemes, at).map_or(lexemes.len(), |end| end + 1);
                let is_use = lexemes.get(behind).is_some_and(|next| next.text == ";");
                return behind + usize::from(is_use);
            }
            "(" | "[" => partner(lexemes, at).map_or(lexemes.len(), |end| end + 1),
            _ => at + 1,
        };
    }
    at
}

/// The length of the comment that `text` begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match rest {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// The length of the literal in quotes that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"]
        .into_iter()
        .find(|prefix| {
            text.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(['"', '#', '\'']))
        })
        .unwrap_or_default();
    let rest = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let inside = rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inside.find(&end).unwrap_or(inside.len());
        return Some((prefix.len() + hashes + 1 + length + end.len()).min(text.len()));
    }
    let quote = rest.chars().next().filter(|quote| "\"'".contains(*quote))?;
    if quote == '\'' && !is_character(rest) {
        return None;
    }
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Whether a quotation mark begins a character and no lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    characters.next() == Some('\\') || characters.next() == Some('\'')
}

/// The length of the word or number that `text` begins with.
fn word(text: &str) -> usize {
    text.find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::{lexemes, without_tests};

    fn texts(source: &str) -> Vec<&str> {
        lexemes(source).iter().map(|lexeme| lexeme.text).collect()
    }

    #[test]
    fn comments_are_gone_and_literals_are_empty() {
        assert_eq!(texts("a // b \" c\n/* d /* e */ f */ g"), ["a", "g"]);
        assert_eq!(
            texts(r#"x("a\"b", b'\'', 'c')"#),
            ["x", "(", "\"", ",", "\"", ",", "\"", ")"]
        );
        assert_eq!(texts("r#\"a\" b\"# c r\"\\\" d"), ["\"", "c", "\"", "d"]);
        assert_eq!(texts("&'a str"), ["&", "'", "a", "str"]);
        assert_eq!(texts("r#type 1_000"), ["r", "#", "type", "1_000"]);
    }

    #[test]
    fn each_lexeme_knows_its_line() {
        let source = "a\n/* x\n */ b \"\n\" c";
        let lines: Vec<usize> = lexemes(source).iter().map(|lexeme| lexeme.line).collect();
        assert_eq!(lines, [1, 3, 3, 4]);
    }

    #[test]
    fn what_is_compiled_for_tests_alone_is_left_out() {
        let source = "a #[cfg(test)] use b::{c}; d #[cfg(test)] #[x(y)] mod e { f { g } } h";
        let all = lexemes(source);
        let kept: Vec<&str> = without_tests(&all)
            .iter()
            .map(|lexeme| lexeme.text)
            .collect();
        assert_eq!(kept, ["a", "d", "h"]);
    }
}
