//! The machine it runs on: full and read-only disks, another user's folder, the order in which a file is made durable,
//! a clock that is wrong.
//!
//! Mounts are made in a namespace of the test's own, so that no root is needed where the kernel allows that; calls that
//! fail are made to with strace. A test without its tool is counted as skipped.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Instant, SystemTime};

use testkit::fake_hub::{FakeHub, Fault, On};
use testkit::gguf;
use testkit::tools::needs;

use crate::support::{
    BINARY, FILE, RENAME, command, command_of, hub_with, names, ranges, run_by, text,
};

/// What the binary does in `folder` after `mount`, a shell command that gets the folder as `$1`: its exit code, what it
/// said on standard error, and the names then in the folder.
async fn mounted(mount: &str, hub: &FakeHub, folder: &Path) -> Option<(i32, String, Vec<String>)> {
    if !needs("unshare", &["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        return None;
    }
    let script = format!("{mount}; shift; \"$@\" >/dev/null; echo \"$?\"; ls -A \"$MODELS_DIR\"");
    let shown = folder.display().to_string();
    let arguments = ["-rm", "sh", "-c", &script, "sh", &shown];
    let output = run_by("unshare", &arguments, &command(hub, folder))
        .output()
        .await
        .unwrap();
    let said = text(&output.stdout);
    let mut lines = said.lines().map(str::to_owned);
    let code = lines.next().unwrap().parse().unwrap();
    Some((
        code,
        text(&output.stderr),
        lines.filter(|name| !name.starts_with(".corral")).collect(),
    ))
}

#[tokio::test]
async fn a_disk_without_room_for_the_model_is_refused_before_the_first_byte() {
    let (hub, folder) = hub_with(&gguf::tiny(20 << 20)).await;
    let mount = "mount -t tmpfs -o size=10m tmpfs \"$1\"";
    let Some((code, said, left)) = mounted(mount, &hub, folder.path()).await else {
        return;
    };
    assert_eq!((code, left.as_slice()), (74, [].as_slice()), "{said}");
    assert!(
        said.contains("is too full: 88.0 MB are needed and 10.4 MB are free; free 77.5 MB"),
        "{said}"
    );
    assert_eq!(hub.bytes_served(), 0);
}

#[tokio::test]
async fn a_read_only_disk_is_named_within_a_second() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    let began = Instant::now();
    let Some((code, said, left)) = mounted(mount, &hub, folder.path()).await else {
        return;
    };
    assert_eq!((code, left.as_slice()), (73, [].as_slice()), "{said}");
    assert!(
        said.contains("it is mounted read-only: mount it writable for model-fetcher"),
        "{said}"
    );
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn a_folder_of_another_user_is_refused_before_a_request() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let copies = tempfile::tempdir().unwrap();
    let mut fetcher = command(&hub, folder.path());
    let mut owner = rustix::process::getuid().as_raw();
    let user = if rustix::process::getuid().is_root() {
        let nobody = ["--reuid=65534", "--clear-groups"];
        if !needs("setpriv", &[nobody[0], nobody[1], "true"]) {
            return;
        }
        // Nobody may not reach the folder where it was built, which can be below root's home.
        let copy = copies.path().join("model-fetcher");
        std::fs::copy(BINARY, &copy).unwrap();
        for opened in [copies.path(), folder.path()] {
            std::fs::set_permissions(opened, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fetcher = command_of(&copy, &hub, folder.path());
        fetcher = run_by("setpriv", &nobody, &fetcher);
        65534
    } else {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
        std::mem::replace(&mut owner, rustix::process::getuid().as_raw())
    };
    let output = fetcher.output().await.unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    let expected = format!(
        "; it belongs to user {owner} and this process runs as user {user}: give the folder to it (chown -R {user}), or \
         set MODELS_DIR to one that it may write\n"
    );
    assert!(said.ends_with(&expected), "{said}");
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn a_disk_that_fills_up_at_any_write_keeps_what_came_and_publishes_nothing() {
    if !needs(
        "strace",
        &["-qq", "-e", "inject=pwrite64:error=ENOSPC:when=99", "true"],
    ) {
        return;
    }
    let bytes = gguf::tiny(6 << 20);
    for call in ["fallocate", "pwrite64", "fdatasync", "fsync"] {
        for when in 1..=5 {
            let (hub, folder) = hub_with(&bytes).await;
            let inject = format!("inject={call}:error=ENOSPC:when={when}");
            let arguments = ["-f", "-qq", "-o", "/dev/null", "-e", inject.as_str()];
            let output = run_by("strace", &arguments, &command(&hub, folder.path()))
                .output()
                .await
                .unwrap();
            if output.status.success() {
                // There is no such call any more.
                assert!(when > 1, "{call} is never called");
                break;
            }
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(74), "{inject}: {said}");
            assert!(
                said.contains("free some space, or set MODELS_DIR to a larger disk"),
                "{inject}: {said}"
            );
            let path = folder.path().join(FILE);
            assert!(
                !path.exists() || std::fs::read(&path).unwrap() == bytes,
                "{inject}"
            );
            let n_requests = ranges(&hub).len();
            let served = hub.bytes_served();
            let output = command(&hub, folder.path()).output().await.unwrap();
            assert_eq!(
                output.status.code(),
                Some(0),
                "{inject}: {}",
                text(&output.stderr)
            );
            assert!(std::fs::read(&path).unwrap() == bytes);
            assert_eq!(names(folder.path()), [FILE]);
            if served > 3 << 20 {
                let resumed = ranges(&hub)[n_requests..]
                    .iter()
                    .all(|range| !range.starts_with("bytes=0-"));
                assert!(resumed, "{inject}: {:?}", ranges(&hub));
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_flushed_then_renamed_then_its_folder_is_flushed_and_then_it_is_recorded() {
    if !needs("strace", &["-qq", "-y", "-e", "trace=fsync", "true"]) {
        return;
    }
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = log.path().display().to_string();
    let trace = format!("trace=fsync,{RENAME}");
    let arguments = ["-f", "-qq", "-y", "-e", &trace, "-o", &file];
    let output = run_by("strace", &arguments, &command(&hub, folder.path()))
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let folder = folder.path().display().to_string();
    let part = format!(".{}.part", hub.repository().files[0].sha256);
    let steps: Vec<String> = std::fs::read_to_string(log.path())
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim_start()))
        .filter(|call| call.starts_with("fsync(") || call.starts_with("rename"))
        .map(|call| step(call, &folder))
        .collect();
    let expected = [
        format!("fsync {part}"),
        format!("rename {part} {FILE}"),
        "fsync FOLDER".to_owned(),
        "fsync .models.lock.part".to_owned(),
        "rename .models.lock.part models.lock".to_owned(),
        "fsync FOLDER".to_owned(),
        "fsync .corral.json.part".to_owned(),
        "rename .corral.json.part .corral.json".to_owned(),
        "fsync FOLDER".to_owned(),
    ];
    assert_eq!(steps, expected);
}

/// A line of strace as a verb and names within `folder`.
fn step(call: &str, folder: &str) -> String {
    let verb = if call.starts_with("fsync") {
        "fsync"
    } else {
        "rename"
    };
    let named = |text: &str| {
        text.strip_prefix(folder)
            .map(|name| name.trim_start_matches('/').to_owned())
    };
    let names = call.split(['"', '<', '>']).filter_map(named);
    let names = names.map(|name| {
        if name.is_empty() {
            "FOLDER".to_owned()
        } else {
            name
        }
    });
    [vec![verb.to_owned()], names.collect()].concat().join(" ")
}

#[tokio::test]
async fn a_clock_that_is_a_year_wrong_changes_nothing() {
    if !needs("faketime", &["-f", "+1y", "true"]) {
        return;
    }
    for (offset, days) in [("+365d", 365), ("-365d", -365)] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        hub.next(On::Bytes, [Fault::CutAfter(100_000), Fault::status(503)]);
        let began = Instant::now();
        let mut run = run_by("faketime", &["-f", offset], &command(&hub, folder.path()));
        let output = run.output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        // Its log has its own clock; a library that cannot be preloaded is only warned of.
        let said = text(&output.stdout);
        let (stamp, _) = said.split_once(' ').unwrap();
        assert_eq!(days_from_now(stamp), days, "{said}");
    }
}

/// How many days the moment `stamp` is from now, to the nearest day.
fn days_from_now(stamp: &str) -> i64 {
    let moment = humantime::parse_rfc3339(stamp).unwrap();
    let seconds = match moment.duration_since(SystemTime::now()) {
        Ok(later) => later.as_secs_f64(),
        Err(earlier) => -earlier.duration().as_secs_f64(),
    };
    (seconds / 86_400.0).round() as i64
}
