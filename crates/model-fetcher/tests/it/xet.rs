//! Files that the Hub keeps in its Xet storage: fetched over plain HTTPS, and said so where that is not to be had.

use testkit::fake_hub::{FakeHub, Fault, On};
use testkit::gguf;

use crate::support::{FILE, fetch, hub_with, names, settings};

const SAID: &str = " does not give out tiny.Q4_0.gguf over plain HTTPS, only through its Xet storage, which model-fetcher does \
                    not speak: fetch it elsewhere with `hf download acme/tiny-GGUF tiny.Q4_0.gguf` and bring it here with \
                    model-fetcher import FILE; or name another source of it in MODEL_MIRRORS; or choose another file: \
                    model-fetcher list acme/tiny-GGUF";

/// A Hub whose model is in Xet storage, with `fault` besides.
async fn xet_hub(bytes: &[u8], fault: Option<(On, Fault)>) -> (FakeHub, tempfile::TempDir) {
    let (hub, folder) = hub_with(bytes).await;
    hub.always(On::Resolve, Fault::Header("x-xet-hash", "ab".repeat(32)));
    fault
        .into_iter()
        .for_each(|(on, fault)| hub.always(on, fault));
    (hub, folder)
}

/// Ways to have a file only in Xet storage: no plain address at all, or one that is refused.
fn only_there() -> [(On, Fault); 2] {
    [
        (On::Resolve, Fault::RedirectTo(String::new())),
        (On::Bytes, Fault::status(403)),
    ]
}

#[tokio::test]
async fn a_file_of_xet_storage_is_fetched_over_plain_https() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = xet_hub(&bytes, None).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert!(
        hub.requests()
            .iter()
            .all(|request| !request.path.contains("xet"))
    );
}

#[tokio::test]
async fn a_file_that_is_only_to_be_had_through_xet_is_said_so_with_what_to_do() {
    for fault in only_there() {
        let (hub, folder) = xet_hub(&gguf::tiny(300_000), Some(fault)).await;
        let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string()),
            (69, format!("{}{SAID}", hub.endpoint()))
        );
        assert!(!names(folder.path()).contains(&FILE.to_owned()));
    }
    // A network that breaks is no such thing, and neither is a refusal of a file that is not in Xet storage.
    let (hub, folder) = xet_hub(&gguf::tiny(300_000), Some((On::Bytes, Fault::CutAfter(0)))).await;
    let error = fetch(&settings(&hub, &folder))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Check the network") && !error.contains("Xet"),
        "{error}"
    );
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::status(403));
    let error = fetch(&settings(&hub, &folder))
        .await
        .unwrap_err()
        .to_string();
    assert!(!error.contains("Xet"), "{error}");
}

#[tokio::test]
async fn a_mirror_has_what_the_hub_has_only_in_xet_storage() {
    let bytes = gguf::tiny(300_000);
    for fault in only_there() {
        let (hub, folder) = xet_hub(&bytes, Some(fault)).await;
        let (mirror, _) = hub_with(&bytes).await;
        let mut wanted = settings(&hub, &folder);
        wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
        fetch(&wanted).await.unwrap();
        assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
        assert_eq!((hub.bytes_served(), mirror.bytes_served()), (0, 300_000));
    }
}
