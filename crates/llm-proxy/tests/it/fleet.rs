//! Several upstreams: which one is asked, what happens when one fails, and how it comes back.

use std::time::{Duration, Instant};

use testkit::fake_llama::FakeLlama;

use crate::{Proxy, UPSTREAM_KEY, question};

/// Upstreams with one address list, all ready.
async fn before_all(llamas: &[&FakeLlama], change: impl FnOnce(&mut llm_proxy::Config)) -> Proxy {
    let urls: Vec<String> = llamas.iter().map(|llama| llama.url()).collect();
    llamas.iter().for_each(|llama| llama.require_key(UPSTREAM_KEY));
    let proxy = Proxy::start(&urls.join(","), change).await;
    for llama in llamas {
        proxy.until_metric(&is_up(llama, true)).await;
    }
    proxy
}

fn is_up(llama: &FakeLlama, up: bool) -> String {
    let address = llama.url().replace("http://", "");
    format!(r#"llm_proxy_upstream_up{{upstream="{address}"}} {}"#, i32::from(up))
}

#[tokio::test]
async fn a_request_that_no_upstream_took_is_tried_on_another_one() {
    let (gone, there) = (FakeLlama::start().await, FakeLlama::start().await);
    // The proxy does not look again by itself: the request is what finds out.
    let proxy = before_all(&[&gone, &there], |config| config.probe_up = Duration::from_secs(3600)).await;
    gone.stop().await;
    let began = Instant::now();
    let response = proxy.ask(&question(true)).await;
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().contains("[DONE]"));
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(there.requests().len(), 1);
}
