//! Others who ask the same llama-server: a client of its own, or another llm-proxy while one takes over from the other.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};

use crate::fleet::{before_all, is_up};
use crate::{KEY, PATIENCE, Proxy, question, until};

/// So often that a test need not wait.
const SOON: Duration = Duration::from_millis(5);
/// So long that the proxy does not look again by itself.
const NEVER: Duration = Duration::from_secs(3600);

/// Its client, of which one is enough: each costs a tenth of a second.
static STRANGER: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

/// Somebody else's request, which holds a slot until the fake is released.
async fn stranger(llama: &FakeLlama) -> reqwest::Response {
    llama.script_once(Script::tokens(["a"]).stall_after(0));
    let body = json!({"messages": [], "stream": true});
    STRANGER
        .post(llama.url() + "/v1/chat/completions")
        .json(&body)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn slots_that_somebody_else_took_are_not_given_out() {
    let taken = FakeLlama::start().await;
    let free = FakeLlama::start().await;
    taken.set_slots(1);
    let _stranger = stranger(&taken).await;
    let proxy = before_all(&[&taken, &free], |config| config.probe_up = SOON).await;
    for _ in 0..6 {
        assert_eq!(proxy.ask(&question(true)).await.status(), 200);
    }
    assert_eq!((taken.requests().len(), free.requests().len()), (1, 6));
    taken.release();
    taken.ended(0).await;
    until("its slot to be given out again", async || {
        proxy.ask(&question(true)).await;
        taken.requests().len() > 1
    })
    .await;
}

#[tokio::test]
async fn behind_slots_that_somebody_else_took_requests_wait_here_and_not_there() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let _stranger = stranger(&llama).await;
    let proxy = before_all(&[&llama], |config| config.probe_up = SOON).await;
    let question = question(false);
    let waiting = async { proxy.ask(&question).await.status() };
    let release = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        llama.probed(3).await;
        assert_eq!(llama.requests().len(), 1);
        llama.release();
    };
    assert_eq!(tokio::join!(waiting, release).0, 200);
    assert_eq!(llama.most_running(), 1);
}

#[tokio::test]
async fn slots_that_are_taken_before_the_first_request_are_believed_at_one_look() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let _stranger = stranger(&llama).await;
    let proxy = before_all(&[&llama], |config| {
        config.probe_up = NEVER;
        config.deadlines.queue = Duration::from_millis(500);
    })
    .await;
    assert_eq!(proxy.ask(&question(true)).await.status(), 503);
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_was_doubted_beside_others_is_used_again() {
    let doubted = FakeLlama::start().await;
    let busy = FakeLlama::start().await;
    busy.set_slots(1);
    let stranger = stranger(&doubted).await;
    let proxy = before_all(&[&doubted, &busy], |config| {
        config.probe_up = NEVER;
        config.deadlines.queue = Duration::from_secs(5);
    })
    .await;
    let running = proxy.ask_stalled(&busy).await;
    assert_eq!((doubted.requests().len(), busy.requests().len()), (1, 1));
    doubted.release();
    drop(stranger);
    // Three failures in a row of what takes no slot, so that no slot that is given back hides the count.
    for _ in 0..3 {
        doubted.script_once(Script::refusal(500, "server_error", "Compute error."));
        let url = format!("http://{}/tokenize", proxy.address);
        let asking = proxy.http.post(url).bearer_auth(KEY);
        let answer = asking.json(&json!({"content": "hi"})).send().await.unwrap();
        assert_eq!(answer.status(), 502);
    }
    proxy.until_metric(&is_up(&doubted.url(), false)).await;
    proxy.until_metric(&is_up(&doubted.url(), true)).await;
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
    assert_eq!(busy.requests().len(), 1);
    drop(running);
}

/// Has as many callers as slots ask at once; how long it takes until all have started.
async fn all_started(proxy: &Proxy, llama: &FakeLlama, slots: usize) -> Duration {
    let before = llama.requests().len();
    let body = question(true);
    let began = Instant::now();
    let callers = join_all((0..slots).map(|_| async { proxy.ask(&body).await.text().await }));
    let started = async {
        llama.request_started(before + slots - 1).await;
        began.elapsed()
    };
    let (answers, took) = tokio::join!(callers, started);
    for text in answers {
        assert!(text.unwrap().contains("[DONE]"));
    }
    took
}

#[tokio::test]
async fn slots_that_another_client_left_are_given_out_within_a_third_of_a_second() {
    const SLOTS: usize = 64;
    let mut least = Duration::MAX;
    // Other work on the machine can only make it slower.
    for _ in 0..6 {
        let llama = FakeLlama::start().await;
        llama.set_slots(SLOTS);
        let alone = Proxy::with(&llama, |config| config.probe_up = NEVER).await;
        let without_others = all_started(&alone, &llama, SLOTS).await;
        drop(alone);

        let llama = FakeLlama::start().await;
        llama.set_slots(SLOTS);
        let strangers = join_all((0..SLOTS).map(|_| stranger(&llama))).await;
        let proxy = before_all(&[&llama], |config| config.probe_up = NEVER).await;
        assert_eq!(llama.running(), SLOTS);
        drop(strangers);
        until("the strangers to be gone", async || {
            tokio::task::yield_now().await;
            llama.running() == 0
        })
        .await;
        let took = all_started(&proxy, &llama, SLOTS).await;
        least = least.min(took.saturating_sub(without_others));
        if least < Duration::from_millis(300) {
            return;
        }
    }
    panic!("all started {least:?} later than without others, at best");
}

#[tokio::test]
async fn slots_are_counted_often_only_while_somebody_waits_for_others() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let own = Proxy::with(&llama, |config| config.probe_up = NEVER).await;
    until("the first count", async || {
        tokio::task::yield_now().await;
        llama.slot_looks() == 1
    })
    .await;
    let running = own.ask_stalled(&llama).await;
    let body = question(true);
    let waiting = own.ask(&body);
    let watching = async {
        own.until_metric("llm_proxy_queue_depth 1").await;
        // Ten counts' time: the wait is the thing under test.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(llama.slot_looks(), 1, "the slot is our own");
        llama.release();
    };
    let (answer, ()) = tokio::join!(waiting, watching);
    assert_eq!(answer.status(), 200);
    drop(running);
}

#[tokio::test]
async fn two_proxies_that_overlap_over_commit_no_slot() {
    const SLOTS: usize = 3;
    const CALLERS: usize = 12;
    for round in 0..3 {
        let llama = FakeLlama::start().await;
        llama.set_slots(SLOTS);
        llama.script(Script::tokens(["a", "b"]).every(Duration::from_millis(4 + 6 * round)));
        let mut old = Proxy::before(&llama).await;
        // What runs at the old one, and what waits there when its drain begins.
        (0..SLOTS).for_each(|_| llama.script_once(Script::tokens(["a", "b"]).stall_after(1)));
        let body = question(false);
        let at_the_old = join_all((0..CALLERS).map(|_| {
            let request = old.chat(&body);
            async { request.send().await.unwrap().text().await.unwrap() }
        }));
        let takes_over = async {
            let full = format!("llm_proxy_queue_depth {}", CALLERS - SLOTS);
            until("the old one to be full", async || {
                old.metrics().await.contains(&full)
            })
            .await;
            old.begin_shutdown();
            let new = Proxy::before(&llama).await;
            let callers = join_all(
                (0..CALLERS).map(|_| async { new.ask(&body).await.text().await.unwrap() }),
            );
            let release = async {
                new.until_metric(&format!("llm_proxy_queue_depth {CALLERS}"))
                    .await;
                llama.release();
            };
            let (answers, ()) = tokio::join!(callers, release);
            answers
        };
        let both = async { tokio::join!(at_the_old, takes_over) };
        let (old_answers, new_answers) = tokio::time::timeout(PATIENCE, both).await.unwrap();
        for text in old_answers.into_iter().chain(new_answers) {
            assert!(text.contains(r#""content":"ab""#), "{text}");
        }
        assert_eq!(llama.most_running(), SLOTS);
        assert_eq!(llama.requests().len(), 2 * CALLERS);
        old.ended().await;
    }
}

#[tokio::test]
async fn two_proxies_that_both_go_on_taking_requests_over_commit_no_slot() {
    const CALLERS: usize = 2;
    const TURNS: usize = 8;
    for (slots, pause) in [(1, 15), (3, 25)] {
        let llama = FakeLlama::start().await;
        llama.set_slots(slots);
        let pause = Duration::from_millis(pause);
        llama.script(Script::tokens(["a", "b", "c"]).every(pause));
        let old = Proxy::before(&llama).await;
        let running = join_all((0..slots).map(|_| old.ask_stalled(&llama))).await;
        let new = Proxy::before(&llama).await;
        let body = question(false);
        let callers = [&old, &new].into_iter().cycle().take(2 * CALLERS);
        let asking = join_all(callers.map(async |proxy| {
            for _ in 0..TURNS {
                assert_eq!(proxy.ask(&body).await.status(), 200);
            }
        }));
        let release = async {
            for proxy in [&old, &new] {
                let all_wait = format!("llm_proxy_queue_depth {CALLERS}");
                proxy.until_metric(&all_wait).await;
            }
            llama.release();
        };
        let both = async { tokio::join!(asking, release) };
        tokio::time::timeout(PATIENCE, both).await.unwrap();
        drop(running);
        assert_eq!(llama.most_running(), slots);
        assert_eq!(llama.requests().len(), slots + 2 * CALLERS * TURNS);
    }
}
