//! The Compose step of `cargo xtask test --compose`: both stacks on this machine's Docker Engine, with the commands
//! of the README, from an empty volume, from a full one, and with another model.
//!
//! The model comes from testkit's fake-hub on this machine. `CORRAL_BUILD_NETWORK=host` lets builds reach package
//! registries where the engine's own build network cannot. Whatever happens, the containers and volumes are removed.

#[cfg(test)]
pub(crate) mod asked;
mod authority;
mod expect;
pub(crate) mod files;
mod front;
mod hub;
pub(crate) mod offline;
mod operator;
mod stack;
mod switch;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::model::{self, DEV_FILE};
use crate::python::Python;
use crate::say;
use crate::settings::{Profile, Settings};
use crate::steps::StepOutcome;
use crate::{block_on, up};

use hub::HubPlace;
use stack::Stack;

/// The development model's bytes under another name: a model to change to.
const OTHER_FILE: &str = "another-model.gguf";

/// Tests both Compose stacks. Skipped where no Docker Engine answers.
///
/// # Errors
///
/// When a stack breaks a promise.
pub(crate) fn test(sh: &Shell, settings: &Settings) -> Result<StepOutcome> {
    if let Some(reason) = missing(sh) {
        return Ok(StepOutcome::Skipped(reason));
    }
    let _folder = sh.push_dir(settings.root());
    let model = block_on(async {
        up::build(settings).await?;
        model::from_pypi(settings, &Python::new(settings)).await
    })?;
    let gateway = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    let gateway = cmd!(sh, "docker network inspect bridge --format {gateway}")
        .quiet()
        .read()
        .unwrap_or_default();
    let place = HubPlace::new(settings.target("debug/fake-hub"), model, &gateway)?;
    for profile in [Profile::Dev, Profile::Prod] {
        let mut stack = Stack::new(sh, settings, profile, &place)?;
        keeps_its_promises(&mut stack, &place)
            .inspect_err(|_| stack.explain())
            .context(profile.file_name())?;
    }
    Ok(StepOutcome::Passed)
}

/// What this machine lacks, and how to get it.
fn missing(sh: &Shell) -> Option<String> {
    let Ok(output) = cmd!(sh, "docker version").quiet().ignore_status().output() else {
        return Some(
            "docker is not on PATH: install Docker with Compose v2 and start it".to_owned(),
        );
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.lines().last().unwrap_or_default();
        return Some(format!(
            "Docker Engine does not answer: {words}. Start it, or ask for the right to use it"
        ));
    }
    let compose = cmd!(sh, "docker compose version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run();
    compose
        .is_err()
        .then(|| "docker has no Compose v2: install its plugin docker-compose".to_owned())
}

fn keeps_its_promises(stack: &mut Stack<'_>, place: &HubPlace) -> Result<()> {
    expect::only_the_door_is_published(stack)?;
    stack.run(&["build"])?;
    expect::images_are_small_and_say_what_they_are(stack)?;
    expect::every_setting_is_passed_on(stack)?;

    let is_production = stack.profile() == Profile::Prod;
    say::line(say::bold("From an empty volume"));
    let hub = place.serve(DEV_FILE)?;
    expect::the_token_file_is_read(stack)?;
    stack.run(&["run", "--rm", "llm_init"])?;
    stack.run(&["up", "-d", "--wait"])?;
    expect::healthy(stack)?;
    expect::confined(stack)?;
    expect::no_secret_in_sight(stack)?;
    the_page_and_a_chat(stack)?;
    expect::the_key_is_asked_for(stack)?;
    expect::no_way_out(stack, &place.address())?;
    if is_production {
        say::line(say::bold("At the front door"));
        let mut page = front::only_its_own_page_chats(stack)?;
        front::there_is_no_other_way_in(stack)?;
        front::takes_new_certificates(stack, &mut page)?;
    }

    say::line(say::bold("From a full volume, without the Hub"));
    drop(hub);
    stack.run(&["down"])?;
    if is_production {
        front::refuses_without_a_certificate(stack)?;
    }
    stack.run(&["up", "-d", "--wait"])?;
    expect::healthy(stack)?;
    the_page_and_a_chat(stack)?;

    say::line(say::bold("With another model"));
    switch::to_another_model(stack, place)?;
    the_page_and_a_chat(stack)?;

    if is_production {
        say::line(say::bold("With passwords"));
        front::asks_for_a_password(stack)?;
        operator::takes_care(stack)?;
    }

    say::line(say::bold("Stopped"));
    stack.run(&["stop"])?;
    expect::ended_by_themselves(stack)
}

/// As a browser sees it: in production over TLS, under the public name.
fn the_page_and_a_chat(stack: &Stack<'_>) -> Result<()> {
    match stack.profile() {
        Profile::Dev => expect::the_page_and_a_chat(stack),
        Profile::Prod => {
            front::the_page_is_served_safely(stack)?;
            front::only_its_own_page_chats(stack).map(drop)
        }
    }
}
