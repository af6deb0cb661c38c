//! The Compose step of `cargo xtask test --compose`: both stacks on this machine's Docker Engine.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::Settings;
use crate::steps::Outcome;

/// Tests both Compose stacks. Skipped where no Docker Engine answers.
///
/// # Errors
///
/// When a stack does not do what it promises.
pub(crate) fn test(sh: &Shell, settings: &Settings) -> Result<Outcome> {
    if cmd!(sh, "docker version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        return Ok(Outcome::Skipped("no Docker Engine answers: install Docker and start it".to_owned()));
    }
    let _dir = sh.push_dir(settings.root());
    for stack in ["dev", "prod"] {
        let (env, file) = (format!(".env.{stack}"), format!("deploy/docker-compose.{stack}.yml"));
        say::run(cmd!(sh, "docker compose --env-file {env} -f {file} config --quiet"))?;
    }
    Ok(Outcome::Passed)
}
