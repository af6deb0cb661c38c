//! What npm is for: builds the chat page when `web/dist` is missing or older than what it is made of.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::call::Call;
use crate::settings::Settings;

/// The client that callers in JavaScript use.
const CLIENT: &str = "openai@7.57.0";
/// What the page is made of, below `web/`.
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
/// Without npm, or when npm fails.
pub(crate) async fn build(settings: &Settings) -> Result<PathBuf> {
    let (web, log) = (settings.root().join("web"), settings.target("logs/npm.log"));
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
/// Without npm, or when npm fails.
pub(crate) async fn install(settings: &Settings) -> Result<()> {
    let (web, log) = (
        settings.root().join("web"),
        settings.target("logs/npm-ci.log"),
    );
    let installed = modified(&web.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&web.join("package-lock.json")) {
        return Ok(());
    }
    let call = npm(settings)?
        .args(["ci", "--no-audit", "--no-fund"])
        .folder(&web);
    call.run_quietly(&log)
        .await
        .context("npm could not install the page's packages")
}

/// Installs the client that callers in JavaScript use, for its test. Returns the folder that it is in.
///
/// # Errors
///
/// Without npm, or when npm fails.
pub(crate) async fn install_client(settings: &Settings) -> Result<PathBuf> {
    let folder = settings.target("npm").join(CLIENT);
    if folder.join("node_modules/openai/package.json").is_file() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let call = npm(settings)?.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ]);
    let call = call.args([&folder]).args([CLIENT]);
    call.run_quietly(&settings.target("logs/npm-client.log"))
        .await
        .with_context(|| format!("npm could not install {CLIENT}: is there a network?"))?;
    Ok(folder)
}

fn npm(settings: &Settings) -> Result<Call> {
    match settings.which("npm") {
        Some(npm) => Ok(Call::new(npm)),
        None => bail!(
            "npm is not on PATH: install Node 20.19, 22.12 or newer (Debian: apt-get install nodejs npm)"
        ),
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
        Err(_not_a_folder) => modified(path),
    }
}
