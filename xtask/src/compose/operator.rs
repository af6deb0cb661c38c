//! What an operator does with `deploy/corral`, on a stack that runs: back up, lose everything, restore, and upgrade to a
//! version that does not work.
//!
//! The script runs in a copy of what a server has, so nothing in the checkout is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshell::{Cmd, cmd};

use super::stack::Stack;
use crate::say;

/// The image of a new version that ends as soon as it starts.
const BROKEN_IMAGE: &str = "corral-test-broken";
/// A setting that only this server has.
const OWN_SETTING: &str = "CORRAL_WAIT_SECONDS=300\nGATEWAY_AUTH=none\n";
/// The gateway as its neighbours in the network see it.
const CONVERSATIONS: &str = "http://127.0.0.1:8000/api/v1/conversations";

/// A folder with Corral's files, as on a server.
pub(super) struct OperatorServer<'a> {
    stack: &'a Stack<'a>,
    folder: PathBuf,
}

/// Somebody's conversation: its address and their cookie.
struct KeptConversation {
    url: String,
    cookie: String,
}

/// Backup, restore, upgrade and rollback, as docs/operations.md gives them.
///
/// # Errors
///
/// When one of them breaks a promise.
pub(super) fn takes_care(stack: &Stack<'_>) -> Result<()> {
    let server = OperatorServer::new(stack)?;
    say::line(say::bold("Backed up, wrecked, restored"));
    server.runs(&["up"])?;
    let kept = KeptConversation::begin(stack)?;
    let archive = server.runs(&["backup"])?.trim().to_owned();
    let mode = fs::metadata(&archive)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "others may read {archive} ({mode:o})");
    refuses_what_is_no_backup(&server, &archive)?;

    wreck(stack)?;
    fs::remove_file(server.folder.join(".env.local"))?;
    let access = server.folder.join("deploy/access");
    fs::remove_dir_all(&access)?;
    server.runs(&["restore", &archive])?;
    let mode = fs::metadata(&access)?.permissions().mode() & 0o777;
    ensure!(
        mode == 0o755 && access.join("revoked").is_file(),
        "deploy/access has mode {mode:o} after a restore: the gateway cannot read it"
    );
    kept.is_there(stack)?;
    let own = server.settings()?;
    ensure!(own == OWN_SETTING, ".env.local is {own:?} after a restore");

    say::line(say::bold("Upgraded to a version that does not work"));
    let before = images(stack)?;
    let overlay = server.broken_version()?;
    let ran = server.upgrade(&overlay)?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    // Whichever is seen first.
    let names_it = [
        "these services end again and again: chat_gateway",
        "chat_gateway is unhealthy",
    ]
    .iter()
    .any(|words| said.contains(words));
    ensure!(
        ran.status.code() == Some(1)
            && names_it
            && said.contains("rolled back: the version of before runs again"),
        "`upgrade` to a broken version ends with {}: {said}",
        ran.status
    );
    ensure!(
        images(stack)? == before,
        "other images run after the rollback"
    );
    kept.is_there(stack)?;
    let later = format!("{OWN_SETTING}GATEWAY_MESSAGES_PER_MINUTE=29\n");
    fs::write(server.folder.join(".env.local"), &later)?;
    server.runs(&["rollback"])?;
    let own = server.settings()?;
    ensure!(own == later, ".env.local is {own:?} after a rollback");
    kept.is_there(stack)
}

impl<'a> OperatorServer<'a> {
    /// A new folder with the files of the checkout.
    ///
    /// # Errors
    ///
    /// When they cannot be copied.
    pub(super) fn new(stack: &'a Stack<'a>) -> Result<Self> {
        let sh = stack.shell();
        let folder = stack.folder().join("server");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let list = cmd!(sh, "git ls-files deploy .env.prod .env.dev")
            .quiet()
            .read()?;
        for path in list.lines() {
            let to = folder.join(path);
            fs::create_dir_all(to.parent().context("a file has a folder")?)?;
            fs::copy(sh.current_dir().join(path), to)?;
        }
        fs::write(folder.join(".env.local"), OWN_SETTING)?;
        let access = folder.join("deploy/access");
        fs::create_dir_all(&access)?;
        fs::write(access.join("revoked"), "")?;
        fs::set_permissions(&access, fs::Permissions::from_mode(0o755))?;
        Ok(Self { stack, folder })
    }

    /// `deploy/corral ARGS` in the server's folder.
    pub(super) fn corral(&self, args: &[&str]) -> Cmd<'a> {
        let program = self.folder.join("deploy/corral");
        let sh = self.stack.shell();
        let mut variables = self.stack.for_corral();
        // Only `.env.local` says it, so a restore on a machine without that file must take it from the backup.
        variables.remove("GATEWAY_AUTH");
        cmd!(sh, "{program} {args...}").envs(variables)
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub(super) fn runs(&self, args: &[&str]) -> Result<String> {
        say::read(self.corral(args))
    }

    /// Runs it, and returns how it ended.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn ends(&self, args: &[&str]) -> Result<Output> {
        Self::ended(self.corral(args))
    }

    /// Its own settings.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub(super) fn settings(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join(".env.local"))?)
    }

    fn ended(command: Cmd<'_>) -> Result<Output> {
        say::command(&command);
        Ok(command.quiet().ignore_status().output()?)
    }

    /// A Compose file for a version of the gateway that ends at once, and whose images need no build.
    fn broken_version(&self) -> Result<String> {
        let sh = self.stack.shell();
        let config = self.stack.config()?;
        let image = config["services"]["chat_gateway"]["image"]
            .as_str()
            .context("the gateway has an image")?;
        let dockerfile =
            format!("FROM {image}\nENTRYPOINT [\"/usr/local/bin/chat-gateway\", \"settings\"]\n");
        say::run(
            cmd!(sh, "docker build --quiet --tag {BROKEN_IMAGE} -")
                .stdin(dockerfile)
                .ignore_stdout(),
        )?;
        let path = self.folder.join("broken.yml");
        let text = format!(
            "services:\n  llm_init: {{ build: !reset null }}\n  llm_proxy: {{ build: !reset null }}\n  \
             chat_gateway: {{ image: {BROKEN_IMAGE}, build: !reset null, pull_policy: never }}\n"
        );
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn upgrade(&self, overlay: &str) -> Result<Output> {
        let overlays = self.stack.for_corral().remove("CORRAL_OVERLAYS");
        let overlays = format!("{} {overlay}", overlays.unwrap_or_default());
        let upgrade = self.corral(&["upgrade"]).env("CORRAL_OVERLAYS", overlays);
        Self::ended(upgrade)
    }
}

impl Drop for OperatorServer<'_> {
    fn drop(&mut self) {
        let sh = self.stack.shell();
        let project = self.stack.project();
        let reference = format!("reference={project}-before/*");
        // By name: an image that has another one, too, stays.
        let name = "{{.Repository}}:{{.Tag}}";
        let list = cmd!(sh, "docker image ls --format {name} --filter {reference}").quiet();
        let list = list.read().unwrap_or_default();
        let names = list.lines().chain([BROKEN_IMAGE]);
        cmd!(sh, "docker image rm --force {names...}")
            .quiet()
            .ignore_status()
            .ignore_stdout()
            .ignore_stderr()
            .run()
            .ok();
    }
}

impl KeptConversation {
    /// Begins a conversation as a new anonymous user.
    fn begin(stack: &Stack<'_>) -> Result<Self> {
        let body = r#"{"title":"must not be lost"}"#;
        let json = "Content-Type: application/json";
        let answer = stack.curl_beside(
            "chat_gateway",
            &["-i", "-H", json, "-d", body, CONVERSATIONS],
        )?;
        let cookie = answer.lines().find_map(|line| {
            let value = line.strip_prefix("set-cookie: ")?;
            value.split(';').next()
        });
        let cookie = cookie.with_context(|| format!("no cookie in {answer}"))?;
        let created: Value = serde_json::from_str(answer.lines().last().unwrap_or_default())
            .with_context(|| format!("no conversation in {answer}"))?;
        let id = created["id"]
            .as_str()
            .with_context(|| format!("no id in {created}"))?;
        Ok(Self {
            url: format!("{CONVERSATIONS}/{id}"),
            cookie: format!("Cookie: {cookie}"),
        })
    }

    /// The same person still has it.
    fn is_there(&self, stack: &Stack<'_>) -> Result<()> {
        let answer = stack.curl_beside("chat_gateway", &["-H", &self.cookie, &self.url])?;
        ensure!(
            answer.contains("must not be lost"),
            "the conversation is gone: {answer:?}"
        );
        Ok(())
    }
}

/// A torn backup, and an archive of something else: refused before anything is touched.
fn refuses_what_is_no_backup(server: &OperatorServer<'_>, archive: &str) -> Result<()> {
    let containers = ids(server.stack)?;
    let bytes = fs::read(archive)?;
    let torn = server.folder.join("torn.tar.gz");
    fs::write(&torn, &bytes[..bytes.len() / 2])?;
    let foreign = server.folder.join("foreign.tar.gz");
    let sh = server.stack.shell();
    cmd!(sh, "tar --create --gzip --file {foreign} deploy/nginx")
        .quiet()
        .run()?;
    for (file, reason) in [(&torn, "is damaged"), (&foreign, "is no backup of Corral")] {
        let file = file.display().to_string();
        let ran = server.ends(&["restore", &file])?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        ensure!(
            ran.status.code() == Some(1)
                && said.contains(reason)
                && said.contains("Nothing was changed"),
            "`restore {file}` ends with {}: {said}",
            ran.status
        );
    }
    ensure!(
        ids(server.stack)? == containers,
        "a refused backup has replaced containers"
    );
    Ok(())
}

/// Overwrites the database of the running gateway, and takes the key of anonymous users away.
fn wreck(stack: &Stack<'_>) -> Result<()> {
    let containers = stack.containers()?;
    let gateway = containers["chat_gateway"]["Id"]
        .as_str()
        .context("the gateway runs")?;
    let image = containers["llama_server"]["Image"]
        .as_str()
        .context("llama_server has an image")?;
    let destroy =
        "dd if=/dev/urandom of=/data/chat.db bs=64k count=1 2>/dev/null && rm /data/cookie.key";
    let sh = stack.shell();
    say::run(cmd!(
        sh,
        "docker run --rm --network none --user 0 --volumes-from {gateway} --entrypoint sh {image} -c {destroy}"
    ))
}

/// The containers' ids, by service.
fn ids(stack: &Stack<'_>) -> Result<Vec<(String, Value)>> {
    field(stack, "Id")
}

/// The ids of the images that run, by service.
fn images(stack: &Stack<'_>) -> Result<Vec<(String, Value)>> {
    field(stack, "Image")
}

fn field(stack: &Stack<'_>, name: &str) -> Result<Vec<(String, Value)>> {
    let containers = stack.containers()?;
    Ok(containers
        .into_iter()
        .map(|(service, container)| (service, container[name].clone()))
        .collect())
}
