//! `cargo xtask contract`: the files of the chat protocol's contract, generated from the gateway's types.
//!
//! chat-gateway's tests know them and how they are made; this command runs the one that compares or the one that writes.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::{Profile, Settings};

/// Writes the files, or checks that they are what would be written.
///
/// # Errors
///
/// When the tests do not build, a file differs, or a file cannot be written.
pub(crate) fn run(write: bool) -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let test = if write {
        ["contract::write_the_contract", "--ignored"]
    } else {
        ["contract::", "--quiet"]
    };
    say::run(cmd!(
        sh,
        "cargo test --package chat-gateway --test it -- {test...}"
    ))
}
