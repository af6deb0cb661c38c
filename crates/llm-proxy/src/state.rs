//! What every request shares.

use std::sync::Arc;

use common::shutdown::Shutdown;
use common::traces::Traces;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::auth::Keys;
use crate::config::Config;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::observe::audit::Audit;
use crate::observe::metrics::ProxyMetrics;
use crate::observe::recent::Recent;
use crate::observe::record::Reporter;
use crate::request::Bodies;
use admission::{Admission, NotAdmitted};
use llama_client::Client;

/// Requests that count tokens at once: llama-server does it on the threads that its other answers need.
const MAX_COUNTING: usize = 4;

/// One running llm-proxy. Clones share it.
#[derive(Clone)]
pub(crate) struct App(Arc<AppShared>);

/// See [`App`].
pub(crate) struct AppShared {
    pub(crate) config: Config,
    pub(crate) keys: Arc<Keys>,
    pub(crate) bodies: Bodies,
    /// Requests that count tokens at once.
    pub(crate) counting: Semaphore,
    pub(crate) admission: Admission,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) client: Client,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) started: Instant,
    pub(crate) shutdown: Shutdown,
    /// When this process began, in seconds since 1970; `created` of the model.
    pub(crate) since: u64,
}

impl App {
    /// # Errors
    ///
    /// When the upstream's key cannot stand in a header, or the keys file is not usable.
    pub(crate) fn new(
        config: Config,
        admission: Admission,
        metrics: ProxyMetrics,
        audit: Audit,
        traces: Traces,
        shutdown: Shutdown,
    ) -> Result<Self, String> {
        let metrics = Arc::new(metrics);
        let client = Client::new(&config.upstream_api_key, config.deadlines.connect)
            .map_err(|error| format!("PROXY_UPSTREAM_API_KEY: {error}"))?;
        let fleet = Fleet::new(
            &config,
            client.clone(),
            admission.clone(),
            Arc::clone(&metrics),
        );
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let since = now.map(|now| now.as_secs()).unwrap_or_default();
        let keys = Arc::new(Keys::new(
            config.api_key.as_ref(),
            config.keys_file.clone(),
        )?);
        let reporter = Arc::new(Reporter {
            metrics,
            audit,
            traces,
            recent: Recent::new(),
        });
        let bodies = Bodies::new(
            config.max_body_bytes,
            config.max_bodies_bytes,
            config.body_deadline,
        );
        let counting = Semaphore::new(MAX_COUNTING);
        Ok(Self(Arc::new(AppShared {
            config,
            keys,
            bodies,
            counting,
            admission,
            fleet,
            client,
            reporter,
            started: Instant::now(),
            shutdown,
            since,
        })))
    }

    /// What `work` comes to, unless the drain ends before. Cancel-safe as far as `work` is.
    pub(crate) async fn until_closing<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            () = self.shutdown.closing() => Err(Error::ShuttingDown),
        }
    }

    /// Why the queue has no slot for a request, for its caller.
    pub(crate) fn refusal(&self, refused: NotAdmitted) -> Error {
        match refused {
            NotAdmitted::NoUpstream => self.fleet.error(),
            NotAdmitted::Full {
                retry_after_seconds,
            } => Error::QueueFull {
                retry_after_seconds,
            },
            NotAdmitted::Timeout {
                retry_after_seconds,
            } => Error::QueueTimeout {
                retry_after_seconds,
            },
        }
    }

    /// Why a request sent now would not be served, for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_draining() {
            Err("shutting down".to_owned())
        } else {
            self.fleet.ready()
        }
    }
}

impl std::ops::Deref for App {
    type Target = AppShared;

    fn deref(&self) -> &AppShared {
        &self.0
    }
}
