//! The tests that are not run under an emulator, each with the reason. `cargo xtask tidy` checks that all of them are there.

/// It preloads a library of this machine into the program, and the program's loader refuses that.
const PRELOAD: &str = "preloads a library of this machine";

/// What it counts is the same on every machine, and an emulator is fifty times slower.
const SIMULATION: &str = "simulates a hundred thousand requests, which takes minutes";

/// Crate, test and reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    (
        "admission",
        "every_policy_answers_every_question_and_the_simulated_cache_holds",
        SIMULATION,
    ),
    (
        "admission",
        "the_choice_is_at_most_5_percent_worse_than_the_least_busy_one",
        SIMULATION,
    ),
    (
        "admission",
        "queue::tests::users_that_went_are_forgotten",
        SIMULATION,
    ),
    (
        "model-fetcher",
        "machine::a_clock_that_is_a_year_wrong_changes_nothing",
        PRELOAD,
    ),
];

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
