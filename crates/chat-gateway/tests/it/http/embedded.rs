//! The API for a page of another origin that embeds the chat.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response};
use serde_json::json;

use crate::gateway::Gateway;

const APP: &str = "https://app.example.com";
const STRANGERS: [&str; 4] = [
    "https://evil.example",
    "https://app.example.com.evil.example",
    "http://app.example.com",
    "null",
];
const ROUTES: [(Method, &str); 4] = [
    (Method::GET, "/me"),
    (Method::POST, "/ws/ticket"),
    (Method::POST, "/conversations"),
    (
        Method::PATCH,
        "/conversations/0190a0a0-0000-7000-8000-000000000001",
    ),
];

async fn preflight(gateway: &Gateway, origin: &str, method: &Method, path: &str) -> Response {
    let url = format!("http://{}/api/v1{path}", gateway.public);
    let request = Client::new().request(Method::OPTIONS, url);
    let request = request
        .header("origin", origin)
        .header("access-control-request-method", method.as_str())
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    request.send().await.unwrap()
}

/// The header fields of CORS, as name and value.
fn shared(headers: &HeaderMap) -> Vec<(String, String)> {
    let fields = headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap().to_owned();
        (name.as_str().to_owned(), value)
    });
    let mut fields: Vec<_> = fields
        .filter(|(name, _)| name.starts_with("access-control-"))
        .collect();
    fields.sort();
    fields
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_use_the_api_with_its_token() {
    let gateway = Gateway::start_with(&[("GATEWAY_ALLOWED_ORIGINS", APP)]).await;
    for (method, path) in ROUTES {
        let response = preflight(&gateway, APP, &method, path).await;
        assert_eq!(response.status(), 204, "{path}");
        let expected = [
            ("access-control-allow-credentials", "true"),
            (
                "access-control-allow-headers",
                "authorization, content-type",
            ),
            ("access-control-allow-methods", "GET, POST, PATCH, DELETE"),
            ("access-control-allow-origin", APP),
            (
                "access-control-expose-headers",
                "retry-after, x-request-id, content-disposition",
            ),
            ("access-control-max-age", "7200"),
        ];
        assert_eq!(shared(response.headers()), pairs(&expected), "{path}");
        assert_eq!(response.headers()["vary"], "origin", "{path}");
    }
    let url = format!("http://{}/api/v1/conversations", gateway.public);
    let request = Client::new().post(url).header("origin", APP);
    let response = request.json(&json!({"title": "hi"})).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let expected = [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-origin", APP),
        (
            "access-control-expose-headers",
            "retry-after, x-request-id, content-disposition",
        ),
    ];
    assert_eq!(shared(response.headers()), pairs(&expected));
    // A refusal can be read, too.
    let url = format!("http://{}/api/v1/conversations?limit=0", gateway.public);
    let refused = Client::new().get(url).header("origin", APP).send().await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(shared(refused.headers()), pairs(&expected));
}

#[tokio::test]
async fn pages_of_other_origins_are_told_nothing() {
    for settings in [&[][..], &[("GATEWAY_ALLOWED_ORIGINS", APP)]] {
        let gateway = Gateway::start_with(settings).await;
        let own = format!("http://{}", gateway.public);
        for origin in STRANGERS.into_iter().chain([&*own]) {
            for (method, path) in ROUTES {
                let response = preflight(&gateway, origin, &method, path).await;
                assert_ne!(response.status(), 204, "{origin} {path}");
                assert_eq!(shared(response.headers()), pairs(&[]), "{origin} {path}");
            }
            let url = format!("http://{}/api/v1/conversations", gateway.public);
            let request = Client::new().get(url).header("origin", origin);
            let response = request.send().await.unwrap();
            assert_eq!(shared(response.headers()), pairs(&[]), "{origin}");
            assert_eq!(response.headers()["vary"], "origin", "{origin}");
        }
    }
}
