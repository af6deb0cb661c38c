//! Settings: their defaults, and what is refused, all at once and by name.

use std::num::NonZeroU32;

use chat_gateway::identity::{Origins, UserBounds};
use chat_gateway::{Config, VARIABLES};
use common::env::Environment;

fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
    let mut env = Environment::from_pairs("GATEWAY_", &[VARIABLES], pairs.iter().copied());
    let config = Config::read(&mut env);
    env.finish()
        .map(|()| config)
        .map_err(|invalid| invalid.to_string())
}

#[test]
fn the_defaults_are_those_of_the_stack() {
    let config = read(&[("LLM_API_KEY", "key"), ("HF_FILENAME", "model.gguf")]).unwrap();
    assert_eq!(
        (config.listen.to_string(), config.admin_listen.to_string()),
        ("0.0.0.0:8000".into(), "0.0.0.0:9000".into())
    );
    assert_eq!(
        (&*config.base_url, &*config.model),
        ("http://llm_proxy:8081/v1", "model.gguf")
    );
    assert_eq!(
        (&*config.system_prompt, config.temperature),
        ("You are a helpful assistant.", 0.2)
    );
    assert_eq!(config.allowed_origins, Origins::default());
}

#[test]
fn every_problem_is_named_at_once_and_no_value_is_shown() {
    let problems = read(&[
        ("LLM_BASE_URL", "https://user:hunter2@host/v1"),
        ("GATEWAY_ALLOWED_ORIGINS", "https://chat.example, *"),
        ("GATEWAY_PUBLIC_NAME", "https://hunter2.example/"),
        ("GATEWAY_TEMPERATURE", "hunter2"),
        ("GATEWAY_MAX_TOKENS", "0"),
        ("GATEWAY_BUS", "http://:hunter2@valkey"),
        ("GATEWAY_LISTEM", "x"),
    ])
    .unwrap_err();
    for name in [
        "LLM_BASE_URL",
        "LLM_API_KEY",
        "LLM_MODEL",
        "GATEWAY_ALLOWED_ORIGINS",
        "GATEWAY_PUBLIC_NAME",
        "GATEWAY_TEMPERATURE",
        "GATEWAY_MAX_TOKENS",
        "GATEWAY_BUS",
        "GATEWAY_LISTEM",
    ] {
        assert!(
            problems.contains(&format!("\n  {name} ")),
            "{name} is missing in {problems}"
        );
    }
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn what_would_let_everybody_in_is_refused() {
    let base = [("LLM_API_KEY", "key"), ("HF_FILENAME", "model.gguf")];
    let secret = ("GATEWAY_JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let audience = ("GATEWAY_JWT_AUDIENCE", "corral");
    let jwt = ("GATEWAY_AUTH", "jwt");
    for (pairs, named) in [
        (&[("GATEWAY_AUTH", "off")][..], "GATEWAY_AUTH"),
        (&[("GATEWAY_AUTH", "Header")], "GATEWAY_AUTH"),
        (&[("GATEWAY_AUTH", "header")], "GATEWAY_AUTH"),
        (&[jwt, audience], "GATEWAY_AUTH"),
        (&[jwt, secret], "GATEWAY_JWT_AUDIENCE"),
        (
            &[jwt, audience, ("GATEWAY_JWT_SECRET", "short")],
            "GATEWAY_JWT_SECRET",
        ),
        (
            &[
                jwt,
                audience,
                secret,
                ("GATEWAY_JWKS_URL", "https://app.example/keys"),
            ],
            "GATEWAY_AUTH",
        ),
        (
            &[
                jwt,
                audience,
                ("GATEWAY_JWKS_URL", "http://app.example/keys"),
            ],
            "GATEWAY_JWKS_URL",
        ),
        (
            &[
                jwt,
                audience,
                ("GATEWAY_JWKS_URL", "https://u:p@app.example/keys"),
            ],
            "GATEWAY_JWKS_URL",
        ),
        (
            &[jwt, audience, ("GATEWAY_JWKS_URL", "file:///keys")],
            "GATEWAY_JWKS_URL",
        ),
        (
            &[jwt, audience, ("GATEWAY_JWKS_FILE", "/nowhere/keys.json")],
            "GATEWAY_JWKS_FILE",
        ),
        (
            &[jwt, audience, ("GATEWAY_JWKS_FILE", "/dev/null")],
            "GATEWAY_JWKS_FILE",
        ),
        (
            &[jwt, audience, secret, ("GATEWAY_JWT_COOKIE", "a=b")],
            "GATEWAY_JWT_COOKIE",
        ),
        (&[secret], "GATEWAY_JWT_SECRET"),
        (&[audience], "GATEWAY_JWT_AUDIENCE"),
        (
            &[("GATEWAY_REVOKED_FILE", "/nowhere/revoked")],
            "GATEWAY_REVOKED_FILE",
        ),
        (
            &[("GATEWAY_AUTH_USER_HEADER", "two words")],
            "GATEWAY_AUTH_USER_HEADER",
        ),
        (
            &[("GATEWAY_SOCKETS_PER_USER", "-1")],
            "GATEWAY_SOCKETS_PER_USER",
        ),
    ] {
        let problems = read(&[&base, pairs].concat()).unwrap_err();
        let lines: Vec<&str> = problems.lines().skip(1).collect();
        let named = format!("  {named} ");
        assert!(
            lines.len() == 1 && lines[0].starts_with(&named),
            "{pairs:?}: {problems}"
        );
    }
    for pairs in [
        &[jwt, audience, secret][..],
        &[
            jwt,
            audience,
            ("GATEWAY_JWKS_URL", "https://app.example/keys"),
        ],
        &[
            jwt,
            audience,
            (
                "GATEWAY_JWKS_URL",
                "http://keycloak:8080/realms/corral/certs",
            ),
        ],
        &[
            ("GATEWAY_AUTH", "header"),
            ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1"),
        ],
    ] {
        assert!(read(&[&base, pairs].concat()).is_ok(), "{pairs:?}");
    }
}

#[test]
fn the_bounds_that_nobody_sets_are_the_promised_ones() {
    let config = read(&[("LLM_API_KEY", "key"), ("HF_FILENAME", "model.gguf")]).unwrap();
    assert_eq!(
        config.bounds,
        UserBounds {
            sockets_per_user: NonZeroU32::new(20),
            sockets_per_address: NonZeroU32::new(100),
            messages_per_minute: NonZeroU32::new(30),
            answers_per_user: NonZeroU32::new(4),
            tokens_per_day: None,
        }
    );
}

#[test]
fn an_origin_that_no_browser_sends_is_refused() {
    for entry in [
        "*",
        "chat.example",
        "https://chat.example/",
        "https://chat.example/chat",
        "https://chat.example:443",
        "null",
    ] {
        assert!(Origins::parse(entry).is_err(), "{entry}");
    }
    assert_eq!(Origins::parse(" , ").unwrap(), Origins::default());
}
