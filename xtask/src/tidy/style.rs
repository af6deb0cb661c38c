//! The habits of Rust code that the house has given up, each found in the lexemes of one file.

use std::collections::BTreeMap;

use super::lexemes::{Lexeme, begins_with, lexemes, partner, without_tests};
use super::unclean::{Finding, Habit};

/// Names that may begin with an underscore: each holds a guard until its scope ends.
const GUARDS: &[&str] = &[
    "_all",
    "_cas",
    "_entered",
    "_env",
    "_flags",
    "_flush",
    "_folder",
    "_guard",
    "_held",
    "_list",
    "_lock",
    "_mock",
    "_models",
    "_permit",
    "_reservation",
    "_slot",
    "_span",
    "_stranger",
    "_turn",
];

/// The name of a crate's own error, which others always write with the crate's name: `llama_client::Error`.
const CRATE_ERROR: &str = "Error";

/// Characters that the name of a test may have. It is one promise, and the module says of what.
const MAX_TEST_NAME: usize = 75;

/// The findings in the file at `path`, but for those that need to know other files.
pub(super) fn file(path: &str, text: &str) -> Vec<Finding> {
    let all = lexemes(text);
    let code = without_tests(&all);
    let mut findings = Vec::new();
    for at in 0..all.len() {
        if let Some(line) = tuple_let(&all, at) {
            let what = "one binding per `let`: write a line for each";
            findings.push(Finding::new(Habit::TupleLet, path, line, what));
        }
        if let Some(what) = underscore(all[at]) {
            findings.push(Finding::new(Habit::Underscore, path, all[at].line, what));
        }
    }
    for name in (0..all.len()).filter_map(|at| test_name(&all, at)) {
        let length = name.text.len();
        if length > MAX_TEST_NAME {
            let what = format!(
                "the name of a test has {length} characters, at most {MAX_TEST_NAME}: one promise, and the module says of what"
            );
            findings.push(Finding::new(Habit::TestName, path, name.line, what));
        }
    }
    // A test's closures hold what the test has set up; elsewhere a helper is a function.
    if !is_test(path) {
        for at in 0..code.len() {
            if let Some(name) = named_closure(&code, at) {
                let what =
                    format!("`{name}` is a closure with a name: pass it, or make it a function");
                findings.push(Finding::new(Habit::NamedClosure, path, code[at].line, what));
            }
        }
    }
    findings
}

/// The types that the file at `path` declares outside of tests, each with its line.
pub(super) fn types(path: &str, text: &str) -> Vec<(String, usize)> {
    let is_source = path.contains("/src/") && path.ends_with(".rs") && !is_test(path);
    if !is_source {
        return Vec::new();
    }
    let all = lexemes(text);
    let code = without_tests(&all);
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, lexeme) in code.iter().enumerate() {
        match lexeme.text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            // Deeper down are associated types, and types that only one function knows.
            "struct" | "enum" | "trait" | "type" if depth == 0 => {
                let name = code.get(at + 1).filter(|name| name.is_word());
                found.extend(name.map(|name| (name.text.to_owned(), name.line)));
            }
            _ => {}
        }
    }
    found
}

/// The type names of `files` that are declared more than once.
pub(super) fn shared_names(files: &[(String, String)]) -> Vec<Finding> {
    let mut places: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    for (path, text) in files {
        for (name, line) in types(path, text) {
            places.entry(name).or_default().push((path, line));
        }
    }
    places.retain(|name, places| places.len() > 1 && name != CRATE_ERROR);
    let mut findings = Vec::new();
    for (name, places) in &places {
        for (path, line) in places {
            let others: Vec<&str> = places
                .iter()
                .filter(|place| *place != &(*path, *line))
                .map(|(other, _)| *other)
                .collect();
            let what = format!(
                "the type name `{name}` is used in {} too: make each say what it is alone",
                others.join(", ")
            );
            findings.push(Finding::new(Habit::TypeName, path, *line, what));
        }
    }
    findings
}

/// Whether the file at `path` is compiled for tests alone.
pub(super) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The line of `let (a, b) = (x, y);` at `at`. A `let` that may fail to match is another thing.
fn tuple_let(lexemes: &[Lexeme<'_>], at: usize) -> Option<usize> {
    let is_condition = at > 0 && ["if", "while", "&"].contains(&lexemes[at - 1].text);
    if is_condition || !begins_with(&lexemes[at..], &["let", "("]) {
        return None;
    }
    let pattern_end = partner(lexemes, at + 1)?;
    let equals = equals_sign(lexemes, pattern_end + 1)?;
    if lexemes.get(equals + 1)?.text != "(" {
        return None;
    }
    let value_end = partner(lexemes, equals + 1)?;
    let is_whole = lexemes.get(value_end + 1)?.text == ";";
    let is_tuple = has_comma(lexemes, equals + 2, value_end);
    (is_whole && is_tuple).then(|| lexemes[at].line)
}

/// Whether there is a comma between `from` and `to` that is in no further brackets.
fn has_comma(lexemes: &[Lexeme<'_>], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        match lexemes[at].text {
            "," => return true,
            "(" | "[" | "{" => at = partner(lexemes, at).unwrap_or(to),
            _ => {}
        }
        at += 1;
    }
    false
}

/// What is wrong with a name that begins with an underscore.
fn underscore(lexeme: Lexeme<'_>) -> Option<String> {
    let name = lexeme.text;
    let is_name = name
        .strip_prefix('_')
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()));
    if !is_name || GUARDS.contains(&name) {
        return None;
    }
    Some(format!(
        "`{name}`: only a guard's name begins with an underscore ({} in xtask/src/tidy/style.rs); \
         ignore a result with `drop(...)` or `.ok()` and a comment",
        "GUARDS"
    ))
}

/// The name of the test whose attribute is at `at`.
fn test_name<'a>(lexemes: &[Lexeme<'a>], at: usize) -> Option<Lexeme<'a>> {
    let rest = &lexemes[at..];
    let is_test = begins_with(rest, &["#", "[", "test", "]"])
        || begins_with(rest, &["#", "[", "tokio", ":", ":", "test"]);
    if !is_test {
        return None;
    }
    let mut next = at;
    while lexemes.get(next)?.text == "#" {
        next = partner(lexemes, next + 1)? + 1;
    }
    let is_async = usize::from(lexemes.get(next)?.text == "async");
    let is_function = lexemes.get(next + is_async)?.text == "fn";
    lexemes
        .get(next + is_async + 1)
        .filter(|_| is_function)
        .copied()
}

/// The name of the closure that a `let` at `at` binds.
fn named_closure<'a>(lexemes: &[Lexeme<'a>], at: usize) -> Option<&'a str> {
    if lexemes[at].text != "let" {
        return None;
    }
    let is_mutable = lexemes.get(at + 1)?.text == "mut";
    let name = lexemes.get(at + 1 + usize::from(is_mutable))?;
    if !name.is_word() {
        return None;
    }
    let equals = equals_sign(lexemes, at + 2 + usize::from(is_mutable))?;
    let value = lexemes[equals + 1..]
        .iter()
        .find(|lexeme| !["async", "move", "&", "mut"].contains(&lexeme.text))?;
    (value.text == "|").then_some(name.text)
}

/// Where the `=` of a `let` is whose pattern ends before `at`, with or without a type between.
fn equals_sign(lexemes: &[Lexeme<'_>], at: usize) -> Option<usize> {
    match lexemes.get(at)?.text {
        "=" => Some(at),
        ":" => lexemes[at..]
            .iter()
            .take_while(|lexeme| ![";", "{"].contains(&lexeme.text))
            .position(|lexeme| lexeme.text == "=")
            .map(|offset| at + offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Habit, file, shared_names};

    fn lines(habit: Habit, path: &str, text: &str) -> Vec<usize> {
        let findings = file(path, text).into_iter();
        findings
            .filter(|finding| finding.habit == habit)
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_let_that_takes_a_tuple_apart_at_once_is_found() {
        let find = |text: &str| lines(Habit::TupleLet, "crates/a/src/b.rs", text);
        assert_eq!(find("\nlet (a, b) = (x, y);"), [2]);
        assert_eq!(find("let (mut a, (b, c)) = (f(x), (y, z));"), [1]);
        assert_eq!(find("let (a, b): (u8, Vec<u8>) = (\n1,\nvec![],\n);"), [1]);
        for good in [
            "let (a, b) = pair;",
            "let (a, b) = (pair(x, y));",
            "let (a, b) = (x, y).swap();",
            "if let (Some(a), None) = (x, y) {}",
            "if c && let (Some(a), None) = (x, y) {}",
            "let (Some(a), Some(b)) = (x, y) else { return };",
            "// let (a, b) = (x, y);",
            "(a, b) = (x, y);",
        ] {
            assert_eq!(find(good), [0; 0], "{good}");
        }
    }

    #[test]
    fn only_guards_have_names_that_begin_with_an_underscore() {
        let find = |text: &str| lines(Habit::Underscore, "crates/a/tests/b.rs", text);
        assert_eq!(find("let _there_is_nothing_to_do = x;"), [1]);
        assert_eq!(find("x.map(|_| 1);\nErr(_gone) => {}"), [2]);
        assert_eq!(
            find("let _permit = x; let _ = 1_000_u32; _ => __CPU"),
            [0; 0]
        );
        assert_eq!(find("\"_a_string\" // _a_comment"), [0; 0]);
    }

    #[test]
    fn a_test_whose_name_is_no_longer_one_promise_is_found() {
        let long = "x".repeat(76);
        let find = |text: &str| lines(Habit::TestName, "crates/a/tests/it/b.rs", text);
        assert_eq!(find(&format!("#[test]\nfn {long}() {{}}")), [2]);
        let text =
            format!("#[tokio::test(start_paused = true)]\n#[ignore]\nasync fn {long}() {{}}");
        assert_eq!(find(&text), [3]);
        assert_eq!(find(&format!("fn {long}() {{}}")), [0; 0]);
        assert_eq!(find(&format!("#[test]\nfn {}() {{}}", &long[1..])), [0; 0]);
    }

    #[test]
    fn a_closure_with_a_name_is_found_outside_of_tests() {
        let find = |text: &str| lines(Habit::NamedClosure, "crates/a/src/b.rs", text);
        assert_eq!(find("let a = |x| x;"), [1]);
        assert_eq!(find("let mut a: F = async move |x| x;"), [1]);
        assert_eq!(find("let a = || 1;"), [1]);
        for good in [
            "let a = b.map(|x| x);",
            "let a = b | c;",
            "let Some(a) = |x| x;",
            "f(|x| x)",
        ] {
            assert_eq!(find(good), [0; 0], "{good}");
        }
        assert_eq!(
            find("#[cfg(test)]\nmod tests { fn a() { let b = || 1; } }"),
            [0; 0]
        );
        assert_eq!(
            lines(
                Habit::NamedClosure,
                "crates/a/tests/it/b.rs",
                "let a = || 1;"
            ),
            [0; 0]
        );
    }

    #[test]
    fn a_type_name_that_is_used_twice_is_found_at_both_places() {
        let files = [
            (
                "crates/a/src/b.rs",
                "//! B.\npub struct Place;\nstruct Alone;\nimpl X for Y { type Out = Z; }",
            ),
            (
                "xtask/src/c.rs",
                "enum Place {}\nfn f() { struct Alone; }\n#[cfg(test)]\nmod tests { struct Alone; }",
            ),
            ("crates/a/tests/it/d.rs", "struct Place;"),
            ("crates/a/src/b/tests.rs", "struct Place;"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let found: Vec<(String, usize)> = shared_names(&files)
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect();
        assert_eq!(
            found,
            [
                ("crates/a/src/b.rs".to_owned(), 2),
                ("xtask/src/c.rs".to_owned(), 1)
            ]
        );
    }
}
