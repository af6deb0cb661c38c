//! Who gets a socket, and what the others are told.

use serde_json::{Value, json};
use testkit::ws_client::{Refused, WsClient};

use crate::gateway::{Gateway, done, say};

/// The status that an upgrade with these header fields gets.
async fn knock(gateway: &Gateway, headers: &[(&str, &str)]) -> u16 {
    match WsClient::connect_with(&gateway.chat_url(), headers).await {
        Ok(_) => 101,
        Err(error) => error.downcast::<Refused>().unwrap().status,
    }
}

#[tokio::test]
async fn by_default_only_pages_of_the_same_origin_may_open_a_socket() {
    let gateway = Gateway::start().await;
    let host = gateway.public.to_string();
    let page = |scheme: &str| format!("{scheme}://{host}");
    for (headers, status) in [
        (vec![], 101),
        (vec![("origin", page("http"))], 101),
        (vec![("origin", page("https"))], 101),
        (
            vec![
                ("origin", "https://Chat.local:8443".to_owned()),
                ("host", "chat.local:8443".to_owned()),
            ],
            101,
        ),
        (vec![("origin", "null".to_owned())], 403),
        (vec![("origin", String::new())], 403),
        (vec![("origin", host.clone())], 403),
        (vec![("origin", page("ws"))], 403),
        (vec![("origin", page("http") + "/")], 403),
        (vec![("origin", page("http") + ".evil.example")], 403),
        (vec![("origin", "http://evil.example".to_owned())], 403),
        (vec![("origin", "http://127.0.0.1".to_owned())], 403),
        (vec![("origin", format!("http://evil.example@{host}"))], 403),
        (
            vec![("origin", page("http")), ("origin", page("http"))],
            403,
        ),
        (
            vec![
                ("origin", "http://evil.example".to_owned()),
                ("x-forwarded-host", "evil.example".to_owned()),
            ],
            403,
        ),
    ] {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        assert_eq!(knock(&gateway, &headers).await, status, "{headers:?}");
    }
    gateway
        .metric("chat_gateway_upgrades_refused_total{reason=\"origin\"} 11")
        .await;
}

#[tokio::test]
async fn a_default_port_is_none_and_a_host_may_end_in_a_dot() {
    let gateway = Gateway::start().await;
    for (host, origin, status) in [
        ("box.local:443", "https://box.local", 101),
        ("box.local", "https://box.local:443", 101),
        ("box.local:80", "http://box.local", 101),
        ("box.local.", "http://box.local.", 101),
        ("box.local", "http://box.local.", 101),
        ("box.local.:8000", "http://box.local:8000", 101),
        ("BOX.local:443", "https://Box.Local", 101),
        ("[::1]:80", "http://[::1]", 101),
        ("[::1]", "http://[::1]", 101),
        ("box.local:80", "https://box.local", 403),
        ("box.local:443", "http://box.local", 403),
        ("box.local:8443", "https://box.local", 403),
        ("box.local", "https://box.local:8443", 403),
        ("box.local..", "http://box.local", 403),
        ("box.local:", "http://box.local", 403),
        ("box.local:080", "http://box.local", 403),
        ("box.local", "http://other.local", 403),
        ("box.local", "http://box.local.evil.example", 403),
        ("box.local", "ftp://box.local", 403),
        (".", "http://.", 403),
    ] {
        let headers = [("host", host), ("origin", origin)];
        assert_eq!(knock(&gateway, &headers).await, status, "{host} {origin}");
    }
}

#[tokio::test]
async fn an_origin_that_is_nearly_the_listed_one_is_refused() {
    let list = [("GATEWAY_ALLOWED_ORIGINS", "https://app.example")];
    let gateway = Gateway::start_with(&list).await;
    let listed = "https://app.example";
    for (origins, status) in [
        (&[][..], 101),
        (&[listed], 101),
        (&["null"], 403),
        (&["https://evil"], 403),
        (&["https://app.example.evil"], 403),
        (&["https://evil.app.example"], 403),
        (&["http://app.example"], 403),
        (&["https://app.example:8443"], 403),
        (&["https://app.example:443"], 403),
        (&["https://APP.example"], 403),
        (&["HTTPS://app.example"], 403),
        (&["https://app.example."], 403),
        (&["https://app.example/"], 403),
        (&["https://app.example https://evil"], 403),
        (&[listed, listed], 403),
        (&[listed, "https://evil"], 403),
        (&[""], 403),
    ] {
        let headers: Vec<(&str, &str)> = origins.iter().map(|origin| ("origin", *origin)).collect();
        assert_eq!(knock(&gateway, &headers).await, status, "{origins:?}");
    }
}

#[tokio::test]
async fn a_page_under_a_public_name_needs_the_list_and_one_under_a_private_name_or_an_address_does_not()
 {
    let gateway = Gateway::start().await;
    let from = async |gateway: &Gateway, host: &str| {
        knock(
            gateway,
            &[("origin", &format!("http://{host}")), ("host", host)],
        )
        .await
    };
    for host in [
        "localhost:8000",
        "127.0.0.1:8000",
        "192.168.1.5",
        "[::1]:8000",
        "[fd00::5]",
        "box",
        "box:8000",
        "chat_gateway:8000",
        "chat.localhost",
        "box.local:8000",
        "chat.corp.internal",
        "box.home.arpa",
        "router.lan",
    ] {
        assert_eq!(from(&gateway, host).await, 101, "{host}");
    }
    let public = [
        "evil.example",
        "evil.com:8000",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "evil.com.",
        "local.evil",
    ];
    for host in public {
        assert_eq!(from(&gateway, host).await, 403, "{host}");
    }
    gateway
        .metric("chat_gateway_upgrades_refused_total{reason=\"public_name\"} 6")
        .await;
    let gateway = Gateway::start_with(&[("GATEWAY_ALLOWED_ORIGINS", "http://evil.example")]).await;
    assert_eq!(from(&gateway, "evil.example").await, 101);
    assert_eq!(from(&gateway, "localhost:8000").await, 403);
}

#[tokio::test]
async fn the_public_name_admits_the_gateways_own_page_and_no_other() {
    let name = ("GATEWAY_PUBLIC_NAME", "chat.example.com");
    let list = ("GATEWAY_ALLOWED_ORIGINS", "https://app.example");
    for settings in [&[name][..], &[name, list]] {
        let gateway = Gateway::start_with(settings).await;
        let is_listed = settings.len() > 1;
        for (origin, host, status) in [
            ("https://chat.example.com", "chat.example.com", 101),
            ("https://chat.example.com", "chat.example.com:443", 101),
            (
                "https://chat.example.com:8443",
                "chat.example.com:8443",
                101,
            ),
            ("http://chat.example.com", "chat.example.com", 101),
            ("https://chat.example.com:8443", "chat.example.com", 403),
            ("https://chat.example.com", "10.0.0.5", 403),
            (
                "https://chat.example.com.evil.example",
                "chat.example.com",
                403,
            ),
            ("https://evil.example", "evil.example", 403),
            ("https://evil.example", "chat.example.com", 403),
            (
                "http://10.0.0.5",
                "10.0.0.5",
                if is_listed { 403 } else { 101 },
            ),
            (
                "https://app.example",
                "chat.example.com",
                if is_listed { 101 } else { 403 },
            ),
        ] {
            let seen = knock(&gateway, &[("origin", origin), ("host", host)]).await;
            assert_eq!(seen, status, "{origin} at {host}, {settings:?}");
        }
    }
}

#[tokio::test]
async fn a_list_of_origins_is_exact_and_replaces_the_same_origin() {
    let list = "https://chat.example, http://localhost:5173";
    let gateway = Gateway::start_with(&[("GATEWAY_ALLOWED_ORIGINS", list)]).await;
    let own = format!("http://{}", gateway.public);
    for (origin, status) in [
        ("https://chat.example", 101),
        ("http://localhost:5173", 101),
        ("http://chat.example", 403),
        ("https://chat.example.", 403),
        ("https://CHAT.example", 403),
        ("https://chat.example:443", 403),
        ("https://chat.example.evil.example", 403),
        ("http://localhost:5174", 403),
        (&own, 403),
        ("null", 403),
    ] {
        assert_eq!(
            knock(&gateway, &[("origin", origin)]).await,
            status,
            "{origin}"
        );
    }
    assert_eq!(knock(&gateway, &[]).await, 101);
}

#[tokio::test]
async fn a_socket_over_the_cap_is_refused_until_another_closes() {
    let gateway = Gateway::start_with(&[("GATEWAY_MAX_CONNECTIONS", "2")]).await;
    let (first, mut second) = (gateway.chat().await, gateway.chat().await);
    assert_eq!(knock(&gateway, &[]).await, 503);
    first.close().await.unwrap();
    gateway.metric("chat_gateway_sockets_open 1").await;
    let mut third = gateway.chat().await;
    for socket in [&mut second, &mut third] {
        say(socket, "Hello").await;
        assert_eq!(socket.collect_answer().await.unwrap().1, done());
    }
    gateway
        .metric("chat_gateway_upgrades_refused_total{reason=\"full\"} 1")
        .await;
}

#[tokio::test]
async fn what_is_no_handshake_is_told_what_is_spoken_here() {
    let gateway = Gateway::start().await;
    let http = reqwest::Client::new();
    let chat = format!("http://{}/api/v1/ws/chat", gateway.public);
    let upgrade = |request: reqwest::RequestBuilder| {
        request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for (request, status, header) in [
        (http.get(&chat), 426, ("upgrade", "websocket")),
        (http.post(&chat), 405, ("allow", "GET")),
        (
            upgrade(http.get(&chat)).header("sec-websocket-key", key),
            400,
            ("sec-websocket-version", "13"),
        ),
        (
            upgrade(http.get(&chat))
                .header("sec-websocket-key", key)
                .header("sec-websocket-version", "8"),
            400,
            ("sec-websocket-version", "13"),
        ),
        (
            upgrade(http.get(&chat)).header("sec-websocket-version", "13"),
            400,
            ("cache-control", "no-store"),
        ),
        (
            upgrade(http.get(&chat))
                .header("sec-websocket-key", "AAA=")
                .header("sec-websocket-version", "13"),
            400,
            ("cache-control", "no-store"),
        ),
        (
            upgrade(http.get(&chat))
                .header("sec-websocket-key", key)
                .header("sec-websocket-version", "13")
                .body("body"),
            400,
            ("cache-control", "no-store"),
        ),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[header.0], header.1);
        let body: Value = response.json().await.unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn an_unknown_path_of_the_api_is_a_404_in_json() {
    let gateway = Gateway::start().await;
    for path in [
        "/api",
        "/api/",
        "/api/v1/ws",
        "/api/v1/ws/chat/",
        "/api/v2/anything",
    ] {
        let response = gateway.get(path).await;
        assert_eq!((path, response.status().as_u16()), (path, 404));
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            body,
            json!({
                "error": {"message": "there is nothing at this address", "type": "not_found_error",
                    "code": "not_found", "param": null},
                "src": "chat-gateway",
            })
        );
    }
}
