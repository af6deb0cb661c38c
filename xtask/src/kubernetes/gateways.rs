//! Where conversations are, and how many chat-gateways use them: one on its own SQLite database, or several that share
//! PostgreSQL and Valkey and keep nothing themselves.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::manifests::{MOVER, Manifests, NAME, SERVICES, list, text};

/// The mounted files with the addresses of PostgreSQL and Valkey: the variable and the key of the Secret.
const ADDRESSES: [(&str, &str); 2] = [("GATEWAY_STORE_FILE", "store"), ("GATEWAY_BUS_FILE", "bus")];
/// The one volume of conversations in SQLite.
const CLAIM: &str = "chat-data";

pub(super) fn there_is_one_on_its_database(manifests: &Manifests) -> Result<()> {
    let gateway = &manifests.find("Deployment", "chat-gateway")?["spec"];
    ensure!(
        gateway["replicas"] == 1 && gateway["strategy"] == json!({"type": "Recreate"}),
        "two gateways could use one SQLite database"
    );
    let claim = &manifests.find("PersistentVolumeClaim", CLAIM)?["spec"];
    ensure!(
        claim["accessModes"] == json!(["ReadWriteOncePod"]),
        "a second pod could mount the conversations"
    );
    let pod = &gateway["template"]["spec"];
    ensure!(
        volume(pod, "data")["persistentVolumeClaim"] == json!({"claimName": CLAIM})
            && mounts(pod, "data", "/data"),
        "conversations are lost with the pod"
    );
    Ok(())
}

pub(super) fn none_is_away_while_another_is_replaced(manifests: &Manifests) -> Result<()> {
    let gateway = &manifests.find("Deployment", "chat-gateway")?["spec"];
    ensure!(
        gateway["replicas"] == 2,
        "there are {} chat-gateways, not two",
        gateway["replicas"]
    );
    let surge = json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    });
    ensure!(
        gateway["strategy"] == surge,
        "a chat-gateway ends before its successor is there"
    );
    Ok(())
}

pub(super) fn they_keep_nothing_themselves(manifests: &Manifests) -> Result<()> {
    let of_chat = manifests
        .of_kind("PersistentVolumeClaim")
        .any(|claim| claim["metadata"]["name"] == CLAIM);
    ensure!(!of_chat, "several gateways have a volume of conversations");
    let pod = manifests.pod(SERVICES[2])?;
    for volume in list(&pod["volumes"]) {
        ensure!(
            volume["persistentVolumeClaim"].is_null(),
            "several gateways mount one volume: {volume}"
        );
    }
    let data = volume(pod, "data");
    ensure!(
        data["emptyDir"]["sizeLimit"].is_string() && mounts(pod, "data", "/data"),
        "GATEWAY_DATA is no small folder of the pod's own"
    );
    for (variable, key) in ADDRESSES {
        reads_address(pod, variable, key)?;
    }
    Ok(())
}

pub(super) fn they_are_on_different_nodes(manifests: &Manifests) -> Result<()> {
    let spread = &manifests.pod(SERVICES[2])?["topologySpreadConstraints"];
    let expected = json!([{
        "labelSelector": {"matchLabels": {NAME: "chat-gateway"}},
        "matchLabelKeys": ["pod-template-hash"],
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
    }]);
    ensure!(
        *spread == expected,
        "chat-gateways are not spread over nodes: {spread}"
    );
    Ok(())
}

pub(super) fn old_conversations_move_only_when_asked(
    manifests: &Manifests,
    has_migration: bool,
) -> Result<()> {
    ensure!(
        manifests.has(MOVER) == has_migration,
        "conversations are copied although nobody asked, or not although somebody did"
    );
    if !has_migration {
        return Ok(());
    }
    let pod = manifests.pod(MOVER)?;
    ensure!(
        pod["containers"][0]["args"] == json!(["migrate", "--from", "sqlite:/data"])
            && volume(pod, "data")["persistentVolumeClaim"] == json!({"claimName": CLAIM})
            && mounts(pod, "data", "/data"),
        "what is copied is not the volume of the one gateway"
    );
    reads_address(pod, ADDRESSES[0].0, ADDRESSES[0].1)?;
    let mut found: Vec<&str> = manifests
        .all()
        .iter()
        .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/component"] == "migrate")
        .map(|object| text(&object["kind"]))
        .collect();
    found.sort_unstable();
    ensure!(
        found == ["Job", "NetworkPolicy"],
        "`kubectl apply -l app.kubernetes.io/component=migrate` applies {found:?}"
    );
    Ok(())
}

/// That the file that `variable` names is mounted, and is this key of the Secret.
fn reads_address(pod: &Value, variable: &str, key: &str) -> Result<()> {
    let container = &pod["containers"][0];
    let path = json!({"name": variable, "value": format!("/run/gateways/{key}")});
    let item = json!({"key": key, "path": key});
    let secret = &volume(pod, "addresses")["secret"];
    ensure!(
        list(&container["env"]).any(|each| *each == path)
            && list(&secret["items"]).any(|each| *each == item)
            && mounts(pod, "addresses", "/run/gateways"),
        "{}: {variable} does not name a file of the Secret corral-gateways",
        text(&container["name"])
    );
    Ok(())
}

/// The volume of this name.
fn volume<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let found = list(&pod["volumes"]).find(|volume| volume["name"] == name);
    found.unwrap_or(&Value::Null)
}

/// Whether the pod's container has this volume in this folder.
fn mounts(pod: &Value, volume: &str, folder: &str) -> bool {
    list(&pod["containers"][0]["volumeMounts"])
        .any(|mount| mount["name"] == volume && mount["mountPath"] == folder)
}
