//! Corral's developer commands: `cargo xtask VERB`, one file per verb.
//!
//! xtask links none of our crates: it runs cargo, npm, docker and the built binaries, prints every command it runs, and
//! ends a failure with one message that says what to do.

mod compose;
mod say;
mod settings;
mod steps;

fn main() {}
