//! What a keys file may hold, and the words in which everything else is refused.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{KeyEntry, moment, parse};
use crate::api::Scope;
use crate::auth::key::{self, KeyDigest};
use crate::auth::limits::KeyLimits;

fn hex(key: &str) -> String {
    KeyDigest::of(key.as_bytes()).to_hex()
}

/// A file of one good key, with `more` lines in its table.
fn one(more: &str) -> String {
    format!(
        "[[key]]\nname = \"app\"\nsha256 = \"{}\"\n{more}\n",
        hex("a")
    )
}

fn read(text: &str) -> KeyEntry {
    parse(text.as_bytes()).unwrap().remove(0)
}

fn problem(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err()
}

#[test]
fn every_field_of_a_key_is_read() {
    let text = format!(
        "# the page\n\n[[key]]\nname = \"app\"\nsha256 = [\"{}\", \"{}\"]\nmodels = [\"m\", \"n\"]\n\
         scopes = [\"chat\", \"tokens\"]\nweight = 3\nrequests_at_once = 4\nrequests_at_once_per_user = 2\nrequests_per_minute = 60\n\
         tokens_per_minute = 20_000\ntokens_per_day = 1_000_000\nnot_before = 2026-11-01\n\
         expires = 2027-01-01T02:00:00+02:00\n",
        hex("old"),
        hex("new").to_uppercase()
    );
    let KeyEntry { digests, caller } = read(&text);
    assert_eq!(digests, [KeyDigest::of(b"old"), KeyDigest::of(b"new")]);
    assert_eq!((&*caller.name, caller.weight.get()), ("app", 3));
    assert_eq!(caller.models, Some(vec!["m".to_owned(), "n".to_owned()]));
    assert_eq!(caller.scopes, [Scope::Chat, Scope::Tokens]);
    let limits = KeyLimits {
        requests_at_once: NonZeroUsize::new(4),
        requests_at_once_per_user: NonZeroUsize::new(2),
        requests_per_minute: NonZeroU32::new(60),
        tokens_per_minute: NonZeroU32::new(20_000),
        tokens_per_day: NonZeroU64::new(1_000_000),
    };
    assert_eq!(caller.limits, limits);
    assert_eq!(
        (caller.not_before, caller.expires),
        (moment("2026-11-01"), moment("2027-01-01T00:00:00Z"))
    );
}

#[test]
fn a_key_needs_a_name_and_a_digest_and_opens_chat_without_limits() {
    let KeyEntry { caller, .. } = read(&one(""));
    assert_eq!(
        (caller.weight, caller.limits),
        (NonZeroU32::MIN, KeyLimits::default())
    );
    assert_eq!((caller.models, caller.scopes), (None, vec![Scope::Chat]));
    assert_eq!((caller.not_before, caller.expires), (None, None));
}

fn since_1970(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[test]
fn a_moment_is_a_date_or_has_its_offset() {
    for (text, read) in [
        ("2027-01-31", since_1970(1_801_353_600)),
        ("2027-01-31T12:00:00Z", since_1970(1_801_396_800)),
        ("2027-01-31T14:00:00+02:00", since_1970(1_801_396_800)),
        ("2027-01-31T04:00:00-08:00", since_1970(1_801_396_800)),
        ("2027-01-31T12:00:00", None),
        ("12:00:00", None),
        ("2027-02-29", None),
        ("90d", None),
        ("", None),
    ] {
        assert_eq!(moment(text), read, "{text}");
    }
}

/// What is said of a good key with `more` lines, without the place.
fn problem_of(more: &str) -> String {
    let told = problem(&one(more));
    told.strip_prefix("line 4: ").unwrap().to_owned()
}

const TIME: &str = "must be a time, written as 2027-01-31 or 2027-01-31T12:00:00Z, without quotes";
const NAME: &str = "must be 1 to 32 letters, digits, `.`, `_` and `-`, in quotes";
const DIGESTS: &str = "must be the 64 hexadecimal digits of the key's SHA-256, in quotes, \
                       as `llm-proxy keys new` prints them, or a list of up to 8";

#[test]
fn a_field_that_is_wrong_is_told_by_what_it_must_be() {
    let rate = "must be a whole number from 1 to 4294967295";
    let count = "must be a whole number of at least 1";
    let weight = "must be a whole number from 1 to 1000";
    let scopes = "must be a list of `chat`, `embeddings`, `tokens` and `delegate`, each in quotes";
    let models =
        "must be a model's name in quotes, or a list of such names; leave it out for all models";
    let empty = "is an empty list: leave it out or fill it";
    for (more, problem) in [
        ("weight = 0", weight),
        ("weight = 1001", weight),
        ("weight = 1.5", weight),
        ("scopes = [\"admin\"]", scopes),
        ("scopes = [1]", scopes),
        ("scopes = []", empty),
        ("models = []", empty),
        ("models = 1", models),
        ("models = [\n  \"m\",\n  1,\n]", models),
        ("requests_at_once = 0", count),
        ("requests_at_once_per_user = 0", count),
        ("requests_per_minute = \"many\"", rate),
        ("requests_per_minute = 4294967296", rate),
        ("tokens_per_minute = -1", rate),
        ("tokens_per_day = 0", count),
        ("expires = \"soon\"", TIME),
        ("expires = 12:00:00", TIME),
        ("not_before = 1", TIME),
        (
            "expires = 2027-01-01\nnot_before = 2027-01-01",
            "must be later than `not_before`",
        ),
    ] {
        let (field, _) = more.split_once(' ').unwrap();
        assert_eq!(problem_of(more), format!("`{field}` {problem}"), "{more}");
    }
    assert!(parse(one("not_before = 2027-01-01\nexpires = 2027-01-02").as_bytes()).is_ok());
}

#[test]
fn a_value_that_is_no_toml_is_told_in_the_same_way() {
    for (line, must_be) in [
        ("expires = tomorrow", TIME),
        ("expires =", TIME),
        ("not_before = 2027-13-01", TIME),
        ("name = app", NAME),
        ("weight = many", "must be a whole number from 1 to 1000"),
    ] {
        let (field, _) = line.split_once(' ').unwrap();
        let told = problem(&format!("[[key]]\n{line}\n"));
        assert_eq!(told, format!("line 2: `{field}` {must_be}"), "{line}");
    }
}

#[test]
fn a_field_that_is_missing_or_unknown_is_named() {
    let no_digest = "\n[[key]]\nname = \"app\"\n";
    let no_name = format!("[[key]]\nsha256 = \"{}\"\n", hex("a"));
    let advice = "`llm-proxy keys new` prints both";
    assert_eq!(
        problem(no_digest),
        format!("line 2: this key has no `sha256`; {advice}")
    );
    assert_eq!(
        problem(&no_name),
        format!("line 1: this key has no `name`; {advice}")
    );
    let fields = "those are name, sha256, models, scopes, weight, requests_at_once, requests_at_once_per_user, \
                  requests_per_minute, tokens_per_minute, tokens_per_day, not_before, expires";
    let longest = "a".repeat(24);
    let longer = "a".repeat(25);
    for (field, shown) in [
        ("wieght", "wieght"),
        (&longest, &longest),
        (&longer, "..."),
        ("Weight", "..."),
        ("llmk_abc", "..."),
    ] {
        let told = format!("`{shown}` is not a field of a [[key]]; {fields}");
        assert_eq!(problem_of(&format!("{field} = 2")), told);
    }
    let other = problem(&format!("{}[other]\n", one("")));
    assert_eq!(
        other,
        format!("line 5: `other` is not a field of a [[key]]; {fields}")
    );
}

#[test]
fn a_name_has_1_to_32_bytes_and_a_key_1_to_8_digests() {
    for (length, is_good) in [(0, false), (1, true), (32, true), (33, false)] {
        let text = one("").replace("app", &"n".repeat(length));
        assert_eq!(parse(text.as_bytes()).is_ok(), is_good, "{length}");
    }
    assert_eq!(
        problem(&one("").replace("app", "two words")),
        format!("line 2: `name` {NAME}")
    );
    for (n_digests, is_good) in [(0, false), (1, true), (8, true), (9, false)] {
        let digests: Vec<String> = (0..n_digests)
            .map(|n: u32| format!("\"{}\"", hex(&n.to_string())))
            .collect();
        let list = format!("[{}]", digests.join(", "));
        let text = one("").replace(&format!("\"{}\"", hex("a")), &list);
        assert_eq!(parse(text.as_bytes()).is_ok(), is_good, "{n_digests}");
    }
    assert_eq!(
        problem(&one("").replace(&hex("a"), "abc")),
        format!("line 3: `sha256` {DIGESTS}")
    );
    assert_eq!(read(&one("weight = 1000")).caller.weight.get(), 1000);
}

#[test]
fn a_file_without_keys_is_a_file_of_no_keys() {
    for text in ["", "\n", "# only words\n", "key = []"] {
        assert!(parse(text.as_bytes()).unwrap().is_empty(), "{text}");
    }
}

#[test]
fn what_is_no_file_of_keys_is_refused() {
    let heading = "a key is a table with the heading [[key]], in two brackets";
    for (text, line, told) in [
        ("[key]\nname = \"app\"", 1, heading),
        ("\nkey = [1]", 2, heading),
        (
            "[[key]]\nname\n",
            2,
            "not TOML: key with no value, expected `=`",
        ),
        (
            "[[key]]\nname = \"a\"\nname = \"b\"\n",
            3,
            "not TOML: duplicate key",
        ),
    ] {
        assert_eq!(problem(text), format!("line {line}: {told}"));
    }
    let not_text = parse(b"[[key]]\n\xff").unwrap_err();
    assert_eq!(not_text, "line 2: the file is not UTF-8 text");
}

#[test]
fn two_keys_share_neither_a_name_nor_a_digest() {
    let other = one("").replace("app", "other");
    assert_eq!(
        problem(&(one("") + &other)),
        "line 5: this digest of \"other\" is given to \"app\" already"
    );
    let again = one("").replace(&hex("a"), &hex("b"));
    assert_eq!(
        problem(&(one("") + &again)),
        "line 5: another key before this has the name \"app\" too"
    );
    let twice = format!(
        "[[key]]\nname = \"app\"\nsha256 = [\"{0}\", \"{0}\"]\n",
        hex("a")
    );
    assert_eq!(
        problem(&twice),
        "line 1: this digest of \"app\" is given to \"app\" already"
    );
}

#[test]
fn a_key_in_place_of_its_digest_and_the_digest_of_nothing_are_refused() {
    let key = key::generate().unwrap();
    assert_eq!(
        problem(&one("").replace(&hex("a"), key.expose())),
        "line 3: `sha256` holds a key instead of its digest: take that key out of use, \
         since it was in a file, and make another with `llm-proxy keys new`"
    );
    assert_eq!(
        problem(&one("").replace("app", key.expose())),
        "line 2: `name` holds a key: take that key out of use, and write a name"
    );
    assert_eq!(
        problem(&one("").replace("app", "none")),
        "line 2: `name` stands for requests without a key in logs and metrics: choose another"
    );
    // It would open the door for everyone who sends no key.
    assert_eq!(
        problem(&one("").replace(&hex("a"), &hex(""))),
        "line 3: `sha256` is the digest of nothing: the text that was hashed was empty"
    );
}

#[test]
fn ten_thousand_keys_are_read() {
    let keys = (0..10_000).map(|n| {
        one("weight = 2")
            .replace("app", &n.to_string())
            .replace(&hex("a"), &hex(&n.to_string()))
    });
    assert_eq!(
        parse(keys.collect::<String>().as_bytes()).unwrap().len(),
        10_000
    );
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(parse(&bytes));
    }

    #[test]
    fn text_that_looks_like_a_keys_file_is_judged_without_a_panic(
        text in r#"(\[\[key\]\]|\[|name|sha256|expires|weight|scopes| = |"|1|2027-01-01|T|Z|\n|é|,|\]|\{|\}){0,60}"#,
    ) {
        drop(parse(text.as_bytes()));
    }

    #[test]
    fn no_problem_ever_shows_a_key_or_a_digest_whatever_was_broken(
        at in 0..300_usize,
        cut in 0..40_usize,
        junk in r#"["\[\]=#.\n a-z0-9_-]{0,6}"#,
    ) {
        let key = "llmk_0123456789ABCDEFGHIJKLMNOPQabcdef";
        let mut text = one(&format!("models = \"{key}\"\n{key} = 1\nexpires = \"{key}\"\nweight = \"{}\"", hex("b")));
        let at = at.min(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &junk);
        if let Err(told) = parse(text.as_bytes()) {
            for secret in [key, &hex("a"), &hex("b")] {
                let parts = secret.as_bytes().windows(12);
                prop_assert!(parts.map(|part| str::from_utf8(part).unwrap()).all(|part| !told.contains(part)), "{told}");
            }
        }
    }
}
