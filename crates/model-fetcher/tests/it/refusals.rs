//! What the Hub refuses, in words that say what to do, with an exit code that says what kind of thing it is.

use common::secret::Secret;
use model_fetcher::config::Fetch;
use testkit::fake_hub::{FakeHub, Fault, File, On, Repository, Token};
use testkit::gguf;

use crate::support::{COMMIT, FILE, TOKEN, fetch, hub_of, hub_with, names, settings};

/// A gated Hub, and what fetching says with `token`.
async fn gated(token: Option<&str>) -> (u8, String, String) {
    let repository = Repository {
        id: "google/gemma-3-4b-it-qat-q4_0-gguf".to_owned(),
        commit: COMMIT.to_owned(),
        gated: true,
        files: vec![File::from_bytes(FILE, gguf::tiny(300_000))],
    };
    let known = Token {
        text: "hf_not_accepted".to_owned(),
        accepted: false,
    };
    let (hub, folder) = hub_of(repository, vec![known]).await;
    let wanted = Fetch {
        token: token.map(Secret::new),
        ..settings(&hub, &folder)
    };
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(names(folder.path()), [""; 0]);
    assert_eq!(hub.bytes_served(), 0);
    (error.exit_code(), error.to_string(), hub.endpoint())
}

/// What fetching says after `change`.
async fn refused(change: impl FnOnce(&FakeHub, &mut Fetch)) -> (u8, String) {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut wanted = settings(&hub, &folder);
    change(&hub, &mut wanted);
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(hub.bytes_served(), 0);
    (
        error.exit_code(),
        error.to_string().replace(&hub.endpoint(), "HUB"),
    )
}

#[tokio::test]
async fn a_gated_model_without_a_token_names_the_licence_the_token_and_the_twin() {
    let (code, message, hub) = gated(None).await;
    assert_eq!(code, 77);
    assert_eq!(
        message,
        format!(
            "google/gemma-3-4b-it-qat-q4_0-gguf is gated: accept its licence at \
             {hub}/google/gemma-3-4b-it-qat-q4_0-gguf, make a read token at {hub}/settings/tokens, and set HF_TOKEN or \
             HF_TOKEN_FILE. Open to everyone: HF_REPO_ID=bartowski/google_gemma-3-4b-it-qat-GGUF \
             HF_FILENAME=google_gemma-3-4b-it-qat-Q4_0.gguf"
        )
    );
}

#[tokio::test]
async fn a_token_whose_owner_has_not_accepted_the_licence_is_told_so() {
    let (code, message, hub) = gated(Some("hf_not_accepted")).await;
    assert_eq!(code, 77);
    assert_eq!(
        message,
        format!(
            "google/gemma-3-4b-it-qat-q4_0-gguf is gated and the owner of HF_TOKEN may not read it yet: accept its \
             licence at {hub}/google/gemma-3-4b-it-qat-q4_0-gguf; a fine-grained token also needs the permission to read \
             public gated repositories, set at {hub}/settings/tokens. Open to everyone: \
             HF_REPO_ID=bartowski/google_gemma-3-4b-it-qat-GGUF HF_FILENAME=google_gemma-3-4b-it-qat-Q4_0.gguf"
        )
    );
}

#[tokio::test]
async fn a_wrong_token_is_told_apart_and_never_printed() {
    let (code, message, hub) = gated(Some(TOKEN)).await;
    assert_eq!(code, 77);
    assert_eq!(
        message,
        format!(
            "{hub} does not accept HF_TOKEN: it is mistyped, expired or revoked; make a new one at {hub}/settings/tokens, \
             or unset it for a repository that is open to everyone"
        )
    );
}

#[tokio::test]
async fn a_misspelt_file_is_answered_with_the_nearest_names() {
    let (code, message) =
        refused(|_, wanted| wanted.choice = "tiny.q4_1.gguf".parse().unwrap()).await;
    assert_eq!(
        (code, message.as_str()),
        (
            64,
            "acme/tiny-GGUF has no file tiny.q4_1.gguf: check HF_FILENAME; it has tiny.Q4_0.gguf"
        )
    );
}

#[tokio::test]
async fn a_misspelt_revision_is_told_apart() {
    let (code, message) = refused(|_, wanted| wanted.revision = "mian".to_owned()).await;
    assert_eq!(
        (code, message.as_str()),
        (
            64,
            "acme/tiny-GGUF has no revision mian: check HF_REVISION, or leave it unset for main"
        )
    );
}

#[tokio::test]
async fn a_misspelt_repository_is_told_apart_although_the_hub_says_401() {
    let (code, message) =
        refused(|_, wanted| wanted.repository = "acme/tyni".parse().unwrap()).await;
    assert_eq!(
        (code, message.as_str()),
        (
            64,
            "HUB knows no repository acme/tyni: check the spelling of HF_REPO_ID. A private repository shows itself only \
             to a token of its owner: set HF_TOKEN or HF_TOKEN_FILE"
        )
    );
}

#[tokio::test]
async fn a_file_without_a_published_digest_is_refused_unless_one_is_pinned() {
    let (code, message) = refused(|hub, _| hub.always(On::Resolve, Fault::NoDigest)).await;
    assert_eq!(
        (code, message.as_str()),
        (
            64,
            "HUB publishes no SHA-256 for tiny.Q4_0.gguf, so that nothing could tell a right copy from a wrong one: set \
             MODEL_SHA256 to the digest you expect, or use https://huggingface.co as HF_ENDPOINT"
        )
    );
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(On::Resolve, Fault::NoDigest);
    let pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    fetch(&Fetch {
        pin,
        ..settings(&hub, &folder)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_file_of_another_commit_is_refused() {
    let (code, message) =
        refused(|hub, _| hub.always(On::Resolve, Fault::OtherCommit("f".repeat(40)))).await;
    assert_eq!(code, 69);
    let other = "f".repeat(40);
    assert_eq!(
        message,
        format!("refused what HUB answered: a file of commit {other} where {COMMIT} was asked for")
    );
}

#[tokio::test]
async fn without_a_network_it_says_so_soon() {
    let (code, message) = refused(|_, wanted| {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        wanted.endpoint = format!("http://{free}").parse().unwrap();
    })
    .await;
    assert_eq!(code, 69);
    assert!(message.contains("Connection refused"), "{message}");
    assert!(
        message.ends_with("without a network, bring the file by hand: model-fetcher import FILE"),
        "{message}"
    );
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_names_the_owner_and_the_user() {
    let (hub, _folder) = hub_with(&gguf::tiny(300_000)).await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let folder = file.join("models");
    let wanted = Fetch {
        folder: folder.clone(),
        ..settings(&hub, &place)
    };
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(
        (error.exit_code(), error.to_string()),
        (
            73,
            format!(
                "cannot make the folder {}: Not a directory (os error 20)",
                folder.display()
            )
        )
    );
    let denied = model_fetcher::Error::Io {
        action: "write",
        path: file.clone(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    let user = rustix::process::getuid().as_raw();
    assert_eq!(
        denied.to_string(),
        format!(
            "cannot write {}: permission denied; it belongs to user {user} and this process runs as user {user}: give \
             the folder to it (chown -R {user}), or set MODELS_DIR to one that it may write",
            file.display()
        )
    );
}
