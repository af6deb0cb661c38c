//! The Hub's Xet storage as a transport: taken where it is asked for or where HTTPS does not do, left where it does not,
//! and held to the same digest. The storage is the simulation of xet-client.

use std::time::Duration;

use common::secret::Secret;
use fake_cas::FakeCas;
use model_fetcher::config::{Fetch, Transport, Tuning};
use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, Fault, File, On, Origin, Token};
use testkit::gguf;

use crate::support::{
    FILE, TOKEN, command, fetch, hub_of, hub_with, names, ranges, repository, settings, text, union,
};

/// The file of most tests, in bytes.
const SIZE: usize = 6 << 20;
/// What a range from the storage brings along at its two ends, in bytes: the rest of a chunk.
const CHUNK_ENDS: u64 = 2 * (128 << 10);
/// Bytes a second and connection, slow enough to act in mid-file.
const SLOW: u64 = 4 << 20;

/// A Hub whose model is in Xet storage too.
async fn xet_hub(bytes: &[u8]) -> (FakeHub, FakeCas, TempDir) {
    let token = Token {
        text: TOKEN.to_owned(),
        accepted: true,
    };
    let files = vec![File::from_bytes(FILE, bytes.to_vec())];
    let (hub, folder) = hub_of(repository(files), vec![token]).await;
    let cas = FakeCas::with_files(vec![bytes.to_vec()]).unwrap();
    hub.attach_xet(cas.storage()).await.unwrap();
    (hub, cas, folder)
}

/// Settings for that transport, with ranges small enough for several of them.
fn over(transport: Transport, hub: &FakeHub, folder: &TempDir) -> Fetch {
    let common = settings(hub, folder);
    Fetch {
        transport,
        token: Some(Secret::new(TOKEN)),
        tuning: Tuning {
            xet_segment_bytes: 1 << 20,
            // A transport that is not the last one has half as many attempts.
            attempts: 2 * common.tuning.attempts,
            stall: Duration::from_secs(1),
            ..common.tuning
        },
        ..common
    }
}

fn is_right(folder: &TempDir, bytes: &[u8]) -> bool {
    std::fs::read(folder.path().join(FILE)).unwrap() == bytes
}

fn n_requests(hub: &FakeHub, origin: Origin, part: &str) -> usize {
    let requests = hub.requests();
    let hits = requests
        .iter()
        .filter(|request| request.origin == origin && request.path.contains(part));
    hits.count()
}

/// Ways to have a file only in Xet storage: no plain address at all, or one that is refused.
fn only_there() -> [(On, Fault); 2] {
    [
        (On::Resolve, Fault::RedirectTo(String::new())),
        (On::Bytes, Fault::status(403)),
    ]
}

#[tokio::test]
async fn a_file_comes_whole_from_xet_storage_and_leaves_no_cache() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    fetch(&over(Transport::Xet, &hub, &folder)).await.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(names(folder.path()), [FILE]);
    assert_eq!(ranges(&hub), [""; 0], "nothing came over plain HTTPS");
    assert_eq!(n_requests(&hub, Origin::Hub, "/xet-read-token/"), 1);
    let served = hub.xorb_bytes_served();
    let most = SIZE as u64 + 10 * CHUNK_ENDS;
    assert!((SIZE as u64..most).contains(&served), "{served}");
}

#[tokio::test]
async fn nobody_but_the_hub_sees_its_token_and_nobody_gets_a_report() {
    let (hub, _cas, folder) = xet_hub(&gguf::tiny(SIZE)).await;
    fetch(&over(Transport::Xet, &hub, &folder)).await.unwrap();
    for request in hub.requests() {
        let is_home = request.origin == Origin::Hub;
        assert_eq!(request.token, is_home, "{request:?}");
        let is_read = ["/reconstructions/", "/fetch_term"].map(|part| request.path.contains(part));
        assert!(is_home || is_read.contains(&true), "{request:?}");
    }
}

#[tokio::test]
async fn by_default_a_file_of_xet_storage_is_fetched_over_plain_https() {
    let bytes = gguf::tiny(300_000);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    fetch(&over(Transport::Auto, &hub, &folder)).await.unwrap();
    assert!(is_right(&folder, &bytes));
    let of_xet = |request: &testkit::fake_hub::Request| {
        request.origin == Origin::Cas || request.path.contains("xet")
    };
    assert!(!hub.requests().iter().any(of_xet));
}

#[tokio::test]
async fn a_file_that_only_xet_storage_has_is_fetched_from_there() {
    let bytes = gguf::tiny(SIZE);
    for (on, fault) in only_there() {
        let (hub, _cas, folder) = xet_hub(&bytes).await;
        hub.always(on, fault);
        fetch(&over(Transport::Auto, &hub, &folder)).await.unwrap();
        assert!(is_right(&folder, &bytes));
        assert_eq!(names(folder.path()), [FILE]);
    }
}

#[tokio::test]
async fn with_https_alone_such_a_file_is_refused_with_what_to_do() {
    for (on, fault) in only_there() {
        let (hub, _cas, folder) = xet_hub(&gguf::tiny(300_000)).await;
        hub.always(on, fault);
        let error = fetch(&over(Transport::Https, &hub, &folder)).await;
        let error = error.unwrap_err();
        let said = format!(
            "{} does not give out tiny.Q4_0.gguf over plain HTTPS, only through its Xet storage: set MODEL_TRANSPORT to \
             auto; or name another source of it in MODEL_MIRRORS; or choose another file: model-fetcher list \
             acme/tiny-GGUF",
            hub.endpoint()
        );
        assert_eq!((error.exit_code(), error.to_string()), (69, said));
        assert!(!names(folder.path()).contains(&FILE.to_owned()));
        assert_eq!(n_requests(&hub, Origin::Cas, ""), 0);
    }
    // A network that breaks is no such thing, and neither is a refusal of a file that is not in Xet storage.
    let (hub, _cas, folder) = xet_hub(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::CutAfter(0));
    let error = fetch(&over(Transport::Https, &hub, &folder)).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("Check the network") && !error.contains("Xet"),
        "{error}"
    );
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::status(403));
    let error = fetch(&settings(&hub, &folder)).await;
    let error = error.unwrap_err().to_string();
    assert!(!error.contains("Xet"), "{error}");
}

#[tokio::test]
async fn a_mirror_has_what_neither_transport_brings() {
    let bytes = gguf::tiny(300_000);
    for (on, fault) in only_there() {
        let (hub, _cas, folder) = xet_hub(&bytes).await;
        hub.always(on, fault);
        hub.always(On::Reconstruction, Fault::status(500));
        let (mirror, _) = hub_with(&bytes).await;
        let mut wanted = over(Transport::Auto, &hub, &folder);
        wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
        fetch(&wanted).await.unwrap();
        assert!(is_right(&folder, &bytes));
        assert_eq!((hub.bytes_served(), mirror.bytes_served()), (0, 300_000));
    }
}

#[tokio::test]
async fn https_that_keeps_failing_in_mid_file_goes_on_over_xet() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(SLOW));
    let wanted = over(Transport::Auto, &hub, &folder);
    let breaks = async {
        hub.until_served(SIZE as u64 / 2).await;
        hub.always(On::Bytes, Fault::CutAfter(0));
    };
    let (fetched, ()) = tokio::join!(fetch(&wanted), breaks);
    fetched.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(names(folder.path()), [FILE]);
    // Half was there, in at most as many gaps as there are streams and ranges.
    let over_https: u64 = union(&hub.sent()).iter().map(|r| r.end - r.start).sum();
    let left = SIZE as u64 - over_https;
    let served = hub.xorb_bytes_served();
    assert!(served >= left, "{served} of {left}");
    assert!(
        served <= left + (2 << 20) + 12 * CHUNK_ENDS,
        "{served} of {left}"
    );
}

#[tokio::test]
async fn xet_that_keeps_failing_in_mid_file_goes_on_over_https() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    hub.always(On::Xorb, Fault::BytesPerSecond(SLOW));
    let wanted = over(Transport::Xet, &hub, &folder);
    let breaks = async {
        hub.until_served(SIZE as u64 / 2).await;
        hub.always(On::Xorb, Fault::status(500));
    };
    let (fetched, ()) = tokio::join!(fetch(&wanted), breaks);
    fetched.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(names(folder.path()), [FILE]);
    let over_https: u64 = hub.sent().iter().map(|r| r.end - r.start).sum();
    // What was in the ranges that broke is fetched again, and no more.
    assert!(
        over_https > 0 && over_https <= SIZE as u64 / 2 + (4 << 20),
        "{over_https}"
    );
    assert!(over_https < SIZE as u64, "{over_https}");
}

#[tokio::test]
async fn a_change_of_transport_is_said_once_with_the_reason() {
    let bytes = gguf::tiny(300_000);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    hub.always(On::Reconstruction, Fault::status(500));
    let mut fetcher = command(&hub, folder.path());
    let output = fetcher.env("MODEL_TRANSPORT", "xet").output().await;
    let output = output.unwrap();
    let log = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let said = "leaving the source; the same part goes on from the next";
    assert_eq!(log.matches(said).count(), 1, "{log}");
    let left = format!("cannot fetch from the Xet storage of {}", hub.endpoint());
    assert_eq!(log.matches(&left).count(), 1, "{log}");
    let next = format!("next=\"{}\"", hub.endpoint());
    assert_eq!(log.matches(&next).count(), 1, "{log}");
    // Neither the addresses of xorbs nor tokens of the storage are in the log, nor does hf-xet write its own.
    for word in ["fetch_term", "xet_1", "reconstructions"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[tokio::test]
async fn a_model_that_is_not_in_xet_storage_comes_over_https_and_is_said_so() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    let mut fetcher = command(&hub, folder.path());
    let output = fetcher.env("MODEL_TRANSPORT", "xet").output().await;
    let output = output.unwrap();
    let log = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(is_right(&folder, &bytes));
    let said = "MODEL_TRANSPORT is xet, but the Hub does not keep this model in its Xet storage: fetching over HTTPS";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[tokio::test]
async fn a_transport_that_there_is_not_is_refused_before_anything_is_asked() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut fetcher = command(&hub, folder.path());
    let output = fetcher.env("MODEL_TRANSPORT", "ftp").output().await;
    let output = output.unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{error}");
    assert!(
        error.contains("MODEL_TRANSPORT is not usable: it must be auto, https or xet"),
        "{error}"
    );
    assert_eq!(hub.requests(), []);
}

/// Fetches over Xet while these faults come one each; HTTPS is not needed.
async fn ridden_out(on: On, faults: Vec<Fault>) {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    hub.next(on, faults);
    fetch(&over(Transport::Xet, &hub, &folder)).await.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(names(folder.path()), [FILE]);
    assert_eq!(ranges(&hub), [""; 0], "nothing came over plain HTTPS");
}

#[tokio::test]
async fn xorbs_that_are_cut_are_ridden_out() {
    ridden_out(On::Xorb, vec![Fault::CutAfter(100_000)]).await;
}

#[tokio::test]
async fn a_storage_that_answers_500_once_is_ridden_out() {
    ridden_out(On::Reconstruction, vec![Fault::status(500)]).await;
    ridden_out(On::Xorb, vec![Fault::status(500)]).await;
}

#[tokio::test]
async fn a_storage_that_falls_silent_is_left_after_the_stall_and_asked_again() {
    ridden_out(On::Xorb, vec![Fault::StallAfter(100_000)]).await;
    ridden_out(On::Reconstruction, vec![Fault::Silence]).await;
}

#[tokio::test]
async fn a_slow_storage_is_asked_for_less_at_once_and_not_given_up() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    let mut wanted = over(Transport::Xet, &hub, &folder);
    wanted.tuning.least_segment_bytes = 1 << 20;
    // A range of 1 MiB takes longer than the stall.
    hub.always(On::Xorb, Fault::BytesPerSecond(700_000));
    fetch(&wanted).await.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(ranges(&hub), [""; 0], "nothing came over plain HTTPS");
}

#[tokio::test]
async fn a_chunk_that_is_damaged_in_its_head_is_fetched_again() {
    ridden_out(On::Xorb, vec![Fault::FlipByteAt(0)]).await;
}

#[tokio::test]
async fn a_chunk_that_is_damaged_in_its_bytes_never_reaches_the_final_path() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    // Every other range is damaged, so that only the other transport can help.
    hub.always(On::Xorb, Fault::FlipByteAt(50_000));
    fetch(&over(Transport::Xet, &hub, &folder)).await.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(names(folder.path()), [FILE]);
    let over_https: u64 = union(&hub.sent()).iter().map(|r| r.end - r.start).sum();
    assert_eq!(over_https, SIZE as u64, "all of it is fetched again");
}

#[tokio::test]
async fn an_expired_token_is_replaced_by_a_new_one() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    hub.next(On::Reconstruction, [Fault::Expired]);
    fetch(&over(Transport::Xet, &hub, &folder)).await.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(ranges(&hub), [""; 0], "nothing came over plain HTTPS");
    assert_eq!(n_requests(&hub, Origin::Hub, "/xet-read-token/"), 2);
}

#[tokio::test]
async fn a_token_is_replaced_before_its_end() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    let soon = Fault::TokenLasts(Duration::from_secs(45));
    hub.next(On::XetToken, [soon]);
    fetch(&over(Transport::Xet, &hub, &folder)).await.unwrap();
    assert!(is_right(&folder, &bytes));
    assert_eq!(n_requests(&hub, Origin::Hub, "/xet-read-token/"), 2);
}

#[tokio::test]
async fn a_storage_at_an_unsafe_address_is_refused() {
    let bytes = gguf::tiny(300_000);
    for address in [
        "local:///etc",
        "memory://",
        "http://user@127.0.0.1",
        "http://",
        "127.0.0.1",
    ] {
        let (hub, _cas, folder) = xet_hub(&bytes).await;
        hub.always(On::Bytes, Fault::status(403));
        hub.always(On::XetToken, Fault::CasUrl(address.to_owned()));
        let error = fetch(&over(Transport::Auto, &hub, &folder)).await;
        let said = format!(
            "refused what {} answered: an address of its Xet storage that is not safe to use: it must be https, or http \
             where the Hub itself is, and without a user",
            hub.endpoint()
        );
        assert_eq!(error.unwrap_err().to_string(), said, "{address}");
        assert_eq!(n_requests(&hub, Origin::Cas, ""), 0);
    }
}

#[tokio::test]
async fn a_locked_model_is_fetched_over_xet_too() {
    let bytes = gguf::tiny(SIZE);
    let (hub, _cas, folder) = xet_hub(&bytes).await;
    let mut wanted = over(Transport::Xet, &hub, &folder);
    fetch(&wanted).await.unwrap();
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
    let before = hub.xorb_bytes_served();
    let asked_before = n_requests(&hub, Origin::Hub, "/resolve/");
    wanted.locked = true;
    fetch(&wanted).await.unwrap();
    assert!(is_right(&folder, &bytes));
    let asked = n_requests(&hub, Origin::Hub, "/resolve/") - asked_before;
    assert_eq!(asked, 1, "for the file's hash, once");
    assert!(hub.xorb_bytes_served() >= before + SIZE as u64);
    assert_eq!(ranges(&hub), [""; 0], "nothing came over plain HTTPS");
}
