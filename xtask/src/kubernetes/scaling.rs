//! How many of each there are, and what happens when a node or a pod goes.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::manifests::{Manifests, NAME, SERVICES, list, pairs, text};
use crate::settings::Settings;

/// The longest time that llm-proxy stays on a lost node, in seconds.
const LOST_NODE: u64 = 30;
/// What KEDA's ScaledObject knows (keda.sh/docs, "ScaledObject specification").
const SCALED_OBJECT: [&str; 11] = [
    "advanced",
    "cooldownPeriod",
    "fallback",
    "idleReplicaCount",
    "initialCooldownPeriod",
    "maxReplicaCount",
    "minReplicaCount",
    "pollingInterval",
    "scaleTargetRef",
    "scalingModifiers",
    "triggers",
];

pub(super) fn there_is_one_queue_and_it_moves_fast(manifests: &Manifests) -> Result<()> {
    let proxy = &manifests.find("Deployment", "llm-proxy")?["spec"];
    ensure!(
        proxy["replicas"] == 1,
        "several llm-proxies are not one queue"
    );
    let surge = json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    });
    ensure!(
        proxy["strategy"] == surge,
        "nobody takes requests while an llm-proxy is replaced"
    );
    let tolerations = &proxy["template"]["spec"]["tolerations"];
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let is_short = list(tolerations).any(|toleration| {
            toleration["key"] == key
                && toleration["effect"] == "NoExecute"
                && toleration["tolerationSeconds"]
                    .as_u64()
                    .is_some_and(|seconds| seconds <= LOST_NODE)
        });
        ensure!(
            is_short,
            "llm-proxy waits for minutes when its node is {key}"
        );
    }
    for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
        for scaler in manifests.of_kind(kind) {
            let target = &scaler["spec"]["scaleTargetRef"]["name"];
            ensure!(
                target == "llama-server",
                "{kind} changes the number of {target}"
            );
        }
    }
    Ok(())
}

pub(super) fn nodes_can_be_drained(manifests: &Manifests) -> Result<()> {
    let mut found: Vec<&str> = Vec::new();
    for budget in manifests.of_kind("PodDisruptionBudget") {
        let spec = &budget["spec"];
        let name = text(&spec["selector"]["matchLabels"][NAME]);
        ensure!(
            spec["maxUnavailable"] == 1 && spec["minAvailable"].is_null(),
            "the budget of {name} does not let one pod after another go"
        );
        ensure!(
            spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow",
            "a pod of {name} that does not work blocks the drain of its node"
        );
        found.push(name);
    }
    found.sort_unstable();
    let mut expected = SERVICES.map(|(_, name)| name);
    expected.sort_unstable();
    ensure!(
        found == expected,
        "budgets are for {found:?}, not {expected:?}"
    );
    Ok(())
}

pub(super) fn engines_share_the_model(
    manifests: &Manifests,
    is_replicated: bool,
    has_keda: bool,
) -> Result<()> {
    let set = &manifests.find("StatefulSet", "llama-server")?["spec"];
    let replicas = match (has_keda, is_replicated) {
        (true, _) => Value::Null,
        (false, true) => json!(2),
        (false, false) => json!(1),
    };
    ensure!(
        set["replicas"] == replicas,
        "there are {} llama-servers, not {replicas}",
        set["replicas"]
    );
    ensure!(
        set["updateStrategy"] == json!({"type": "RollingUpdate"})
            && set["podManagementPolicy"] == "Parallel",
        "llama-servers are not replaced one after another, or not started together"
    );
    let spread = &set["template"]["spec"]["topologySpreadConstraints"][0];
    ensure!(
        spread["topologyKey"] == "kubernetes.io/hostname",
        "llama-servers are not spread over nodes"
    );
    let claim = &manifests.find("PersistentVolumeClaim", "models")?["spec"];
    let mode = if is_replicated {
        "ReadWriteMany"
    } else {
        "ReadWriteOnce"
    };
    ensure!(
        claim["accessModes"] == json!([mode]),
        "the model's volume is not {mode}"
    );
    Ok(())
}

pub(super) fn the_model_can_be_applied_alone(manifests: &Manifests) -> Result<()> {
    let mut found: Vec<&str> = manifests
        .all()
        .iter()
        .filter(|object| object["metadata"]["labels"]["app.kubernetes.io/component"] == "model")
        .map(|object| text(&object["kind"]))
        .collect();
    found.sort_unstable();
    ensure!(
        found == ["ConfigMap", "Job", "PersistentVolumeClaim"],
        "`kubectl apply -l app.kubernetes.io/component=model` applies {found:?}"
    );
    Ok(())
}

pub(super) fn the_engine_asks_for_a_gpu(manifests: &Manifests) -> Result<()> {
    let pod = manifests.pod(SERVICES[0])?;
    let container = &pod["containers"][0];
    ensure!(
        container["resources"]["limits"]["nvidia.com/gpu"] == 1,
        "llama-server asks for no GPU"
    );
    for variable in [
        json!({"name": "LLAMA_ARG_N_GPU_LAYERS", "value": "999"}),
        json!({"name": "HOME", "value": "/tmp"}),
        json!({"name": "LLAMA_ARG_API_KEY_FILE", "value": "/run/secrets/upstream_api_key"}),
    ] {
        ensure!(
            list(&container["env"]).any(|each| *each == variable),
            "llama-server has not {variable}"
        );
    }
    ensure!(
        list(&pod["tolerations"]).any(|toleration| toleration["key"] == "nvidia.com/gpu"),
        "llama-server does not go to nodes that are kept for GPUs"
    );
    Ok(())
}

pub(super) fn engines_follow_the_queue(settings: &Settings, manifests: &Manifests) -> Result<()> {
    let spec = &manifests.find("ScaledObject", "llama-server")?["spec"];
    for field in spec.as_object().into_iter().flatten().map(|(name, _)| name) {
        ensure!(
            SCALED_OBJECT.contains(&field.as_str()),
            "KEDA's ScaledObject knows no field {field}"
        );
    }
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llama-server"});
    ensure!(
        spec["scaleTargetRef"] == target,
        "KEDA scales something else"
    );
    let least = spec["minReplicaCount"].as_u64().unwrap_or_default();
    let most = spec["maxReplicaCount"].as_u64().unwrap_or_default();
    ensure!(
        least >= 1,
        "without a llama-server nobody waits, and KEDA would never start one"
    );
    ensure!(most > least, "KEDA may start at most {most} llama-servers");
    let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
    ensure!(
        behavior["scaleDown"]["stabilizationWindowSeconds"]
            .as_u64()
            .is_some_and(|seconds| seconds >= 300),
        "llama-servers go as soon as nobody asks, and must load their model again"
    );
    let triggers: Vec<&Value> = list(&spec["triggers"]).collect();
    let &[trigger] = triggers.as_slice() else {
        anyhow::bail!("KEDA has {} triggers, not one", triggers.len());
    };
    ensure!(
        trigger["type"] == "prometheus" && trigger["metricType"] == "AverageValue",
        "KEDA does not divide a number of Prometheus by a number for each llama-server"
    );
    let metadata = pairs(&trigger["metadata"]);
    let names: Vec<&str> = metadata.keys().copied().collect();
    ensure!(
        names == ["query", "serverAddress", "threshold"],
        "KEDA's trigger has {names:?}"
    );
    let slots = manifests.setting("llama-server", "LLAMA_PARALLEL")?;
    ensure!(
        metadata["threshold"] == slots,
        "KEDA wants a llama-server for {} requests, and each has {slots} slots",
        metadata["threshold"]
    );
    let documented = std::fs::read_to_string(settings.root().join("docs/metrics.md"))?;
    for metric in ["llm_proxy_queue_depth", "llm_proxy_requests_in_flight"] {
        ensure!(
            metadata["query"].contains(metric) && documented.contains(&format!("`{metric}`")),
            "KEDA does not ask for {metric}, or llm-proxy has no such metric"
        );
    }
    for monitor in manifests.of_kind("ServiceMonitor") {
        let endpoints = json!([{"port": "admin", "path": "/metrics", "interval": "15s"}]);
        ensure!(
            monitor["spec"]["endpoints"] == endpoints,
            "Prometheus does not scrape {}",
            monitor["metadata"]["name"]
        );
    }
    Ok(())
}
