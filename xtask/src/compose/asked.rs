//! What `docker compose config` makes of files. It needs no engine and no images.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::settings::{Profile, workspace};

/// What Compose reads with these arguments before its verb; `None` on a machine without Compose v2.
///
/// # Panics
///
/// When Compose refuses the files, and when it is missing although nothing may be left out.
#[expect(
    clippy::disallowed_methods,
    reason = "CORRAL_TEST_ALL is for tests, not for commands"
)]
pub(crate) fn config(arguments: &[&Path]) -> Option<Value> {
    let mut version = compose();
    version.arg("version").stdout(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        let all = std::env::var_os("CORRAL_TEST_ALL").is_some();
        assert!(
            !all,
            "docker has no Compose v2, and --all leaves nothing out"
        );
        return None;
    }
    let mut config = compose();
    config.args(arguments).args(["config", "--format", "json"]);
    let output = config.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "Compose refuses {arguments:?}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Without the variables of this process: what the shell sets would win over the files.
fn compose() -> Command {
    let mut command = Command::new("docker");
    command.arg("compose").stderr(Stdio::null());
    command.env_clear().env("HOME", "/home/nobody");
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// Lines of an env file that set `names`, each to its own name.
fn each_to_its_name(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("{name}={name}\n"))
        .collect()
}

/// The images, mirrors and proxies that may be set, in the order in which Compose shows them.
const BUILD: [&str; 14] = [
    "ALL_PROXY",
    "CARGO_MIRROR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NODE_IMAGE",
    "NO_PROXY",
    "NPM_CONFIG_REGISTRY",
    "RUNTIME_IMAGE",
    "RUST_IMAGE",
    "VITE_API_URL",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

#[test]
fn mirrors_and_proxies_of_the_env_file_reach_builds_and_model_fetcher() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let lines = each_to_its_name(&BUILD) + &each_to_its_name(&["LLAMA_IMAGE", "NGINX_IMAGE"]);
    std::fs::write(&local, lines).unwrap();
    for (profile, stack) in [
        (Profile::Dev, "deploy/docker-compose.dev.yml"),
        (Profile::Prod, "deploy/docker-compose.prod.yml"),
    ] {
        let env_file = workspace().join(profile.file_name());
        let stack = workspace().join(stack);
        let Some(config) = config(&[
            "--env-file".as_ref(),
            &env_file,
            "--env-file".as_ref(),
            &local,
            "-f".as_ref(),
            &stack,
        ]) else {
            return;
        };
        let services = &config["services"];
        for service in super::stack::BUILT {
            let args = services[service]["build"]["args"].as_object().unwrap();
            let shown: Vec<String> = args
                .iter()
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
                .collect();
            let wanted: Vec<String> = BUILD.iter().map(|name| format!("{name}={name}")).collect();
            assert_eq!(shown, wanted, "{service}");
        }
        for name in BUILD
            .iter()
            .filter(|name| name.to_lowercase().ends_with("_proxy"))
        {
            assert_eq!(services["llm_init"]["environment"][name], *name);
        }
        assert_eq!(services["llama_server"]["image"], "LLAMA_IMAGE");
        if profile == Profile::Prod {
            assert_eq!(services["nginx"]["image"], "NGINX_IMAGE");
        }
    }
}

#[test]
fn production_needs_no_token_of_the_hub() {
    let env_file = workspace().join(Profile::Prod.file_name());
    let stack = workspace().join("deploy/docker-compose.prod.yml");
    let arguments = ["--env-file".as_ref(), &*env_file, "-f".as_ref(), &*stack];
    let Some(config) = config(&arguments) else {
        return;
    };
    let environment = &config["services"]["llm_init"]["environment"];
    assert_eq!(environment["HF_TOKEN_FILE"], "");
    assert_eq!(config["secrets"]["hf_token"]["file"], "/dev/null");
    assert!(
        !environment["HF_REPO_ID"]
            .as_str()
            .unwrap()
            .starts_with("google/")
    );
}
