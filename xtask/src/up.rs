//! `cargo xtask up`: everything natively, with one command, and Ctrl-C stops all of it.
//!
//! It needs no Docker and no GPU. On a fresh machine the slow steps run side by side: cargo, npm and pip, and the model's
//! download as soon as model-fetcher is built. The second time all of them are done.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::try_join;

use crate::addresses::Addresses;
use crate::call::Call;
use crate::engine::{self, Engine};
use crate::model::FetchedModel;
use crate::programs::Programs;
use crate::python::Python;
use crate::settings::{Profile, Settings};
use crate::signals::Stop;
use crate::stack::{Chain, Parts};
use crate::test::OURS;
use crate::{claim, model, page, say};

/// Runs the chain of `profile` until Ctrl-C.
///
/// # Errors
///
/// With what to do. Everything that had started has been stopped.
pub(crate) async fn run(profile: Profile) -> Result<()> {
    let begin = Instant::now();
    let settings = Settings::load(profile)?;
    let addresses = Addresses::of(&settings)?;
    let _lock = match claim::take(&settings, addresses.gateway)? {
        Ok(claim) => claim,
        Err(claimant) => {
            say::line(claimant);
            return Ok(());
        }
    };
    addresses.check()?;
    settings.secret("LLM_API_KEY")?;
    let mut stop = Stop::listen()?;

    let (engine, page, model) = tokio::select! {
        prepared = prepare(&settings) => prepared?,
        () = stop.asked() => bail!("stopped before the chain was up"),
    };
    // It may be a quantisation; everything else needs the file's name.
    let settings = settings.with([("HF_FILENAME", model.file)]);
    let logs = settings.target(&format!("logs/{}", addresses.gateway.port()));
    let mut chain = Chain::start(&Parts {
        settings: &settings,
        addresses: &addresses,
        programs: &Programs::native(&settings),
        engine: &engine,
        model: &model.path,
        page: &page,
        logs: &logs,
    })?;
    let outcome = tokio::select! {
        error = serve(&mut chain, &settings, &addresses, &logs, begin) => Err(error),
        () = stop.asked() => Ok(()),
    };
    say::line("Stopping.");
    tokio::select! {
        () = chain.stop() => {}
        () = stop.asked() => {}
    }
    outcome
}

async fn prepare(settings: &Settings) -> Result<(Engine, PathBuf, FetchedModel)> {
    let python = Python::new(settings);
    try_join!(
        engine::find(settings, &python),
        page::build(settings),
        async {
            build(settings).await?;
            model::fetch(settings, &python).await
        }
    )
}

/// Builds the binaries of all services in one call, as `test` does, so that neither compiles again what the other has
/// compiled.
///
/// # Errors
///
/// When they do not compile.
pub(crate) async fn build(settings: &Settings) -> Result<()> {
    let cargo = settings.get("CARGO").unwrap_or("cargo");
    // Only tests need fake-cas, and what tests depend on. Where they were built, cargo would compile dependencies again
    // without them, with other features.
    let which = if settings.target("debug/fake-cas").exists() {
        &["--all-targets"][..]
    } else {
        &["--exclude", "fake-cas", "--bins"]
    };
    Call::new(cargo)
        .args(["build"])
        .args(OURS)
        .args(which)
        .folder(settings.root())
        .run()
        .await
}

async fn serve(
    chain: &mut Chain,
    settings: &Settings,
    addresses: &Addresses,
    logs: &Path,
    begin: Instant,
) -> anyhow::Error {
    if let Err(error) = chain.ready().await {
        return error;
    }
    let key = match (
        settings.get("LLM_API_KEY_FILE"),
        settings.file_of("LLM_API_KEY"),
    ) {
        (Some(path), _) => format!("$(cat {path})"),
        (None, Some(file)) => format!("$(sed -n s/^LLM_API_KEY=//p {file})"),
        (None, None) => "$LLM_API_KEY".to_owned(),
    };
    let indent = " ".repeat(16);
    say::line(format_args!(
        "\nChat: http://{gateway}/   (up in {time})\n\
         In a terminal:  cargo xtask chat{elsewhere}\n\
         The API:        curl http://{proxy}/v1/chat/completions -H 'Content-Type: application/json' \\\n\
         {indent}-H \"Authorization: Bearer {key}\" \\\n\
         {indent}-d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hi\"}}]}}'\n\
         Logs:           {logs}\n\
         Ctrl-C stops everything.",
        gateway = addresses.gateway,
        elsewhere = match addresses.is_usual_gateway() {
            true => String::new(),
            false => format!(" http://{}/", addresses.gateway),
        },
        time = say::seconds(begin.elapsed()),
        proxy = addresses.proxy,
        model = settings
            .get("LLM_MODEL")
            .or(settings.get("HF_FILENAME"))
            .unwrap_or_default(),
        logs = logs.display(),
    ));
    chain.broken().await
}
