//! llm-proxy: the only door to llama-server.
//!
//! It owns what llama-server lacks: a bounded queue as wide as the slots, deadlines that count tokens, cancelling in
//! every phase, an allow-list of routes and fields, and errors a client can read. It never re-encodes an answer.
//!
//! One request's way, by module:
//!
//! 1. `router`: the layers around every route; then `routes/chat.rs`, which orders all that follows.
//! 2. `keys`: whose key this is, what it opens, and what is left of its limits.
//! 3. `request`: the body, read once, checked field by field and built anew.
//! 4. `admission`: waits its fair turn for a slot, chosen by [`placement`]; the permit lives until the last byte.
//! 5. `fleet`: where that slot's upstream is, and whether it can be believed to answer.
//! 6. `upstream`: sends what was built, and reads the answer's header.
//! 7. `relay`: passes the answer on, cut into events by `sse` and bound by `deadlines`; `whole` puts it together for a
//!    caller that wants no stream, `queue_events` tells one that waits.
//! 8. `record`: dropped at the end, it tells the log, `metrics`, `audit`, `recent` and the trace; `error` has the words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::server::{Limits, Refusals};
use common::shutdown::Shutdown;
use common::traces::Traces;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

mod answer;
mod api;
mod auth;
mod config;
mod error;
mod fleet;
mod observe;
mod request;
mod request_id;
mod router;
mod routes;
mod state;

pub use answer::deadlines::Deadlines;
pub use api::Api;
pub use auth::command::Command as KeysCommand;
pub use config::{Config, VARIABLES};
pub use llama_client::Upstream;
use observe::audit::Audit;
pub use observe::audit::Destination;
pub use observe::status::Status;
pub use observe::top::top;

/// This service's name in errors.
const SERVICE: &str = "llm-proxy";

/// How long a start waits for the first look at the upstreams before it takes callers all the same.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Between two questions whether it is done.
const FIRST_LOOK_EVERY: Duration = Duration::from_millis(5);

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
    /// A setting only showed to be wrong when it was used.
    #[error("{0}")]
    Setting(String),
}

/// Serves until `stop` ends, then lets running answers end within the drain.
///
/// # Errors
///
/// When a listener is unusable, or the upstream's key cannot stand in a header.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let admission = admission::Admission::new(config.queue_requests, config.queue_bytes);
    let (metrics, registry) = observe::metrics::Metrics::new(admission.clone());
    // The admin listener outlives the drain, so that operators can watch it.
    let (shutdown, admin_shutdown) = (Shutdown::new(), Shutdown::new());
    let drain = config.drain;
    let limits = Limits {
        write_stall: config.write_stall,
        ..Limits::default()
    };
    // Dropped last, when the last request has told its story.
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
    announce("admin", listeners.admin.local_addr()?);
    announce("public", listeners.public.local_addr()?);

    let ready = app.clone();
    let admin = common::admin::router(Arc::new(registry), move || ready.ready());
    let admin = admin.merge(routes::status::router(&app));
    let (own, watched) = (admin_shutdown.clone(), listeners.admin);
    let uncounted = Refusals::of(SERVICE);
    admin_shutdown.spawn(common::server::serve(
        watched,
        admin,
        Limits::default(),
        uncounted,
        own,
    ));
    app.fleet.watch(&shutdown);
    shutdown.spawn(reopen_on_hangup(app.clone(), hangups));
    shutdown.spawn(count_seconds(app.clone()));
    app.keys
        .watch(app.config.keys_poll, Arc::clone(&app.metrics), &shutdown)
        .map_err(|error| ServeError::Setting(format!("SIGHUP cannot be received: {error}")))?;
    let accepting = shutdown.clone();
    shutdown.spawn(async move {
        first_look(&app, &accepting).await;
        let refusals = app.metrics.connections_refused.clone();
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

/// Waits until the upstreams have been looked at. Callers that come earlier wait in the kernel's backlog instead of being
/// told that nobody answers, which matters when this process takes over from another. Cancel-safe.
async fn first_look(app: &state::App, shutdown: &Shutdown) {
    let looking = async {
        while !app.fleet.was_probed() {
            tokio::time::sleep(FIRST_LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.draining() => {}
        _given_up = tokio::time::timeout(FIRST_LOOK, looking) => {}
    }
}

/// SIGHUP: whoever rotates files has moved the audit away.
async fn reopen_on_hangup(app: state::App, mut hangups: Signal) {
    loop {
        tokio::select! {
            () = app.shutdown.draining() => return,
            _ = hangups.recv() => app.audit.reopen(),
        }
    }
}

async fn count_seconds(app: state::App) {
    tokio::select! {
        () = app.shutdown.draining() => {}
        () = app.recent.watch() => {}
    }
}

fn announce(listener: &str, address: SocketAddr) {
    tracing::info!(listener, %address, "listening");
}
