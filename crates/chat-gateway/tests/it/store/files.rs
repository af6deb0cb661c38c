//! The file: damaged, foreign, in use, locked, on a full disk, copied.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus};
use chat_gateway::store::{
    AnswerRun, BackupError, Begun, FILE, NewOrOld, NewTurn, OpenError, Store, StoreError, backup,
};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection as _, SqlSafeStr as _};
use tempfile::TempDir;
use testkit::tools::needs;
use uuid::Uuid;

use crate::store::{Kept, OWNER, key, raw, words, written};

/// A folder whose file has these bytes.
fn folder_with(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), bytes).unwrap();
    dir
}

/// A closed database with some conversations in it.
async fn database() -> Vec<u8> {
    let kept = Kept::new().await;
    for n in 0..20 {
        let asked = kept.ask(&format!("question {n}")).await;
        kept.finish(asked.answer, &"words ".repeat(500)).await;
    }
    kept.store.close().await;
    fs::read(kept.place.dir.path().join(FILE)).unwrap()
}

/// The folder is refused within the time of fault G11, and its database is then what it was.
async fn refused(dir: &Path) -> OpenError {
    let before = fs::read(dir.join(FILE)).unwrap();
    let began = Instant::now();
    let error = Store::open(dir).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(error.to_string().starts_with("GATEWAY_DATA: "), "{error}");
    assert_eq!(fs::read(dir.join(FILE)).unwrap(), before);
    error
}

#[tokio::test]
async fn a_file_that_is_no_database_of_ours_is_refused_and_left_as_it_is() {
    for bytes in [
        vec![],
        b"SQLite format 3\0".to_vec(),
        b"hello".repeat(1000),
        vec![0; 8192],
    ] {
        let error = refused(folder_with(&bytes).path()).await;
        let expected = matches!(error, OpenError::Foreign(_) | OpenError::Damaged { .. });
        assert!(expected, "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(dir.path().join(FILE))
        .create_if_missing(true);
    let mut foreign = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    let made = sqlx::query("CREATE TABLE theirs (x)").execute(&mut foreign);
    made.await.unwrap();
    foreign.close().await.unwrap();
    assert!(matches!(refused(dir.path()).await, OpenError::Foreign(_)));
}

/// A database as the first version made it, with one conversation.
async fn first_version() -> (TempDir, Uuid) {
    let dir = tempfile::tempdir().unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(dir.path().join(FILE))
        .create_if_missing(true)
        .pragma("application_id", 0x436f_7272_u32.to_string());
    let mut file = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    let schema = include_str!("../../../migrations/sqlite/0001_conversations.sql");
    let kind = MigrationType::Simple;
    let first = Migration::new(
        1,
        "conversations".into(),
        kind,
        schema.into_sql_str(),
        false,
    );
    let migrator = Migrator::with_migrations(vec![first]);
    migrator.run_direct(None, &mut file, false).await.unwrap();
    let id = Uuid::now_v7();
    let kept = sqlx::query(
        "INSERT INTO conversations (id, owner, owner_tag, title, created_ms, updated_ms, revision, temporary) \
         VALUES (?, ?, 'tag', 'old', 1, 2, 3, 0)",
    );
    kept.bind(id).bind(OWNER).execute(&mut file).await.unwrap();
    file.close().await.unwrap();
    (dir, id)
}

#[tokio::test]
async fn a_database_of_the_first_version_opens_with_what_is_in_it() {
    let (dir, id) = first_version().await;
    let store = Store::open(dir.path()).await.unwrap();
    let listed = store.conversations(OWNER, None, None, 9).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|one| (one.id, one.revision)).collect();
    assert_eq!(listed, [(id, 3)]);
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_as_it_is() {
    let whole = database().await;
    for length in [99, 100, 4096, whole.len() / 2, whole.len() - 1] {
        let error = refused(folder_with(&whole[..length]).path()).await;
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{length}: {error}"
        );
    }
    // The first page but for its header; then every page of the middle.
    for (from, to) in [(100, 4096), (whole.len() / 3, whole.len() / 2)] {
        let mut garbled = whole.clone();
        for byte in &mut garbled[from..to] {
            *byte = byte.wrapping_mul(31).wrapping_add(17);
        }
        let error = refused(folder_with(&garbled).path()).await;
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{from}: {error}"
        );
    }
    assert!(Store::open(folder_with(&whole).path()).await.is_ok());
}

#[tokio::test]
async fn the_gateway_does_not_start_on_a_damaged_database_and_says_why() {
    let dir = folder_with(&b"hello".repeat(1000));
    let file = dir.path().join(FILE);
    let began = Instant::now();
    let ran = Command::new(env!("CARGO_BIN_EXE_chat-gateway"))
        .env_clear()
        .env("GATEWAY_DATA", dir.path())
        .env("GATEWAY_LISTEN", "127.0.0.1:0")
        .env("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0")
        .env("LLM_API_KEY", "key")
        .env("LLM_MODEL", "model")
        .output()
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    let said = String::from_utf8(ran.stderr).unwrap();
    let expected = format!(
        "chat-gateway: GATEWAY_DATA: {} is not a database of chat-gateway. It is left as it is; move it away, or set \
         another folder\n",
        file.display()
    );
    assert!(said.ends_with(&expected), "{said}");
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(fs::read(file).unwrap(), b"hello".repeat(1000));
}

#[tokio::test]
async fn a_database_of_a_newer_gateway_is_refused() {
    let kept = Kept::new().await;
    kept.store.close().await;
    let mut file = raw(kept.place.dir.path()).await;
    let newer = sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', 1, x'00', 1)",
    );
    newer.execute(&mut file).await.unwrap();
    file.close().await.unwrap();
    let Kept { store, place } = kept;
    let dir = place.dir;
    drop(store);
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer(_)), "{error}");
}

#[tokio::test]
async fn a_second_gateway_waits_for_the_first_and_is_refused_beside_it() {
    let kept = Kept::new().await;
    let asked = kept.ask("running").await;
    tokio::time::pause();
    let error = Store::open(kept.place.dir.path()).await.unwrap_err();
    tokio::time::resume();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    let (_, message) = kept
        .store
        .message(OWNER, asked.answer)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.answer.unwrap().status, AnswerStatus::Running);
    let Kept { store, place } = kept;
    let dir = place.dir;
    // The second is asked first, and opens once the first is gone.
    let (next, ()) = tokio::join!(Store::open(dir.path()), async { drop(store) });
    next.unwrap();
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let kept = Kept::new().await;
    kept.ask("hello").await;
    for name in [FILE, "chat.db-wal", "chat.db-shm"] {
        let file = fs::metadata(kept.place.dir.path().join(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_waits_for_a_lock_fails_after_five_seconds_and_works_again_afterwards() {
    let kept = Kept::new().await;
    let asked = kept.ask("before").await;
    let mut other = raw(kept.place.dir.path()).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let began = Instant::now();
    let so_far = written(&[]);
    let verbs = [(); 5].map(|()| {
        kept.store
            .checkpoint(AnswerRun::first(asked.answer), &so_far)
    });
    // All of them, not the last after five times as long; and reading goes on.
    let waited = futures_util::future::join_all(verbs);
    let read = async {
        let found = kept.store.message(OWNER, asked.answer).await.unwrap();
        assert!(found.is_some());
        began.elapsed()
    };
    let (waited, read) = tokio::join!(waited, read);
    let took = began.elapsed();
    assert!(read < Duration::from_secs(1), "{read:?}");
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(6),
        "{took:?}"
    );
    for outcome in waited {
        assert!(matches!(outcome, Err(StoreError::Busy)), "{outcome:?}");
    }
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    kept.store
        .checkpoint(AnswerRun::first(asked.answer), &so_far)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_backup_is_made_beside_writers_and_opens() {
    let kept = Kept::new().await;
    let first = kept.ask("first").await;
    kept.finish(first.answer, "answer").await;
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join(FILE);
    let writing = async {
        for n in 0..50 {
            let asked = kept.ask(&format!("later {n}")).await;
            kept.finish(asked.answer, "answer").await;
        }
    };
    let (copied, ()) = tokio::join!(backup(kept.place.dir.path(), &file), writing);
    copied.unwrap();
    let before = fs::read(&file).unwrap();
    for again in [
        backup(kept.place.dir.path(), &file).await,
        kept.store.backup(&file).await,
    ] {
        assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    let copy = Store::open(out.path()).await.unwrap();
    assert_eq!(
        copy.export(OWNER, first.conversation).await.unwrap(),
        kept.store.export(OWNER, first.conversation).await.unwrap()
    );
    // A folder without a database is no reason to make one.
    let empty = tempfile::tempdir().unwrap();
    let missing = backup(empty.path(), &out.path().join("none")).await;
    assert!(
        matches!(missing, Err(BackupError::Missing(_))),
        "{missing:?}"
    );
    assert!(!out.path().join("none").exists());
}

#[tokio::test]
async fn the_verb_backup_copies_beside_the_service_and_says_why_it_cannot() {
    let kept = Kept::new().await;
    let asked = kept.ask("hello").await;
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join(FILE);
    let run = |data: &Path| {
        let ran = Command::new(env!("CARGO_BIN_EXE_chat-gateway"))
            .arg("backup")
            .arg(&file)
            .env_clear()
            .env("GATEWAY_DATA", data)
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        (ran.status.code(), said)
    };
    assert_eq!(run(kept.place.dir.path()), (Some(0), String::new()));
    let copy = Store::open(out.path()).await.unwrap();
    assert!(copy.message(OWNER, asked.answer).await.unwrap().is_some());
    let exists = format!("chat-gateway: {} exists; name a new file\n", file.display());
    assert_eq!(run(kept.place.dir.path()), (Some(1), exists));
    fs::remove_file(&file).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join(FILE);
    let missing = format!(
        "chat-gateway: GATEWAY_DATA: there is no {}\n",
        missing.display()
    );
    assert_eq!(run(empty.path()), (Some(1), missing));
}

/// A disk of 4 MB that fills up in the middle of begins and finishes.
#[tokio::test]
async fn on_a_full_disk_nothing_acknowledged_is_lost_and_room_helps_at_once() {
    if !needs("unshare", &["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new("unshare")
        .args(["-rm", "sh", "-c"])
        .arg("mount -t tmpfs -o size=4m tmpfs \"$1\" && exec \"$2\" --ignored --exact --nocapture store::files::child_on_a_full_disk")
        .arg("sh")
        .args([dir.path(), &own])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let path = dir.path().to_str().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(path.as_bytes())
        .unwrap();
    // A name that no test has runs nothing, and ends well.
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test]
#[ignore = "runs on a small disk, as a child of the test above"]
async fn child_on_a_full_disk() {
    let dir = PathBuf::from(std::io::read_to_string(std::io::stdin()).unwrap());
    if dir.as_os_str().is_empty() {
        return;
    }
    let fillers = ["first", "second"].map(|name| dir.join(name));
    for filler in &fillers {
        fs::write(filler, vec![1; 1 << 20]).unwrap();
    }
    let store = Store::open(&dir).await.unwrap();
    let options = AnswerOptions::default();
    let content = words(&"long words ".repeat(300));
    let mut acknowledged = Vec::new();
    let mut emptied = false;
    let mut since_then = 0;
    for n in 0.. {
        let id = Uuid::now_v7();
        let request = n.to_string();
        let answer = Uuid::now_v7();
        let turn = NewTurn {
            owner: OWNER,
            request: key(&request),
            conversation: NewOrOld::New {
                id,
                title: "full",
                temporary: false,
                system: None,
            },
            parent: None,
            question: Some((Uuid::now_v7(), &content)),
            answer,
            status: AnswerStatus::Running,
            options: &options,
        };
        match store.begin(turn).await {
            Ok(Begun::Begun { .. }) => acknowledged.push(answer),
            Err(StoreError::Full) if emptied => break,
            Err(StoreError::Full) => {
                // What is there can be read; with room the very next one is kept.
                for answer in &acknowledged {
                    assert!(store.message(OWNER, *answer).await.unwrap().is_some());
                }
                fs::remove_file(&fillers[0]).unwrap();
                emptied = true;
                continue;
            }
            other => panic!("{other:?}"),
        }
        since_then += u32::from(emptied);
    }
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    assert!(since_then > 5, "{since_then}");
    drop(store);
    let full = Store::open(&dir).await.unwrap_err();
    assert!(full.to_string().contains("full"), "{full}");
    fs::remove_file(&fillers[1]).unwrap();
    let store = Store::open(&dir).await.unwrap();
    for answer in &acknowledged {
        let kept = store.message(OWNER, *answer).await.unwrap();
        assert!(kept.is_some());
    }
}
