//! Who is let in, judged without a server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue, header};
use common::secret::Secret;
use proptest::prelude::*;

use super::{AuthError, Denied, KeyDigest, Keys};
use crate::api::Dialect;

/// A file's lines for the key `key`, named `name`.
fn lines(name: &str, key: &str, more: &str) -> String {
    let digest = KeyDigest::of(key.as_bytes()).to_hex();
    format!("[[key]]\nname = \"{name}\"\nsha256 = \"{digest}\"\n{more}\n")
}

/// Keys of `text`, beside `LLM_API_KEY` when there is one.
fn keys(fixed: Option<&str>, text: &str) -> Keys {
    let keys = Keys::new(fixed.map(Secret::new).as_ref(), None).unwrap();
    keys.swap(keys.build(text.as_bytes()).unwrap());
    keys
}

fn name(keys: &Keys, key: &str) -> Result<String, Denied> {
    keys.find(key.as_bytes(), SystemTime::now())
        .map(|caller| caller.name.to_string())
}

fn denied(reason: &'static str, key: Option<&str>) -> Result<String, Denied> {
    Err(Denied {
        reason,
        key: key.map(Arc::from),
    })
}

#[test]
fn each_key_finds_its_caller_and_the_log_learns_why_others_do_not() {
    let text = lines("app", "a", "")
        + &lines("old", "o", "expires = 2020-01-01")
        + &lines("new", "n", "not_before = 2999-01-01");
    let keys = keys(Some("the-environments"), &text);
    assert_eq!(name(&keys, "a"), Ok("app".to_owned()));
    assert_eq!(name(&keys, "the-environments"), Ok("default".to_owned()));
    assert_eq!(name(&keys, "o"), denied("expired", Some("old")));
    assert_eq!(name(&keys, "n"), denied("not yet", Some("new")));
    assert_eq!(name(&keys, "x"), denied("unknown", None));
    assert_eq!(name(&keys, "llmk_x"), denied("malformed", None));
    assert_eq!(name(&keys, ""), denied("missing", None));
}

#[test]
fn expiry_follows_the_wall_clock_wherever_it_jumps() {
    let keys = keys(None, &lines("app", "a", "expires = 2027-01-01"));
    let noon = super::file::moment("2026-12-31T23:30:00Z").unwrap();
    let hour = Duration::from_secs(3600);
    for (now, good) in [(noon, true), (noon + hour, false), (noon - hour, true)] {
        assert_eq!(keys.find(b"a", now).is_ok(), good, "{now:?}");
    }
}

#[test]
fn keys_that_share_all_but_their_end_are_different_keys() {
    let long = "k".repeat(63);
    let keys = keys(
        None,
        &(lines("one", &format!("{long}1"), "") + &lines("two", &format!("{long}2"), "")),
    );
    assert_eq!(name(&keys, &format!("{long}1")), Ok("one".to_owned()));
    assert_eq!(name(&keys, &format!("{long}2")), Ok("two".to_owned()));
    for other in [
        long.clone(),
        format!("{long}3"),
        format!("{long}1 "),
        format!("{long}11"),
    ] {
        assert_eq!(name(&keys, &other), denied("unknown", None));
    }
}

#[test]
fn what_a_key_has_used_outlives_a_reload() {
    let other = lines("other", "b", "");
    let text = lines("app", "a", "requests_per_minute = 2") + &other;
    let heavier = lines("app", "a", "requests_per_minute = 2\nweight = 9") + &other;
    let keys = keys(None, &text);
    let before = keys.find(b"a", SystemTime::now()).unwrap();
    before.count_request().unwrap();
    keys.swap(keys.build(heavier.as_bytes()).unwrap());
    let after = keys.find(b"a", SystemTime::now()).unwrap();
    assert_eq!((before.weight.get(), after.weight.get()), (1, 9));
    // A request from before the reload and one from after it share the limit.
    before.count_request().unwrap();
    assert!(matches!(
        after.count_request(),
        Err(AuthError::RateLimited(_))
    ));
    keys.swap(keys.build(other.as_bytes()).unwrap());
    assert_eq!(name(&keys, "a"), denied("unknown", None));
    assert_eq!(name(&keys, "b"), Ok("other".to_owned()));
}

#[test]
fn a_key_being_replaced_is_one_caller_under_two_digests() {
    let text = lines("app", "old", "requests_per_minute = 1");
    let both = text.replace(
        "sha256 = ",
        &format!("sha256 = [\"{}\", ", KeyDigest::of(b"new").to_hex()),
    );
    let both = both.replacen("\"\nrequests", "\"]\nrequests", 1);
    let keys = keys(None, &both);
    keys.find(b"old", SystemTime::now())
        .unwrap()
        .count_request()
        .unwrap();
    assert!(
        keys.find(b"new", SystemTime::now())
            .unwrap()
            .count_request()
            .is_err()
    );
}

#[test]
fn the_file_may_not_name_the_key_of_the_environment_again() {
    let keys = keys(Some("the-environments"), &lines("app", "a", ""));
    for (name, key) in [("default", "b"), ("app", "the-environments")] {
        let told = format!(
            "the key \"{name}\" has the name or the digest of LLM_API_KEY: keep it in one place"
        );
        assert_eq!(
            keys.build(lines(name, key, "").as_bytes()).unwrap_err(),
            told
        );
    }
    let without = Keys::new(None, None).unwrap();
    assert!(without.build(lines("default", "b", "").as_bytes()).is_ok());
}

#[test]
fn a_key_that_was_taken_out_or_ended_is_not_good_for_who_came_with_it_before() {
    let both = lines("app", "a", "") + &lines("other", "b", "");
    let keys = keys(None, &both);
    let before = keys.find(b"a", SystemTime::now()).unwrap();
    assert_eq!(keys.recheck(&before), Ok(()));
    let ended = lines("app", "a", "expires = 2020-01-01");
    // The name stays, but the digest is another: the key was replaced.
    let replaced = lines("app", "new", "");
    for (text, reason) in [
        (lines("other", "b", ""), "revoked"),
        (replaced, "revoked"),
        (ended, "expired"),
        (String::new(), "revoked"),
    ] {
        keys.swap(keys.build(text.as_bytes()).unwrap());
        let denied = Denied {
            reason,
            key: Some("app".into()),
        };
        assert_eq!(keys.recheck(&before), Err(AuthError::Unauthorized(denied)));
    }
    keys.swap(keys.build(both.as_bytes()).unwrap());
    assert_eq!(keys.recheck(&before), Ok(()));
}

#[test]
fn one_credential_in_its_place_opens_the_door_and_two_are_ambiguous() {
    let keys = keys(None, &lines("app", "a", ""));
    let missing = Err(AuthError::Unauthorized(Denied {
        reason: "missing",
        key: None,
    }));
    let ambiguous = Err(AuthError::AmbiguousCredentials);
    let bearer = ("authorization", "Bearer a");
    let bare = ("x-api-key", "a");
    for (credentials, in_chats, in_messages) in [
        (vec![], missing.clone(), missing.clone()),
        (vec![bearer], Ok("app"), Ok("app")),
        (vec![bare], missing.clone(), Ok("app")),
        (vec![bearer, bearer], ambiguous.clone(), ambiguous.clone()),
        (vec![bearer, bare], ambiguous.clone(), ambiguous.clone()),
        (vec![bare, bare], missing, ambiguous),
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in &credentials {
            headers.append(*name, HeaderValue::from_static(value));
        }
        for (dialect, expected) in [(Dialect::Chat, in_chats), (Dialect::Messages, in_messages)] {
            let found = keys.caller(&headers, dialect);
            let found = found.map(|caller| caller.name.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{credentials:?}");
        }
    }
}

#[test]
fn a_credential_of_1024_bytes_is_compared_and_a_longer_one_is_not() {
    for (length, is_good) in [(1024, true), (1025, false)] {
        let key = "k".repeat(length);
        let keys = keys(None, &lines("app", &key, ""));
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::try_from(key).unwrap());
        let found = keys.caller(&headers, Dialect::Messages);
        assert_eq!(found.is_ok(), is_good, "{length}");
    }
}

proptest! {
    #[test]
    fn no_credential_but_the_key_itself_opens_the_door(
        value in prop::collection::vec(any::<u8>(), 0..80),
        scheme in "(?i:bearer|basic|)",
    ) {
        let keys = keys(Some("the-key"), &lines("app", "llmk_", ""));
        let mut headers = HeaderMap::new();
        let written = [scheme.as_bytes(), b" ", value.as_slice()].concat();
        if let Ok(value) = HeaderValue::from_bytes(&written) {
            headers.insert(header::AUTHORIZATION, value);
        }
        let good = scheme.eq_ignore_ascii_case("bearer") && (value == b"the-key" || value == b"llmk_");
        prop_assert_eq!(keys.caller(&headers, Dialect::Chat).is_ok(), good);
    }
}
