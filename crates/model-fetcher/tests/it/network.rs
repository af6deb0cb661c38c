//! The way to the Hub: proxies of the environment, a private authority, names that do not resolve.

use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::fake_hub::{Authority, FakeHub, Fault, File, ForwardProxy, Listening, On, Token};
use testkit::gguf;
use testkit::tools::{needs, skip};
use tokio::process::Command;
use tokio_util::task::TaskTracker;

use crate::support::{FILE, TOKEN, command, hub_with, repository, run_by, text};

/// A Hub and a CDN that speak HTTPS, for which a name stands that only a proxy knows.
async fn private_hub(gated: bool) -> (FakeHub, tempfile::TempDir, PathBuf) {
    let authority = Authority::for_names(&["hub.test", "127.0.0.1"]);
    let mut repository = repository(vec![File::from_bytes(FILE, gguf::tiny(300_000))]);
    repository.gated = gated;
    let tokens = vec![Token {
        text: TOKEN.to_owned(),
        accepted: true,
    }];
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("authority.pem");
    std::fs::write(&bundle, authority.pem()).unwrap();
    let listening = Listening {
        tls: Some(authority),
        ..Listening::default()
    };
    (
        FakeHub::start_on(repository, tokens, listening)
            .await
            .unwrap(),
        folder,
        bundle,
    )
}

/// The exit code of `command` and all that it said.
async fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().await.unwrap();
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

fn is_there(folder: &Path) -> bool {
    std::fs::read(folder.join("models").join(FILE)).is_ok_and(|read| read == gguf::tiny(300_000))
}

#[tokio::test]
async fn a_private_authority_in_ssl_cert_file_is_trusted_and_nothing_else_is() {
    let (hub, folder, bundle) = private_hub(false).await;
    let models = folder.path().join("models");
    let (code, said) = ended(&mut command(&hub, &models)).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(
        said.contains("ertificate") && said.contains("name it in SSL_CERT_FILE"),
        "{said}"
    );
    assert_eq!(hub.requests(), []);
    let (code, said) = ended(command(&hub, &models).env("SSL_CERT_FILE", &bundle)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(is_there(folder.path()));
}

#[tokio::test]
async fn a_server_of_another_name_is_not_trusted_although_its_authority_is() {
    let (hub, folder, bundle) = private_hub(false).await;
    let endpoint = format!("https://localhost:{}", hub.hub_address().port());
    let mut command = command(&hub, &folder.path().join("models"));
    let (code, said) = ended(
        command
            .env("SSL_CERT_FILE", &bundle)
            .env("HF_ENDPOINT", endpoint),
    )
    .await;
    assert_eq!((code, hub.requests().len()), (Some(69), 0), "{said}");
}

#[tokio::test]
async fn https_goes_through_a_tunnel_of_https_proxy_and_the_proxy_sees_no_token() {
    let (hub, folder, bundle) = private_hub(true).await;
    let proxy = ForwardProxy::start().await.unwrap();
    let port = hub.hub_address().port();
    let mut command = command(&hub, &folder.path().join("models"));
    command
        .env("HF_ENDPOINT", format!("https://hub.test:{port}"))
        .env("HTTPS_PROXY", proxy.url());
    command.env("SSL_CERT_FILE", &bundle).env("HF_TOKEN", TOKEN);
    let (code, said) = ended(&mut command).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(is_there(folder.path()));
    let passed = proxy.passed();
    let targets: Vec<_> = passed
        .iter()
        .map(|passed| (passed.method.as_str(), passed.target.as_str()))
        .collect();
    let to_hub = format!("hub.test:{port}");
    let to_cdn = format!("hub.test:{}", hub.cdn_address().port());
    assert!(
        targets.contains(&("CONNECT", &to_hub)) && targets.contains(&("CONNECT", &to_cdn)),
        "{targets:?}"
    );
    assert!(
        passed
            .iter()
            .all(|passed| passed.method == "CONNECT" && !passed.head.contains(TOKEN))
    );
}

#[tokio::test]
async fn http_goes_through_http_proxy_and_no_proxy_names_what_does_not() {
    for (no_proxy, through) in [
        ("", true),
        ("127.0.0.1", false),
        ("other.test", true),
        ("127.0.0.0/8", false),
    ] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        let proxy = ForwardProxy::start().await.unwrap();
        let models = folder.path().join("models");
        let mut command = command(&hub, &models);
        let (code, said) = ended(
            command
                .env("HTTP_PROXY", proxy.url())
                .env("NO_PROXY", no_proxy),
        )
        .await;
        assert_eq!(code, Some(0), "{said}");
        assert!(is_there(folder.path()));
        let n_passed = proxy.passed().len();
        assert_eq!(
            n_passed,
            if through { hub.requests().len() } else { 0 },
            "NO_PROXY={no_proxy}"
        );
    }
}

#[tokio::test]
async fn a_proxy_in_small_letters_with_odd_signs_in_its_password_is_used() {
    // `curl -u 'user:p@ss%word'` sends the same.
    let credentials = "Proxy-Authorization: Basic dXNlcjpwQHNzJXdvcmQ=";
    for password in ["p@ss%25word", "p%40ss%25word"] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        let proxy = ForwardProxy::start().await.unwrap();
        let address = proxy.url().replace("http://", &format!("user:{password}@"));
        let mut command = command(&hub, &folder.path().join("models"));
        let (code, said) = ended(command.env("http_proxy", address)).await;
        assert_eq!(code, Some(0), "{said}");
        let passed = proxy.passed();
        assert_eq!(passed.len(), hub.requests().len());
        let lower = credentials.to_ascii_lowercase();
        assert!(
            passed
                .iter()
                .all(|passed| passed.head.to_ascii_lowercase().contains(&lower)),
            "{passed:?}"
        );
    }
}

#[tokio::test]
async fn no_proxy_for_everything_holds_for_addresses_too() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let proxy = ForwardProxy::start().await.unwrap();
    let mut command = command(&hub, &folder.path().join("models"));
    command.env("HTTP_PROXY", proxy.url()).env("no_proxy", "*");
    let (code, said) = ended(&mut command).await;
    assert_eq!((code, proxy.passed()), (Some(0), vec![]), "{said}");
}

#[tokio::test]
async fn a_proxy_that_is_none_is_refused_by_name_before_any_request() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    for (name, value) in [
        ("HTTPS_PROXY", "\"http://secret:1\""),
        ("https_proxy", "http://user:sec/ret@127.0.0.1:1"),
        ("ALL_PROXY", "socks5://secret:1"),
        ("NO_PROXY", "http://secret"),
    ] {
        let mut command = command(&hub, &folder.path().join("models"));
        let (code, said) = ended(command.env(name, value)).await;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(&format!("{name} is not usable: ")), "{said}");
        assert!(
            !said.contains("secret") && !said.contains("sec/ret"),
            "{said}"
        );
    }
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_as_a_thing_to_check() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = command(&hub, &folder.path().join("models"));
    let (code, said) = ended(command.env("HTTP_PROXY", format!("http://{free}"))).await;
    assert_eq!((code, hub.requests().len()), (Some(69), 0), "{said}");
    assert!(
        said.contains("Check the network, HTTPS_PROXY and HF_ENDPOINT"),
        "{said}"
    );
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let (hub, folder, bundle) = private_hub(false).await;
    let (plain, _folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(
        On::Resolve,
        Fault::RedirectTo(format!("{}/x", plain.endpoint())),
    );
    let mut command = command(&hub, &folder.path().join("models"));
    let (code, said) = ended(command.env("SSL_CERT_FILE", &bundle)).await;
    assert_eq!((code, plain.requests().len()), (Some(69), 0), "{said}");
    assert!(said.contains("a redirect from https to http"), "{said}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named_within_a_minute() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut fetcher = command(&hub, &folder.path().join("models"));
    fetcher.env("HF_ENDPOINT", "http://no-such-hub.invalid");
    let mut runs = vec![];
    // A machine without any network, where that can be made.
    if needs("unshare", &["-rn", "true"]) {
        runs.push(run_by("unshare", &["-rn"], &fetcher));
    }
    runs.push(fetcher);
    for mut run in runs {
        let (code, said) = tokio::time::timeout(Duration::from_secs(60), ended(&mut run))
            .await
            .unwrap();
        assert_eq!(code, Some(69), "{said}");
        assert!(
            said.contains("cannot fetch from http://no-such-hub.invalid: "),
            "{said}"
        );
    }
}

/// The socket of a name server at that address; `None` when the test must be skipped.
async fn name_server(address: &str) -> Option<tokio::net::UdpSocket> {
    if !needs("unshare", &["-rm", "true"]) {
        return None;
    }
    // A name server has no other port.
    let socket = tokio::net::UdpSocket::bind((address, 53)).await.ok();
    if socket.is_none() {
        skip(&format!("nobody may listen on {address}:53"));
    }
    socket
}

/// `fetcher` where the name server is at that address. `folder` is the test's own.
fn run_with_names_of(address: &str, folder: &Path, fetcher: &Command) -> Command {
    let list = folder.join("resolv.conf");
    std::fs::write(&list, format!("nameserver {address}\n")).unwrap();
    let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
    let list = list.display().to_string();
    let arguments = ["-rm", "sh", "-c", script, "sh", &list];
    run_by("unshare", &arguments, fetcher)
}

/// Answers each question for an address with 127.0.0.1 or, where `exist` is false, that there is no such name; after
/// `pause`.
async fn answer_names(socket: tokio::net::UdpSocket, exist: bool, pause: Duration) {
    let socket = std::sync::Arc::new(socket);
    let answers = TaskTracker::new();
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        let mut answer = question[..length].to_vec();
        let socket = socket.clone();
        // The question without what may follow it: labels up to the empty one, the type and the class.
        let name = answer[12..].iter().position(|byte| *byte == 0).unwrap() + 13;
        let is_for_v4 = answer[name..name + 2] == [0, 1];
        answer.truncate(name + 4);
        let has_address = is_for_v4 && exist;
        let code = if exist { 0x80 } else { 0x83 };
        answer[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
        if has_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        answers.spawn(async move {
            tokio::time::sleep(pause).await;
            socket.send_to(&answer, from).await
        });
    }
}

#[tokio::test]
async fn a_slow_name_server_is_waited_for_and_a_silent_one_is_given_up_within_a_minute() {
    let Some(socket) = name_server("127.9.8.7").await else {
        return;
    };
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let models = folder.path().join("models");
    let mut fetcher = command(&hub, &models);
    fetcher.env(
        "HF_ENDPOINT",
        format!("http://slow.test:{}", hub.hub_address().port()),
    );
    let run = || run_with_names_of("127.9.8.7", folder.path(), &fetcher);
    let (code, said) = tokio::time::timeout(Duration::from_secs(60), ended(&mut run()))
        .await
        .unwrap();
    assert_eq!(code, Some(69), "{said}");
    assert!(
        said.contains("cannot fetch from http://slow.test:"),
        "{said}"
    );
    assert_eq!(hub.requests(), []);
    tokio::select! {
        (code, said) = async { ended(&mut run()).await } => assert_eq!(code, Some(0), "{said}"),
        () = answer_names(socket, true, Duration::from_secs(2)) => panic!("the name server ended"),
    }
    assert!(is_there(folder.path()));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_once_and_in_a_few_words() {
    let Some(socket) = name_server("127.9.8.6").await else {
        return;
    };
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut fetcher = command(&hub, &folder.path().join("models"));
    fetcher.env("HF_ENDPOINT", "http://hub.test");
    let mut run = run_with_names_of("127.9.8.6", folder.path(), &fetcher);
    let (code, said) = tokio::select! {
        ended = ended(&mut run) => ended,
        () = answer_names(socket, false, Duration::ZERO) => panic!("the name server ended"),
    };
    assert_eq!(
        (code, said.as_str()),
        (
            Some(69),
            "model-fetcher: cannot fetch from http://hub.test: hub.test: no such name (DNS). Check the network, HTTPS_PROXY \
             and HF_ENDPOINT and run model-fetcher again, it goes on where it stopped; without a network, bring the file \
             by hand: model-fetcher import FILE\n"
        )
    );
}
