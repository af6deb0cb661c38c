//! `cargo xtask fetch-model`: only the model, into `MODELS_DIR` (default `target/models`).

use anyhow::{Result, bail};

use crate::model;
use crate::python::Python;
use crate::say;
use crate::settings::{Profile, Settings};
use crate::signals::Stop;
use crate::up;

/// Fetches the model of `profile`.
///
/// # Errors
///
/// When the model cannot be fetched, with what to do.
pub(crate) async fn run(profile: Profile) -> Result<()> {
    let settings = Settings::load(profile)?;
    let mut stop = Stop::listen()?;
    let fetched = async {
        up::build(&settings).await?;
        model::fetch(&settings, &Python::new(&settings)).await
    };
    let model = tokio::select! {
        fetched = fetched => fetched?,
        () = stop.asked() => bail!("stopped; run the command again to go on from here"),
    };
    say::line(format_args!("The model is {}", model.path.display()));
    Ok(())
}
