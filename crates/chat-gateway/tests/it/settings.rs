//! Settings: their defaults, and what is refused, all at once and by name.

use chat_gateway::identity::Origins;
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
        ("GATEWAY_TEMPERATURE", "hunter2"),
        ("GATEWAY_MAX_TOKENS", "0"),
        ("GATEWAY_LISTEM", "x"),
    ])
    .unwrap_err();
    for name in [
        "LLM_BASE_URL",
        "LLM_API_KEY",
        "LLM_MODEL",
        "GATEWAY_ALLOWED_ORIGINS",
        "GATEWAY_TEMPERATURE",
        "GATEWAY_MAX_TOKENS",
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
