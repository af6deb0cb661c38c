//! Backups that are put back: judged first, and what was there stays beside them.

use std::fs;
use std::path::Path;
use std::process::Command;

use chat_gateway::store::{FILE, OpenError, RestoreError, Store, backup, check, restore};
use sqlx::Connection as _;
use tempfile::TempDir;

use crate::store::{Kept, OWNER, raw};

/// The file with the key of anonymous users.
const KEY_FILE: &str = "cookie.key";

/// A store with one conversation, and a backup of it with a key.
async fn kept_and_backup() -> (Kept, TempDir) {
    let kept = Kept::new().await;
    let asked = kept.ask("in the backup").await;
    kept.finish(asked.answer, "answer").await;
    let copy = tempfile::tempdir().unwrap();
    backup(kept.place.dir.path(), &copy.path().join(FILE))
        .await
        .unwrap();
    fs::write(copy.path().join(KEY_FILE), [7; 32]).unwrap();
    (kept, copy)
}

/// The names and bytes of everything in a folder.
fn everything(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_backup_is_put_back_with_its_key_and_what_was_there_is_kept() {
    let (kept, copy) = kept_and_backup().await;
    let later = kept.ask("after the backup").await;
    let Kept { store, place } = kept;
    let dir = place.dir;
    // Not closed: its last writes are still in the journal, as after a crash.
    let journal = fs::read(dir.path().join("chat.db-wal")).unwrap();
    assert!(!journal.is_empty());
    let crashed = tempfile::tempdir().unwrap();
    for name in [FILE, "chat.db-wal"] {
        fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    drop(store);
    fs::write(crashed.path().join(KEY_FILE), [1; 32]).unwrap();

    restore(crashed.path(), copy.path()).await.unwrap();

    assert_eq!(
        fs::read(crashed.path().join(FILE)).unwrap(),
        fs::read(copy.path().join(FILE)).unwrap()
    );
    assert_eq!(
        fs::read(crashed.path().join(KEY_FILE)).unwrap(),
        [7; 32].to_vec()
    );
    let opened = Store::open(crashed.path()).await.unwrap();
    let gone = opened.message(OWNER, later.answer).await.unwrap();
    assert!(gone.is_none());
    drop(opened);
    let replaced = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(
            crashed.path().join(format!("{FILE}.replaced{suffix}")),
            replaced.path().join(format!("{FILE}{suffix}")),
        )
        .unwrap();
    }
    let opened = Store::open(replaced.path()).await.unwrap();
    let there = opened.message(OWNER, later.answer).await.unwrap();
    assert!(there.is_some());
}

#[tokio::test]
async fn a_backup_is_put_into_an_empty_folder() {
    let (kept, copy) = kept_and_backup().await;
    drop(kept);
    let empty = tempfile::tempdir().unwrap();
    let new = empty.path().join("data");
    restore(&new, copy.path()).await.unwrap();
    assert_eq!(everything(&new).len(), 3, "the two files and the lock");
    Store::open(&new).await.unwrap();
}

#[tokio::test]
async fn a_backup_that_cannot_be_used_is_refused_and_nothing_changes() {
    let (kept, copy) = kept_and_backup().await;
    kept.store.close().await;
    let before = everything(kept.place.dir.path());
    let file = copy.path().join(FILE);
    let good = fs::read(&file).unwrap();

    fs::write(&file, "SQLite format 3\0 of somebody else".repeat(10)).unwrap();
    let foreign = restore(kept.place.dir.path(), copy.path())
        .await
        .unwrap_err();
    assert!(matches!(foreign, RestoreError::Foreign(_)), "{foreign}");

    let mut torn = good.clone();
    torn.truncate(good.len() / 2);
    fs::write(&file, torn).unwrap();
    let damaged = restore(kept.place.dir.path(), copy.path())
        .await
        .unwrap_err();
    assert!(matches!(damaged, RestoreError::Damaged { .. }), "{damaged}");

    fs::write(&file, &good).unwrap();
    check(copy.path()).await.unwrap();
    let mut newer = raw(copy.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', 1, x'00', 1)",
    )
    .execute(&mut newer)
    .await
    .unwrap();
    newer.close().await.unwrap();
    let newer = restore(kept.place.dir.path(), copy.path())
        .await
        .unwrap_err();
    assert!(matches!(newer, RestoreError::Newer(_)), "{newer}");

    fs::remove_file(&file).unwrap();
    let missing = restore(kept.place.dir.path(), copy.path())
        .await
        .unwrap_err();
    assert!(matches!(missing, RestoreError::Missing(_)), "{missing}");
    assert_eq!(everything(kept.place.dir.path()), before);
}

#[tokio::test]
async fn a_backup_is_not_put_back_beside_a_running_gateway() {
    let (kept, copy) = kept_and_backup().await;
    let before = fs::read(kept.place.dir.path().join(FILE)).unwrap();
    tokio::time::pause();
    let error = restore(kept.place.dir.path(), copy.path())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RestoreError::Folder(OpenError::InUse(_))),
        "{error}"
    );
    assert_eq!(fs::read(kept.place.dir.path().join(FILE)).unwrap(), before);
}

#[tokio::test]
async fn the_verb_restore_puts_back_or_only_looks_and_says_why_it_refuses() {
    let (kept, copy) = kept_and_backup().await;
    kept.store.close().await;
    let Kept { store, place } = kept;
    let dir = place.dir;
    drop(store);
    let run = |arguments: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_chat-gateway"))
            .arg("restore")
            .arg(copy.path())
            .args(arguments)
            .env_clear()
            .env("GATEWAY_DATA", dir.path())
            .output()
            .unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let before = everything(dir.path());
    assert_eq!(run(&["--check"]), (Some(0), String::new()));
    assert_eq!(everything(dir.path()), before);
    assert_eq!(run(&[]), (Some(0), String::new()));
    let file = copy.path().join(FILE);
    assert_eq!(
        fs::read(dir.path().join(FILE)).unwrap(),
        fs::read(&file).unwrap()
    );
    fs::write(&file, "words ".repeat(100)).unwrap();
    let foreign = format!(
        "chat-gateway: {} is not a database of chat-gateway; name another backup\n",
        file.display()
    );
    assert_eq!(run(&["--check"]), (Some(1), foreign));
}
