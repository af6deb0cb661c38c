//! One Compose stack under test: the README's own commands, with a project, a port, secrets and a Hub of the test.
//!
//! Dropping it removes its containers, networks and volume.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xshell::{Cmd, Shell, cmd};

use super::hub::HubPlace;
use crate::model::{DEV_FILE, DEV_REPO};
use crate::say;
use crate::settings::{Profile, Settings};

/// What the test's images say of their commit.
pub(super) const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
/// The services whose images are built here.
pub(super) const BUILT: [&str; 3] = ["llm_init", "llm_proxy", "chat_gateway"];

/// A stack, up or not.
pub(super) struct Stack<'a> {
    sh: &'a Shell,
    profile: Profile,
    project: String,
    changes: PathBuf,
    variables: BTreeMap<String, String>,
    port: u16,
    key: String,
    wrong_token: PathBuf,
}

impl<'a> Stack<'a> {
    /// The stack of `profile`, empty. What an earlier test left behind is removed.
    ///
    /// # Errors
    ///
    /// When the test's files cannot be written or the engine refuses.
    pub(super) fn new(
        sh: &'a Shell,
        settings: &Settings,
        profile: Profile,
        hub: &HubPlace,
    ) -> Result<Self> {
        let name = match profile {
            Profile::Dev => "dev",
            Profile::Prod => "prod",
        };
        let folder = settings.target("compose").join(name);
        let key = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_or_else(
            |_| format!("test-key-{}", std::process::id()),
            |uuid| uuid.trim().to_owned(),
        );
        let key_file = folder.join("llm_api_key");
        let wrong_token = folder.join("hf_token");
        write(&key_file, &format!("{key}\n"))?;
        write(&wrong_token, "hf_a_token_that_nobody_gave\n")?;
        let changes = folder.join("changes.json");
        write(
            &changes,
            &overrides(settings.get("CORRAL_BUILD_NETWORK")).to_string(),
        )?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let variables = [
            ("HF_REPO_ID", DEV_REPO),
            ("HF_FILENAME", DEV_FILE),
            ("HF_REVISION", "main"),
            ("HF_ENDPOINT", &hub.endpoint()),
            ("HF_TOKEN", ""),
            ("LLM_MODEL", ""),
            ("LLM_API_KEY", &key),
            ("LLM_API_KEY_SECRET", &key_file.display().to_string()),
            ("HF_TOKEN_SECRET", ""),
            ("GATEWAY_PORT", &port.to_string()),
            ("HTTP_PORT", &port.to_string()),
            ("CORRAL_REGISTRY", ""),
            ("CORRAL_VERSION", ""),
            ("CORRAL_REVISION", REVISION),
            ("LLAMA_THREADS", "1"),
            ("LLAMA_CACHE_RAM_MIB", "256"),
        ];
        let variables = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let project = format!("corral-test-{name}");
        let stack = Self {
            sh,
            profile,
            project,
            changes,
            variables,
            port,
            key,
            wrong_token,
        };
        stack.remove()?;
        Ok(stack)
    }

    /// Changes one variable.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// The env file that it uses.
    pub(super) const fn profile(&self) -> Profile {
        self.profile
    }

    /// The one published port, on this machine.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The key of the internal API.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// A file with a token that the Hub does not know.
    pub(super) fn wrong_token(&self) -> &Path {
        &self.wrong_token
    }

    /// Where commands run.
    pub(super) const fn shell(&self) -> &'a Shell {
        self.sh
    }

    /// `docker compose ARGS`, as the README gives it.
    pub(super) fn compose(&self, args: &[&str]) -> Cmd<'a> {
        let project = &self.project;
        let changes = &self.changes;
        let env = self.profile.file_name();
        let file = self.file();
        let sh = self.sh;
        cmd!(sh, "docker compose --project-name {project} --env-file {env} -f {file} -f {changes} {args...}")
            .envs(&self.variables)
    }

    /// Runs `docker compose ARGS`.
    ///
    /// # Errors
    ///
    /// When it fails; its output says why.
    pub(super) fn run(&self, args: &[&str]) -> Result<()> {
        say::run(self.compose(args))
    }

    /// What `docker compose config` makes of the stack's own file, without the test's changes.
    ///
    /// # Errors
    ///
    /// When the file is not accepted.
    pub(super) fn config(&self) -> Result<Value> {
        let sh = self.sh;
        let env = self.profile.file_name();
        let file = self.file();
        let text = say::read(
            cmd!(
                sh,
                "docker compose --env-file {env} -f {file} config --format json"
            )
            .envs(&self.variables),
        )?;
        serde_json::from_str(&text).context("docker compose config printed no JSON")
    }

    /// All containers of the stack as `docker inspect` shows them, by service.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub(super) fn containers(&self) -> Result<BTreeMap<String, Value>> {
        let ids = self.compose(&["ps", "--all", "--quiet"]).quiet().read()?;
        let sh = self.sh;
        let ids = ids.lines();
        let text = cmd!(sh, "docker inspect {ids...}").quiet().read()?;
        let containers: Vec<Value> =
            serde_json::from_str(&text).context("docker inspect printed no JSON")?;
        let mut found = BTreeMap::new();
        for container in containers {
            let service = container["Config"]["Labels"]["com.docker.compose.service"].as_str();
            found.insert(service.unwrap_or_default().to_owned(), container);
        }
        Ok(found)
    }

    /// Runs curl in `service`'s network and returns what it printed; an empty text when curl failed. It runs in
    /// llama.cpp's image, because ours hold no program but the service.
    ///
    /// # Errors
    ///
    /// When the service has no container.
    pub(super) fn curl_beside(&self, service: &str, args: &[&str]) -> Result<String> {
        let containers = self.containers()?;
        let container = inspected(&containers, service, "/Id")?;
        let network = format!("container:{container}");
        let image = inspected(&containers, "llama_server", "/Image")?;
        let sh = self.sh;
        let curl = cmd!(
            sh,
            "docker run --rm --network {network} --entrypoint curl {image} -sS -m 5 {args...}"
        );
        say::command(format_args!(
            "curl beside {service}: {}",
            args.last().unwrap_or(&"")
        ));
        Ok(String::from_utf8_lossy(
            &curl
                .quiet()
                .ignore_status()
                .ignore_stderr()
                .output()?
                .stdout,
        )
        .into_owned())
    }

    /// Prints the state of the containers and the end of their logs.
    pub(super) fn explain(&self) {
        for args in [
            &["ps", "--all"][..],
            &["logs", "--no-color", "--tail", "30"],
        ] {
            // It explains an error that is about to be shown; its own would say no more.
            self.run(args).ok();
        }
    }

    fn remove(&self) -> Result<()> {
        self.run(&["down", "--volumes", "--remove-orphans", "--timeout", "5"])
    }

    /// Its Compose file.
    pub(super) const fn file(&self) -> &'static str {
        match self.profile {
            Profile::Dev => "deploy/docker-compose.dev.yml",
            Profile::Prod => "deploy/docker-compose.prod.yml",
        }
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            say::line(format_args!("{} is still there: {error:#}", self.project));
        }
    }
}

/// The text at `pointer` in what `docker inspect` shows of the container of `service`.
fn inspected<'a>(
    containers: &'a BTreeMap<String, Value>,
    service: &str,
    pointer: &str,
) -> Result<&'a str> {
    let container = containers
        .get(service)
        .with_context(|| format!("{service} has no container"))?;
    container
        .pointer(pointer)
        .and_then(Value::as_str)
        .context("docker inspect printed something unexpected")
}

/// The test's changes to a stack: the address of the Hub, and the network that builds use.
fn overrides(build_network: Option<&str>) -> Value {
    let mut services = json!({"llm_init": {"extra_hosts": ["host.docker.internal:host-gateway"]}});
    for service in BUILT.iter().filter(|_| build_network.is_some()) {
        services[service]["build"] = json!({"network": build_network});
    }
    json!({ "services": services })
}

/// Writes a file that the containers' user may read, in a folder that only this user may open.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)))
        .and_then(|()| std::fs::write(path, text))
        .and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)))
        .with_context(|| format!("cannot write {}", path.display()))
}
