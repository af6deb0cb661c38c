//! What Prometheus and Grafana are told to look at in deploy/observability, and the pages that explain it, against what a
//! running service exposes: every metric and every label of every expression must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

/// What the services' metrics begin with.
const PREFIXES: [&str; 3] = ["llm_proxy_", "gen_ai_", "chat_gateway_"];
/// Prometheus' own metric: whether a service was reached.
const UP: &str = "up";
/// Where the rules of the alerts stand.
const RULES: &str = "deploy/observability/rules.yml";
/// Where their unit tests stand.
const RULES_TEST: &str = "deploy/observability/rules_test.yml";
/// Labels that Prometheus itself adds, and the one that every histogram has.
const FROM_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

/// A path below the repository.
#[must_use]
pub fn path(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(below)
}

fn read(below: &str) -> String {
    std::fs::read_to_string(path(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
}

/// Every expression of the rules, of their tests and of this service's dashboard, with where it stands.
fn expressions(dashboard: &str) -> Vec<(String, String)> {
    let rules = read(RULES);
    let rules = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let mut all: Vec<_> = rules
        .map(|expr| (RULES.to_owned(), expr.to_owned()))
        .collect();
    let tests = read(RULES_TEST);
    let series = tests
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- { series: '")?.split_once('\''));
    all.extend(series.map(|(series, _)| (RULES_TEST.to_owned(), series.to_owned())));
    all.extend(panels(dashboard));
    all
}

/// Every expression of a dashboard, with the title of its panel.
fn panels(dashboard: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let dashboard = read(&format!(
        "deploy/observability/grafana/dashboards/{dashboard}.json"
    ));
    let dashboard: Value = serde_json::from_str(&dashboard).expect("a dashboard is JSON");
    for panel in dashboard["panels"]
        .as_array()
        .expect("a dashboard has panels")
    {
        let title = panel["title"].as_str().expect("a panel has a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("a target has an expression");
            all.push((title.to_owned(), expression.to_owned()));
        }
    }
    all
}

/// Every query of both dashboards, as Grafana sends it for a range of a minute.
#[must_use]
pub fn dashboard_queries() -> Vec<String> {
    let all = ["llm-proxy", "chat-gateway"].into_iter().flat_map(panels);
    all.map(|(_, expression)| expression.replace("$__rate_interval", "1m"))
        .collect()
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
    let names = outside
        .split(',')
        .map(|part| part.trim_matches(|c| !is_word(c)).to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

fn named(expression: &str) -> Named {
    let mut found = Named::default();
    let mut rest = expression;
    while let Some(at) = rest.find(is_word) {
        rest = &rest[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if word == "by" {
            let (labels, after) = group(after, '(', ')').expect("labels follow `by`");
            found.summed_by.extend(matchers(labels));
            rest = after;
        } else if is_of(&PREFIXES, word) || word == UP {
            let picked = after.strip_prefix('{').and_then(|_| group(after, '{', '}'));
            let labels = picked
                .map(|(labels, _)| matchers(labels))
                .unwrap_or_default();
            rest = picked.map_or(after, |(_, after)| after);
            found.metrics.push((word.to_owned(), labels));
        }
    }
    found
}

/// What follows between `open` and `close`, and the rest behind it.
fn group(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix(open)?.split_once(close)
}

/// The labels of each series that is exposed.
fn exposed(metrics: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let labels = line
            .split_once('{')
            .map(|(_, labels)| matchers(labels.rsplit_once('}').unwrap_or_default().0));
        all.entry(name.to_owned())
            .or_default()
            .extend(labels.unwrap_or_default());
    }
    all
}

/// Whether a metric's name begins with one of these.
fn is_of(own: &[&str], metric: &str) -> bool {
    own.iter().any(|prefix| metric.starts_with(prefix))
}

/// Checks the expressions that name metrics beginning with one of `own`, in the rules and in `dashboard`, against
/// `metrics` as a service exposes them. Returns the metrics that are looked at.
///
/// # Panics
///
/// When one of them names what is not exposed, or no metric at all, or another service's beside its own.
#[must_use]
pub fn looked_at(dashboard: &str, own: &[&str], metrics: &str) -> BTreeSet<String> {
    let exposed = exposed(metrics);
    let mut used = BTreeSet::new();
    for (place, expression) in expressions(dashboard) {
        let named = named(&expression);
        assert!(!named.metrics.is_empty(), "{place}: {expression}");
        // The other service compares what is its own.
        let is_shared = [RULES, RULES_TEST].contains(&&*place);
        if is_shared && !named.metrics.iter().any(|(metric, _)| is_of(own, metric)) {
            continue;
        }
        let mut known: BTreeSet<&str> = FROM_PROMETHEUS.into();
        for (metric, labels) in named.metrics.iter().filter(|(metric, _)| metric != UP) {
            let has = exposed
                .get(metric)
                .unwrap_or_else(|| panic!("{place}: {metric} is not exposed"));
            let missing: Vec<_> = labels
                .difference(has)
                .filter(|label| !FROM_PROMETHEUS.contains(&label.as_str()))
                .collect();
            assert!(
                missing.is_empty(),
                "{place}: {metric} has no label {missing:?}"
            );
            known.extend(has.iter().map(String::as_str));
            used.insert(metric.clone());
        }
        let missing: Vec<_> = named
            .summed_by
            .iter()
            .filter(|label| !known.contains(label.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "{place}: nothing has the label {missing:?}"
        );
    }
    used
}

/// The metrics of docs/metrics.md that begin with one of `own`, each a row of its own.
#[must_use]
pub fn documented(own: &[&str]) -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned())
        .filter(|name| is_of(own, name))
        .collect()
}

/// The metrics that `metrics` declares, as docs/metrics.md calls them.
#[must_use]
pub fn declared(metrics: &str) -> BTreeSet<String> {
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    // A counter's samples end in `_total`, its type line does not.
    types
        .map(|(name, kind)| {
            if kind == "counter" {
                format!("{name}_total")
            } else {
                name.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::{PREFIXES, RULES, RULES_TEST, documented, named, path, read};
    use crate::tools::needs;

    #[test]
    fn names_are_found_in_an_expression_and_not_in_its_strings() {
        let found = named(
            r#"histogram_quantile(0.5, sum by (le, key) (rate(llm_proxy_a_bucket{x="gen_ai_no,y=",z!~"ab"}[5m]))) / llm_proxy_b"#,
        );
        let labels = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(found.summed_by, labels(&["key", "le"]));
        let metric = |name: &str, names: &[&str]| (name.to_owned(), labels(names));
        assert_eq!(
            found.metrics,
            [
                metric("llm_proxy_a_bucket", &["x", "z"]),
                metric("llm_proxy_b", &[])
            ]
        );
    }

    #[test]
    fn every_alert_is_explained_to_operators() {
        let rules = read(RULES);
        let page = read("docs/operations.md");
        let alerts: Vec<_> = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .collect();
        assert!(alerts.len() > 20, "{alerts:?}");
        for alert in alerts {
            assert!(
                page.contains(&format!("`{alert}`")),
                "{alert} is not in docs/operations.md"
            );
        }
    }

    #[test]
    fn every_metric_in_the_docs_is_of_a_service_that_compares_its_own() {
        assert_eq!(documented(&[""]), documented(&PREFIXES));
    }

    /// What a program of Prometheus says to a file of deploy/observability.
    fn accepted(program: &str, arguments: &[&str], file: &str) -> bool {
        if !needs(program, &["--version"]) {
            return true;
        }
        let folder = path("deploy/observability");
        let checked = Command::new(program)
            .args(arguments)
            .arg(file)
            .current_dir(folder)
            .output()
            .unwrap();
        eprintln!("{}", String::from_utf8_lossy(&checked.stdout));
        eprintln!("{}", String::from_utf8_lossy(&checked.stderr));
        checked.status.success()
    }

    #[test]
    fn prometheus_itself_accepts_its_settings_and_rules() {
        assert!(accepted("promtool", &["check", "config"], "prometheus.yml"));
        assert!(accepted("promtool", &["check", "rules"], "rules.yml"));
    }

    #[test]
    fn alertmanager_itself_accepts_its_settings() {
        assert!(accepted("amtool", &["check-config"], "alertmanager.yml"));
    }

    #[test]
    fn each_alert_fires_for_its_fault_and_none_while_all_is_well() {
        assert!(accepted("promtool", &["test", "rules"], "rules_test.yml"));
    }

    #[test]
    fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
        let rules = read(RULES);
        let alerts = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "));
        let tests = read(RULES_TEST);
        for alert in alerts {
            for line in [
                format!("- {{ eval_time: 60m, alertname: {alert} }}"),
                format!("- name: {alert}"),
                format!("  alertname: {alert}"),
            ] {
                assert!(
                    tests.lines().any(|of_tests| of_tests.trim() == line.trim()),
                    "{line}"
                );
            }
        }
    }
}
