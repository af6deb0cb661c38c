//! How each service is started, asked for its health, and stopped: as the production Compose stack does it.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::manifests::{FETCHER, MOVER, Manifests, SERVICES, containers, list, pairs, text};
use crate::env_file;
use crate::release::CURRENT;
use crate::settings::Settings;

/// What Kubernetes calls each service, and what Compose does.
const NAMES: [(&str, &str); 5] = [
    ("llama-server", "llama_server"),
    ("llm-proxy", "llm_proxy"),
    ("chat-gateway", "chat_gateway"),
    ("model-fetcher", "llm_init"),
    ("chat-gateway-migrate", "chat_gateway"),
];
/// Seconds from the end of a pod in the cluster to the last request that llm-proxy may send it: CoreDNS keeps an answer for
/// 5, and llm-proxy asks every 10.
const LEARNT_AFTER: u64 = 15;
/// Seconds of drain.sh beyond its limit: its last question and its last pause.
const LAST_LOOK: u64 = 7;
/// Seconds that llama-server itself may take to stop, as in Compose.
const ENGINE_STOP: u64 = 20;
/// Seconds that our services may take beyond their drain, as in Compose.
const SERVICE_STOP: u64 = 15;

pub(super) fn settings_that_are_named_exist(manifests: &Manifests) -> Result<()> {
    let maps: Vec<&str> = manifests
        .of_kind("ConfigMap")
        .map(|map| text(&map["metadata"]["name"]))
        .collect();
    for workload in manifests.workloads() {
        let (_, name) = workload;
        let pod = manifests.pod(workload)?;
        let of_volumes = list(&pod["volumes"]).map(|volume| &volume["configMap"]["name"]);
        let of_containers = containers(pod).flat_map(|container| {
            let from = list(&container["envFrom"]).map(|from| &from["configMapRef"]["name"]);
            let env = list(&container["env"]);
            from.chain(env.map(|variable| &variable["valueFrom"]["configMapKeyRef"]["name"]))
        });
        for map in of_volumes.chain(of_containers).filter(|map| !map.is_null()) {
            ensure!(
                maps.contains(&text(map)),
                "{name}: there is no ConfigMap {map}"
            );
        }
    }
    Ok(())
}

pub(super) fn probes_ask_the_routes_of_health(
    manifests: &Manifests,
    has_gateways: bool,
) -> Result<()> {
    for (kind, name) in SERVICES {
        let container = manifests.container((kind, name))?;
        let (alive, ready, port, number) = match name {
            "llama-server" => ("/health", "/health", "http", 8080),
            "llm-proxy" => ("/livez", "/readyz", "admin", 9081),
            // The page of several must not go while no model is ready.
            _ if has_gateways => ("/livez", "/livez", "admin", 9000),
            _ => ("/livez", "/readyz", "admin", 9000),
        };
        for (probe, path) in [
            ("startupProbe", alive),
            ("livenessProbe", alive),
            ("readinessProbe", ready),
        ] {
            ensure!(
                container[probe]["httpGet"] == json!({"path": path, "port": port}),
                "{name}: {probe} does not ask {path} at {port}"
            );
        }
        ensure!(
            list(&container["ports"])
                .any(|each| each["name"] == port && each["containerPort"] == number),
            "{name}: its port {port} is not {number}"
        );
    }
    let startup = &manifests.container(SERVICES[0])?["startupProbe"];
    let seconds = startup["periodSeconds"].as_u64().unwrap_or_default()
        * startup["failureThreshold"].as_u64().unwrap_or_default();
    ensure!(
        seconds >= 600,
        "llama-server has {seconds} s to load its model, in Compose 10 minutes"
    );
    Ok(())
}

pub(super) fn pods_have_time_to_drain(settings: &Settings, manifests: &Manifests) -> Result<()> {
    let hook = std::fs::read_to_string(settings.root().join("deploy/k8s/base/drain.sh"))?;
    let mounted = manifests.setting("llama-server-drain", "drain.sh")?;
    ensure!(
        mounted == hook,
        "the hook of llama-server is not base/drain.sh"
    );
    let engine = manifests.container(SERVICES[0])?;
    ensure!(
        engine["lifecycle"]["preStop"]
            == json!({"exec": {"command": ["/bin/sh", "/etc/corral/drain.sh"]}}),
        "llama-server is stopped without drain.sh"
    );
    let limit = manifests.number("llama-server", "LLAMA_DRAIN_SECONDS")?;
    let quiet = manifests.number("llama-server", "LLAMA_DRAIN_QUIET_SECONDS")?;
    ensure!(
        quiet >= LEARNT_AFTER,
        "drain.sh may end before llm-proxy has learnt that the pod ends"
    );
    let least = limit + LAST_LOOK + ENGINE_STOP;
    enough_time(manifests, SERVICES[0], least)?;
    for (workload, variable) in [
        (SERVICES[1], "PROXY_DRAIN_SECONDS"),
        (SERVICES[2], "GATEWAY_DRAIN_SECONDS"),
    ] {
        let (_, name) = workload;
        let container = manifests.container(workload)?;
        let sleep = &container["lifecycle"]["preStop"]["sleep"]["seconds"];
        let sleep = sleep
            .as_u64()
            .with_context(|| format!("{name}: ends while requests are still sent to it"))?;
        let drain = manifests.number(name, variable)?;
        enough_time(manifests, workload, sleep + drain + SERVICE_STOP)?;
    }
    Ok(())
}

fn enough_time(manifests: &Manifests, workload: (&str, &str), least: u64) -> Result<()> {
    let (_, name) = workload;
    let grace = &manifests.pod(workload)?["terminationGracePeriodSeconds"];
    ensure!(
        grace.as_u64().is_some_and(|grace| grace >= least),
        "{name}: is killed after {grace} s, in the middle of its drain: it needs {least} s"
    );
    Ok(())
}

pub(super) fn addresses_lead_to_services(manifests: &Manifests, has_gateways: bool) -> Result<()> {
    let engines = &manifests.find("Service", "llama-server")?["spec"];
    ensure!(
        engines["clusterIP"] == "None" && engines["publishNotReadyAddresses"].is_null(),
        "the name llama-server does not lead to exactly the pods that are ready"
    );
    let set = &manifests.find("StatefulSet", "llama-server")?["spec"];
    ensure!(
        set["serviceName"] == "llama-server",
        "the StatefulSet has no Service for its names"
    );
    for (map, variable, expected) in [
        (
            "llm-proxy",
            "PROXY_UPSTREAMS",
            "dns+http://llama-server:8080",
        ),
        ("chat-gateway", "LLM_BASE_URL", "http://llm-proxy:8081/v1"),
    ] {
        let value = manifests.setting(map, variable)?;
        ensure!(value == expected, "{variable} is {value}, not {expected}");
    }
    let gateway = &manifests.find("Service", "chat-gateway")?["spec"];
    if has_gateways {
        ensure!(
            gateway["publishNotReadyAddresses"].is_null(),
            "people are sent to a gateway that ends, or whose node is lost"
        );
    } else {
        ensure!(
            gateway["publishNotReadyAddresses"] == true,
            "the page is away while the model loads"
        );
    }
    Ok(())
}

pub(super) fn nobody_has_decided_who_may_chat(manifests: &Manifests) -> Result<()> {
    let value = manifests.setting("chat-gateway", "GATEWAY_AUTH")?;
    ensure!(
        !value.is_empty() && !["none", "header", "jwt"].contains(&value),
        "GATEWAY_AUTH is {value:?}, so the gateway starts before somebody has said who may chat"
    );
    Ok(())
}

pub(super) fn llama_server_gets_the_flags_of_compose(
    manifests: &Manifests,
    compose: &Manifests,
) -> Result<()> {
    let command = &compose.all()[0]["services"]["llama_server"]["command"];
    let mut expected = Vec::new();
    for flag in list(command) {
        expected.push(as_kubernetes_writes(text(flag), manifests)?);
    }
    let container = manifests.container(SERVICES[0])?;
    let found: Vec<&str> = list(&container["args"]).map(text).collect();
    ensure!(
        found == expected,
        "llama-server gets {found:?}, and in Compose {expected:?}"
    );
    Ok(())
}

/// `${NAME:-default}` is `$(NAME)`, and the default is the value of that setting.
fn as_kubernetes_writes(flag: &str, manifests: &Manifests) -> Result<String> {
    let Some((front, rest)) = flag.split_once("${") else {
        return Ok(flag.to_owned());
    };
    let (name, default) = match rest.split_once(":-") {
        Some((name, default)) => (name, default.strip_suffix('}')),
        None => (rest.trim_end_matches('}'), None),
    };
    if let Some(default) = default.filter(|default| !default.contains('$')) {
        let value = manifests
            .setting("llama-server", name)
            .or_else(|_| manifests.setting("corral-model", name))?;
        ensure!(
            value == default,
            "{name} is {value}, and in Compose {default}"
        );
    }
    Ok(format!("{front}$({name})"))
}

pub(super) fn memory_is_bounded_as_in_compose(
    manifests: &Manifests,
    compose: &Manifests,
) -> Result<()> {
    for workload in manifests.workloads() {
        let (_, name) = workload;
        let service = &compose.all()[0]["services"][in_compose(name)];
        let limit = text(&service["mem_limit"]);
        let (number, unit) = limit.split_at(limit.len().saturating_sub(1));
        let expected = format!("{number}{}i", unit.to_uppercase());
        let found = &manifests.container(workload)?["resources"]["limits"]["memory"];
        ensure!(
            *found == expected,
            "{name}: has {found} of memory, and in Compose {limit}"
        );
    }
    Ok(())
}

pub(super) fn the_model_is_that_of_the_env_file(
    settings: &Settings,
    manifests: &Manifests,
) -> Result<()> {
    let path = settings.root().join(".env.prod");
    let production = env_file::read(&path)?;
    for (map, prefix) in [("corral-model", "HF_"), ("llama-server", "LLAMA_")] {
        let data = pairs(&manifests.find("ConfigMap", map)?["data"]);
        for (name, value) in &production {
            if let Some(found) = data.get(name.as_str()).filter(|_| name.starts_with(prefix)) {
                ensure!(
                    found == value,
                    "{name} is {found}, and in .env.prod {value}"
                );
            }
        }
    }
    Ok(())
}

pub(super) fn images_are_those_of_compose(
    manifests: &Manifests,
    engine: &Manifests,
    is_example: bool,
) -> Result<()> {
    let image = text(&engine.all()[0]["services"]["llama_server"]["image"]);
    let default = image
        .split_once(":-")
        .map(|(_, rest)| rest.trim_end_matches('}'));
    let found = &manifests.container(SERVICES[0])?["image"];
    ensure!(
        found.as_str() == default,
        "llama-server runs {found}, and in Compose {default:?}"
    );
    let registry = if is_example {
        "ghcr.io/OWNER/corral"
    } else {
        "localhost/corral"
    };
    let mover = manifests.has(MOVER).then_some((MOVER, "chat-gateway"));
    let ours = [SERVICES[1], SERVICES[2], FETCHER].map(|workload| (workload, workload.1));
    for (workload, name) in ours.into_iter().chain(mover) {
        let found = &manifests.container(workload)?["image"];
        let expected = format!("{registry}/{name}:{CURRENT}");
        ensure!(*found == expected, "{name} runs {found}, not {expected}");
    }
    let fetcher = &manifests.pod(SERVICES[0])?["initContainers"][0]["image"];
    ensure!(
        *fetcher == manifests.container(FETCHER)?["image"],
        "the init container of llama-server is another model-fetcher"
    );
    Ok(())
}

fn in_compose(name: &str) -> &'static str {
    NAMES
        .iter()
        .find(|(kubernetes, _)| *kubernetes == name)
        .map_or("", |(_, compose)| compose)
}
