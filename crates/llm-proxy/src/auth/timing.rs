//! Instructions counted by callgrind: what a stranger could time must not tell how near a guess came.
//!
//! The counted test runs this test binary again, under valgrind, for one of the ignored tests.

use std::hint::black_box;
use std::process::Command;
use std::time::SystemTime;

use crate::auth::key::Digest;
use crate::auth::tests::{keys, lines};

/// Instructions of the function `counted` in the ignored test `name`; `None` where valgrind does not work.
fn instructions(name: &str) -> Option<u64> {
    let mut command = Command::new("valgrind");
    command.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=*timing*counted*",
    ]);
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact"]);
    let output = command.arg(format!("keys::timing::{name}")).output().ok()?;
    let said = String::from_utf8(output.stderr).unwrap();
    let (_, count) = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))?;
    Some(count.trim().parse().unwrap())
}

/// The fewest of three runs. Each hashes with a seed of its own, and in one of a hundred a key meets another's place in the
/// table and costs a comparison more.
fn fewest(name: &str) -> Option<u64> {
    (0..3).map(|_| instructions(name)).min().flatten()
}

#[inline(never)]
fn counted<T>(what: impl FnOnce() -> T) -> T {
    what()
}

fn compare(n_shared: usize) {
    let (right, mut guess) = ([1; 32], [2; 32]);
    guess[..n_shared].fill(1);
    let (right, guess) = (black_box(Digest(right)), black_box(Digest(guess)));
    assert_eq!(counted(|| right == guess), n_shared == 32);
}

fn find(key: &str) {
    let text = lines("app", "the-right-key-1", "")
        + &lines("old", "the-expired-key", "expires = 2020-01-01");
    let (keys, now) = (keys(None, &text), SystemTime::now());
    counted(|| keys.find(black_box(key.as_bytes()), now)).unwrap_err();
}

#[test]
#[ignore = "counted"]
fn nothing_is_right() {
    compare(0);
}

#[test]
#[ignore = "counted"]
fn eight_bytes_are_right() {
    compare(8);
}

#[test]
#[ignore = "counted"]
fn all_but_one_byte_are_right() {
    compare(31);
}

#[test]
#[ignore = "counted"]
fn a_key_is_unknown() {
    find("some-other-key3");
}

#[test]
#[ignore = "counted"]
fn a_key_is_nearly_right() {
    find("the-right-key-2");
}

#[test]
#[ignore = "counted"]
fn a_key_is_missing() {
    find("");
}

#[test]
#[ignore = "counted"]
fn a_key_is_malformed() {
    find("llmk_0123456789");
}

#[test]
#[ignore = "counted"]
fn a_key_is_expired() {
    find("the-expired-key");
}

#[test]
fn a_wrong_key_takes_the_same_instructions_however_much_of_it_is_right() {
    let Some(nothing) = instructions("nothing_is_right") else {
        eprintln!("skipped: valgrind does not work here");
        return;
    };
    assert!(nothing > 32, "{nothing}");
    for near in ["eight_bytes_are_right", "all_but_one_byte_are_right"] {
        assert_eq!(instructions(near), Some(nothing), "{near}");
    }
    let [unknown, nearly] =
        ["a_key_is_unknown", "a_key_is_nearly_right"].map(|test| fewest(test).unwrap());
    assert!(
        unknown.abs_diff(nearly) * 50 < unknown,
        "{unknown} {nearly}"
    );
}

#[test]
fn a_missing_a_malformed_and_an_unknown_key_take_the_same_time_and_an_expired_one_a_comparison_more()
 {
    let tests = [
        "a_key_is_missing",
        "a_key_is_malformed",
        "a_key_is_unknown",
        "a_key_is_expired",
    ];
    let Some(counts) = tests
        .iter()
        .map(|test| fewest(test))
        .collect::<Option<Vec<_>>>()
    else {
        eprintln!("skipped: valgrind does not work here");
        return;
    };
    let unknown = counts[2];
    assert!(
        counts[..2]
            .iter()
            .all(|count| count.abs_diff(unknown) * 20 < unknown),
        "{counts:?}"
    );
    // Only who holds it can see that, and it opens nothing: 50 ns in a release build.
    assert!(counts[3].abs_diff(unknown) * 2 < unknown, "{counts:?}");
}
