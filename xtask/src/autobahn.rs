//! `cargo xtask autobahn`: Autobahn's 301 cases against the gateway's WebSocket layer with an echo behind it. The test
//! that it runs judges; `crates/chat-gateway/src/wire/autobahn.rs` has the rules.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::python::Python;
use crate::settings::{Profile, Settings};
use crate::test::OURS;
use crate::{block_on, say};

/// What plays Autobahn's cases. Autobahn's own package needs Python 2.
const KOSOKU: &str = "kosoku==0.1.0";

/// Installs kosoku unless it is there, and runs the test.
///
/// # Errors
///
/// When Python is missing or PyPI cannot be reached, and when a case fails; the test's output names it.
pub(crate) fn run() -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    test(&sh, &settings)
}

/// As [`run`], as a step of `cargo xtask test`.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn test(sh: &Shell, settings: &Settings) -> Result<()> {
    let python = Python::named(settings, "venv-autobahn");
    block_on(python.install(KOSOKU))?;
    let kosoku = python.interpreter().with_file_name("kosoku");
    let run = cmd!(
        sh,
        "cargo test {OURS...} --lib -- --ignored --nocapture wire::autobahn"
    );
    say::run(run.env("CORRAL_KOSOKU", kosoku))
}
