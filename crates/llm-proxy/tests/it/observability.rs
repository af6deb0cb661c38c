//! That what Prometheus and Grafana are told to look at is there: every metric and every label of every expression in
//! deploy/observability, against a running llm-proxy after a request of each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::{MODEL, Proxy, question};

/// Labels that Prometheus itself adds.
const FROM_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/observability")
}

/// Every expression, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let rules = std::fs::read_to_string(folder().join("rules.yml")).unwrap();
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let mut all: Vec<_> = rules.map(|expr| ("rules.yml".to_owned(), expr.to_owned())).collect();
    let dashboard = std::fs::read(folder().join("grafana/dashboards/llm-proxy.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    all
}

/// A metric's name and the labels that an expression picks it by; and the labels that it sums by.
#[derive(Debug, Default)]
struct Named {
    metrics: Vec<(String, BTreeSet<String>)>,
    summed_by: BTreeSet<String>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The names before `=`, `!=`, `=~`, `!~` of `a="x",b!~"y"`; commas and braces within quotes do not count.
fn matchers(text: &str) -> BTreeSet<String> {
    let outside = text.split('"').step_by(2).collect::<String>();
    let names = outside.split(',').map(|part| part.trim_matches(|c| !is_word(c)).to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

fn named(expression: &str) -> Named {
    let mut found = Named::default();
    let mut rest = expression;
    while let Some(at) = rest.find(is_word) {
        rest = &rest[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let group = |open: char, close: char| after.trim_start().strip_prefix(open)?.split_once(close);
        rest = after;
        if word == "by" {
            let (labels, after) = group('(', ')').unwrap();
            found.summed_by.extend(matchers(labels));
            rest = after;
        } else if word.starts_with("llm_proxy_") || word.starts_with("gen_ai_") || word == "up" {
            let picked = after.strip_prefix('{').and_then(|_| group('{', '}'));
            let labels = picked.map(|(labels, _)| matchers(labels)).unwrap_or_default();
            rest = picked.map_or(after, |(_, after)| after);
            found.metrics.push((word.to_owned(), labels));
        }
    }
    found
}

/// The labels of each series that is exposed.
fn exposed(metrics: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = line.split_once('{').map(|(_, labels)| matchers(labels.rsplit_once('}').unwrap().0));
        all.entry(name.to_owned()).or_default().extend(labels.unwrap_or_default());
    }
    all
}

/// A whole answer, a broken one, one that was left, and refusals before and after the key.
async fn one_of_each(llama: &FakeLlama, proxy: &Proxy) {
    llama.script_once(Script::tokens(["a", "b", "c"]).cached(3));
    proxy.ask(&question(true)).await.text().await.unwrap();
    llama.script_once(Script::tokens(["a"]).error_after(1, "no"));
    proxy.ask(&question(true)).await.text().await.unwrap();
    proxy.error(&json!({"model": MODEL, "messages": []})).await;
    let stranger = proxy.http.get(format!("http://{}/v1/models", proxy.address));
    assert_eq!(stranger.send().await.unwrap().status(), 401);
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let mut left = proxy.ask(&question(true)).await;
    while !String::from_utf8_lossy(&left.chunk().await.unwrap().unwrap()).contains(r#""a""#) {}
    drop(left);
    proxy.until_metric(r#"llm_proxy_cancellations_total{phase="streaming"} 1"#).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn every_metric_and_label_of_the_dashboard_and_the_rules_is_exposed() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    one_of_each(&llama, &proxy).await;
    let exposed = exposed(&proxy.metrics().await);
    let expressions = expressions();
    assert!(expressions.len() > 40, "{}", expressions.len());
    let mut used = BTreeSet::new();
    for (place, expression) in &expressions {
        let named = named(expression);
        assert!(!named.metrics.is_empty(), "{place}: {expression}");
        let mut known: BTreeSet<&str> = FROM_PROMETHEUS.into();
        for (metric, labels) in named.metrics.iter().filter(|(metric, _)| metric != "up") {
            let has = exposed.get(metric).unwrap_or_else(|| panic!("{place}: {metric} is not exposed"));
            let missing: Vec<_> = labels.difference(has).collect();
            assert!(missing.is_empty(), "{place}: {metric} has no label {missing:?}");
            known.extend(has.iter().map(String::as_str));
            used.insert(metric.clone());
        }
        let missing: Vec<_> =
            named.summed_by.iter().filter(|label| !known.contains(label.as_str())).collect();
        assert!(missing.is_empty(), "{place}: nothing has the label {missing:?}");
    }
    assert!(used.len() > 15, "{used:?}");
}

#[tokio::test]
async fn every_metric_has_its_row_in_the_docs_and_no_other_has() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    one_of_each(&llama, &proxy).await;
    let page = std::fs::read_to_string(folder().join("../../docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    let metrics = proxy.metrics().await;
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    // A counter's samples end in `_total`, its type line does not.
    let mut exposed: BTreeSet<String> = types
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    // Only a change of a keys file brings it, and there is none here.
    exposed.insert("llm_proxy_keys_reloads_total".to_owned());
    assert_eq!(exposed, documented);
}

#[tokio::test]
async fn every_alert_is_explained_to_operators() {
    let rules = std::fs::read_to_string(folder().join("rules.yml")).unwrap();
    let page = std::fs::read_to_string(folder().join("../../docs/operations.md")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(page.contains(&format!("`{alert}`")), "{alert} is not in docs/operations.md");
    }
}

/// Says nothing where promtool is not installed (Debian: `apt-get install prometheus`).
#[tokio::test]
async fn prometheus_itself_accepts_its_settings_and_rules() {
    for (what, file) in [("rules", "rules.yml"), ("config", "prometheus.yml")] {
        let checked =
            tokio::process::Command::new("promtool").args(["check", what]).arg(folder().join(file)).output();
        let Ok(checked) = checked.await else { return };
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn names_are_found_in_an_expression_and_not_in_its_strings() {
    let found = named(
        r#"histogram_quantile(0.5, sum by (le, key) (rate(llm_proxy_a_bucket{x="gen_ai_no,y=",z!~"ab"}[5m]))) / llm_proxy_b"#,
    );
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(found.summed_by, labels(&["key", "le"]));
    let metric = |name: &str, names: &[&str]| (name.to_owned(), labels(names));
    assert_eq!(found.metrics, [metric("llm_proxy_a_bucket", &["x", "z"]), metric("llm_proxy_b", &[])]);
}
