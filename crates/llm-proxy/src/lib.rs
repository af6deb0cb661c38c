//! llm-proxy: the only door to llama-server.
//!
//! It owns what llama-server lacks: a bounded, fair queue as wide as the slots, deadlines that count tokens, cancelling
//! in every phase, an allow-list of routes and fields, and errors that a client can read.
//!
//! One request passes these modules:
//!
//! 1. `router`: the layers around every route. Then `routes/chat.rs`, which orders the rest.
//! 2. `auth`: whose key this is, what it may do, and what is left of its limits.
//! 3. `request`: the body, read once into typed fields and built anew.
//! 4. The crate `admission`: the queue, and the choice of an upstream. It gives out a permit for one slot.
//! 5. `fleet`: where that upstream is, and whether it works.
//! 6. The crate `llama-client`: the connection, and the events that come back.
//! 7. `answer`: drives the answer from the queue to its last byte, as a stream or as one object.
//! 8. `observe`: the record that each request leaves in the log, the metrics, the audit and the trace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::server::{ListenerLimits, Refusals};
use common::shutdown::Shutdown;
use common::traces::Traces;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

mod answer;
mod api;
mod auth;
mod config;
mod drain_command;
mod error;
mod fleet;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod observe;
mod request;
mod request_id;
mod router;
mod routes;
mod state;

pub use api::Api;
pub use auth::command::KeysCommand;
pub use config::{ADMIN_LISTEN, Config, Deadlines, VARIABLES};
pub use drain_command::{DrainCommand, ResumeCommand};
pub use llama_client::Upstream;
use observe::audit::Audit;
pub use observe::audit::Destination;
pub use observe::status::ProxyStatus;
pub use observe::top::{View as TopView, top};

/// This service's name in errors.
const SERVICE: &str = "llm-proxy";

/// How long a start waits for the first probe of the upstreams before it takes callers without it.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// Between two checks whether that probe is done.
const FIRST_PROBE_EVERY: Duration = Duration::from_millis(5);

/// The two bound listeners.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub public: TcpListener,
    /// For operators; never published.
    pub admin: TcpListener,
}

/// Why llm-proxy could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener has no address.
    #[error("a listener's address cannot be read: {0}")]
    Listener(#[from] std::io::Error),
    /// A setting was only seen to be wrong when it was used.
    #[error("{0}")]
    Setting(String),
}

/// Serves until `stop` ends, then lets running answers end within the drain.
///
/// # Errors
///
/// When a listener is unusable, or when a setting turns out to be wrong.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let admission = admission::Admission::new(config.queue_requests, config.queue_bytes);
    let (metrics, registry) = observe::metrics::ProxyMetrics::new(admission.clone());
    let shutdown = Shutdown::new();
    // The admin listener outlives the drain, so that operators can watch it.
    let admin_shutdown = Shutdown::new();
    let drain = config.drain;
    let limits = ListenerLimits {
        write_stall: config.write_stall,
        ..ListenerLimits::default()
    };
    // The flush is dropped last, when the last record was written.
    let (audit, _flush) = Audit::start(&config.audit, metrics.audit_lines_lost.clone())
        .map_err(ServeError::Setting)?;
    let traces = Traces::start(
        "llm-proxy",
        env!("CARGO_PKG_VERSION"),
        config.traces.as_ref(),
    )
    .map_err(ServeError::Setting)?;
    let app = state::App::new(
        config,
        admission,
        metrics,
        audit,
        traces.clone(),
        shutdown.clone(),
    )
    .map_err(ServeError::Setting)?;
    // From here on, before anyone can know of this process, SIGHUP no longer ends it.
    let hangups = signal(SignalKind::hangup())
        .map_err(|error| ServeError::Setting(format!("SIGHUP cannot be received: {error}")))?;
    let routes: Vec<&str> = app.config.routes.iter().map(|api| api.path()).collect();
    tracing::info!(routes = routes.join(" "), "routes that are switched on");
    announce("admin", listeners.admin.local_addr()?);
    announce("public", listeners.public.local_addr()?);

    let ready = app.clone();
    let admin = common::admin::router(Arc::new(registry), move || ready.ready());
    let admin = admin
        .merge(routes::status::router(&app))
        .merge(routes::drained::router(&app));
    let uncounted = Refusals::of(SERVICE);
    admin_shutdown.spawn(common::server::serve(
        listeners.admin,
        admin,
        ListenerLimits::default(),
        uncounted,
        admin_shutdown.clone(),
    ));
    app.fleet.watch(&shutdown);
    shutdown.spawn(reopen_on_hangup(app.clone(), hangups));
    shutdown.spawn(count_seconds(app.clone()));
    let metrics = Arc::clone(&app.reporter.metrics);
    app.keys
        .watch(
            app.config.keys_poll,
            move |is_used| metrics.keys_file_changed(is_used),
            &shutdown,
        )
        .map_err(|error| ServeError::Setting(format!("SIGHUP cannot be received: {error}")))?;
    let accepting = shutdown.clone();
    shutdown.spawn(async move {
        first_probe(&app, &accepting).await;
        let refusals = app.reporter.metrics.connections_refused.clone();
        common::server::serve(
            listeners.public,
            router::router(&app),
            limits,
            refusals,
            accepting,
        )
        .await;
    });

    stop.await;
    tracing::info!(
        seconds = drain.as_secs(),
        "shutting down: running answers may end"
    );
    let abandoned = shutdown.finish(drain).await;
    if abandoned > 0 {
        tracing::warn!(
            abandoned,
            "connections were closed before their answer ended"
        );
    }
    traces.finish().await;
    admin_shutdown.finish(Duration::ZERO).await;
    Ok(())
}

/// Waits until the upstreams were probed. Callers that come earlier wait in the kernel's backlog. Without this wait they
/// would be refused, for example while this process takes over from another. Cancel-safe.
async fn first_probe(app: &state::App, shutdown: &Shutdown) {
    let probing = async {
        while !app.fleet.was_probed() {
            tokio::time::sleep(FIRST_PROBE_EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.draining() => {}
        _ = tokio::time::timeout(FIRST_PROBE, probing) => {}
    }
}

/// SIGHUP: whoever rotates files has moved the audit away.
async fn reopen_on_hangup(app: state::App, mut hangups: Signal) {
    loop {
        tokio::select! {
            () = app.shutdown.draining() => return,
            _ = hangups.recv() => app.reporter.audit.reopen(),
        }
    }
}

async fn count_seconds(app: state::App) {
    tokio::select! {
        () = app.shutdown.draining() => {}
        () = app.reporter.recent.watch() => {}
    }
}

fn announce(listener: &str, address: SocketAddr) {
    tracing::info!(listener, %address, "listening");
}
