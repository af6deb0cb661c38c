//! Interruptions are ridden out, nothing is fetched twice without need, and the token stays at home.

use std::time::{Duration, Instant};

use common::secret::Secret;
use testkit::fake_hub::{Fault, File, On, Origin};
use testkit::gguf;

use crate::support::{
    COMMIT, FILE, REPOSITORY, TOKEN, fetch, hub_of, hub_with, ranges, repository, settings, twice,
};

/// Fetches 300,000 bytes whose first requests on the CDN meet `faults`, and returns the ranges asked for.
async fn ranges_with(faults: impl IntoIterator<Item = Fault>) -> Vec<String> {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    hub.next(On::Bytes, faults);
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    ranges(&hub)
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let faults = [Fault::CutAfter(100_000), Fault::CutAfter(50_000)];
    assert_eq!(
        ranges_with(faults).await,
        [
            "bytes=0-299999",
            "bytes=100000-299999",
            "bytes=150000-299999"
        ]
    );
}

#[tokio::test]
async fn a_stalled_download_is_given_up_and_goes_on_where_it_stopped() {
    assert_eq!(
        ranges_with([Fault::StallAfter(100_000)]).await,
        ["bytes=0-299999", "bytes=100000-299999"]
    );
}

#[tokio::test]
async fn many_cuts_with_progress_between_them_do_not_exhaust_the_budget() {
    let bytes = gguf::tiny(30 << 20);
    let (hub, folder) = hub_with(&bytes).await;
    hub.next(On::Bytes, (0..40).map(|_| Fault::CutAfter(400_000)));
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
}

#[tokio::test]
async fn a_hundred_cuts_anywhere_cost_not_one_byte() {
    let bytes = gguf::tiny(60 << 20);
    let (hub, folder) = hub_with(&bytes).await;
    // Sequence of a multiplicative generator: any place, and the same ones in every run.
    let places = (1..=100_u64).map(|n| 300_000 + n * 48_271 % 400_000);
    hub.next(On::Bytes, places.map(Fault::CutAfter));
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert!(ranges(&hub).len() > 100);
    assert_eq!(twice(&hub.sent()), 0);
}

#[tokio::test]
async fn a_source_that_says_nothing_is_given_up_within_the_budget() {
    for on in [On::Api, On::Resolve, On::Bytes] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        hub.always(on, Fault::Silence);
        let mut wanted = settings(&hub, &folder);
        wanted.tuning.stall = Duration::from_millis(100);
        let began = Instant::now();
        assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 69, "{on:?}");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{on:?}: {:?}",
            began.elapsed()
        );
        assert!(!folder.path().join(FILE).exists());
    }
}

#[tokio::test]
async fn a_source_that_drips_is_left_and_what_it_sent_is_kept() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    hub.next(On::Bytes, [Fault::BytesPerSecond(2_000)]);
    let mut wanted = settings(&hub, &folder);
    wanted.tuning.slow_for = Duration::from_millis(300);
    tokio::time::timeout(Duration::from_secs(20), fetch(&wanted))
        .await
        .unwrap()
        .unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    let asked = ranges(&hub);
    assert_eq!((asked.len(), asked[0].as_str()), (2, "bytes=0-299999"));
    assert!(!asked[1].starts_with("bytes=0-"), "{asked:?}");
    let (hub, folder) = hub_with(&bytes).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(2_000));
    let mut wanted = settings(&hub, &folder);
    wanted.tuning.slow_for = Duration::from_millis(100);
    let ended = tokio::time::timeout(Duration::from_secs(20), fetch(&wanted))
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().exit_code(), 69);
    assert_eq!(ranges(&hub).len(), 5);
}

#[tokio::test]
async fn nothing_is_ever_spliced_whatever_the_source_does_to_ranges() {
    let bytes = gguf::tiny(3_000_000);
    let header = |name, value: &str| Fault::Header(name, value.to_owned());
    for n_before in 0..8 {
        for fault in [
            Fault::IgnoreRange,
            Fault::WrongContentRange,
            header("etag", "\"another-version\""),
            header("content-range", "bytes 0-99/3000000"),
            Fault::Status {
                code: 416,
                headers: vec![("content-range", "bytes */7".to_owned())],
                body: "",
            },
        ] {
            let (hub, folder) = hub_with(&bytes).await;
            hub.next(On::Bytes, vec![Fault::CutAfter(200_000); n_before]);
            hub.next(On::Bytes, [fault.clone()]);
            let ended = fetch(&settings(&hub, &folder)).await;
            let published = std::fs::read(folder.path().join(FILE)).ok();
            match ended {
                Ok(_) => assert!(
                    published.is_some_and(|read| read == bytes),
                    "{n_before} {fault:?}"
                ),
                Err(error) => assert!(published.is_none(), "{n_before} {fault:?}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_source_that_ignores_ranges_is_never_spliced() {
    let bytes = gguf::tiny(5_000_000);
    let (hub, folder) = hub_with(&bytes).await;
    hub.always(On::Bytes, Fault::IgnoreRange);
    hub.next(
        On::Bytes,
        [Fault::CutAfter(200_000), Fault::CutAfter(300_000)],
    );
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_never_written() {
    let asked = ranges_with([Fault::WrongContentRange, Fault::WrongContentRange]).await;
    assert_eq!(asked, ["bytes=0-299999"; 3]);
}

#[tokio::test]
async fn a_source_that_calls_the_range_impossible_is_asked_again_and_then_given_up() {
    let impossible = || Fault::Status {
        code: 416,
        headers: vec![("content-range", "bytes */7".to_owned())],
        body: "",
    };
    assert_eq!(ranges_with([impossible()]).await.len(), 2);
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, impossible());
    assert_eq!(
        fetch(&settings(&hub, &folder))
            .await
            .unwrap_err()
            .exit_code(),
        69
    );
    assert_eq!(ranges(&hub).len(), 5);
}

#[tokio::test]
async fn an_expired_address_is_asked_for_again_and_its_error_page_is_not_taken_for_the_model() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    hub.next(
        On::Bytes,
        [Fault::CutAfter(100_000), Fault::Expired, Fault::Expired],
    );
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    let resolved = hub
        .requests()
        .iter()
        .filter(|request| request.path.contains("/resolve/"))
        .count();
    assert_eq!(resolved, 3);
}

#[tokio::test]
async fn a_burst_of_server_errors_is_ridden_out_everywhere() {
    for on in [On::Api, On::Resolve, On::Bytes] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        hub.next(on, [500, 502, 503].map(Fault::status));
        fetch(&settings(&hub, &folder)).await.unwrap();
        assert_eq!(
            hub.requests().len(),
            6,
            "three requests, and three that failed"
        );
    }
}

#[tokio::test]
async fn errors_without_end_are_given_up_with_what_to_do() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::status(503));
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert_eq!(error.exit_code(), 69);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot fetch from http://{}: it answered 503 Service Unavailable. Check the network, HTTPS_PROXY and \
             HF_ENDPOINT and run model-fetcher again, it goes on where it stopped; without a network, bring the file by \
             hand: model-fetcher import FILE",
            hub.cdn_address()
        )
    );
}

#[tokio::test]
async fn retry_after_is_honoured_and_capped() {
    let limited = |seconds: &str| Fault::Status {
        code: 429,
        headers: vec![("retry-after", seconds.to_owned())],
        body: "",
    };
    for on in [On::Api, On::Resolve, On::Bytes] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        hub.next(on, [limited("1")]);
        let began = Instant::now();
        fetch(&settings(&hub, &folder)).await.unwrap();
        assert!(
            began.elapsed() >= Duration::from_secs(1),
            "{on:?}: {:?}",
            began.elapsed()
        );
    }
    // As a date, which the answer's own date is compared with.
    for on in [On::Resolve, On::Bytes] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        let mut dated = limited("Sun, 06 Nov 1994 08:49:39 GMT");
        if let Fault::Status { headers, .. } = &mut dated {
            headers.push(("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
        }
        hub.next(on, [dated]);
        let began = Instant::now();
        fetch(&settings(&hub, &folder)).await.unwrap();
        assert!(
            began.elapsed() >= Duration::from_secs(2),
            "{on:?}: {:?}",
            began.elapsed()
        );
    }
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.next(On::Bytes, [limited("999999")]);
    let mut wanted = settings(&hub, &folder);
    wanted.tuning.max_retry_after = Duration::from_millis(50);
    tokio::time::timeout(Duration::from_secs(20), fetch(&wanted))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_token_reaches_the_hub_and_never_the_cdn() {
    let mut gated = repository(vec![testkit::fake_hub::File::from_bytes(
        FILE,
        gguf::tiny(3_000_000),
    )]);
    gated.gated = true;
    let token = testkit::fake_hub::Token {
        text: TOKEN.to_owned(),
        accepted: true,
    };
    let (hub, folder) = hub_of(gated, vec![token]).await;
    hub.next(On::Bytes, [Fault::Expired]);
    let mut wanted = settings(&hub, &folder);
    wanted.token = Some(Secret::new(TOKEN));
    fetch(&wanted).await.unwrap();
    for request in hub.requests() {
        assert_eq!(
            request.authorization,
            request.origin == Origin::Hub,
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_to_a_third_party_gets_no_token_and_a_downgrade_or_a_loop_is_refused() {
    let bytes = gguf::tiny(300_000);
    let (third, _unused) = hub_with(&bytes).await;
    let token = testkit::fake_hub::Token {
        text: TOKEN.to_owned(),
        accepted: true,
    };
    let files = vec![testkit::fake_hub::File::from_bytes(FILE, bytes)];
    let (hub, folder) = hub_of(repository(files), vec![token]).await;
    let home = hub.endpoint();
    let circle = format!(
        "{home}/acme/tiny-GGUF/resolve/{}/{FILE}",
        crate::support::COMMIT
    );
    for (location, reason) in [
        (circle.as_str(), "more than 5 redirects in a row"),
        (
            "file:///etc/passwd",
            "a redirect to something other than http or https",
        ),
        (
            "http://user:word@127.0.0.1/x",
            "a redirect with credentials in its address",
        ),
    ] {
        hub.behave();
        hub.always(On::Resolve, Fault::RedirectTo(location.to_owned()));
        let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string()),
            (69, format!("refused what {home} answered: {reason}"))
        );
    }
    hub.behave();
    hub.always(
        On::Resolve,
        Fault::RedirectTo(format!("{}/x", third.endpoint())),
    );
    let mut wanted = settings(&hub, &folder);
    wanted.token = Some(Secret::new(TOKEN));
    wanted.tuning.attempts = 2;
    fetch(&wanted).await.unwrap_err();
    assert!(!third.requests().is_empty());
    assert!(
        third
            .requests()
            .iter()
            .all(|request| !request.authorization)
    );
}

#[tokio::test]
async fn a_hub_that_refuses_head_is_asked_for_the_first_byte() {
    for code in [403, 405, 501] {
        let bytes = gguf::tiny(300_000);
        let (hub, folder) = hub_with(&bytes).await;
        hub.always(On::Resolve, Fault::NoHead(code));
        fetch(&settings(&hub, &folder)).await.unwrap();
        assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
        let asked: Vec<_> = hub
            .requests()
            .into_iter()
            .filter(|request| request.path.contains("/resolve/"))
            .map(|request| (request.method, request.range))
            .collect();
        let first_byte = Some("bytes=0-0".to_owned());
        assert_eq!(
            asked,
            [("HEAD".to_owned(), None), ("GET".to_owned(), first_byte)]
        );
    }
}

#[tokio::test]
async fn a_file_that_may_not_be_read_is_not_asked_for_twice() {
    let mut gated = repository(vec![File::from_bytes(FILE, gguf::tiny(300_000))]);
    gated.gated = true;
    let (hub, folder) = hub_of(gated, Vec::new()).await;
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert_eq!(error.exit_code(), 77, "{error}");
    assert!(
        error.to_string().contains("is gated: accept its licence"),
        "{error}"
    );
    assert!(hub.requests().iter().all(|request| request.range.is_none()));
}

#[tokio::test]
async fn a_hub_that_redirects_on_its_own_host_is_believed_at_the_first_hop() {
    let bytes = gguf::tiny(300_000);
    for head in [None, Some(405)] {
        let (hub, folder) = hub_with(&bytes).await;
        let path = format!("/api/resolve-cache/models/{REPOSITORY}/{COMMIT}/{FILE}");
        hub.always(On::Resolve, Fault::RedirectTo(path));
        if let Some(code) = head {
            hub.always(On::Resolve, Fault::NoHead(code));
        }
        fetch(&settings(&hub, &folder)).await.unwrap();
        assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
        assert!(
            hub.requests()
                .iter()
                .all(|request| request.origin == Origin::Hub)
        );
    }
}
