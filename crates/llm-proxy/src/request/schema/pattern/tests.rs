//! Patterns: what each becomes, and which are refused.

use super::Pattern;

fn written(text: &str) -> String {
    Pattern::parse(text)
        .unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
        .text()
}

fn width(text: &str) -> Option<usize> {
    Pattern::parse(text).ok().map(|pattern| pattern.width())
}

#[test]
fn every_form_is_written_as_classes_and_groups() {
    for (given, sent) in [
        ("^abc$", "^[a][b][c]$"),
        (r"^\d{3}$", "^[0-9]{3}$"),
        (r"^\w+$", r"^[0-9A-Z\x5Fa-z]+$"),
        (r"^[\w.-]$", r"^[\x2D-\x2E0-9A-Z\x5Fa-z]$"),
        (r"^a\.+$", r"^[a][\x2E]+$"),
        ("^(ab|c)*$", "^([a][b]|[c])*$"),
        ("^(a|[bd])$", "^[a-bd]$"),
        ("^(?:ab)?(?<x>c){2,}$", "^([a][b])?[c]{2,}$"),
        ("^a+?b{0}$", "^[a]+$"),
        ("^(a*)*$", "^[a]*$"),
        ("^(a|)$", "^([a]|)$"),
        (r"^[\x41-\u0043]$", "^[A-C]$"),
        (
            "^a|b$",
            r"^([a][\x20-\x21\x23-\x5B\x5D-\x7E\x80-\u2027\u202A-\uD7FF\uE000-\U0010FFFF]*|[\x20-\x21\x23-\x5B\x5D-\x7E\x80-\u2027\u202A-\uD7FF\uE000-\U0010FFFF]*[b])$",
        ),
        ("^$", "^$"),
    ] {
        assert_eq!(written(given), sent, "{given}");
    }
}

#[test]
fn characters_that_end_a_json_string_never_stand_alone() {
    assert_eq!(written("^\"$"), r"^(\\[\x22])$");
    assert_eq!(written(r"^\\$"), r"^(\\[\x5C])$");
    assert_eq!(written(r"^\n$"), r"^(\\[n])$");
    for text in [
        "^.$",
        "^[^a]$",
        r"^\D$",
        r"^\S$",
        r"^\W$",
        "^[\"a]$",
        r"^[\\a]$",
        r"^[\x00-z]$",
    ] {
        let sent = written(text);
        let class = sent.trim_start_matches('^').trim_end_matches('$');
        assert!(
            !class.contains(r"\x22") && !class.contains(r"\x5C"),
            "{text}: {sent}"
        );
        assert!(
            !class.contains(r"\x00") && !class.contains("\\x7F"),
            "{text}: {sent}"
        );
    }
}

#[test]
fn what_is_not_anchored_may_stand_anywhere() {
    let any = r"[\x20-\x21\x23-\x5B\x5D-\x7E\x80-\u2027\u202A-\uD7FF\uE000-\U0010FFFF]*";
    assert_eq!(written("a"), format!("^{any}[a]{any}$"));
    assert_eq!(written("^a"), format!("^[a]{any}$"));
    assert_eq!(written("a$"), format!("^{any}[a]$"));
}

#[test]
fn the_width_is_how_many_places_are_open_at_once() {
    let found = |text: &(&'static str, Option<usize>)| (text.0, width(text.0));
    let expected = [
        ("^abc$", Some(1)),
        ("^[a-z]{1,500}$", Some(1)),
        ("^(a|b|c)$", Some(1)),
        ("^a?a?a?$", Some(3)),
        ("^(a|aa){3}$", Some(5)),
        ("^(ab|ac)*$", Some(2)),
        ("^[0-9a-f]{8}-[0-9a-f]{4}$", Some(1)),
        ("^(a|aa){500}$", None),
        ("^(ab|cd)*ab(ab|cd){20}$", None),
    ];
    assert_eq!(expected.iter().map(found).collect::<Vec<_>>(), expected);
}

#[test]
fn patterns_of_real_life_are_taken() {
    for text in [
        r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$",
        r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$",
        r"^\+?[1-9]\d{1,14}$",
        r"^#?([a-f0-9]{6}|[a-f0-9]{3})$",
        r"^(\([0-9]{3}\))?[0-9]{3}-[0-9]{4}$",
        r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
        r"^https?://[^\s/$.?#].[^\s]*$",
        r"^(?:[A-Z]{2}\d{2}|\d{4})\s[A-Z]$",
        "^[A-Z]{3}$",
    ] {
        assert!(
            Pattern::parse(text).is_ok(),
            "{text}: {:?}",
            Pattern::parse(text).err()
        );
    }
}
