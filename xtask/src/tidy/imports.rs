//! Which top module of a crate uses which, and the circles in it.
//!
//! A circle of modules can only be understood, moved or tested as a whole. Besides circles, `llm-proxy` and `model-fetcher`
//! have an order: a module may use those of later ranks, never those of earlier ones.

use std::collections::{BTreeMap, BTreeSet};

use super::lexemes::{Lexeme, begins_with, lexemes, partner, without_tests};
use super::style::is_test;
use super::unclean::{Finding, Habit};

/// The crates that are looked at, with the order of their modules; those of one rank come in any order.
const CRATES: &[(&str, &[&[&str]])] = &[
    ("common", &[]),
    ("admission", &[]),
    ("llama-client", &[]),
    (
        "llm-proxy",
        &[&["routes"], &["answer"], &["observe"], &["auth", "request"]],
    ),
    (
        "model-fetcher",
        &[&["commands"], &["download"], &["folder"], &["judge", "hub"]],
    ),
];

/// A top module that uses another, and where.
#[derive(Debug)]
struct ModuleUse<'a> {
    path: &'a str,
    line: usize,
    from: String,
    to: String,
}

/// All findings in `files`.
pub(super) fn circles(files: &[(String, String)]) -> Vec<Finding> {
    CRATES
        .iter()
        .flat_map(|(name, ranks)| crate_circles(name, ranks, files))
        .collect()
}

fn crate_circles(name: &str, ranks: &[&[&str]], files: &[(String, String)]) -> Vec<Finding> {
    let folder = format!("crates/{name}/src/");
    let sources: Vec<(&str, Vec<&str>, &str)> = files
        .iter()
        .filter(|(path, _)| !is_test(path))
        .filter_map(|(path, text)| {
            Some((
                path.as_str(),
                module(path.strip_prefix(&folder)?)?,
                text.as_str(),
            ))
        })
        .collect();
    let modules: BTreeSet<&str> = sources
        .iter()
        .filter_map(|(_, module, _)| module.first().copied())
        .collect();
    let mut findings = Vec::new();
    let mut imports = Vec::new();
    for (path, module, text) in &sources {
        for import in imports_of(path, module, text) {
            if modules.contains(import.to.as_str()) {
                imports.push(import);
            } else {
                let what = format!(
                    "`crate::{}` goes through lib.rs, which uses this module: import it from the module that declares it",
                    import.to
                );
                findings.push(Finding::new(Habit::ImportCircle, path, import.line, what));
            }
        }
    }
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in &imports {
        uses.entry(&import.from).or_default().insert(&import.to);
    }
    for ModuleUse {
        path,
        line,
        from,
        to,
    } in &imports
    {
        let what = if let Some(way) = way(&uses, to, from) {
            format!("a circle of modules: {from} -> {}", way.join(" -> "))
        } else if is_against(ranks, from, to) {
            format!("`{from}` is of a later rank than `{to}` and must not use it")
        } else {
            continue;
        };
        findings.push(Finding::new(Habit::ImportCircle, path, *line, what));
    }
    findings
}

/// The module that a file holds, by names from the crate's root; `None` for main.rs, which is a crate of its own.
fn module(path: &str) -> Option<Vec<&str>> {
    let mut parts: Vec<&str> = path.strip_suffix(".rs")?.split('/').collect();
    match parts.last() {
        Some(&"main") if parts.len() == 1 => return None,
        Some(&"bin") | None => return None,
        Some(&"lib" | &"mod") => {
            parts.pop();
        }
        Some(_) => {}
    }
    Some(parts)
}

/// What one file uses of other top modules of its crate, outside of tests.
fn imports_of<'a>(path: &'a str, module: &[&str], text: &str) -> Vec<ModuleUse<'a>> {
    let Some(from) = module.first() else {
        // lib.rs uses its modules; that is what it is there for.
        return Vec::new();
    };
    let all = lexemes(text);
    let code = without_tests(&all);
    let mut found = Vec::new();
    for at in 0..code.len() {
        for name in targets(&code, at, module.len()) {
            if name.text != *from {
                found.push(ModuleUse {
                    path,
                    line: name.line,
                    from: (*from).to_owned(),
                    to: name.text.to_owned(),
                });
            }
        }
    }
    found
}

/// The names below the crate's root that a path at `at` leads to: `crate::a`, `crate::{a, b}`, or as many `super` as the
/// file is `deep`.
fn targets<'a>(code: &[Lexeme<'a>], at: usize, deep: usize) -> Vec<Lexeme<'a>> {
    const SEPARATOR: [&str; 2] = [":", ":"];
    let is_continued = at > 0 && [":", "$"].contains(&code[at - 1].text);
    let mut behind = at;
    if is_continued {
        return Vec::new();
    } else if begins_with(&code[at..], &["crate", ":", ":"]) {
        behind += 3;
    } else {
        let mut n_up = 0;
        while begins_with(&code[behind..], &["super", ":", ":"]) {
            behind += 3;
            n_up += 1;
        }
        if n_up == 0 || n_up < deep {
            return Vec::new();
        }
    }
    let Some(first) = code.get(behind) else {
        return Vec::new();
    };
    if first.text != "{" {
        return Vec::from([*first]);
    }
    let end = partner(code, behind).unwrap_or(code.len());
    let mut names = Vec::new();
    let mut inside = behind + 1;
    let mut is_first = true;
    while inside < end {
        let lexeme = code[inside];
        match lexeme.text {
            "{" => inside = partner(code, inside).unwrap_or(end),
            "," => is_first = true,
            _ if is_first && !begins_with(&code[inside..], &SEPARATOR) => {
                names.push(lexeme);
                is_first = false;
            }
            _ => {}
        }
        inside += 1;
    }
    names
}

/// The shortest way from one module to another, both included.
fn way<'a>(
    uses: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    from: &'a str,
    to: &str,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = *way.last()?;
            if last == to {
                return Some(way);
            }
            for next in uses.get(last).into_iter().flatten() {
                if seen.insert(next) {
                    longer.push([way.as_slice(), &[next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Whether `from` is of a later rank than `to`.
fn is_against(ranks: &[&[&str]], from: &str, to: &str) -> bool {
    let from_rank = ranks.iter().position(|rank| rank.contains(&from));
    let to_rank = ranks.iter().position(|rank| rank.contains(&to));
    matches!((from_rank, to_rank), (Some(from), Some(to)) if from > to)
}

#[cfg(test)]
mod tests {
    use super::circles;

    fn problems(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(path, text)| (format!("crates/llm-proxy/src/{path}"), (*text).to_owned()))
            .collect();
        circles(&files)
            .into_iter()
            .map(|finding| {
                let path = finding.path.replace("crates/llm-proxy/src/", "");
                (path, finding.line)
            })
            .collect()
    }

    #[test]
    fn two_modules_that_use_each_other_are_a_circle_however_far_apart() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "\nuse crate::b::B;"),
            ("b/deep.rs", "fn f() { crate::c::f() }"),
            ("c.rs", "use crate::{\n d::D, a::{A, e::E}};"),
            ("d.rs", "use crate::c::C; #[cfg(test)] use crate::a;"),
        ];
        let place = |path: &str, line| (path.to_owned(), line);
        assert_eq!(
            problems(&files),
            [
                place("a.rs", 2),
                place("b/deep.rs", 1),
                place("c.rs", 2),
                place("c.rs", 2),
                place("d.rs", 1)
            ]
        );
        let mut line = files;
        line[3].1 = "";
        line[4].1 = "";
        assert_eq!(problems(&line), []);
    }

    #[test]
    fn super_leads_to_another_module_only_from_the_top() {
        let files = [
            ("a.rs", "use super::b::B;"),
            ("b.rs", "mod c; use self::c::C;"),
            ("b/c.rs", "use super::B; use super::super::a::A;"),
        ];
        let place = |path: &str, line| (path.to_owned(), line);
        assert_eq!(problems(&files), [place("a.rs", 1), place("b/c.rs", 1)]);
    }

    #[test]
    fn a_module_of_a_later_rank_uses_none_of_an_earlier_one() {
        let along = [
            (
                "routes.rs",
                "use crate::auth::Caller; use crate::observe::Record;",
            ),
            ("answer/relay.rs", "use crate::observe::Record;"),
            ("observe.rs", "use crate::request::Body;"),
            ("auth.rs", ""),
            ("request.rs", "use crate::auth::Caller;"),
        ];
        assert_eq!(problems(&along), []);
        let against = [
            ("answer.rs", ""),
            ("auth.rs", "\nuse crate::answer::Relay;"),
        ];
        assert_eq!(problems(&against), [("auth.rs".to_owned(), 2)]);
    }

    #[test]
    fn an_item_of_lib_rs_is_used_by_no_module() {
        let files = [
            ("lib.rs", "const X: u8 = 1; mod a;"),
            ("a.rs", "use crate::X;"),
        ];
        assert_eq!(problems(&files), [("a.rs".to_owned(), 1)]);
    }
}
