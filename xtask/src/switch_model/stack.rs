//! The running Compose stack whose model is switched: what its containers say, and the commands that change it.
//!
//! Every command uses the project, the Compose files and the env files that the stack was started with, as the labels of
//! its containers name them.

use std::cell::OnceCell;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use crate::gguf::{self, ModelShape};
use crate::say;
use crate::settings::{LOCAL, Profile, Settings};

/// The bytes of a header that are read; the sizes come before the vocabulary.
const HEADER_BYTES: &str = "1048576";
/// llama_server's port in its container.
const PORT: u16 = 8080;
/// Run in llama_server's container: asks it with its own key. `$1` is the path, `$2` a body or nothing.
const ASK: &str = "key=${LLAMA_API_KEY:-$(cat \"$LLAMA_ARG_API_KEY_FILE\")}; \
    printf 'Authorization: Bearer %s' \"$key\" | \
    curl -fsS -m 300 -H @- ${2:+-H 'Content-Type: application/json' -d \"$2\"} \"http://127.0.0.1:8080$1\"";
/// Run in llama_server's container: the sizes of the files that `$1` matches.
const SIZES: &str = "stat -c %s $1";
/// The smallest question.
const QUESTION: &str = r#"{"messages":[{"role":"user","content":"Say yes."}],"max_tokens":4}"#;

/// A model as the Hub names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelChoice {
    /// `OWNER/NAME`.
    pub(crate) repository: String,
    /// The file in it.
    pub(crate) file: String,
    /// The branch, tag or commit.
    pub(crate) revision: String,
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As the label `corral.model` of llama_server.
        write!(f, "{}@{}/{}", self.repository, self.revision, self.file)
    }
}

/// A running Compose stack.
pub(crate) struct RunningStack<'a> {
    sh: &'a Shell,
    settings: &'a Settings,
    project: String,
    compose_files: Vec<String>,
    env_files: Vec<String>,
    /// Variables on top of the env files.
    variables: Vec<(String, String)>,
    proxy: String,
    alias: OnceCell<String>,
}

/// A container of llama_server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EngineContainer {
    id: String,
    /// `IP:PORT` in the network that it shares with llm_proxy.
    pub(super) address: String,
    /// What it serves, as [`ModelChoice`] prints it.
    pub(super) model: String,
}

/// How far a container of llama_server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EngineState {
    /// It loads.
    Starting,
    /// Its model is loaded.
    Healthy,
    /// It has ended, in these words.
    Failed(String),
}

/// The part of llm-proxy's status that is read.
#[derive(Deserialize)]
struct ProxyView {
    model: String,
    upstreams: Vec<UpstreamView>,
}

/// An upstream, as llm-proxy sees it.
#[derive(Deserialize)]
pub(super) struct UpstreamView {
    #[serde(rename = "upstream")]
    pub(super) address: String,
    pub(super) state: String,
}

impl<'a> RunningStack<'a> {
    /// The stack of `profile`, or the one of another `project`.
    ///
    /// # Errors
    ///
    /// When it does not run, or runs several llama_servers.
    pub(crate) fn find(
        sh: &'a Shell,
        settings: &'a Settings,
        profile: Profile,
        project: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let project = project.unwrap_or(match profile {
            Profile::Dev => "corral-dev",
            Profile::Prod => "corral-prod",
        });
        let containers = containers(sh, project, "llm_proxy")?;
        let [proxy] = containers.as_slice() else {
            if containers.is_empty()
                && let Ok(addresses) = crate::addresses::Addresses::of(settings)
                && crate::claim::claimant(settings, addresses.gateway).is_some()
            {
                bail!(super::not_native(addresses.gateway));
            }
            bail!(
                "the Compose project {project} runs {} llm_proxy: start the stack first, or name another with --env or \
                 --project",
                containers.len()
            );
        };
        let labels = &proxy["Config"]["Labels"];
        let mut env_files = list(&labels["com.docker.compose.project.environment_file"]);
        if env_files.is_empty() {
            env_files = [profile.file_name(), LOCAL]
                .map(|name| settings.root().join(name))
                .into_iter()
                .filter(|path| path.is_file())
                .map(|path| path.display().to_string())
                .collect();
        }
        let compose_files = list(&labels["com.docker.compose.project.config_files"]);
        ensure!(
            !compose_files.is_empty(),
            "the containers of {project} do not name their Compose files: Compose v2 must have started them"
        );
        let id = proxy["Id"].as_str().context("a container has an id")?;
        Ok(Self {
            sh,
            settings,
            project: project.to_owned(),
            compose_files,
            env_files,
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            proxy: id.to_owned(),
            alias: OnceCell::new(),
        })
    }

    /// `docker compose ARGS` with the variables of `model`.
    fn compose(&self, model: &ModelChoice, args: &[&str]) -> Cmd<'a> {
        let project = &self.project;
        let mut words = Vec::new();
        for file in &self.env_files {
            words.extend(["--env-file", file]);
        }
        for file in &self.compose_files {
            words.extend(["-f", file]);
        }
        let sh = self.sh;
        cmd!(
            sh,
            "docker compose --project-name {project} {words...} {args...}"
        )
        .envs(self.variables.iter().map(|(name, value)| (name, value)))
        .envs(self.values(model))
    }

    /// What the env file must say for `model`; callers keep its name.
    pub(super) fn values<'m>(&'m self, model: &'m ModelChoice) -> [(&'static str, &'m str); 4] {
        [
            ("HF_REPO_ID", &model.repository),
            ("HF_FILENAME", &model.file),
            ("HF_REVISION", &model.revision),
            ("LLM_MODEL", self.alias()),
        ]
    }

    /// The env file whose values win.
    pub(super) fn last_env_file(&self) -> PathBuf {
        self.env_files
            .last()
            .map_or_else(|| self.settings.root().join(LOCAL), PathBuf::from)
    }

    /// The model's name for callers. Known once [`Self::upstreams`] was called.
    pub(super) fn alias(&self) -> &str {
        self.alias.get().map_or("", String::as_str)
    }

    /// A setting of the stack.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        let on_top = self.variables.iter().find(|(found, _)| found == name);
        on_top
            .map(|(_, value)| value.as_str())
            .or_else(|| self.settings.get(name))
    }

    /// A setting that is a number.
    pub(super) fn number(&self, name: &str, default: u64) -> u64 {
        let value = self.setting(name).and_then(|value| value.parse().ok());
        value.unwrap_or(default)
    }

    /// The model that the env files name.
    ///
    /// # Errors
    ///
    /// When they name none.
    pub(super) fn configured(&self) -> Result<ModelChoice> {
        let required = ["HF_REPO_ID", "HF_FILENAME"].map(|name| {
            self.setting(name)
                .with_context(|| format!("{name} is not set"))
        });
        let [repository, file] = required;
        Ok(ModelChoice {
            repository: repository?.to_owned(),
            file: file?.to_owned(),
            revision: self.setting("HF_REVISION").unwrap_or("main").to_owned(),
        })
    }

    /// The one llama_server.
    ///
    /// # Errors
    ///
    /// When there is none, or several.
    pub(super) fn engine(&self) -> Result<EngineContainer> {
        let mut engines = self.engines()?;
        match engines.len() {
            1 => Ok(engines.remove(0)),
            0 => bail!("no llama_server runs in {}", self.project),
            n => bail!(
                "{n} llama_servers run in {}: several are switched by hand, as docs/models.md says. If an earlier \
                 switch was interrupted, `up -d llama_server` leaves one",
                self.project
            ),
        }
    }

    fn engines(&self) -> Result<Vec<EngineContainer>> {
        let proxy = inspect(self.sh, &self.proxy)?;
        let networks = proxy["NetworkSettings"]["Networks"]
            .as_object()
            .context("a container has networks")?;
        let mut engines = Vec::new();
        for container in containers(self.sh, &self.project, "llama_server")? {
            let shared = networks.keys().find_map(|name| {
                let network = &container["NetworkSettings"]["Networks"][name];
                network["IPAddress"].as_str().filter(|ip| !ip.is_empty())
            });
            let labels = &container["Config"]["Labels"];
            engines.push(EngineContainer {
                id: container["Id"].as_str().unwrap_or_default().to_owned(),
                address: format!("{}:{PORT}", shared.unwrap_or("?")),
                model: labels["corral.model"].as_str().unwrap_or("?").to_owned(),
            });
        }
        Ok(engines)
    }

    /// Fetches a model into the volume, where others stay.
    ///
    /// # Errors
    ///
    /// With model-fetcher's own words above.
    pub(super) fn fetch(&self, model: &ModelChoice) -> Result<()> {
        say::run(self.compose(model, &["run", "--rm", "--no-deps", "llm_init"]))
    }

    /// The size of a fetched model and its header, read through `engine`, which has the volume.
    ///
    /// # Errors
    ///
    /// When the file is not there or has no header.
    pub(super) fn header(
        &self,
        engine: &EngineContainer,
        model: &ModelChoice,
    ) -> Result<(u64, ModelShape)> {
        let sh = self.sh;
        let id = &engine.id;
        let path = format!("/models/{}", model.file);
        // A split model is all of its parts.
        let parts = match model.file.split_once(gguf::FIRST_PART) {
            Some((before, after)) => format!("/models/{before}-*-of-{after}"),
            None => path.clone(),
        };
        let sizes = cmd!(sh, "docker exec {id} sh -c {SIZES} sizes {parts}")
            .quiet()
            .read()
            .with_context(|| format!("{path} is not in the volume"))?;
        let sizes: Result<Vec<u64>, _> = sizes.lines().map(str::parse).collect();
        let head = cmd!(sh, "docker exec {id} head -c {HEADER_BYTES} {path}")
            .quiet()
            .output()?;
        let shape = ModelShape::read(&*head.stdout).with_context(|| path.clone())?;
        Ok((sizes.context("stat prints sizes")?.iter().sum(), shape))
    }

    /// Starts a second llama_server with `model`; the first one is not touched.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn start_beside(
        &self,
        model: &ModelChoice,
        old: &EngineContainer,
    ) -> Result<EngineContainer> {
        let args = [
            "up",
            "-d",
            "--no-deps",
            "--no-recreate",
            "--scale",
            "llama_server=2",
            "llama_server",
        ];
        say::run(self.compose(model, &args))?;
        let new = self
            .engines()?
            .into_iter()
            .find(|engine| engine.id != old.id);
        new.context("Compose started no second llama_server")
    }

    /// Starts llama_server anew with `model`. It stops first.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn start_in_place(&self, model: &ModelChoice) -> Result<()> {
        say::run(self.compose(model, &["up", "-d", "--no-deps", "llama_server"]))
    }

    /// Stops and removes one llama_server.
    ///
    /// # Errors
    ///
    /// When Docker refuses.
    pub(super) fn remove(&self, engine: &EngineContainer) -> Result<()> {
        let sh = self.sh;
        let id = short(&engine.id);
        say::run(cmd!(sh, "docker stop {id}").ignore_stdout())?;
        say::run(cmd!(sh, "docker rm --force {id}").ignore_stdout())
    }

    /// How far a llama_server is.
    ///
    /// # Errors
    ///
    /// When Docker does not say so.
    pub(super) fn state(&self, engine: &EngineContainer) -> Result<EngineState> {
        let container = inspect(self.sh, &engine.id)?;
        Ok(state_of(&container))
    }

    /// Prints the end of a llama_server's log.
    pub(super) fn explain(&self, engine: &EngineContainer) {
        let sh = self.sh;
        let id = short(&engine.id);
        // It explains an error that is about to be shown; its own would say no more.
        say::run(cmd!(sh, "docker logs --tail 15 {id}")).ok();
    }

    /// Has a llama_server answer a question.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(super) fn ask(&self, engine: &EngineContainer) -> Result<()> {
        let answer = self
            .exec(engine, &["/v1/chat/completions", QUESTION])
            .context("the model is loaded, but answers no question")?;
        let message = &answer["choices"][0]["message"];
        ensure!(
            message.is_object(),
            "the model is loaded, but its answer has no message: {answer}"
        );
        Ok(())
    }

    /// How many of a llama_server's slots compute.
    ///
    /// # Errors
    ///
    /// When it does not say so.
    pub(super) fn n_busy(&self, engine: &EngineContainer) -> Result<usize> {
        let slots = self.exec(engine, &["/slots"])?;
        let slots = slots.as_array().context("/slots is a list")?;
        Ok(slots
            .iter()
            .filter(|slot| slot["is_processing"] == true)
            .count())
    }

    fn exec(&self, engine: &EngineContainer, args: &[&str]) -> Result<Value> {
        let sh = self.sh;
        let id = &engine.id;
        let text = cmd!(sh, "docker exec {id} sh -c {ASK} ask {args...}")
            .quiet()
            .read()
            .with_context(|| format!("llama_server does not answer {}", args[0]))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", args[0]))
    }

    /// Has llm-proxy give an engine no new requests, and waits up to `wait_seconds` until its answers have ended.
    ///
    /// # Errors
    ///
    /// When answers still run, or llm-proxy is older than this command.
    pub(super) fn drain(&self, engine: &EngineContainer, wait_seconds: u64) -> Result<()> {
        let address = &engine.address;
        let wait = wait_seconds.to_string();
        say::run(self.proxy(&["drain", address, "--wait", &wait]))
    }

    /// Has llm-proxy give an engine requests again, or forget that it did not.
    ///
    /// # Errors
    ///
    /// When llm-proxy does not answer.
    pub(super) fn resume(&self, engine: &EngineContainer) -> Result<()> {
        say::run(self.proxy(&["resume", &engine.address]))
    }

    /// The engines as llm-proxy sees them.
    ///
    /// # Errors
    ///
    /// When llm-proxy does not answer.
    pub(super) fn upstreams(&self) -> Result<Vec<UpstreamView>> {
        let text = self
            .proxy(&["top", "--json"])
            .quiet()
            .read()
            .context("llm_proxy does not say how it is")?;
        let view: ProxyView =
            serde_json::from_str(&text).context("llm_proxy's status has another form")?;
        self.alias.get_or_init(|| view.model);
        Ok(view.upstreams)
    }

    fn proxy(&self, args: &[&str]) -> Cmd<'a> {
        let sh = self.sh;
        let id = short(&self.proxy);
        cmd!(sh, "docker exec {id} /usr/local/bin/llm-proxy {args...}")
    }
}

/// How far the llama_server is that `docker inspect` shows so.
fn state_of(container: &Value) -> EngineState {
    let state = &container["State"];
    let restarts = container["RestartCount"].as_u64().unwrap_or(0);
    let status = state["Status"].as_str().unwrap_or_default();
    if state["OOMKilled"] == true {
        return EngineState::Failed("ran out of memory".to_owned());
    }
    if restarts > 0 || matches!(status, "exited" | "dead" | "restarting") {
        return EngineState::Failed(format!("ended with exit code {}", state["ExitCode"]));
    }
    match state["Health"]["Status"].as_str() {
        Some("healthy") => EngineState::Healthy,
        Some("unhealthy") => EngineState::Failed("is not healthy".to_owned()),
        _ => EngineState::Starting,
    }
}

/// The running containers of one service, as `docker inspect` shows them.
fn containers(sh: &Shell, project: &str, service: &str) -> Result<Vec<Value>> {
    let project = format!("label=com.docker.compose.project={project}");
    let service = format!("label=com.docker.compose.service={service}");
    let ids = cmd!(
        sh,
        "docker ps --quiet --no-trunc --filter {project} --filter {service}"
    )
    .quiet()
    .read()
    .context("Docker Engine does not answer: is it running, and may you use it?")?;
    ids.lines().map(|id| inspect(sh, id)).collect()
}

fn inspect(sh: &Shell, id: &str) -> Result<Value> {
    let text = cmd!(sh, "docker inspect {id}").quiet().read()?;
    let mut found: Vec<Value> =
        serde_json::from_str(&text).context("docker inspect printed no JSON")?;
    found.pop().context("docker inspect printed no container")
}

/// The paths of a label.
fn list(label: &Value) -> Vec<String> {
    let text = label.as_str().unwrap_or_default();
    text.split(',')
        .filter(|path| !path.is_empty() && Path::new(path).is_file())
        .map(str::to_owned)
        .collect()
}

/// As much of a container's id as people read.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{EngineState, state_of};

    #[test]
    fn an_engine_that_ended_is_not_waited_for() {
        let of =
            |state, restarts: u64| state_of(&json!({"State": state, "RestartCount": restarts}));
        let health = |status: &str| json!({"Status": "running", "Health": {"Status": status}});
        assert_eq!(of(health("starting"), 0), EngineState::Starting);
        assert_eq!(of(health("healthy"), 0), EngineState::Healthy);
        for (state, restarts, how) in [
            (health("unhealthy"), 0, "is not healthy"),
            (
                json!({"Status": "exited", "ExitCode": 1}),
                0,
                "ended with exit code 1",
            ),
            (
                json!({"Status": "running", "ExitCode": 1}),
                2,
                "ended with exit code 1",
            ),
            (
                json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true}),
                0,
                "ran out of memory",
            ),
        ] {
            assert_eq!(of(state, restarts), EngineState::Failed(how.to_owned()));
        }
    }
}
