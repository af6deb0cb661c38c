//! What a panic costs: its own request.

use axum::extract::State;
use axum::routing::post;
use common::env::Environment;
use common::server::ListenerLimits;
use common::shutdown::Shutdown;
use common::traces::Traces;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{in_layers, routes};
use crate::observe::audit::Audit;
use crate::observe::metrics::ProxyMetrics;
use crate::state::App;
use crate::{Config, VARIABLES};
use admission::placement::{Prefix, UpstreamId};

fn app(shutdown: &Shutdown) -> App {
    let settings = [
        ("PROXY_UPSTREAMS", "http://127.0.0.1:1"),
        ("LLM_API_KEY", "a-key"),
        ("LLM_MODEL", "model"),
    ];
    let mut env = Environment::from_pairs("PROXY_", &[VARIABLES], settings);
    let config = Config::read(&mut env);
    env.finish().unwrap();
    let admission = admission::Admission::new(config.queue_requests, config.queue_bytes);
    let metrics = ProxyMetrics::new(admission.clone()).0;
    let (audit, _flush) = Audit::start(&config.audit, metrics.audit_lines_lost.clone()).unwrap();
    let traces = Traces::start("llm-proxy", "0", None).unwrap();
    App::new(config, admission, metrics, audit, traces, shutdown.clone()).unwrap()
}

/// Takes a slot and fails, as only a mistake of ours could.
async fn panics(State(app): State<App>) {
    let asking = admission::Asking {
        caller: "default",
        weight: std::num::NonZeroU32::MIN,
        max_in_flight: usize::MAX,
        user: "",
        max_in_flight_of_user: usize::MAX,
        n_prompt_tokens: 1,
        max_completion_tokens: 1,
        n_bytes: 1,
        prefix: &Prefix::default(),
    };
    let mut ticket = app.admission.enter(&asking).unwrap();
    let deadline = tokio::time::Instant::now() + app.config.deadlines.queue;
    let _permit = ticket.permit(deadline).await.unwrap();
    panic!("a mistake");
}

#[tokio::test]
async fn a_panic_ends_its_own_request_in_the_envelope_and_holds_no_slot() {
    let shutdown = Shutdown::new();
    let app = app(&shutdown);
    app.admission.set_slots(UpstreamId(0), 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = in_layers(routes(&app).route("/panics", post(panics)), &app);
    let refusals = app.reporter.metrics.connections_refused.clone();
    shutdown.spawn(common::server::serve(
        listener,
        router,
        ListenerLimits::default(),
        refusals,
        shutdown.clone(),
    ));

    let http = reqwest::Client::new();
    let running = http.get(format!("{url}/health"));
    for _ in 0..20 {
        // The one slot is free again for each.
        let response = http.post(format!("{url}/panics")).send().await.unwrap();
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key("x-request-id"));
        let message = "llm-proxy failed; its log says where";
        let error =
            json!({"message": message, "type": "server_error", "code": "internal", "param": null});
        assert_eq!(
            response.json::<Value>().await.unwrap(),
            json!({"error": error, "src": "llm-proxy"})
        );
    }
    assert_eq!(
        running.send().await.unwrap().status(),
        503,
        "others are answered: nobody is up"
    );
    assert_eq!(app.admission.ours_at(UpstreamId(0)).in_flight, 0);
}
