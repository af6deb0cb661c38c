//! The tests that no emulator can run, each with the reason. `cargo xtask tidy` checks that all of them are there.

/// It preloads a library of this machine into the program, and the program's loader refuses that.
const PRELOAD: &str = "preloads a library of this machine";

/// Crate, test and reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[(
    "model-fetcher",
    "machine::a_clock_that_is_a_year_wrong_changes_nothing",
    PRELOAD,
)];

/// The tests of a crate that are left out, as its test programs name them, each with the reason.
pub(super) fn of(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    LEFT_OUT
        .iter()
        .filter(move |(owner, ..)| *owner == name)
        .map(|(_, test, reason)| (*test, *reason))
}

/// All of them, each with its crate.
pub(super) fn named() -> impl Iterator<Item = String> {
    LEFT_OUT
        .iter()
        .map(|(owner, test, _)| format!("{owner}/{test}"))
}
