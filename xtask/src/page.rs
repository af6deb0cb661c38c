//! Runs npm: builds the chat page when `web/dist` is missing or older than its sources, and installs the JavaScript
//! clients for the tests.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::call::Call;
use crate::settings::Settings;

/// How to get node and npm. Debian 12's own are too old for vite.
pub(crate) const GET_NODE: &str =
    "install Node 20.19, 22.12 or newer with npm (https://nodejs.org)";
/// The folder that lists the JavaScript clients, below the workspace's root.
const CLIENTS: &str = "crates/testkit/clients/npm";
/// The files of the list; the second pins every version.
const CLIENTS_FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// The sources of the page, below `web/`.
const SOURCES: &[&str] = &[
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
    "public",
    "src",
];

/// Builds the page unless it is up to date. Returns its folder.
///
/// # Errors
///
/// When npm is missing or fails.
pub(crate) async fn build(settings: &Settings) -> Result<PathBuf> {
    let web = settings.root().join("web");
    let log = settings.target("logs/npm.log");
    let dist = web.join("dist");
    let changed = SOURCES
        .iter()
        .filter_map(|source| newest(&web.join(source)))
        .max();
    if modified(&dist.join("index.html")).is_some_and(|built| changed <= Some(built)) {
        return Ok(dist);
    }
    install(settings).await?;
    npm(settings)?
        .args(["run", "build"])
        .folder(&web)
        .run_quietly(&log)
        .await
        .context("the page does not build")?;
    Ok(dist)
}

/// Installs the page's npm packages unless they are those of the lock file.
///
/// # Errors
///
/// When npm is missing or fails.
pub(crate) async fn install(settings: &Settings) -> Result<()> {
    let web = settings.root().join("web");
    let log = settings.target("logs/npm-ci.log");
    let installed = modified(&web.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&web.join("package-lock.json")) {
        return Ok(());
    }
    let call = npm(settings)?
        .args(["ci", "--no-audit", "--no-fund"])
        .folder(&web);
    call.run_quietly(&log)
        .await
        .context("npm could not install the page's packages: check the network, HTTPS_PROXY and NPM_CONFIG_REGISTRY")
}

/// Installs the JavaScript clients for their tests. Returns the folder that they are in.
///
/// # Errors
///
/// When npm is missing or fails.
pub(crate) async fn install_clients(settings: &Settings) -> Result<PathBuf> {
    let list = settings.root().join(CLIENTS);
    let folder = settings.target("npm-clients");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let stamp = folder.join(".installed");
    let wanted = std::fs::read(list.join(CLIENTS_FILES[1]))
        .with_context(|| format!("cannot read the lock file in {}", list.display()))?;
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    for file in CLIENTS_FILES {
        std::fs::copy(list.join(file), folder.join(file))
            .with_context(|| format!("cannot copy {file} to {}", folder.display()))?;
    }
    npm(settings)?
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .folder(&folder)
        .run_quietly(&settings.target("logs/npm-clients.log"))
        .await
        .context("npm could not install the clients: check the network, HTTPS_PROXY and NPM_CONFIG_REGISTRY")?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(folder)
}

fn npm(settings: &Settings) -> Result<Call> {
    match settings.which("npm") {
        Some(npm) => Ok(Call::new(npm)),
        None => bail!("npm is not on PATH: {GET_NODE}"),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|file| file.modified())
        .ok()
}

/// The last change of a file, or of the files below a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| newest(&entry.path()))
            .max(),
        Err(_) => modified(path),
    }
}
