//! `cargo xtask switch-model`: what `deploy/corral switch-model` does, from a checkout. Servers have that script alone.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::settings::{Profile, Settings};

/// Becomes `deploy/corral switch-model`.
///
/// # Errors
///
/// When the script cannot be started.
pub(crate) fn run(arguments: &[OsString]) -> Result<Infallible> {
    let settings = Settings::load(Profile::Dev)?;
    let script = settings.root().join("deploy/corral");
    let error = Command::new(&script)
        .arg("switch-model")
        .args(arguments)
        .exec();
    Err(error).with_context(|| format!("cannot start {}", script.display()))
}
