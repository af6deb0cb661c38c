//! A wrong or half file never has the model's name.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use testkit::fake_hub::{Fault, File, On};
use testkit::gguf;

use crate::support::{FILE, fetch, hub_of, hub_with, names, repository, settings};

#[tokio::test]
async fn a_flipped_byte_is_fetched_once_more_and_never_published() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::FlipByteAt(250_000));
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert_eq!(error.exit_code(), 65);
    let message = error.to_string();
    let sha256 = &hub.repository().files[0].sha256;
    assert!(
        message.starts_with("tiny.Q4_0.gguf from acme/tiny-GGUF has SHA-256 "),
        "{message}"
    );
    assert!(
        message.contains(&format!(", not {sha256}: nothing was published")),
        "{message}"
    );
    assert_eq!(names(folder.path()), [""; 0]);
    assert_eq!(hub.bytes_served(), 600_000);
}

#[tokio::test]
async fn a_byte_flipped_anywhere_is_never_visible_at_the_final_path() {
    let bytes = gguf::tiny(20_000);
    let (hub, folder) = hub_with(&bytes).await;
    let path = folder.path().join(FILE);
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let path = path.clone();
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let mut seen = false;
            while !done.load(Ordering::Relaxed) {
                seen |= path.exists();
                std::thread::yield_now();
            }
            seen
        })
    };
    for n in 0..100 {
        hub.behave();
        hub.always(On::Bytes, Fault::FlipByteAt(n * 199));
        assert_eq!(
            fetch(&settings(&hub, &folder))
                .await
                .unwrap_err()
                .exit_code(),
            65
        );
    }
    done.store(true, Ordering::Relaxed);
    assert!(!watch.join().unwrap(), "a wrong file was seen");
}

#[tokio::test]
async fn a_byte_that_was_flipped_once_costs_one_more_download() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    hub.next(On::Bytes, [Fault::FlipByteAt(250_000)]);
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_is_there_survives_a_download_that_turns_out_wrong() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let old = gguf::tiny(200_000);
    std::fs::write(folder.path().join(FILE), &old).unwrap();
    hub.always(On::Bytes, Fault::FlipByteAt(250_000));
    fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == old);
}

#[tokio::test]
async fn a_pin_that_is_not_the_published_digest_is_refused_before_the_first_byte() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut wanted = settings(&hub, &folder);
    wanted.pin = Some("ab".repeat(32).parse().unwrap());
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 65);
    assert_eq!(hub.bytes_served(), 0);
}

#[tokio::test]
async fn what_is_no_gguf_file_fails_within_its_first_bytes_and_says_what_it_looks_like() {
    let cases: [(&[u8], &str); 8] = [
        (
            b"<!DOCTYPE html><html>",
            "an HTML page, perhaps of a login or a proxy",
        ),
        (
            b"<Error><Code>AccessDenied</Code></Error>",
            "an XML error message",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "a Git LFS pointer, not the file that it points to",
        ),
        (b"PK\x03\x04", "a zip archive"),
        (b"{\"error\":\"no\"}", "JSON, perhaps an error message"),
        (b"FUGG\0\0\0\x03", "a GGUF file for big-endian machines"),
        (
            b"ggml",
            "a GGML file from before GGUF; llama.cpp no longer reads it",
        ),
        (
            b"\x80\x02",
            "something else (safetensors and PyTorch files need converting first)",
        ),
    ];
    for (start, looks_like) in cases {
        let mut bytes = start.to_vec();
        bytes.resize(6 << 20, 0);
        let (hub, folder) = hub_with(&bytes).await;
        let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
        assert_eq!(error.exit_code(), 65);
        let expected = format!(
            "tiny.Q4_0.gguf from acme/tiny-GGUF is not a GGUF file: it looks like {looks_like}: "
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(
            hub.bytes_served() < 4 << 20,
            "{} bytes for a wrong file",
            hub.bytes_served()
        );
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_gguf_file_that_was_cut_is_refused_before_the_rest_is_fetched() {
    let whole = gguf::tiny(6 << 20);
    let (hub, folder) = hub_with(&whole[..5 << 20]).await;
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(
        error
            .to_string()
            .contains("is cut off: its tensors end at byte 6291456, the file at byte 5242880")
    );
    assert!(hub.bytes_served() < 4 << 20);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn nothing_is_written_through_a_symbolic_link_or_over_a_folder() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::os::unix::fs::symlink(elsewhere.path().join("x"), &path).unwrap();
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    let shown = path.display().to_string();
    assert_eq!(
        (error.exit_code(), error.to_string()),
        (
            73,
            format!(
                "{shown} is a symbolic link, and a model is never written through or over it: remove it"
            )
        )
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(
        fetch(&settings(&hub, &folder))
            .await
            .unwrap_err()
            .exit_code(),
        73
    );
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("Q4")).unwrap();
    let mut wanted = settings(&hub, &folder);
    wanted.choice = "Q4/x.gguf".parse().unwrap();
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 73);
    assert_eq!(names(elsewhere.path()), [""; 0]);
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn a_name_from_the_hub_never_becomes_a_path() {
    let files = vec![File::from_bytes("../../escape.gguf", gguf::tiny(1_000))];
    let (hub, folder) = hub_of(repository(files), Vec::new()).await;
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert_eq!(error.exit_code(), 64);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_header_that_lies_is_refused_without_taking_memory() {
    let header = |version: u32, n_tensors: u64, n_keys: u64, rest: &[u8]| {
        let mut file = b"GGUF".to_vec();
        file.write_all(&version.to_le_bytes()).unwrap();
        file.write_all(&n_tensors.to_le_bytes()).unwrap();
        file.write_all(&n_keys.to_le_bytes()).unwrap();
        file.write_all(rest).unwrap();
        file
    };
    let key = |name: &str, kind: u32, value: &[u8]| {
        let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(value);
        bytes
    };
    let array = |kind: u32, n: u64| [&kind.to_le_bytes()[..], &n.to_le_bytes()[..]].concat();
    let alignment = |n: u32| key("general.alignment", 4, &n.to_le_bytes());
    let twice = [key("a", 7, &[1]), key("a", 7, &[1])].concat();
    for lie in [
        header(0, 0, 0, &[]),
        header(1, 0, 0, &[]),
        header(u32::MAX, 0, 0, &[]),
        header(3, 1 << 63, 0, &[]),
        header(3, u64::MAX, 0, &[]),
        header(3, 0, 1 << 63, &[]),
        header(3, 1, 1 << 20, &[]),
        header(3, 0, 1, &u64::MAX.to_le_bytes()),
        header(3, 0, 1, &key("", 7, &[1])),
        header(3, 0, 1, &key("\u{7f}", 255, &[1])),
        header(3, 0, 1, &key("k", 8, &(1_u64 << 63).to_le_bytes())),
        header(3, 0, 1, &key("k", 9, &array(8, 1 << 62))),
        header(3, 0, 1, &key("k", 9, &array(12, u64::MAX))),
        header(3, 0, 1, &key("k", 9, &array(9, 1))),
        header(3, 0, 1, &alignment(0)),
        header(3, 0, 1, &alignment(3)),
        header(3, 0, 1, &alignment(1 << 31)),
        header(3, 0, 2, &twice),
    ] {
        let size = lie.len() as u64 + 1_000;
        let padded = [&lie[..], &[0; 1_000]].concat();
        let verdict = model_fetcher::gguf::check(&padded[..], size);
        assert!(
            !matches!(
                verdict,
                Ok(_) | Err(model_fetcher::gguf::Problem::NeedsMore)
            ),
            "{lie:?}: {verdict:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_file_cut_anywhere_or_with_any_byte_changed_never_panics_and_a_cut_is_always_seen(
        cut in 0_usize..4_096,
        (at, to) in (0_usize..4_096, any::<u8>()),
    ) {
        let mut bytes = gguf::tiny(4_096);
        prop_assert!(model_fetcher::gguf::check(&bytes[..], 4_096).is_ok());
        prop_assert!(model_fetcher::gguf::check(&bytes[..cut], cut as u64).is_err());
        bytes[at] = to;
        let _no_panic = model_fetcher::gguf::check(&bytes[..], 4_096);
    }
}

#[tokio::test]
async fn a_byte_that_changed_on_the_disk_between_two_runs_is_found_out() {
    let bytes = gguf::tiny(3 << 20);
    let (hub, folder) = hub_with(&bytes).await;
    hub.next(
        On::Bytes,
        std::iter::repeat_n(Fault::BytesPerSecond(1 << 30), 4),
    );
    hub.next(On::Bytes, std::iter::repeat_n(Fault::status(503), 20));
    let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
    assert_eq!(error.exit_code(), 69, "{error}");
    hub.behave();
    let part = folder
        .path()
        .join(format!(".{}.part", hub.repository().files[0].sha256));
    let mut left = std::fs::read(&part).unwrap();
    assert_eq!(
        (
            left[1 << 20..][..100_000] == bytes[1 << 20..][..100_000],
            left.len()
        ),
        (true, 3 << 20)
    );
    left[(1 << 20) + 5] ^= 1;
    std::fs::write(&part, left).unwrap();
    let served = hub.bytes_served();
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert!(
        hub.bytes_served() - served > bytes.len() as u64,
        "it was not fetched once more"
    );
}
