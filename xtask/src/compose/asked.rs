//! What `docker compose config` makes of files. It needs no engine and no images.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::release;
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

/// What Compose makes of `files` with the env file of `profile` and further `lines`.
fn stack_with(profile: Profile, files: &[&str], lines: &str) -> Option<Value> {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    std::fs::write(&local, lines).unwrap();
    let env_file = workspace().join(profile.file_name());
    let files: Vec<_> = files.iter().map(|file| workspace().join(file)).collect();
    let mut arguments: Vec<&Path> = vec![
        "--env-file".as_ref(),
        &env_file,
        "--env-file".as_ref(),
        &local,
    ];
    for file in &files {
        arguments.extend([Path::new("-f"), file]);
    }
    config(&arguments)
}

/// Lines of an env file that set `names`, each to its own name.
fn each_to_its_name(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("{name}={name}\n"))
        .collect()
}

/// Both stacks, each with its env file.
const STACKS: [(Profile, &str); 2] = [
    (Profile::Dev, release::STACKS[0]),
    (Profile::Prod, release::STACKS[1]),
];

/// The images, mirrors, proxies and labels that may be set, in the order in which Compose shows them.
const BUILD: [&str; 18] = [
    "ALL_PROXY",
    "CARGO_MIRROR",
    "CORRAL_CREATED",
    "CORRAL_REVISION",
    "CORRAL_SOURCE",
    "CORRAL_VERSION",
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
    let lines = each_to_its_name(&BUILD) + &each_to_its_name(&["LLAMA_IMAGE", "NGINX_IMAGE"]);
    for (profile, stack) in STACKS {
        let Some(config) = stack_with(profile, &[stack], &lines) else {
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
fn images_come_from_the_named_registry_or_have_names_that_none_has() {
    let own = format!("localhost/corral/SERVICE:{}", release::CURRENT);
    let named = "CORRAL_REGISTRY=ghcr.io/a/b\nCORRAL_VERSION=9.8.7\n";
    for (lines, expected) in [("", own.as_str()), (named, "ghcr.io/a/b/SERVICE:9.8.7")] {
        for (profile, stack) in STACKS {
            let Some(config) = stack_with(profile, &[stack], lines) else {
                return;
            };
            let images = super::stack::BUILT.map(|service| {
                let service = &config["services"][service];
                (&service["image"], &service["build"]["target"])
            });
            for (image, service) in images {
                let expected = expected.replace("SERVICE", service.as_str().unwrap());
                assert_eq!(*image, expected);
            }
        }
    }
}

#[test]
fn a_gpu_is_given_to_llama_server_and_nothing_else_changes() {
    let cases = [
        ("deploy/docker-compose.gpu.yml", "server-cuda-b11434"),
        ("deploy/docker-compose.vulkan.yml", "server-vulkan-b11434"),
    ];
    for (profile, stack) in STACKS {
        let Some(mut without) = stack_with(profile, &[stack], "") else {
            return;
        };
        for (overlay, tag) in cases {
            let mut with = stack_with(profile, &[stack, overlay], "RENDER_GID=105\n").unwrap();
            let server = with["services"]["llama_server"].take();
            without["services"]["llama_server"].take();
            assert_eq!(with, without, "{overlay}");
            assert_eq!(server["image"], format!("ghcr.io/ggml-org/llama.cpp:{tag}"));
            assert_eq!(server["environment"]["LLAMA_ARG_N_GPU_LAYERS"], "999");
            assert_eq!(server["read_only"], true);
            assert_eq!(server["cap_drop"], json!(["ALL"]));
            let reserved = &server["deploy"]["resources"]["reservations"]["devices"];
            let of_nvidia = json!([{"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}]);
            let of_the_kernel =
                json!([{"source": "/dev/dri", "target": "/dev/dri", "permissions": "rwm"}]);
            if tag.contains("cuda") {
                assert_eq!(*reserved, of_nvidia);
            } else {
                assert_eq!(server["devices"], of_the_kernel);
                assert_eq!(server["group_add"], json!(["105"]));
            }
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
