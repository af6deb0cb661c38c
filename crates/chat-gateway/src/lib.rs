//! chat-gateway: the browsers' door to the model.
//!
//! It speaks the chat protocol on a WebSocket, keeps conversations, asks llm-proxy for answers, and serves the page. Start
//! reading at [`protocol`], then `conversation/verbs.rs`; `socket/v2.rs` is the loop around them. Version 1, with one
//! conversation per socket, is in [`connection`]. [`bus`] and [`store`] are what several gateways share.

pub mod answer;
pub mod bus;
mod completion;
pub mod config;
pub mod connection;
pub mod context;
mod conversation;
pub mod error;
pub mod event;
mod http;
pub mod identity;
pub mod instance;
mod metrics;
mod page;
pub mod protocol;
mod router;
mod socket;
mod state;
pub mod store;
mod upgrade;
mod upstream;
mod wire;

use std::sync::Arc;

use common::admin;
use common::server::{self, Inherited, ListenerLimits, Refusals};
use common::shutdown::Shutdown;
use common::traces::Traces;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use config::{ADMIN_LISTEN, Config, DATA, STORE, VARIABLES};
pub use http::document as openapi;

use crate::bus::{Bus, BusError};
use crate::identity::{Identities, IdentityError};
use crate::instance::InstanceId;
use crate::state::Gateway;
use crate::store::{OpenError, ServerOpenError, Store};

/// This service's name in errors.
const SERVICE: &str = "chat-gateway";

/// The two sockets that are listened on.
#[derive(Debug)]
pub struct Listeners {
    /// For browsers.
    pub public: TcpListener,
    /// For operators.
    pub admin: TcpListener,
}

impl Listeners {
    /// Takes over the sockets that were handed to the process, or binds what `config` says.
    ///
    /// # Errors
    ///
    /// With a sentence that says which address cannot be had, and what to do.
    pub async fn bind(config: &Config) -> Result<Self, String> {
        let mut inherited = Inherited::take();
        Ok(Self {
            public: inherited.listener("GATEWAY_LISTEN", config.listen).await?,
            admin: inherited
                .listener("GATEWAY_ADMIN_LISTEN", config.admin_listen)
                .await?,
        })
    }
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP client cannot be built.
    #[error("cannot build the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// Nobody could sign in.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Conversations cannot be kept.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Nor in PostgreSQL.
    #[error(transparent)]
    Server(#[from] ServerOpenError),
    /// The address of the bus cannot be used.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What a gateway that was told to stop still has, for the last words of its answers. When it is dropped without
/// [`StoppedGateway::close`], the other gateways take this one for dead, some seconds later.
#[derive(Debug)]
#[must_use = "the store and the bus are to be closed"]
pub struct StoppedGateway {
    store: Store,
    bus: Bus,
    keeping: JoinSet<()>,
}

impl StoppedGateway {
    /// Says the last words to the other gateways, leaves the bus and closes the store.
    pub async fn close(mut self) {
        self.bus.flush().await;
        self.keeping.shutdown().await;
        self.bus.leave().await;
        self.store.close().await;
    }
}

/// Serves until the drain of `shutdown` begins. What then still runs ends with [`Shutdown::finish`], and only then are all
/// spans with `traces`, and only then may what is returned be closed.
///
/// # Errors
///
/// When the HTTP client cannot be built, nobody could sign in, or conversations cannot be kept.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    traces: Traces,
    shutdown: Shutdown,
) -> Result<StoppedGateway, StartError> {
    let _accepting = shutdown.hold();
    let instance = InstanceId::generate();
    let (bus, events) = Bus::open(config.bus.as_ref(), instance)?;
    let store = match &config.store {
        Some(address) => Store::connect(address, instance, config.bus.is_some()).await?,
        None => Store::open(&config.data).await?,
    };
    let key = Identities::shared_key(&config, &store).await?;
    let identity = Identities::open(&config, bus.clone(), key)?;
    let mut registry = Registry::default();
    let gateway = Arc::new(Gateway::new(
        config,
        traces,
        shutdown.clone(),
        identity,
        store,
        bus.clone(),
        &mut registry,
    )?);
    // It outlives the drain, for the last words of answers.
    let mut keeping = JoinSet::new();
    let told = Arc::clone(&gateway);
    let kept = bus.clone();
    keeping.spawn(async move {
        tokio::select! {
            () = kept.keep() => {}
            () = told.keep_told(events) => {}
        }
    });
    let Listeners { public, admin } = listeners;
    for (listener, socket) in [("public", &public), ("admin", &admin)] {
        if let Ok(address) = socket.local_addr() {
            tracing::info!(listener, %address, "listening");
        }
    }
    let asked = Arc::clone(&gateway);
    let operators = admin::router(Arc::new(registry), move || asked.ready());
    let refusals = gateway.metrics.connections_refused.clone();
    let uncounted = Refusals::of(SERVICE);
    let browsers = router::router(Arc::clone(&gateway));
    tokio::join!(
        gateway.upstream.watch(&shutdown),
        gateway.rooms.keep_tidy(&shutdown),
        gateway.keep_mirrored(&shutdown),
        gateway.identity.keep(&shutdown),
        gateway
            .store
            .keep_swept(gateway.config.retention, &shutdown),
        gateway.keep_watch(&shutdown),
        server::serve(
            public,
            browsers,
            ListenerLimits::default(),
            refusals,
            shutdown.clone()
        ),
        server::serve(
            admin,
            operators,
            ListenerLimits::default(),
            uncounted,
            shutdown.clone()
        ),
    );
    Ok(StoppedGateway {
        store: gateway.store.clone(),
        bus,
        keeping,
    })
}
