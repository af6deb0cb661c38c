//! SIGKILL at any moment, and at every single step: the final path holds the right bytes or nothing, and what the next
//! run fetches again is bounded.

use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, Fault, On};
use testkit::gguf;
use testkit::tools::needs;

use crate::support::{FILE, RENAME, UNLINK, command, hub_with, names, run_by, text, twice, union};

/// Kills that the random test waits for.
const KILLS: usize = 110;
/// Bytes that a stream may have received since its last checkpoint.
const CHECKPOINT: u64 = 8 << 20;
/// What the kernel may hold of a stream that the Hub has sent and the killed process has not received, in bytes; it
/// fills up while the disk is slow.
const ON_THE_WAY: u64 = 10 << 20;

/// The ranges that the journal in `folder` calls safe.
pub(crate) fn noted(hub: &FakeHub, folder: &Path) -> Vec<Range<u64>> {
    let path = folder.join(format!(".{}.journal", hub.repository().files[0].sha256));
    let Ok(journal) = std::fs::read_to_string(path) else {
        return Vec::new();
    };
    let lines = journal
        .split_inclusive('\n')
        .skip(1)
        .filter_map(|line| line.strip_suffix('\n'));
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?;
        Some(start.parse().ok()?..end.parse().ok()?)
    };
    union(&lines.filter_map(range).collect::<Vec<_>>())
}

/// Bytes of `body` that are not in `safe`.
fn lost(body: &Range<u64>, safe: &[Range<u64>]) -> u64 {
    let kept = |range: &Range<u64>| {
        range
            .end
            .min(body.end)
            .saturating_sub(range.start.max(body.start))
    };
    body.end - body.start - safe.iter().map(kept).sum::<u64>()
}

/// Whether there is a file at the final path; one that is not right fails the test.
pub(crate) fn is_published(folder: &TempDir, bytes: &[u8], when: &str) -> bool {
    let path = folder.path().join(FILE);
    let published = path.exists();
    assert!(
        !published || std::fs::read(&path).unwrap() == bytes,
        "a wrong file {when}"
    );
    published
}

#[tokio::test]
async fn killed_a_hundred_times_it_never_leaves_a_wrong_file_and_loses_at_most_one_checkpoint_a_stream()
 {
    let bytes = gguf::tiny(100 << 20);
    let (hub, mut folder) = hub_with(&bytes).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(50 << 20));
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut kills = 0;
    let mut downloads = 0;
    let mut chance = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    // What the last run of this download left as safe.
    let mut safe_before = Vec::new();
    let mut n_cut = 0;
    let mut all_cost = 0;
    while kills < KILLS {
        let run_began = hub.sent().len();
        let mut child = command(&hub, folder.path()).spawn().unwrap();
        // Half of the kills hit the first moments of a run, the others its middle and its end.
        let moment = Duration::from_millis(chance(120));
        let enough = hub.bytes_served() + chance(48 << 20);
        let late = chance(2) == 0;
        let killed = tokio::select! {
            status = child.wait() => {
                assert_eq!(status.unwrap().code(), Some(0));
                false
            }
            () = async {
                if late { hub.until_served(enough).await } else { tokio::time::sleep(moment).await }
            } => true,
        };
        if killed {
            child.kill().await.unwrap();
            kills += 1;
            let published = is_published(&folder, &bytes, &format!("after {kills} kills"));
            let safe = noted(&hub, folder.path());
            for body in hub.sent()[run_began..].iter().filter(|_| !published) {
                let lost = lost(body, &safe);
                assert!(
                    lost <= CHECKPOINT + ON_THE_WAY,
                    "kill {kills} cost {lost} bytes of {body:?}: {safe:?}"
                );
                (n_cut, all_cost) = (n_cut + 1, all_cost + lost);
            }
        }
        for body in &hub.sent()[run_began..] {
            let size = body.end - body.start;
            assert_eq!(
                lost(body, &safe_before),
                size,
                "{body:?} was fetched again of {safe_before:?}"
            );
        }
        safe_before = noted(&hub, folder.path());
        if !killed {
            downloads += 1;
            assert!(is_published(&folder, &bytes, "after a whole run"));
            assert_eq!(names(folder.path()), [FILE]);
            folder = tempfile::tempdir().unwrap();
            safe_before.clear();
        }
    }
    assert!(n_cut > 0, "no kill cut a stream");
    // On average half a checkpoint, whatever was on the way.
    assert!(
        all_cost <= n_cut * CHECKPOINT,
        "{n_cut} streams lost {all_cost} bytes"
    );
    assert!(
        downloads > 0,
        "no download came to its end between {kills} kills"
    );
}

/// Runs the binary with `inject` of strace, and returns whether that killed it.
async fn killed_by(inject: &[&str], hub: &FakeHub, folder: &TempDir) -> bool {
    let mut arguments = vec!["-f", "-qq", "-o", "/dev/null"];
    arguments.extend(inject);
    let output = run_by("strace", &arguments, &command(hub, folder.path()))
        .output()
        .await
        .unwrap();
    match (output.status.code(), output.status.signal()) {
        (Some(0), None) => false,
        (None, Some(9)) | (Some(137), None) => true,
        _ => panic!("{:?}: {}", output.status, text(&output.stderr)),
    }
}

#[tokio::test]
async fn killed_at_every_step_of_the_journal_and_of_publishing_the_next_run_ends_well() {
    if !needs(
        "strace",
        &[
            "-f",
            "-qq",
            "-e",
            "inject=write:signal=KILL:when=99",
            "true",
        ],
    ) {
        return;
    }
    let bytes = gguf::tiny(3 << 20);
    for call in [
        "fallocate",
        "pwrite64",
        "write",
        "fdatasync",
        "fchmod",
        "fsync",
        RENAME,
        UNLINK,
    ] {
        for when in 1..=6 {
            let (hub, folder) = hub_with(&bytes).await;
            let path = folder.path().display();
            let sha256 = &hub.repository().files[0].sha256;
            // Of all the writes, those to its own records.
            let drafts = ["corral.json", "models.lock"].map(|name| format!("{path}/.{name}.part"));
            let journal = format!("{path}/.{sha256}.journal");
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let mut arguments = vec!["-e", inject.as_str()];
            if call == "write" {
                arguments.extend(["-P", &journal, "-P", &drafts[0], "-P", &drafts[1]]);
            }
            if !killed_by(&arguments, &hub, &folder).await {
                assert!(when > 1, "{call} is never called");
                break;
            }
            let when = format!("when killed at {call} {when}");
            let published = is_published(&folder, &bytes, &when);
            let lost = if published { 0 } else { 3 << 20 };
            let output = command(&hub, folder.path()).output().await.unwrap();
            assert_eq!(
                output.status.code(),
                Some(0),
                "{when}: {}",
                text(&output.stderr)
            );
            assert!(
                is_published(&folder, &bytes, &when),
                "nothing was published {when}"
            );
            assert!(
                twice(&hub.sent()) <= lost,
                "fetched again {when}: {:?}",
                hub.sent()
            );
            assert_eq!(names(folder.path()), [FILE], "{when}");
        }
    }
}
