//! What a pod may do: as little as in the production Compose stack.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::manifests::{FETCHER, MOVER, Manifests, containers, list, text};

/// Kinds of volumes that Pod Security's `restricted` allows and Corral uses.
const VOLUMES: [&str; 4] = ["configMap", "emptyDir", "persistentVolumeClaim", "secret"];

pub(super) fn pods_may_do_nothing_that_they_need_not(manifests: &Manifests) -> Result<()> {
    let namespace = manifests.find("Namespace", "corral")?;
    ensure!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted",
        "the namespace does not enforce restricted pods"
    );
    let n_workloads = manifests
        .all()
        .iter()
        .filter(|object| !object["spec"]["template"].is_null())
        .count();
    ensure!(
        n_workloads == manifests.workloads().count(),
        "there is a workload that nothing here checks"
    );
    for workload in manifests.workloads() {
        let (_, name) = workload;
        let pod = manifests.pod(workload)?;
        let context = &pod["securityContext"];
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            ensure!(context[id] == 65532, "{name}: {id} is not 65532");
        }
        ensure!(context["runAsNonRoot"] == true, "{name}: may run as root");
        ensure!(
            context["seccompProfile"] == json!({"type": "RuntimeDefault"}),
            "{name}: has not the runtime's seccomp profile"
        );
        for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            ensure!(pod[key].is_null(), "{name}: sets {key}");
        }
        ensure!(
            pod["automountServiceAccountToken"] == false && pod["serviceAccountName"] == "corral",
            "{name}: holds a token for the cluster"
        );
        ensure!(
            pod["enableServiceLinks"] == false,
            "{name}: gets a variable for every Service"
        );
        for volume in list(&pod["volumes"]) {
            let is_known = VOLUMES.iter().any(|kind| !volume[kind].is_null());
            ensure!(is_known, "{name}: mounts {volume}");
        }
        for container in containers(pod) {
            confined(container)?;
        }
    }
    Ok(())
}

fn confined(container: &Value) -> Result<()> {
    let name = text(&container["name"]);
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
    });
    ensure!(
        container["securityContext"] == expected,
        "{name}: its securityContext is not {expected}"
    );
    ensure!(
        container["resources"]["limits"]["memory"].is_string(),
        "{name}: its memory is unbounded"
    );
    for port in list(&container["ports"]) {
        ensure!(
            port["hostPort"].is_null(),
            "{name}: takes a port of its node"
        );
    }
    Ok(())
}

pub(super) fn secrets_are_files_of_those_who_need_them(
    manifests: &Manifests,
    has_token: bool,
    has_gateways: bool,
) -> Result<()> {
    ensure!(
        manifests.of_kind("Secret").next().is_none(),
        "a secret is in the repository"
    );
    for workload in manifests.workloads() {
        let (_, name) = workload;
        let pod = manifests.pod(workload)?;
        for container in containers(pod) {
            let names_secret = list(&container["envFrom"]).any(|from| !from["secretRef"].is_null());
            ensure!(!names_secret, "{name}: a secret is in its environment");
            for variable in list(&container["env"]) {
                let is_secret = !variable["valueFrom"]["secretKeyRef"].is_null();
                ensure!(!is_secret, "{name}: a secret is in {}", variable["name"]);
            }
        }
        let mut files = Vec::new();
        for volume in list(&pod["volumes"]).filter(|volume| !volume["secret"].is_null()) {
            let secret = &volume["secret"];
            ensure!(
                secret["defaultMode"] == 0o440 && secret["optional"].is_null(),
                "{name}: everybody may read its secrets, or they may be missing"
            );
            for item in list(&secret["items"]) {
                files.push(format!(
                    "{}/{}",
                    text(&secret["secretName"]),
                    text(&item["key"])
                ));
            }
            ensure!(
                mounts_of(pod, text(&volume["name"])).all(|mount| mount["readOnly"] == true),
                "{name}: may write to its secrets"
            );
        }
        files.sort_unstable();
        let expected: &[&str] = match name {
            "llama-server" => &["corral-keys/upstream_api_key"],
            "llm-proxy" => &["corral-keys/llm_api_key", "corral-keys/upstream_api_key"],
            "chat-gateway" if has_gateways => &[
                "corral-gateways/bus",
                "corral-gateways/store",
                "corral-keys/llm_api_key",
            ],
            "chat-gateway" => &["corral-keys/llm_api_key"],
            _ if workload == MOVER => &["corral-gateways/store"],
            _ if has_token => &["corral-hf-token/hf_token"],
            _ => &[],
        };
        ensure!(
            files == expected,
            "{name}: reads {files:?}, not {expected:?}"
        );
    }
    Ok(())
}

pub(super) fn only_the_job_writes_the_model(manifests: &Manifests) -> Result<()> {
    let claim = json!({"claimName": "models"});
    for workload in manifests.workloads() {
        let (_, name) = workload;
        let pod = manifests.pod(workload)?;
        for volume in list(&pod["volumes"]) {
            let is_models = volume["persistentVolumeClaim"] == claim;
            if is_models && workload != FETCHER {
                ensure!(
                    mounts_of(pod, text(&volume["name"])).all(|mount| mount["readOnly"] == true),
                    "{name}: may write to the model's folder"
                );
            }
        }
    }
    let engine = manifests.pod(("StatefulSet", "llama-server"))?;
    ensure!(
        engine["initContainers"][0]["args"] == json!(["--locked"]),
        "llama-server may start without the model of the settings"
    );
    let near = &manifests.pod(FETCHER)?["affinity"]["podAffinity"];
    ensure!(
        list(&near["requiredDuringSchedulingIgnoredDuringExecution"]).any(|term| {
            term["labelSelector"]["matchLabels"]["app.kubernetes.io/name"] == "llama-server"
        }),
        "the Job and llama-server could be on two nodes that cannot share the volume"
    );
    Ok(())
}

/// The mounts of a volume in all containers of a pod.
fn mounts_of<'a>(pod: &'a Value, volume: &'a str) -> impl Iterator<Item = &'a Value> {
    containers(pod)
        .flat_map(|container| list(&container["volumeMounts"]))
        .filter(move |mount| mount["name"] == volume)
}
