//! The bounds that hold when nobody sets anything, as they are promised; what each does is tested with shorter ones.

use std::time::Duration;

use common::env::Environment;
use llm_proxy::{Api, Config, Deadlines, Destination, VARIABLES};

use crate::{KEY, MODEL};

#[test]
fn the_bounds_that_nobody_sets_are_the_promised_ones() {
    let settings = [("LLM_API_KEY", KEY), ("LLM_MODEL", MODEL)];
    let mut env = Environment::from_pairs("PROXY_", &[VARIABLES], settings);
    let config = Config::read(&mut env);
    env.finish().unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(config.max_body_bytes, 256 * 1024);
    assert_eq!(config.routes, [Api::Chat]);
    assert_eq!(
        config.deadlines,
        Deadlines {
            queue: seconds(30),
            queue_with_events: seconds(600),
            connect: seconds(1),
            first_token: seconds(60),
            first_token_per_prompt_token: Duration::from_millis(150),
            between_tokens: seconds(60),
            total: seconds(1800),
        }
    );
    assert_eq!(
        (config.queue_requests, config.queue_bytes),
        (64, 8 * 1024 * 1024)
    );
    // A comment every 10 s, a look at slots every 5 s, a reader that takes nothing for 60 s.
    assert_eq!(
        [config.keep_alive, config.probe_up, config.write_stall],
        [10, 5, 60].map(seconds)
    );
    // A change of the keys file counts at the second look that sees it, within a second.
    assert!(config.keys_poll * 3 < seconds(1), "{:?}", config.keys_poll);
    assert_eq!(
        (config.audit, config.traces.is_none()),
        (Destination::Off, true)
    );
}

#[test]
fn the_largest_body_that_is_allowed_is_never_too_much_for_all_bodies_together() {
    let (most, settings) = ("1000000000", [("LLM_API_KEY", KEY), ("LLM_MODEL", MODEL)]);
    let large = [("PROXY_MAX_BODY_BYTES", most), ("PROXY_QUEUE_BYTES", most)];
    let mut env =
        Environment::from_pairs("PROXY_", &[VARIABLES], settings.into_iter().chain(large));
    let config = Config::read(&mut env);
    env.finish().unwrap();
    assert!(config.max_bodies_bytes >= config.max_body_bytes);
}
