//! Who may open a connection to whom. The NetworkPolicies are read as a cluster reads them, for every pair of parties.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::manifests::{Manifests, NAME, list, text, workloads};

/// Ports that anybody here listens on, or asks outside.
const PORTS: [u64; 11] = [53, 80, 443, 5432, 6379, 8000, 8080, 8081, 9000, 9081, 22];

/// Somebody who may open connections or accept them.
struct Party {
    name: &'static str,
    place: PartyPlace,
}

enum PartyPlace {
    /// A pod: whether it is in Corral's namespace, the labels of its namespace, and its own.
    Pod(bool, Value, Value),
    /// An address outside the cluster.
    Outside(Ipv4Addr),
}

pub(super) fn connections_are_those_of_the_design(
    manifests: &Manifests,
    is_monitored: bool,
    has_gateways: bool,
    has_migration: bool,
) -> Result<()> {
    for (kind, name) in manifests.workloads() {
        let labels = &manifests.find(kind, name)?["spec"]["template"]["metadata"]["labels"];
        ensure!(
            labels[NAME] == name,
            "policies and Services take the pods of {name} for {}",
            labels[NAME]
        );
    }
    let parties = parties(manifests);
    let policies: Vec<&Value> = manifests.of_kind("NetworkPolicy").collect();
    let mut found = Vec::new();
    for from in &parties {
        for to in parties.iter().filter(|to| to.name != from.name) {
            for port in PORTS {
                let is_ours = from.is_ours() || to.is_ours();
                if is_ours && leaves(&policies, from, to, port) && enters(&policies, from, to, port)
                {
                    found.push(format!("{} -> {}:{port}", from.name, to.name));
                }
            }
        }
    }
    let mut expected = vec![
        "llm-proxy -> llama-server:8080",
        "llm-proxy -> DNS:53",
        "chat-gateway -> llm-proxy:8081",
        "chat-gateway -> DNS:53",
        "model-fetcher -> DNS:53",
        "model-fetcher -> the Hub:443",
        "a caller of the namespace -> llm-proxy:8081",
        "a caller of another namespace -> llm-proxy:8081",
        "the ingress -> chat-gateway:8000",
    ];
    if is_monitored {
        expected.extend([
            "Prometheus -> llm-proxy:9000",
            "Prometheus -> llm-proxy:9081",
            "Prometheus -> chat-gateway:9000",
            "Prometheus -> chat-gateway:9081",
        ]);
    }
    if has_gateways {
        expected.extend([
            "chat-gateway -> PostgreSQL and Valkey:5432",
            "chat-gateway -> PostgreSQL and Valkey:6379",
        ]);
    }
    if has_migration {
        expected.extend([
            "chat-gateway-migrate -> PostgreSQL and Valkey:5432",
            "chat-gateway-migrate -> DNS:53",
        ]);
    }
    found.sort();
    expected.sort_unstable();
    ensure!(
        found == expected,
        "the NetworkPolicies allow {found:#?}, not {expected:#?}"
    );
    Ok(())
}

pub(super) fn only_services_inside_are_offered(
    manifests: &Manifests,
    is_monitored: bool,
) -> Result<()> {
    let mut offered = Vec::new();
    for service in manifests.of_kind("Service") {
        let name = text(&service["metadata"]["name"]);
        let spec = &service["spec"];
        ensure!(
            spec["type"].is_null() && spec["externalIPs"].is_null(),
            "the Service {name} is offered outside the cluster"
        );
        let pod = text(&spec["selector"][NAME]);
        ensure!(
            workloads().any(|(_, workload)| workload == pod),
            "the Service {name} leads to no pod"
        );
        for port in list(&spec["ports"]) {
            offered.push(format!("{name}:{}", port["port"]));
        }
    }
    let mut expected = vec!["chat-gateway:8000", "llama-server:8080", "llm-proxy:8081"];
    if is_monitored {
        expected.extend(["chat-gateway-admin:9000", "llm-proxy-admin:9081"]);
    }
    offered.sort();
    expected.sort_unstable();
    ensure!(
        offered == expected,
        "Services offer {offered:?}, not {expected:?}"
    );
    Ok(())
}

/// Corral's pods, and everybody else whom the policies tell apart.
fn parties(manifests: &Manifests) -> Vec<Party> {
    let mut parties: Vec<Party> = manifests
        .workloads()
        .map(|(_, name)| Party::here(name, json!({NAME: name})))
        .collect();
    parties.extend([
        Party::here("a stranger in the namespace", json!({})),
        Party::here(
            "a caller of the namespace",
            json!({"corral/llm-caller": "true"}),
        ),
        Party::elsewhere("a stranger", json!({}), json!({})),
        Party::elsewhere(
            "a labelled stranger",
            json!({}),
            json!({"corral/llm-caller": "true"}),
        ),
        Party::elsewhere(
            "another pod of the callers",
            json!({"corral/llm-callers": "true"}),
            json!({}),
        ),
        Party::elsewhere(
            "a caller of another namespace",
            json!({"corral/llm-callers": "true"}),
            json!({"corral/llm-caller": "true"}),
        ),
        Party::elsewhere("the ingress", json!({"corral/front": "true"}), json!({})),
        Party::elsewhere(
            "Prometheus",
            json!({"corral/monitoring": "true"}),
            json!({}),
        ),
        Party::elsewhere(
            "PostgreSQL and Valkey",
            json!({"corral/storage": "true"}),
            json!({}),
        ),
        Party::elsewhere(
            "DNS",
            json!({"kubernetes.io/metadata.name": "kube-system"}),
            json!({"k8s-app": "kube-dns"}),
        ),
        Party::elsewhere(
            "another pod of kube-system",
            json!({"kubernetes.io/metadata.name": "kube-system"}),
            json!({}),
        ),
        Party::outside("the Hub", Ipv4Addr::new(18, 164, 174, 23)),
        Party::outside("a private address", Ipv4Addr::new(10, 43, 0, 1)),
        Party::outside("the cloud's metadata", Ipv4Addr::new(169, 254, 169, 254)),
    ]);
    parties
}

impl Party {
    fn here(name: &'static str, labels: Value) -> Self {
        let namespace = json!({"kubernetes.io/metadata.name": "corral"});
        let place = PartyPlace::Pod(true, namespace, labels);
        Self { name, place }
    }

    fn elsewhere(name: &'static str, namespace: Value, labels: Value) -> Self {
        let place = PartyPlace::Pod(false, namespace, labels);
        Self { name, place }
    }

    fn outside(name: &'static str, address: Ipv4Addr) -> Self {
        let place = PartyPlace::Outside(address);
        Self { name, place }
    }

    /// Whether Corral runs it. Others in the namespace may have policies of their own, which let them ask anybody.
    fn is_ours(&self) -> bool {
        workloads().any(|(_, name)| name == self.name)
    }
}

/// Whether the policies of `from` let it ask `to`.
fn leaves(policies: &[&Value], from: &Party, to: &Party, port: u64) -> bool {
    passes(policies, from, "Egress", ("egress", "to"), to, port)
}

/// Whether the policies of `to` let `from` in.
fn enters(policies: &[&Value], from: &Party, to: &Party, port: u64) -> bool {
    passes(policies, to, "Ingress", ("ingress", "from"), from, port)
}

/// A pod that no policy of this type selects is open; any other needs a rule that allows the peer and the port.
fn passes(
    policies: &[&Value],
    pod: &Party,
    policy_type: &str,
    (rules, peers): (&str, &str),
    peer: &Party,
    port: u64,
) -> bool {
    let PartyPlace::Pod(_, _, labels) = &pod.place else {
        return true;
    };
    if !pod.is_ours() {
        return true;
    }
    let mut is_selected = false;
    for policy in policies {
        let spec = &policy["spec"];
        let is_of_type = list(&spec["policyTypes"]).any(|each| each == policy_type);
        if !is_of_type || !selects(&spec["podSelector"], labels) {
            continue;
        }
        is_selected = true;
        for rule in list(&spec[rules]) {
            let has_port =
                rule["ports"].is_null() || list(&rule["ports"]).any(|each| each["port"] == port);
            let has_peer = rule[peers].is_null() || allows(&rule[peers], peer);
            if has_port && has_peer {
                return true;
            }
        }
    }
    !is_selected
}

/// Whether a list of peers has this one.
fn allows(peers: &Value, party: &Party) -> bool {
    list(peers).any(|peer| match &party.place {
        PartyPlace::Outside(address) => {
            let block = &peer["ipBlock"];
            contains(text(&block["cidr"]), *address)
                && !list(&block["except"]).any(|except| contains(text(except), *address))
        }
        PartyPlace::Pod(is_ours, namespace, labels) => {
            let in_namespace = match &peer["namespaceSelector"] {
                Value::Null => *is_ours,
                selector => selects(selector, namespace),
            };
            let has_labels = match &peer["podSelector"] {
                Value::Null => true,
                selector => selects(selector, labels),
            };
            peer["ipBlock"].is_null() && in_namespace && has_labels
        }
    })
}

/// Whether a selector selects these labels; an empty one selects all.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    let has_labels = wanted
        .into_iter()
        .flatten()
        .all(|(name, value)| labels[name] == *value);
    let fits = list(&selector["matchExpressions"]).all(|expression| {
        let label = &labels[text(&expression["key"])];
        expression["operator"] == "In" && list(&expression["values"]).any(|value| value == label)
    });
    has_labels && fits
}

/// Whether the network `cidr`, as in 10.0.0.0/8, has this address. One of IPv6 has none.
fn contains(cidr: &str, address: Ipv4Addr) -> bool {
    let Some((network, bits)) = cidr.split_once('/') else {
        return false;
    };
    let Ok(network) = network.parse::<Ipv4Addr>() else {
        return false;
    };
    let bits: u32 = bits.parse().unwrap_or(32);
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    network.to_bits() & mask == address.to_bits() & mask
}
