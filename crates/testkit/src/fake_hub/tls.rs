//! A certificate authority of the test's own, and a listener that speaks TLS with what it vouches for.
//!
//! Nothing trusts it but a client that is told to, by `SSL_CERT_FILE` or otherwise.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// How long a handshake may take; the next connection waits for it.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// An authority and the one server certificate that it made.
#[derive(Clone)]
pub struct Authority {
    pem: String,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority that vouches for a server of these names, which may be addresses.
    ///
    /// # Panics
    ///
    /// When a name is none.
    #[must_use]
    pub fn for_names(names: &[&str]) -> Self {
        let mut own = CertificateParams::default();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        own.distinguished_name
            .push(DnType::CommonName, "the authority of a test");
        let own_key = KeyPair::generate().expect("a key pair can be made");
        let certificate = own
            .self_signed(&own_key)
            .expect("the authority's certificate is well-formed");
        let issuer = Issuer::new(own, own_key);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key pair can be made");
        let server = CertificateParams::new(names)
            .and_then(|server| server.signed_by(&key, &issuer))
            .expect("these are names of servers");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key)
            .expect("the key is the certificate's");
        Self {
            pem: certificate.pem(),
            server: Arc::new(server),
        }
    }

    /// The authority's certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }
}

/// A TCP listener whose connections have shaken hands. A client that does not trust the certificate is dropped.
pub(super) struct Listener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    pub(super) fn new(tcp: TcpListener, acceptor: TlsAcceptor) -> Self {
        Self { tcp, acceptor }
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = axum::serve::Listener::accept(&mut self.tcp).await;
            if let Ok(Ok(stream)) =
                tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await
            {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
