//! The built page, and life without it.

use std::fs;

use crate::gateway::{Gateway, done, say};

#[tokio::test]
async fn the_page_is_fresh_its_assets_are_kept_and_no_foreign_script_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("assets")).unwrap();
    fs::write(
        folder.path().join("index.html"),
        "<!doctype html><div id=\"root\"></div>",
    )
    .unwrap();
    fs::write(folder.path().join("assets/index-abc123.js"), "1").unwrap();
    let gateway =
        Gateway::start_with(&[("GATEWAY_WEB_DIR", folder.path().to_str().unwrap())]).await;
    for (path, status, kind, cache) in [
        ("/", 200, "text/html", "no-cache"),
        ("/index.html", 200, "text/html", "no-cache"),
        (
            "/assets/index-abc123.js",
            200,
            "text/javascript",
            "public, max-age=31536000, immutable",
        ),
        ("/assets/gone.js", 404, "", "no-store"),
        ("/../Cargo.toml", 404, "", "no-store"),
        ("/%2e%2e/%2e%2e/etc/passwd", 404, "", "no-store"),
    ] {
        let response = gateway.get(path).await;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        assert_eq!(
            (path, response.status().as_u16(), header("content-type")),
            (path, status, kind)
        );
        assert_eq!((path, header("cache-control")), (path, cache));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").starts_with("default-src 'self'; "));
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
        assert!(!header("content-security-policy").contains("unsafe"));
    }
}

#[tokio::test]
async fn files_come_compressed_to_whoever_takes_that_and_with_their_type() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("assets")).unwrap();
    for (name, bytes) in [
        ("index.html", "page"),
        ("manifest.webmanifest", "{}"),
        ("assets/a.js", "plain"),
        ("assets/a.js.br", "brotli"),
        ("assets/a.js.gz", "gzip"),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let gateway =
        Gateway::start_with(&[("GATEWAY_WEB_DIR", folder.path().to_str().unwrap())]).await;
    let url = |path: &str| format!("http://{}{path}", gateway.public);
    let client = reqwest::Client::new();
    for (takes, encoding, body) in [
        ("gzip, deflate, br, zstd", "br", "brotli"),
        ("gzip", "gzip", "gzip"),
        ("br;q=0, gzip;q=0", "", "plain"),
        ("zstd", "", "plain"),
    ] {
        let request = client.get(url("/assets/a.js"));
        let response = request
            .header("accept-encoding", takes)
            .send()
            .await
            .unwrap();
        let head = response.headers();
        let sent = head.get("content-encoding");
        let sent = sent.map_or("", |encoding| encoding.to_str().unwrap());
        assert_eq!((takes, sent), (takes, encoding));
        assert_eq!(head["content-type"], "text/javascript");
        assert_eq!(head["vary"], "accept-encoding");
        assert_eq!(response.text().await.unwrap(), body);
    }
    let manifest = gateway.get("/manifest.webmanifest").await;
    assert_eq!(
        manifest.headers()["content-type"],
        "application/manifest+json"
    );
}

#[tokio::test]
async fn the_embedded_chat_is_for_pages_of_every_origin_and_the_page_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("assets")).unwrap();
    for name in ["index.html", "embed.js", "assets/chat-1.js"] {
        fs::write(folder.path().join(name), "1").unwrap();
    }
    let gateway =
        Gateway::start_with(&[("GATEWAY_WEB_DIR", folder.path().to_str().unwrap())]).await;
    for (path, shared) in [
        ("/embed.js", true),
        ("/assets/chat-1.js", true),
        ("/assets/gone.js", false),
        ("/index.html", false),
        ("/", false),
    ] {
        let head = gateway.get(path).await.headers().clone();
        let field = |name: &str| {
            head.get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let expected = |value: &str| shared.then(|| value.to_owned());
        assert_eq!(
            field("access-control-allow-origin"),
            expected("*"),
            "{path}"
        );
        let policy = field("cross-origin-resource-policy");
        assert_eq!(policy, expected("cross-origin"), "{path}");
    }
    // It must not stay old while the files that it names have gone.
    let embed = gateway.get("/embed.js").await;
    assert_eq!(embed.headers()["cache-control"], "no-cache");
}

#[tokio::test]
async fn without_a_page_the_root_says_how_to_build_it_and_the_chat_works() {
    let gateway = Gateway::start_with(&[("GATEWAY_WEB_DIR", "/nowhere/at/all")]).await;
    let response = gateway.get("/").await;
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("npm run build"));
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
}
