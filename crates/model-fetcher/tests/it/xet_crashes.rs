//! SIGKILL while a model comes over Xet: the final path holds the right bytes or nothing, and little is fetched twice.

use std::time::Duration;

use fake_cas::FakeCas;
use testkit::fake_hub::{Fault, File, On, Origin};
use testkit::gguf;

use crate::crashes::{is_published, noted};
use crate::support::{FILE, command, hub_of, names, repository};

/// Kills in all.
const KILLS: usize = 50;
/// The model's size, in bytes.
const SIZE: usize = 48 << 20;
/// What a kill can cost at most, in bytes: four ranges of 4 MiB on their way, and as much of each stream that was written
/// and not noted yet.
const MOST_LOST: u64 = 32 << 20;
/// What a kill costs on average at most, of those that hit a transfer.
const USUALLY_LOST: u64 = 6 << 20;
/// What a range brings along at its two ends, in bytes: the rest of a chunk.
const CHUNK_ENDS: u64 = 2 * (128 << 10);

#[tokio::test]
async fn killed_fifty_times_over_xet_it_resumes_and_fetches_little_twice() {
    let bytes = gguf::tiny(SIZE);
    let cas = FakeCas::with_files(vec![bytes.clone()]).unwrap();
    let files = vec![File::from_bytes(FILE, bytes.clone())];
    let (hub, mut folder) = hub_of(repository(files), Vec::new()).await;
    hub.attach_xet(cas.storage()).await.unwrap();
    hub.always(On::Xorb, Fault::BytesPerSecond(8 << 20));
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut chance = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut kills = 0;
    let mut downloads = 0;
    let mut safe_before = 0;
    let mut hits = 0;
    let mut all_lost = 0;
    while kills < KILLS || downloads == 0 {
        let served_before = hub.xorb_bytes_served();
        let enough = served_before + chance(24 << 20);
        let moment = Duration::from_millis(chance(200));
        let late = chance(3) > 0;
        let mut fetcher = command(&hub, folder.path());
        let mut child = fetcher.env("MODEL_TRANSPORT", "xet").spawn().unwrap();
        let killed = tokio::select! {
            status = child.wait() => {
                assert_eq!(status.unwrap().code(), Some(0));
                false
            }
            () = async {
                if late { hub.until_xorbs_served(enough).await } else { tokio::time::sleep(moment).await }
            }, if kills < KILLS => true,
        };
        let safe = |folder| {
            noted(&hub, folder)
                .iter()
                .map(|r| r.end - r.start)
                .sum::<u64>()
        };
        if killed {
            child.kill().await.unwrap();
        }
        let fetched = hub.xorb_bytes_served() - served_before;
        if killed {
            kills += 1;
            if is_published(&folder, &bytes, &format!("after {kills} kills")) {
                folder = tempfile::tempdir().unwrap();
                safe_before = 0;
                continue;
            }
            let safe = safe(folder.path());
            let gained = safe.checked_sub(safe_before).unwrap();
            let lost = fetched.saturating_sub(gained);
            assert!(
                lost <= MOST_LOST,
                "kill {kills}: {fetched} bytes for {gained}"
            );
            hits += u64::from(fetched > 0);
            all_lost += lost;
            safe_before = safe;
        } else {
            downloads += 1;
            assert!(is_published(&folder, &bytes, "after a whole run"));
            assert_eq!(names(folder.path()), [FILE]);
            // Each range of at most 4 MiB, and at first of 1 MiB, brings the ends of its chunks.
            let left = SIZE as u64 - safe_before;
            let ends = ((left >> 20) + 16) * CHUNK_ENDS;
            assert!(fetched <= left + ends, "{fetched} bytes for {left}");
            folder = tempfile::tempdir().unwrap();
            safe_before = 0;
        }
    }
    assert!(hits > 0, "no kill hit a transfer");
    assert!(
        all_lost <= hits * USUALLY_LOST,
        "{hits} kills cost {all_lost} bytes"
    );
    let asked = hub.requests();
    assert!(
        asked.iter().all(|request| request.origin != Origin::Cdn),
        "nothing came over plain HTTPS"
    );
}
