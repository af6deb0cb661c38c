//! Who may have the file: each refusal is told apart, asked for once, and the token is in no output.

use std::time::{Duration, Instant};

use common::secret::Secret;
use model_fetcher::config::Fetch;
use testkit::fake_hub::{Fault, File, On, Token};
use testkit::gguf;

use crate::support::{FILE, TOKEN, command, fetch, hub_of, hub_with, repository, settings, text};

/// What a Hub that refuses says, by status, `X-Error-Code` and `X-Error-Message`, and whether a token was sent; and the
/// exit code and the words that a person then reads.
const REFUSALS: [(u16, &str, &str, bool, u8, &str); 9] = [
    (
        401,
        "",
        "",
        false,
        77,
        "HUB wants to know who asks for acme/tiny-GGUF: make a read token at HUB/settings/tokens and set HF_TOKEN or HF_TOKEN_FILE",
    ),
    (
        401,
        "",
        "Invalid credentials in Authorization header",
        true,
        77,
        "HUB does not accept HF_TOKEN: it is mistyped, expired or revoked; make a new one at HUB/settings/tokens, or unset it for a repository that is open to everyone",
    ),
    (
        401,
        "RepoNotFound",
        "Repository not found",
        false,
        64,
        "HUB knows no repository acme/tiny-GGUF: check the spelling of HF_REPO_ID. A private repository shows itself only to a token of its owner: set HF_TOKEN or HF_TOKEN_FILE",
    ),
    (
        401,
        "GatedRepo",
        "",
        false,
        77,
        "acme/tiny-GGUF is gated: accept its licence at HUB/acme/tiny-GGUF, make a read token at HUB/settings/tokens, and set HF_TOKEN or HF_TOKEN_FILE",
    ),
    (
        401,
        "GatedRepo",
        "",
        true,
        77,
        "acme/tiny-GGUF is gated and HF_TOKEN is not accepted: make a new one at HUB/settings/tokens",
    ),
    (
        403,
        "GatedRepo",
        "",
        true,
        77,
        "acme/tiny-GGUF is gated and the owner of HF_TOKEN may not read it yet: accept its licence at HUB/acme/tiny-GGUF; a fine-grained token also needs the permission to read public gated repositories, set at HUB/settings/tokens",
    ),
    (
        403,
        "",
        "Access to this resource is disabled.",
        true,
        77,
        "HUB does not give acme/tiny-GGUF to this caller (status 403: Access to this resource is disabled.): open HUB/acme/tiny-GGUF in a browser to see why",
    ),
    (
        404,
        "RepoNotFound",
        "Repository not found",
        true,
        64,
        "HUB knows no repository acme/tiny-GGUF: check the spelling of HF_REPO_ID. A private repository shows itself only to a token of its owner: set HF_TOKEN or HF_TOKEN_FILE",
    ),
    (
        451,
        "",
        "Not here",
        false,
        77,
        "HUB does not give acme/tiny-GGUF to this caller (status 451: Not here): open HUB/acme/tiny-GGUF in a browser to see why",
    ),
];

#[tokio::test]
async fn each_refusal_is_told_apart_in_words_to_act_on_and_asked_for_once() {
    for (status, code, message, with_token, exit_code, words) in REFUSALS {
        for (on, n_requests) in [(On::Api, 1), (On::Resolve, 2)] {
            let mut open = repository(vec![File::from_bytes(FILE, gguf::tiny(300_000))]);
            open.gated = false;
            let known = Token {
                text: TOKEN.to_owned(),
                accepted: true,
            };
            let (hub, folder) = hub_of(open, vec![known]).await;
            let headers = [("x-error-code", code), ("x-error-message", message)];
            let headers = headers.into_iter().filter(|(_, value)| !value.is_empty());
            let headers = headers
                .map(|(name, value)| (name, value.to_owned()))
                .collect();
            hub.always(
                on,
                Fault::Status {
                    code: status,
                    headers,
                    body: "",
                },
            );
            let token = with_token.then(|| Secret::new(TOKEN));
            let began = Instant::now();
            let error = fetch(&Fetch {
                token,
                ..settings(&hub, &folder)
            })
            .await
            .unwrap_err();
            assert!(
                began.elapsed() < Duration::from_secs(1),
                "{status} {code}: {:?}",
                began.elapsed()
            );
            let said = error.to_string().replace(&hub.endpoint(), "HUB");
            assert_eq!(
                (error.exit_code(), said.as_str()),
                (exit_code, words),
                "{status} {code} on {on:?}"
            );
            assert_eq!(
                hub.requests().len(),
                n_requests,
                "{status} {code} on {on:?}"
            );
            assert_eq!(hub.bytes_served(), 0);
        }
    }
}

#[tokio::test]
async fn a_line_end_in_the_tokens_file_does_not_matter_and_no_level_shows_the_token() {
    for (written, format) in [
        (format!("{TOKEN}\n"), "text"),
        (format!("{TOKEN}\r\n"), "json"),
    ] {
        let mut gated = repository(vec![File::from_bytes(FILE, gguf::tiny(300_000))]);
        gated.gated = true;
        let (hub, folder) = hub_of(
            gated,
            vec![Token {
                text: TOKEN.to_owned(),
                accepted: true,
            }],
        )
        .await;
        hub.next(
            On::Bytes,
            [Fault::CutAfter(1_000), Fault::Expired, Fault::status(503)],
        );
        let secrets = tempfile::tempdir().unwrap();
        let file = secrets.path().join("token");
        std::fs::write(&file, written).unwrap();
        let mut command = command(&hub, folder.path());
        command
            .env("HF_TOKEN_FILE", &file)
            .env("LOG_LEVEL", "trace")
            .env("LOG_FORMAT", format);
        let output = command.output().await.unwrap();
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{} {all}", output.status);
        assert!(all.contains("TRACE"), "trace logs nothing");
        assert!(!all.contains(TOKEN) && !all.contains("signature="), "{all}");
    }
}

#[tokio::test]
async fn a_signed_address_that_cannot_be_reached_is_named_without_its_signature() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    hub.always(
        On::Resolve,
        Fault::RedirectTo(format!("http://{free}/x?signature=secret")),
    );
    let mut wanted = settings(&hub, &folder);
    wanted.tuning.attempts = 2;
    let error = fetch(&wanted).await.unwrap_err();
    let said = error.to_string();
    assert_eq!(
        (error.exit_code(), said.contains(&free.to_string())),
        (69, true),
        "{said}"
    );
    assert!(!said.contains("signature"), "{said}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_in_no_output_whatever_the_level() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut command = command(&hub, folder.path());
    command
        .env("HF_TOKEN", "hf_secret_of_the_test")
        .env("LOG_LEVEL", "trace");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(77));
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(!all.contains("hf_secret_of_the_test"), "{all}");
}

#[tokio::test]
async fn a_home_with_someone_elses_token_is_not_looked_into() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("token"), "hf_of_another_program").unwrap();
    let output = command(&hub, folder.path())
        .env("HF_HOME", home.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(hub.requests().iter().all(|request| !request.authorization));
}
