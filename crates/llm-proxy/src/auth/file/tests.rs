//! What a keys file may hold, and in which words what it may not is refused.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{Entry, moment, parse};
use crate::auth::caller::Scope;
use crate::auth::key::{self, Digest};
use crate::auth::limits::Limits;

fn hex(key: &str) -> String {
    Digest::of(key.as_bytes()).to_hex()
}

/// A file of one good key, with `more` lines in its table.
fn one(more: &str) -> String {
    format!(
        "[[key]]\nname = \"app\"\nsha256 = \"{}\"\n{more}\n",
        hex("a")
    )
}

fn read(text: &str) -> Entry {
    parse(text.as_bytes()).unwrap().remove(0)
}

fn problems(text: &str) -> Vec<String> {
    parse(text.as_bytes()).unwrap_err().sentences()
}

#[test]
fn every_field_of_a_key_is_read() {
    let text = format!(
        "# the page\n\n[[key]]\nname = \"app\"\nsha256 = [\"{}\", \"{}\"]\nmodels = [\"m\", \"n\"]\n\
         scopes = [\"chat\", \"tokens\"]\nweight = 3\nrequests_at_once = 4\nrequests_per_minute = 60\n\
         tokens_per_minute = 20_000\ntokens_per_day = 1_000_000\nnot_before = 2026-11-01\n\
         expires = 2027-01-01T02:00:00+02:00\n",
        hex("old"),
        hex("new").to_uppercase()
    );
    let Entry {
        digests,
        caller,
        line,
    } = read(&text);
    assert_eq!(
        (digests, line),
        (vec![Digest::of(b"old"), Digest::of(b"new")], 3)
    );
    assert_eq!((&*caller.name, caller.weight.get()), ("app", 3));
    assert_eq!(caller.models, Some(vec!["m".to_owned(), "n".to_owned()]));
    assert_eq!(caller.scopes, [Scope::Chat, Scope::Tokens]);
    let limits = Limits {
        requests_at_once: NonZeroUsize::new(4),
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
    let Entry { caller, .. } = read(&one(""));
    assert_eq!(
        (caller.weight, caller.limits),
        (NonZeroU32::MIN, Limits::default())
    );
    assert_eq!((caller.models, caller.scopes), (None, vec![Scope::Chat]));
    assert_eq!((caller.not_before, caller.expires), (None, None));
}

#[test]
fn a_moment_is_a_date_or_has_its_offset() {
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    for (text, read) in [
        ("2027-01-31", at(1_801_353_600)),
        ("2027-01-31T12:00:00Z", at(1_801_396_800)),
        ("2027-01-31T14:00:00+02:00", at(1_801_396_800)),
        ("2027-01-31T04:00:00-08:00", at(1_801_396_800)),
        ("2027-01-31T12:00:00", None),
        ("12:00:00", None),
        ("2027-02-29", None),
        ("90d", None),
        ("", None),
    ] {
        assert_eq!(moment(text), read, "{text}");
    }
}

#[test]
fn every_problem_is_told_with_its_line_the_keys_name_and_the_field() {
    let text = format!(
        "[[key]]\nname = \"app\"\nsha256 = \"{}\"\nweight = 0\nexpires = \"soon\"\nwieght = 2\n\
         [[key]]\nsha256 = 12\nscopes = [\"admin\"]\nmodels = []\nrequests_per_minute = \"many\"\n\
         [[key]]\nname = \"two words\"\nsha256 = \"abc\"\nnot_before = 2027-01-02\nexpires = 2027-01-01\n\
         [other]\n",
        hex("a")
    );
    let fields = "name, sha256, models, scopes, weight, requests_at_once, requests_per_minute, \
                  tokens_per_minute, tokens_per_day, not_before, expires";
    assert_eq!(
        problems(&text),
        [
            "line 4, key \"app\": `weight` must be a whole number from 1 to 1000",
            "line 5, key \"app\": `expires` must be a date as 2027-01-31, or a moment as 2027-01-31T12:00:00Z",
            &format!(
                "line 6, key \"app\": `wieght` is not a field of a key; the fields are {fields}"
            ),
            "line 7: `name` is missing: choose one, of letters, digits, `.`, `_` and `-`",
            "line 8: `sha256` must be text in quotes, or a list of such texts",
            "line 9: `scopes` may hold `chat`, `embeddings` and `tokens`",
            "line 10: `models` names no model; leave it out for all models",
            "line 11: `requests_per_minute` must be a whole number from 1 to 4294967295",
            "line 13: `name` must be 1 to 32 letters, digits, `.`, `_` and `-`",
            "line 14: `sha256` must be the 64 hexadecimal digits of the key's SHA-256, \
             as `llm-proxy keys new NAME` prints them",
            "line 16: `expires` must be later than `not_before`",
            "line 17: only tables with the heading [[key]] stand here, each with its fields below it",
        ]
    );
}

#[test]
fn what_is_no_file_of_keys_is_refused() {
    let nothing = "line 1: there is no key in the file; `llm-proxy keys new NAME` makes one";
    assert_eq!(problems(""), [nothing]);
    assert_eq!(problems("# only words\n"), [nothing]);
    assert_eq!(problems("key = []"), [nothing]);
    assert_eq!(
        problems("[key]\nname = \"app\""),
        ["line 1: the heading of a key is [[key]], with two brackets"]
    );
    assert_eq!(
        problems("key = [1]"),
        ["line 1: a key is a table with the heading [[key]]"]
    );
    assert_eq!(
        problems("[[key]]\nname\n"),
        ["line 2: not TOML: key with no value, expected `=`"]
    );
    assert_eq!(
        problems("[[key]]\nname = \"a\"\nname = \"b\"\n"),
        ["line 3: not TOML: duplicate key"]
    );
    let not_text = parse(b"[[key]]\n\xff").unwrap_err().sentences();
    assert_eq!(not_text, ["line 2: the file is not UTF-8 text"]);
}

#[test]
fn two_keys_share_neither_a_name_nor_a_digest() {
    let other = one("").replace("app", "other");
    assert_eq!(
        problems(&(one("") + &other)),
        ["line 5, key \"other\": `sha256` is also that of the key on line 1"]
    );
    let again = one("").replace(&hex("a"), &hex("b"));
    assert_eq!(
        problems(&(one("") + &again)),
        ["line 5, key \"app\": `name` is also that of the key on line 1"]
    );
    let twice = format!(
        "[[key]]\nname = \"app\"\nsha256 = [\"{0}\", \"{0}\"]\n",
        hex("a")
    );
    assert_eq!(
        problems(&twice),
        ["line 1, key \"app\": `sha256` is twice the same"]
    );
}

#[test]
fn a_key_in_place_of_its_digest_and_the_digest_of_nothing_are_refused() {
    let key = key::generate().unwrap();
    let text = one("").replace(&hex("a"), key.expose());
    assert_eq!(
        problems(&text),
        [
            "line 3, key \"app\": `sha256` holds a key instead of its digest: take that key out of use, \
          since it has stood in a file, and make another with `llm-proxy keys new NAME`"
        ]
    );
    assert_eq!(
        problems(&one("").replace("app", key.expose())),
        ["line 2: `name` holds a key: take that key out of use, and write a name"]
    );
    assert_eq!(
        problems(&one("").replace("app", "none")),
        ["line 2: `name` stands for requests without a key in logs and metrics: choose another"]
    );
    // It would open the door for everyone who sends no key.
    assert_eq!(
        problems(&one("").replace(&hex("a"), &hex(""))),
        [
            "line 3, key \"app\": `sha256` is the digest of nothing: the text that was hashed was empty"
        ]
    );
}

#[test]
fn a_file_with_thousands_of_problems_tells_twenty() {
    let told = problems(&"[[key]]\n".repeat(5000));
    assert_eq!((told.len(), told[20].as_str()), (21, "and 9980 more"));
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
        let _judged = parse(&bytes);
    }

    #[test]
    fn text_that_looks_like_a_keys_file_is_judged_without_a_panic(
        text in r#"(\[\[key\]\]|\[|name|sha256|expires|weight|scopes| = |"|1|2027-01-01|T|Z|\n|é|,|\]|\{|\}){0,60}"#,
    ) {
        let _judged = parse(text.as_bytes());
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
        if let Err(problems) = parse(text.as_bytes()) {
            let told = problems.to_string();
            for secret in [key, &hex("a"), &hex("b")] {
                let parts = secret.as_bytes().windows(12);
                prop_assert!(parts.map(|part| str::from_utf8(part).unwrap()).all(|part| !told.contains(part)), "{told}");
            }
        }
    }
}
