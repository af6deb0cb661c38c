//! The issuer of an app's tokens: keys of every kind, tokens good and bad, and a server that publishes the keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use common::shutdown::Shutdown;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) const AUDIENCE: &str = "corral";
/// The 32 bytes of an Ed25519 key follow it in PKCS #8.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A key that signs tokens.
pub(crate) struct SigningKey {
    pub(crate) id: &'static str,
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    pub(crate) fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::RS256 => {
                let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
                EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap()
            }
            Algorithm::ES256 => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap()
            }
            Algorithm::EdDSA => {
                let seed = rcgen::KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                let seed = &seed.public_key_raw()[1..33];
                EncodingKey::from_ed_der(&[&ED25519_PREFIX, seed].concat())
            }
            other => panic!("no key for {other:?}"),
        };
        Self { id, algorithm, key }
    }

    /// The public half, as the issuer publishes it.
    pub(crate) fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = self.id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub(crate) fn sign_without_id(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(self.algorithm), claims, &self.key).unwrap()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// A token of HS256.
pub(crate) fn sign_with_secret(secret: &[u8], claims: &Value) -> String {
    sign_with(&Header::default(), secret, claims)
}

/// A token of HS256 with this header.
pub(crate) fn sign_with(header: &Header, secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// Seconds since 1970, `offset` from now.
pub(crate) fn in_seconds(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + offset
}

/// Claims of a good token.
pub(crate) fn claims(sub: &str) -> Value {
    json!({"sub": sub, "aud": AUDIENCE, "exp": in_seconds(600), "name": "Ada Lovelace"})
}

pub(crate) fn set_of(keys: &[&SigningKey]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    json!({ "keys": keys })
}

/// Publishes whatever it is told to.
pub(crate) struct Publisher {
    pub(crate) address: SocketAddr,
    answer: watch::Sender<(StatusCode, String)>,
    asked: Arc<AtomicUsize>,
}

impl Publisher {
    pub(crate) async fn start(set: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = watch::Sender::new((StatusCode::OK, set.to_string()));
        let asked = Arc::new(AtomicUsize::new(0));
        let current = answer.subscribe();
        let counted = Arc::clone(&asked);
        let published = get(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            current.borrow().clone()
        });
        let routes = Router::new().route("/keys", published);
        Shutdown::new().spawn(async move { axum::serve(listener, routes).await });
        Self {
            address,
            answer,
            asked,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    pub(crate) fn publish(&self, set: &Value) {
        self.answer.send_replace((StatusCode::OK, set.to_string()));
    }

    pub(crate) fn answer(&self, status: StatusCode, body: &str) {
        self.answer.send_replace((status, body.to_owned()));
    }

    /// How often the keys were asked for.
    pub(crate) fn n_asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
