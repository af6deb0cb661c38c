//! A Hub, or what stands in its place, whose answers are wrong: nothing of them becomes a path, a size or a model.

use std::time::Duration;

use rustix::process::Signal;
use testkit::fake_hub::{FakeHub, Fault, File, On};
use testkit::gguf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::TaskTracker;

use crate::support::{FILE, command, fetch, hub_of, hub_with, names, repository, settings, signal};

/// What fetching 300,000 bytes says of a Hub with that fault, after which nothing may be there.
async fn refused_by(on: On, fault: Fault) -> (u8, String) {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(on, fault);
    refused(&hub, &folder).await
}

async fn refused(hub: &FakeHub, folder: &tempfile::TempDir) -> (u8, String) {
    let error = fetch(&settings(hub, folder)).await.unwrap_err();
    assert!(!folder.path().join(FILE).exists(), "{error}");
    let strays: Vec<_> = names(folder.path())
        .into_iter()
        .filter(|name| !is_own(name))
        .collect();
    assert_eq!(strays, [""; 0]);
    (error.exit_code(), error.to_string())
}

/// Whether `name` is that of a part or its journal: a digest, and nothing that a server chose.
fn is_own(name: &str) -> bool {
    let digest = name
        .strip_prefix('.')
        .and_then(|rest| rest.split_once('.'))
        .map(|(digest, _)| digest);
    digest.is_some_and(|digest| {
        digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[tokio::test]
async fn a_digest_that_is_none_is_not_believed_and_never_a_path() {
    let weak = format!("W/\"{}\"", "ab".repeat(32));
    for etag in [
        "\"../../x\"",
        "",
        "\"\"",
        &"a".repeat(10_000),
        &"g".repeat(64),
        &"a".repeat(63),
        &weak,
    ] {
        let (code, said) =
            refused_by(On::Resolve, Fault::Header("x-linked-etag", etag.to_owned())).await;
        assert_eq!(code, 64, "{etag}: {said}");
        assert!(
            said.contains("publishes no SHA-256 for tiny.Q4_0.gguf"),
            "{said}"
        );
    }
    // Without quotes it is as good as with them.
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let bare = hub.repository().files[0].sha256.clone();
    hub.always(On::Resolve, Fault::Header("x-linked-etag", bare));
    fetch(&settings(&hub, &folder)).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_is_none_is_refused() {
    for commit in [
        "../../x",
        "",
        "main",
        &"g".repeat(40),
        &"a".repeat(41),
        "\u{1b}[2J",
    ] {
        let mut odd = repository(vec![File::from_bytes(FILE, gguf::tiny(300_000))]);
        odd.commit = commit.to_owned();
        let (hub, folder) = hub_of(odd, Vec::new()).await;
        let (code, said) = refused(&hub, &folder).await;
        assert_eq!(
            (code, said.ends_with("no commit for revision main")),
            (69, true),
            "{said}"
        );
        let (code, said) = refused_by(On::Resolve, Fault::OtherCommit("../../x".to_owned())).await;
        assert_eq!(code, 69, "{said}");
    }
}

#[tokio::test]
async fn a_size_that_is_not_the_files_publishes_nothing() {
    for size in ["299999", "300001", "0", "1", "18446744073709551615"] {
        let (code, said) =
            refused_by(On::Resolve, Fault::Header("x-linked-size", size.to_owned())).await;
        assert!(matches!(code, 65 | 69 | 74), "{size}: {code} {said}");
    }
    // What is no number is not believed; the source of the bytes is asked.
    for size in ["", "-1", "many", "3e5"] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        hub.always(On::Resolve, Fault::Header("x-linked-size", size.to_owned()));
        fetch(&settings(&hub, &folder)).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_in_place_of_the_bytes_is_never_taken_for_them() {
    let page = |code, kind: &str, body| Fault::Status {
        code,
        headers: vec![("content-type", kind.to_owned())],
        body,
    };
    for fault in [
        page(
            200,
            "text/html",
            "<!DOCTYPE html><html>Log in to the network</html>",
        ),
        page(200, "application/json", "{\"error\":\"no\"}"),
        page(203, "text/plain", "transformed"),
        page(204, "text/plain", ""),
        page(206, "text/plain", "a range that was not asked for"),
        Fault::Header("content-range", "bytes 0-299999/7".to_owned()),
        Fault::Header("content-range", "octets 0-299999/300000".to_owned()),
        Fault::Header("content-encoding", "gzip".to_owned()),
    ] {
        let shown = format!("{fault:?}");
        let (code, said) = refused_by(On::Bytes, fault).await;
        assert_eq!(code, 69, "{shown}: {said}");
    }
}

#[tokio::test]
async fn an_address_without_end_or_sense_is_refused() {
    for location in [
        "x".repeat(100_000),
        "http://".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        String::new(),
    ] {
        let (code, said) = refused_by(On::Resolve, Fault::RedirectTo(location)).await;
        assert_eq!(code, 69, "{said}");
    }
}

#[tokio::test]
async fn answers_that_never_become_one_or_never_end_are_given_up() {
    let hints = (
        "HTTP/1.1 103 Early Hints\r\n",
        "Link: </x>\r\n\r\nHTTP/1.1 103 Early Hints\r\n",
    );
    let drips = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        " ",
    );
    for (start, again) in [hints, drips] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tasks = TaskTracker::new();
        let connections = TaskTracker::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let _request = stream.read(&mut [0; 4096]).await;
                    let _gone = stream.write_all(start.as_bytes()).await;
                    while stream.write_all(again.as_bytes()).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                });
            }
        });
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        let mut wanted = settings(&hub, &folder);
        wanted.endpoint = endpoint.parse().unwrap();
        wanted.tuning.stall = Duration::from_millis(200);
        let ended = tokio::time::timeout(Duration::from_secs(20), fetch(&wanted))
            .await
            .unwrap();
        assert_eq!(ended.unwrap_err().exit_code(), 69);
    }
}

#[tokio::test]
async fn an_api_that_answers_nonsense_is_refused() {
    let nested: &str = "[".repeat(100_000).leak();
    let siblings = format!(
        "{{\"id\":\"a/b\",\"sha\":\"{}\",\"siblings\":{nested}",
        "a".repeat(40)
    )
    .leak();
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "{\"id\":7}",
        "{\"id\":\"a/b\"}",
        "{\"id\":\"a/b\",\"sha\":null}",
        "{\"id\":\"a/b\",\"sha\":[],\"siblings\":{}}",
        "<html>Log in</html>",
        nested,
        siblings,
    ] {
        let fault = Fault::Status {
            code: 200,
            headers: Vec::new(),
            body,
        };
        let (code, said) = refused_by(On::Api, fault).await;
        assert_eq!(code, 69, "{body:.60}: {said}");
        assert!(said.len() < 1_000, "{said}");
    }
}

#[tokio::test]
async fn an_answer_of_the_api_is_read_up_to_ten_megabytes_and_no_deeper_than_it_makes_sense() {
    let of = |n_files: usize, rest: &str| {
        let sibling = "{\"rfilename\":\"x.gguf\"},";
        let commit = "a".repeat(40);
        let siblings = sibling.repeat(n_files);
        let body = format!(
            "{{\"id\":\"a/b\",\"sha\":\"{commit}\",\"siblings\":[{siblings}{sibling:.22}]{rest}}}"
        );
        Fault::Status {
            code: 200,
            headers: Vec::new(),
            body: body.leak(),
        }
    };
    let (code, said) = refused_by(On::Api, of(1_000_000, "")).await;
    assert_eq!(
        (code, said.ends_with("more than 10 MB from its API")),
        (69, true),
        "{said}"
    );
    let deep = format!(",\"gated\":{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let (code, said) = refused_by(On::Api, of(1, &deep)).await;
    assert_eq!(
        (code, said.contains("recursion limit exceeded")),
        (69, true),
        "{said}"
    );
    // Many files are no reason to refuse; the one that is wanted is not among them.
    let (code, said) = refused_by(On::Api, of(400_000, "")).await;
    assert_eq!(
        (code, said.contains("has no file tiny.Q4_0.gguf")),
        (64, true),
        "{said}"
    );
}

/// An answer of the API with that many names of files.
fn listing(n_files: usize, name: impl Fn(usize) -> String) -> Fault {
    let siblings: Vec<_> = (1..=n_files)
        .map(|n| format!("{{\"rfilename\":\"{}\"}}", name(n)))
        .collect();
    let body = format!(
        "{{\"id\":\"a/b\",\"sha\":\"{}\",\"siblings\":[{}]}}",
        "a".repeat(40),
        siblings.join(",")
    );
    Fault::Status {
        code: 200,
        headers: Vec::new(),
        body: body.leak(),
    }
}

#[tokio::test]
async fn thousands_of_names_that_claim_huge_sets_are_judged_in_seconds() {
    let claims: [fn(usize) -> String; 3] = [
        |n| format!("m-{n:05}-of-99999.gguf"),
        |n| format!("m{n}-Q8_0-00001-of-01000.gguf"),
        |n| format!("{}{n}.gguf", "tiny.Q4".repeat(25)),
    ];
    for name in claims {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        hub.always(On::Api, listing(20_000, name));
        for wanted in [FILE, ":Q8_0", "m-00001-of-00900.gguf"] {
            let mut settings = settings(&hub, &folder);
            settings.choice = wanted.parse().unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(20), fetch(&settings)).await;
            let error = ended.unwrap().unwrap_err();
            assert_eq!(error.exit_code(), 64, "{error}");
            assert!(error.to_string().len() < 25_000, "{error}");
        }
    }
}

#[tokio::test]
async fn a_hostile_listing_does_not_keep_a_signal_waiting() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(
        On::Api,
        listing(70_000, |n| format!("{}{n}.gguf", "tiny.Q4".repeat(15))),
    );
    let mut child = command(&hub, folder.path()).spawn().unwrap();
    hub.until_requests(1).await;
    signal(&child, Signal::INT);
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(130));
}
