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
    }
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
