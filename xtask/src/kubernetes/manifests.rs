//! The objects of one rendering, and how to find what is in them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The label by which a pod is known.
pub(super) const NAME: &str = "app.kubernetes.io/name";
/// What runs for as long as the cluster does, with its kind.
pub(super) const SERVICES: [(&str, &str); 3] = [
    ("StatefulSet", "llama-server"),
    ("Deployment", "llm-proxy"),
    ("Deployment", "chat-gateway"),
];
/// What fills the model's volume.
pub(super) const FETCHER: (&str, &str) = ("Job", "model-fetcher");
/// What copies conversations from SQLite to PostgreSQL, with the component `migrate` only.
pub(super) const MOVER: (&str, &str) = ("Job", "chat-gateway-migrate");

/// The objects of one rendering, or the one of a Compose file.
pub(super) struct Manifests(Vec<Value>);

impl Manifests {
    /// Reads the JSON that the checker wrote beside `yaml`.
    pub(super) fn load(yaml: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(format!("{}.json", yaml.display()))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    /// The object of this kind and name; for a generated one, its name without the hash.
    pub(super) fn find(&self, kind: &str, name: &str) -> Result<&Value> {
        let found = self.of_kind(kind).find(|object| {
            let full = text(&object["metadata"]["name"]);
            full == name || (kind == "ConfigMap" && without_hash(full) == name)
        });
        found.with_context(|| format!("there is no {kind} {name}"))
    }

    /// All objects of this kind.
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// All objects.
    pub(super) fn all(&self) -> &[Value] {
        &self.0
    }

    /// The workloads that are in here.
    pub(super) fn workloads(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        workloads().filter(|workload| *workload != MOVER || self.has(MOVER))
    }

    /// Whether this workload is in here.
    pub(super) fn has(&self, (kind, name): (&str, &str)) -> bool {
        self.find(kind, name).is_ok()
    }

    /// The specification of the pods of this workload.
    pub(super) fn pod(&self, (kind, name): (&str, &str)) -> Result<&Value> {
        Ok(&self.find(kind, name)?["spec"]["template"]["spec"])
    }

    /// The one container of this workload that is no init container.
    pub(super) fn container(&self, workload: (&str, &str)) -> Result<&Value> {
        Ok(&self.pod(workload)?["containers"][0])
    }

    /// A value of a generated ConfigMap.
    pub(super) fn setting(&self, map: &str, name: &str) -> Result<&str> {
        let value = self.find("ConfigMap", map)?["data"][name].as_str();
        value.with_context(|| format!("the ConfigMap {map} has no {name}"))
    }

    /// As [`Self::setting`], of a whole number.
    pub(super) fn number(&self, map: &str, name: &str) -> Result<u64> {
        let value = self.setting(map, name)?;
        value
            .parse()
            .with_context(|| format!("{name} is no number: {value}"))
    }
}

/// All workloads that there may be.
pub(super) fn workloads() -> impl Iterator<Item = (&'static str, &'static str)> {
    SERVICES.into_iter().chain([FETCHER, MOVER])
}

/// Its text, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The elements of a list; of what is no list, none.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The pairs of an object with values that are text.
pub(super) fn pairs(value: &Value) -> BTreeMap<&str, &str> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect()
}

/// The containers of a pod, init containers included.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["initContainers"]).chain(list(&pod["containers"]))
}

/// The name of a generated object without the hash of its contents.
fn without_hash(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(front, _)| front)
}
