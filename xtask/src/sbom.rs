//! `cargo xtask sbom`: what is in each image, as a software bill of materials (CycloneDX) in `target/sbom`.
//!
//! cargo-cyclonedx describes the crates of a service, of which those are kept that cargo compiles into it. npm lists the
//! packages of the page, which chat-gateway's image holds. The base image and the C library inside the programs are not
//! listed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use crate::page::GET_NODE;
use crate::say;
use crate::settings::{Profile, Settings};

/// How to get the tool.
pub(crate) const GET_TOOL: &str =
    "cargo-cyclonedx is not installed: `cargo install --locked cargo-cyclonedx`";
/// The services with an image of their own.
const SERVICES: [&str; 3] = ["model-fetcher", "llm-proxy", "chat-gateway"];
/// The service whose image holds the page.
const WITH_PAGE: &str = "chat-gateway";
/// The version of CycloneDX that both tools write.
const SPECIFICATION: &str = "1.5";
/// The platform whose crates are listed. Those of 64-bit Arm are the same.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Writes `target/sbom/SERVICE.cdx.json` for each service.
///
/// # Errors
///
/// When cargo-cyclonedx or npm is missing or fails.
pub(crate) fn run() -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    if !has_tool(&settings) {
        bail!("{GET_TOOL}");
    }
    write(&settings).map(drop)
}

/// Whether cargo-cyclonedx is here.
pub(crate) fn has_tool(settings: &Settings) -> bool {
    settings.which("cargo-cyclonedx").is_some()
}

/// As [`run`]. Returns the paths.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn write(settings: &Settings) -> Result<Vec<PathBuf>> {
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    if settings.which("npm").is_none() {
        bail!("npm is not on PATH: {GET_NODE}");
    }
    let folder = settings.target("sbom");
    sh.create_dir(&folder)?;
    let page = page(&sh, settings.root(), &folder.join("page"))?;
    let mut paths = Vec::new();
    for (service, mut crates) in SERVICES.into_iter().zip(crates(&sh, settings.root())?) {
        keep_only(&mut crates, &compiled(&sh, service)?);
        let bill = if service == WITH_PAGE {
            with(crates, &page)?
        } else {
            crates
        };
        let path = folder.join(format!("{service}.cdx.json"));
        let text = serde_json::to_string_pretty(&bill)?;
        sh.write_file(&path, format!("{text}\n"))?;
        let n_components = bill["components"].as_array().map_or(0, Vec::len);
        say::line(format_args!(
            "{}: {n_components} components",
            path.display()
        ));
        paths.push(path);
    }
    Ok(paths)
}

/// The bill of the packages that the page holds. With `--omit dev` npm also leaves out what a tool needs, too, which is React;
/// so it is shown a copy of its files in `folder` in which there are no tools.
fn page(sh: &Shell, root: &Path, folder: &Path) -> Result<Value> {
    let [manifest, lock] = ["package.json", "package-lock.json"];
    for (name, part) in [(manifest, ""), (lock, "/packages/")] {
        let text = sh.read_file(root.join("web").join(name))?;
        let mut value: Value =
            serde_json::from_str(&text).with_context(|| format!("web/{name} is no JSON"))?;
        without_tools(&mut value, part);
        sh.write_file(folder.join(name), value.to_string())?;
    }
    let text = say::read(cmd!(
        sh,
        "npm --prefix {folder} sbom --sbom-format cyclonedx --sbom-type application --omit optional --package-lock-only"
    ))?;
    serde_json::from_str(&text).context("npm printed no JSON")
}

/// Removes what only development needs from a package.json, or from a lock file whose own package is at `own`.
fn without_tools(file: &mut Value, own: &str) {
    if let Some(package) = file.pointer_mut(own).and_then(Value::as_object_mut) {
        package.remove("devDependencies");
    }
    let packages = file.get_mut("packages").and_then(Value::as_object_mut);
    if let Some(packages) = packages {
        packages.retain(|_, package| package["dev"] != true);
    }
}

/// The bills of the services' crates, without the path of this checkout, `root`. cargo-cyclonedx writes one beside each
/// manifest of the workspace; all are removed.
fn crates(sh: &Shell, root: &Path) -> Result<Vec<Value>> {
    let here = format!("path+file://{}/", root.display());
    let written = say::run(cmd!(
        sh,
        "cargo cyclonedx --quiet --format json --spec-version {SPECIFICATION} --target {TARGET} --no-build-deps"
    ));
    let bills: Vec<_> = SERVICES
        .iter()
        .map(|service| sh.read_file(format!("crates/{service}/{service}.cdx.json")))
        .collect();
    let members = sh.read_dir("crates")?;
    for folder in members.into_iter().chain(["bench".into(), "xtask".into()]) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        sh.remove_path(folder.join(format!("{name}.cdx.json")))?;
    }
    written?;
    bills
        .into_iter()
        .map(|text| {
            let text = text?.replace(&here, "path+file:///");
            serde_json::from_str(&text).context("cargo-cyclonedx wrote no JSON")
        })
        .collect()
}

/// The crates that cargo compiles into `service`, each as `NAME vVERSION`.
fn compiled(sh: &Shell, service: &str) -> Result<BTreeSet<String>> {
    let format = "{p}";
    let tree = say::read(cmd!(
        sh,
        "cargo tree --locked --package {service} --edges normal --target {TARGET} --prefix none --no-dedupe --format {format}"
    ))?;
    // A path follows the version of our own, and a word that of a macro's crate.
    let named = tree.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').take(2).collect();
        words.join(" ")
    });
    Ok(named.collect())
}

/// Removes every component that is not in `wanted`. cargo-cyclonedx also lists what only another package of the workspace,
/// or a test, switches on.
fn keep_only(bill: &mut Value, wanted: &BTreeSet<String>) {
    let mut kept = BTreeSet::from([bill["metadata"]["component"]["bom-ref"].to_string()]);
    if let Some(components) = bill["components"].as_array_mut() {
        components.retain(|component| {
            let [name, version] = ["name", "version"].map(|field| component[field].as_str());
            let name = format!(
                "{} v{}",
                name.unwrap_or_default(),
                version.unwrap_or_default()
            );
            wanted.contains(&name)
        });
        kept.extend(components.iter().map(|part| part["bom-ref"].to_string()));
    }
    let Some(edges) = bill["dependencies"].as_array_mut() else {
        return;
    };
    edges.retain(|edge| kept.contains(&edge["ref"].to_string()));
    for edge in edges {
        if let Some(needs) = edge["dependsOn"].as_array_mut() {
            needs.retain(|need| kept.contains(&need.to_string()));
        }
    }
}

/// `bill` with `part` and everything in it: a component that the bill's own subject depends on.
fn with(mut bill: Value, part: &Value) -> Result<Value> {
    let subject = bill["metadata"]["component"]["bom-ref"].clone();
    let part_itself = &part["metadata"]["component"];
    for list in ["components", "dependencies"] {
        let added = part[list]
            .as_array()
            .with_context(|| format!("the page's bill has no {list}"))?;
        bill[list]
            .as_array_mut()
            .with_context(|| format!("the bill has no {list}"))?
            .extend(added.iter().cloned());
    }
    if let Some(components) = bill["components"].as_array_mut() {
        components.push(part_itself.clone());
    }
    let edges = bill["dependencies"].as_array_mut();
    let edge = edges
        .and_then(|edges| edges.iter_mut().find(|edge| edge["ref"] == subject))
        .context("the bill does not say what its subject depends on")?;
    if edge["dependsOn"].is_null() {
        edge["dependsOn"] = json!([]);
    }
    if let Some(needs) = edge["dependsOn"].as_array_mut() {
        needs.push(part_itself["bom-ref"].clone());
    }
    Ok(bill)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{keep_only, with, without_tools};

    #[test]
    fn what_only_development_needs_is_left_out() {
        let mut lock = json!({"packages": {
            "": {"dependencies": {"react": "19"}, "devDependencies": {"vite": "8"}},
            "node_modules/react": {"version": "19.3.1"},
            "node_modules/vite": {"version": "8.3.8", "dev": true},
        }});
        let rest = json!({"packages": {
            "": {"dependencies": {"react": "19"}},
            "node_modules/react": {"version": "19.3.1"},
        }});
        without_tools(&mut lock, "/packages/");
        assert_eq!(lock, rest);
    }

    #[test]
    fn a_crate_that_is_not_compiled_is_in_no_list() {
        let mut bill = json!({
            "metadata": {"component": {"bom-ref": "gateway"}},
            "components": [
                {"bom-ref": "a", "name": "sqlx", "version": "0.9.0"},
                {"bom-ref": "b", "name": "rsa", "version": "0.9.1"},
            ],
            "dependencies": [{"ref": "a", "dependsOn": ["b"]}, {"ref": "b"}, {"ref": "gateway", "dependsOn": ["a"]}],
        });
        let rest = json!({
            "metadata": {"component": {"bom-ref": "gateway"}},
            "components": [{"bom-ref": "a", "name": "sqlx", "version": "0.9.0"}],
            "dependencies": [{"ref": "a", "dependsOn": []}, {"ref": "gateway", "dependsOn": ["a"]}],
        });
        keep_only(
            &mut bill,
            &["sqlx v0.9.0".to_owned(), "rsa v0.8.0".to_owned()].into(),
        );
        assert_eq!(bill, rest);
    }

    #[test]
    fn the_page_and_its_packages_are_parts_of_the_gateways_bill() {
        let gateway = json!({
            "metadata": {"component": {"bom-ref": "gateway"}},
            "components": [{"bom-ref": "axum"}],
            "dependencies": [{"ref": "axum"}, {"ref": "gateway", "dependsOn": ["axum"]}],
        });
        let page = json!({
            "metadata": {"component": {"bom-ref": "page"}},
            "components": [{"bom-ref": "react"}],
            "dependencies": [{"ref": "page", "dependsOn": ["react"]}, {"ref": "react"}],
        });
        let whole = json!({
            "metadata": {"component": {"bom-ref": "gateway"}},
            "components": [{"bom-ref": "axum"}, {"bom-ref": "react"}, {"bom-ref": "page"}],
            "dependencies": [
                {"ref": "axum"},
                {"ref": "gateway", "dependsOn": ["axum", "page"]},
                {"ref": "page", "dependsOn": ["react"]},
                {"ref": "react"},
            ],
        });
        assert_eq!(with(gateway, &page).unwrap(), whole);
    }
}
