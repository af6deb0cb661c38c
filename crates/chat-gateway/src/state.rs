//! What every handler and socket of one running gateway shares.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use common::shutdown::Shutdown;
use common::traces::Traces;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::bus::Bus;
use crate::completion::Completions;
use crate::config::Config;
use crate::conversation::elsewhere::MAX_CALLS;
use crate::conversation::rooms::Rooms;
use crate::http::BodyBudget;
use crate::identity::{Identities, RefusedOrigins, UserLimits};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::upstream::{self, ProxyHealth};

/// One running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) shutdown: Shutdown,
    pub(crate) upstream: ProxyHealth,
    pub(crate) completions: Completions,
    pub(crate) metrics: Metrics,
    pub(crate) traces: Traces,
    pub(crate) identity: Identities,
    pub(crate) limits: UserLimits,
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) bus: Bus,
    /// Answers that wait for the model now.
    pub(crate) waiting_for_model: AtomicUsize,
    /// One permit for each call of another gateway that may be carried out at once.
    pub(crate) calls: Arc<Semaphore>,
    /// The bytes that bodies may yet take.
    pub(crate) bodies: BodyBudget,
    /// One permit for each socket that may be open.
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) refused_origins: RefusedOrigins,
}

impl Gateway {
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub(crate) fn new(
        config: Config,
        traces: Traces,
        shutdown: Shutdown,
        identity: Identities,
        store: Store,
        bus: Bus,
        registry: &mut Registry,
    ) -> reqwest::Result<Self> {
        let http = upstream::http()?;
        Ok(Self {
            shutdown,
            upstream: ProxyHealth::new(http.clone(), &config),
            completions: Completions::new(http, &config),
            metrics: Metrics::new(registry, &bus),
            traces,
            identity,
            limits: UserLimits::new(config.bounds),
            seats: Arc::new(Semaphore::new(config.max_connections)),
            refused_origins: RefusedOrigins::default(),
            store,
            rooms: Rooms::new(bus.clone()),
            bus,
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            bodies: BodyBudget::default(),
            waiting_for_model: AtomicUsize::new(0),
            config,
        })
    }

    /// Does `work` to its end, also when whoever waits for it leaves: a handler of HTTP is dropped with its client, and what
    /// the store and the room do together must not stop between the two.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.shutdown.spawn(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the whole process cancels it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Why a message sent now would not be answered, in words for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_draining() {
            return Err("shutting down".to_owned());
        }
        if !self.store.is_reached() {
            return Err("the database of GATEWAY_STORE cannot be reached".to_owned());
        }
        self.upstream.ready()
    }
}
