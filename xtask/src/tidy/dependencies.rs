//! Which crate of ours may depend on which, from `cargo metadata`. Crates that are to come are in it already.
//!
//! ```text
//! model-fetcher --+                             testkit <- [dev] all but admission; bench
//! chat-gateway ---+-> common <-- llama-client   xtask -> none of ours
//! llm-proxy ------+-> admission, llama-client   admission -> none of ours
//! model-fetcher -> [dev] fake-cas -> testkit: heavy, so no other crate may
//! ```

use serde::Deserialize;

/// What each crate of ours may depend on, besides testkit for its tests.
const DIRECTION: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("model-fetcher", &["common"]),
    ("admission", &[]),
    ("llama-client", &["common"]),
    ("llm-proxy", &["common", "admission", "llama-client"]),
    ("chat-gateway", &["common"]),
    ("testkit", &[]),
    ("fake-cas", &["testkit"]),
    ("bench", &["testkit"]),
    ("xtask", &[]),
];
/// Those that not even a test of theirs may pull out of their place: xtask builds first, admission is pure.
const ALONE: &[&str] = &["xtask", "admission"];
/// Only for tests.
const FOR_TESTS: &str = "testkit";
/// Only for the tests of one crate, because it is heavy.
const HEAVY: (&str, &str) = ("fake-cas", "model-fetcher");

/// The part of `cargo metadata` that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// The problems.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let name = &package.name;
        let Some((_, allowed)) = DIRECTION.iter().find(|(ours, _)| ours == name) else {
            problems.push(format!(
                "{name}: a new crate; say in xtask/src/tidy/dependencies.rs what it may depend on"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            problems.extend(
                refusal(name, allowed, dependency)
                    .map(|why| format!("{name} -> {}: {why}", dependency.name)),
            );
        }
    }
    problems
}

fn refusal(package: &str, allowed: &[&str], dependency: &Dependency) -> Option<String> {
    let wanted = dependency.name.as_str();
    let is_ours = DIRECTION.iter().any(|(ours, _)| *ours == wanted);
    if !is_ours || allowed.contains(&wanted) {
        return None;
    }
    let is_dev = dependency.kind.as_deref() == Some("dev");
    if (wanted, package) == HEAVY && is_dev {
        return None;
    }
    if wanted != FOR_TESTS {
        return Some("dependencies point the other way".to_owned());
    }
    let for_tests = is_dev && !ALONE.contains(&package);
    (!for_tests).then(|| "it is for tests: make it a dev-dependency of a service".to_owned())
}

#[cfg(test)]
mod tests {
    use super::check;

    fn problems(package: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let metadata = serde_json::json!({
            "packages": [{"name": package, "dependencies": [{"name": dependency, "kind": kind}]}]
        });
        check(&serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn services_depend_on_common_and_on_no_other_service() {
        assert_eq!(problems("llm-proxy", "common", None), Vec::<String>::new());
        assert_eq!(problems("llm-proxy", "serde", None), Vec::<String>::new());
        assert_eq!(
            problems("chat-gateway", "llm-proxy", None),
            ["chat-gateway -> llm-proxy: dependencies point the other way"]
        );
        assert_eq!(problems("common", "llm-proxy", Some("dev")).len(), 1);
        assert_eq!(problems("xtask", "common", None).len(), 1);
    }

    #[test]
    fn admission_depends_on_none_of_ours_and_the_client_only_on_common() {
        for dependency in ["common", "llama-client", "testkit"] {
            let found = problems("admission", dependency, Some("dev"));
            assert_eq!(found.len(), 1, "{dependency}");
        }
        assert_eq!(problems("llm-proxy", "admission", None), [""; 0]);
        assert_eq!(problems("llama-client", "common", None), [""; 0]);
        assert_eq!(problems("llama-client", "admission", None).len(), 1);
        assert_eq!(problems("chat-gateway", "admission", None).len(), 1);
    }

    #[test]
    fn testkit_is_for_tests_and_benches_only() {
        assert_eq!(problems("bench", "testkit", None), [""; 0]);
        assert_eq!(
            problems("llm-proxy", "testkit", Some("dev")),
            Vec::<String>::new()
        );
        assert_eq!(problems("llm-proxy", "testkit", None).len(), 1);
        assert_eq!(problems("xtask", "testkit", Some("dev")).len(), 1);
    }

    #[test]
    fn the_heavy_cas_is_for_the_tests_of_model_fetcher_only() {
        assert_eq!(problems("model-fetcher", "fake-cas", Some("dev")), [""; 0]);
        assert_eq!(problems("model-fetcher", "fake-cas", None).len(), 1);
        assert_eq!(problems("llm-proxy", "fake-cas", Some("dev")).len(), 1);
        assert_eq!(problems("testkit", "fake-cas", None).len(), 1);
    }

    #[test]
    fn a_new_crate_must_say_what_it_may_depend_on() {
        assert_eq!(problems("new-one", "serde", None).len(), 1);
    }
}
