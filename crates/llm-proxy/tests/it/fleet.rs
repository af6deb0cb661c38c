//! Several upstreams: which one is asked, what happens when one fails, and how it comes back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use llm_proxy::Config;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use tokio::net::{TcpSocket, TcpStream};

use crate::{KEY, Proxy, UPSTREAM_KEY, envelope, question, until};

/// So long that the proxy does not look again by itself.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

/// A proxy before all of them, each of which was looked at.
pub(crate) async fn before_all(llamas: &[&FakeLlama], change: impl FnOnce(&mut Config)) -> Proxy {
    let urls: Vec<String> = llamas.iter().map(|llama| llama.url()).collect();
    llamas
        .iter()
        .for_each(|llama| llama.require_key(UPSTREAM_KEY));
    let proxy = Proxy::start(&urls.join(","), change).await;
    for llama in llamas {
        proxy.until_metric(&is_up(&llama.url(), true)).await;
    }
    proxy
}

/// The sample that says so.
pub(crate) fn is_up(url: &str, up: bool) -> String {
    let address = url.replace("http://", "");
    format!(
        r#"llm_proxy_upstream_up{{upstream="{address}"}} {}"#,
        i32::from(up)
    )
}

/// The sample of its breaker.
fn is_ejected(url: &str, ejected: bool) -> String {
    is_up(url, ejected).replace("_up{", "_ejected{")
}

/// How many requests of callers came to all of them; what only makes sure that an engine computes is none.
fn n_asked(llamas: &[FakeLlama]) -> usize {
    let requests = llamas.iter().flat_map(FakeLlama::requests);
    requests
        .filter(|request| request.headers["x-request-id"] != "probe")
        .count()
}

/// Waits for `more` answers than `n` counts now.
async fn until_more(n: &AtomicUsize, more: usize) {
    let enough = n.load(Ordering::Relaxed) + more;
    until("more answers", async || {
        tokio::task::yield_now().await;
        n.load(Ordering::Relaxed) >= enough
    })
    .await;
}

/// A question that no other one is like.
fn numbered(n: usize) -> Value {
    let mut question = question(true);
    question["messages"][0]["content"] = json!(format!("hi {n}"));
    question
}

/// A conversation whose turns so far have been `turns`, each long enough to be worth a cache.
fn conversation(topic: &str, turns: usize) -> Value {
    let message = |turn: usize| {
        let role = if turn.is_multiple_of(2) {
            "user"
        } else {
            "assistant"
        };
        json!({"role": role, "content": format!("{topic} {turn} ").repeat(200)})
    };
    json!({"model": "fake-model", "stream": true, "messages": (0..turns).map(message).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_request_that_an_upstream_did_not_take_is_tried_on_another_one() {
    let (gone, there) = (FakeLlama::start().await, FakeLlama::start().await);
    let proxy = before_all(&[&gone, &there], |config| config.probe_up = NEVER).await;
    gone.stop().await;
    let began = Instant::now();
    let answers =
        join_all((0..2).map(|_| async { proxy.ask(&question(true)).await.text().await.unwrap() }));
    assert!(answers.await.iter().all(|answer| answer.contains("[DONE]")));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(there.requests().len(), 2);
}

#[tokio::test]
async fn tokens_are_counted_by_another_upstream_when_one_has_gone() {
    let (gone, there) = (FakeLlama::start().await, FakeLlama::start().await);
    let proxy = before_all(&[&gone, &there], |config| config.probe_up = NEVER).await;
    gone.stop().await;
    there.script(Script::status(200, r#"{"tokens":[1]}"#));
    let url = format!("http://{}/tokenize", proxy.address);
    let asking = proxy
        .http
        .post(url)
        .bearer_auth(KEY)
        .json(&json!({"content": "hi"}));
    let answer = asking.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (200, r#"{"tokens":[1]}"#.to_owned())
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_accept_is_passed_over_when_its_connect_deadline_ends() {
    let (silent, there) = (FakeLlama::start().await, FakeLlama::start().await);
    let proxy = before_all(&[&silent, &there], |config| {
        config.probe_up = NEVER;
        config.deadlines.connect = Duration::from_millis(200);
    })
    .await;
    let address = silent.stop().await;
    // A full backlog: the kernel leaves further connections without an answer.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let _never_accepts = socket.listen(0).unwrap();
    let _fills = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    let answers =
        join_all((0..2).map(|_| async { proxy.ask(&question(true)).await.text().await.unwrap() }));
    assert!(answers.await.iter().all(|answer| answer.contains("[DONE]")));
    assert!(
        began.elapsed() < Duration::from_millis(1_200),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(there.requests().len(), 2);
}

#[tokio::test]
async fn with_every_upstream_down_a_request_is_refused_at_once_and_one_that_is_back_serves_within_a_second()
 {
    let llamas = [FakeLlama::start().await, FakeLlama::start().await];
    // As long as in production.
    let proxy = before_all(&llamas.each_ref(), |config| {
        config.probe_down = Duration::from_secs(1);
    })
    .await;
    let [mut first, second] = llamas;
    second.stop().await;
    let message = "the model server cannot be reached: try again after the time in Retry-After";
    let expected = envelope("llm-proxy", "server_error", "upstream_unavailable", message);
    let (mut refused, mut served) = (Duration::MAX, Duration::MAX);
    // Another process that takes the cores can only make a wait longer.
    for _ in 0..6 {
        let address = first.stop().await;
        for _ in 0..3 {
            let began = Instant::now();
            let response = proxy.ask(&question(true)).await;
            refused = refused.min(began.elapsed());
            let status_and_wait = (
                response.status().as_u16(),
                &response.headers()["retry-after"],
            );
            assert_eq!(status_and_wait, (503, &"2".parse().unwrap()));
            assert_eq!(response.json::<Value>().await.unwrap(), expected);
        }
        assert_eq!(proxy.ready().await.0, 503);
        first = FakeLlama::start_at(address).await;
        first.require_key(UPSTREAM_KEY);
        let began = Instant::now();
        proxy.until_ready().await;
        assert_eq!(proxy.ask(&question(true)).await.status(), 200);
        served = served.min(began.elapsed());
        if refused <= Duration::from_millis(50) && served <= Duration::from_secs(1) {
            return;
        }
    }
    panic!("refused after {refused:?}, served after {served:?} at best");
}

#[tokio::test]
async fn when_one_of_two_dies_only_what_ran_there_fails_and_it_comes_back() {
    let (dies, stays) = (FakeLlama::start().await, FakeLlama::start().await);
    for llama in [&dies, &stays] {
        llama.set_slots(8);
        llama.script(Script::tokens(["a", "b"]).every(Duration::from_millis(10)));
    }
    let proxy = before_all(&[&dies, &stays], |_| {}).await;
    let over = AtomicBool::new(false);
    let n_failed = AtomicUsize::new(0);
    let n_ok = AtomicUsize::new(0);
    let asking = join_all((0..8).map(|_| async {
        while !over.load(Ordering::Relaxed) {
            let text = proxy.ask(&question(true)).await.text().await.unwrap();
            let count = if text.contains("[DONE]") {
                &n_ok
            } else {
                &n_failed
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let dying = async {
        until_more(&n_ok, 50).await;
        let (most, url) = (dies.most_running(), dies.url());
        let address = dies.stop().await;
        proxy.until_metric(&is_up(&url, false)).await;
        proxy.until_metric(&is_ejected(&url, true)).await;
        let failed = n_failed.load(Ordering::Relaxed);
        assert!(failed <= most, "{failed} failed, at most {most} ran there");
        until_more(&n_ok, 100).await;
        // What ran there may have been told after the metric; nothing else fails.
        assert!(n_failed.load(Ordering::Relaxed) <= most);
        let back = FakeLlama::start_at(address).await;
        back.require_key(UPSTREAM_KEY);
        proxy.until_metric(&is_up(&url, true)).await;
        proxy.until_metric(&is_ejected(&url, false)).await;
        back.request_started(0).await;
        over.store(true, Ordering::Relaxed);
        assert!(n_failed.load(Ordering::Relaxed) <= most);
        back
    };
    let (_, _back) = tokio::join!(asking, dying);
}

#[tokio::test]
async fn an_upstream_that_comes_and_goes_is_left_alone_for_longer_and_longer() {
    const CYCLES: usize = 8;
    let (flaps, stays) = (FakeLlama::start().await, FakeLlama::start().await);
    stays.set_slots(8);
    let proxy = before_all(&[&flaps, &stays], |config| {
        config.probe_down = Duration::from_millis(50);
    })
    .await;
    let over = AtomicBool::new(false);
    let n_failed = AtomicUsize::new(0);
    let n_all = AtomicUsize::new(0);
    let asking = join_all((0..4).map(|_| async {
        while !over.load(Ordering::Relaxed) {
            let n = n_all.load(Ordering::Relaxed);
            let text = proxy.ask(&numbered(n)).await.text().await.unwrap();
            n_failed.fetch_add(usize::from(!text.contains("[DONE]")), Ordering::Relaxed);
            n_all.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let flapping = async {
        let mut n_probes = 0;
        let mut flaps = flaps;
        let began = Instant::now();
        for _ in 0..CYCLES {
            until_more(&n_all, 40).await;
            n_probes += flaps.probes();
            let address = flaps.stop().await;
            until_more(&n_all, 40).await;
            flaps = FakeLlama::start_at(address).await;
            flaps.require_key(UPSTREAM_KEY);
        }
        over.store(true, Ordering::Relaxed);
        (n_probes, began.elapsed())
    };
    let (_, (n_probes, took)) = tokio::join!(asking, flapping);
    let failed = n_failed.load(Ordering::Relaxed);
    let all = n_all.load(Ordering::Relaxed);
    assert!(failed * 20 <= all, "{failed} of {all} failed");
    // Pauses of 0.5 s at least, and one look at the begin.
    assert!(
        n_probes as f64 <= 2.0 + took.as_secs_f64() / 0.5,
        "{n_probes} looks in {took:?}"
    );
}

#[tokio::test]
async fn an_upstream_whose_engine_is_stuck_is_left_alone_though_it_answers_props() {
    let (stuck, works) = (FakeLlama::start().await, FakeLlama::start().await);
    let proxy = before_all(&[&stuck, &works], |config| {
        config.deadlines.first_token = Duration::from_millis(300);
        config.deadlines.first_token_per_prompt_token = Duration::ZERO;
        config.probe_engine = Duration::from_millis(200);
    })
    .await;
    stuck.set_stuck(true);
    let answers =
        join_all((0..2).map(|_| async { proxy.ask(&question(false)).await.status().as_u16() }));
    let mut answers = answers.await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 504]);
    proxy.until_metric(&is_up(&stuck.url(), false)).await;
    for _ in 0..4 {
        assert_eq!(proxy.ask(&question(true)).await.status(), 200);
    }
    // Looked at and still stuck: `/props` alone does not bring it back.
    stuck.probed(2).await;
    assert!(proxy.metrics().await.contains(&is_up(&stuck.url(), false)));
    stuck.set_stuck(false);
    proxy.until_metric(&is_up(&stuck.url(), true)).await;
}

#[tokio::test]
async fn an_upstream_that_fails_one_answer_after_another_is_asked_again_once_it_computes() {
    let (fails, works) = (FakeLlama::start().await, FakeLlama::start().await);
    let proxy = before_all(&[&fails, &works], |config| config.probe_up = NEVER).await;
    fails.script(Script::refusal(500, "server_error", "Compute error."));
    let mut n_failed = 0;
    for _ in 0..40 {
        n_failed += usize::from(proxy.ask(&question(true)).await.status() == 502);
    }
    assert_eq!(
        n_failed, 3,
        "the third failure in a row makes its engine doubted"
    );
    fails.script(Script::tokens(["a"]));
    proxy.until_metric(&is_up(&fails.url(), true)).await;
}

#[tokio::test]
async fn an_upstream_that_fails_now_and_then_is_not_doubted() {
    let llamas = [FakeLlama::start().await, FakeLlama::start().await];
    let proxy = before_all(&llamas.each_ref(), |config| config.probe_up = NEVER).await;
    for _ in 0..10 {
        // Each of them fails twice and then computes: never three times in a row.
        for llama in &llamas {
            (0..2).for_each(|_| {
                llama.script_once(Script::refusal(500, "server_error", "Compute error."));
            });
            llama.script_once(Script::tokens(["a"]));
        }
        for _ in 0..6 {
            proxy.ask(&question(false)).await.text().await.unwrap();
            proxy.until_metric("llm_proxy_requests_in_flight 0").await;
        }
    }
    let requests = llamas.each_ref().map(|llama| llama.requests().len());
    assert_eq!(
        requests,
        [30, 30],
        "no engine was made to compute a token to show that it works"
    );
}

#[tokio::test]
async fn a_callers_own_mistakes_and_a_model_that_loads_do_not_make_an_upstream_fail() {
    let llama = FakeLlama::start().await;
    let other = FakeLlama::start().await;
    let proxy = before_all(&[&llama, &other], |config| config.probe_up = NEVER).await;
    let ejected =
        |llama: &FakeLlama, metrics: &str| metrics.contains(&is_ejected(&llama.url(), true));
    for status in [400, 404, 408, 413, 415, 422, 429] {
        for llama in [&llama, &other] {
            llama.script(Script::refusal(
                status,
                "invalid_request_error",
                "Field 'stop': bad",
            ));
        }
        for _ in 0..8 {
            assert_eq!(proxy.ask(&question(true)).await.status(), status);
        }
    }
    let metrics = proxy.metrics().await;
    assert!(
        [&llama, &other]
            .iter()
            .all(|llama| metrics.contains(&is_up(&llama.url(), true))),
        "{metrics}"
    );
    assert!(
        !ejected(&llama, &metrics) && !ejected(&other, &metrics),
        "{metrics}"
    );
    // Loading is over when it is over: no pause of half a second.
    llama.set_loading(true);
    other.set_loading(true);
    while proxy.ready().await.0 == 200 {
        proxy.ask(&question(true)).await;
    }
    let metrics = proxy.metrics().await;
    assert!(
        !ejected(&llama, &metrics) && !ejected(&other, &metrics),
        "{metrics}"
    );
    llama.set_loading(false);
    let began = Instant::now();
    proxy.until_metric(&is_up(&llama.url(), true)).await;
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn slots_are_looked_at_no_more_often_than_every_five_seconds_however_often_it_fails() {
    let (llama, began) = (FakeLlama::start().await, Instant::now());
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a"]).reset_before_headers());
    // Each failure makes the proxy look again.
    let enough = llama.probes() + 20;
    while llama.probes() < enough {
        assert_eq!(proxy.ask(&question(false)).await.status(), 502);
    }
    let (looks, most) = (llama.slot_looks(), 1 + began.elapsed().as_secs() / 5);
    assert!(
        (1..=most).contains(&(looks as u64)),
        "{looks} looks in {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn after_the_first_byte_of_an_answer_nothing_is_tried_again_on_another_upstream() {
    const ASKED: usize = 20;
    let llamas = [FakeLlama::start().await, FakeLlama::start().await];
    let proxy = before_all(&llamas.each_ref(), |config| config.probe_up = NEVER).await;
    for script in [
        Script::tokens(["a"]).reset_before_headers(),
        Script::tokens(["a", "b"]).reset_after(1),
        Script::tokens(["a", "b"]).end_after(0),
        Script::tokens(["a", "b"]).error_after(1, "Compute error."),
        Script::refusal(500, "server_error", "Compute error."),
    ] {
        let before = n_asked(&llamas);
        llamas.iter().for_each(|llama| llama.script(script.clone()));
        for n in 0..ASKED {
            let text = proxy.ask(&question(n % 2 == 0)).await.text().await.unwrap();
            assert!(text.contains("error") && !text.contains("[DONE]"), "{text}");
        }
        assert_eq!(n_asked(&llamas) - before, ASKED, "{script:?}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_where_its_prompt_is_and_a_new_one_where_it_is_quiet() {
    let llamas = [
        FakeLlama::start().await,
        FakeLlama::start().await,
        FakeLlama::start().await,
    ];
    let proxy = before_all(&llamas.each_ref(), |_| {}).await;
    let asked = |topic: &'static str| {
        let holds = move |llama: &&FakeLlama| {
            let requests = llama.requests();
            requests
                .iter()
                .filter(|request| request.body["messages"].to_string().contains(topic))
                .count()
        };
        llamas.iter().map(|llama| holds(&llama)).collect::<Vec<_>>()
    };
    for turns in [1, 3, 5] {
        for topic in ["horses", "trains", "clouds"] {
            let text = proxy
                .ask(&conversation(topic, turns))
                .await
                .text()
                .await
                .unwrap();
            assert!(text.contains("[DONE]"), "{text}");
        }
    }
    let mut all: Vec<Vec<usize>> = ["horses", "trains", "clouds"].map(asked).to_vec();
    all.sort();
    assert_eq!(all, [[0, 0, 3], [0, 3, 0], [3, 0, 0]]);
}

#[tokio::test]
async fn what_an_upstream_still_has_of_a_prompt_is_learnt_from_its_answers() {
    for (cached, last) in [(6, 0), (0, 1)] {
        let llamas = [FakeLlama::start().await, FakeLlama::start().await];
        llamas.iter().for_each(|llama| llama.set_slots(1));
        let proxy = before_all(&llamas.each_ref(), |_| {}).await;
        let ask = async |topic: &str, turns: usize| {
            let before = llamas.each_ref().map(|llama| llama.requests().len());
            let text = proxy
                .ask(&conversation(topic, turns))
                .await
                .text()
                .await
                .unwrap();
            assert!(text.contains("[DONE]"), "{text}");
            proxy.until_metric("llm_proxy_requests_in_flight 0").await;
            llamas
                .iter()
                .zip(before)
                .position(|(llama, before)| llama.requests().len() > before)
                .unwrap()
        };
        // Two slots, four conversations: the first ones are believed to be parked behind the last.
        for (topic, upstream) in [("horses", 0), ("trains", 1), ("clouds", 0), ("bridges", 1)] {
            assert_eq!(ask(topic, 1).await, upstream, "{topic}");
        }
        llamas[0].script(Script::tokens(["a"]).cached(cached));
        assert_eq!(ask("horses", 3).await, 0);
        // Whoever had parked the one has parked the other.
        assert_eq!(
            ask("clouds", 3).await,
            last,
            "{cached} of 7 tokens were there"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starved_machine_takes_no_upstream_for_dead() {
    let llamas = [FakeLlama::start().await, FakeLlama::start().await];
    let proxy = before_all(&llamas.each_ref(), |config| config.probe_up = SOON).await;
    let over = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|threads| {
        for _ in 0..cores * 2 {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for llama in &llamas {
                    llama.probed(100).await;
                }
                for _ in 0..50 {
                    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
                    let metrics = proxy.metrics().await;
                    assert!(
                        llamas
                            .iter()
                            .all(|llama| metrics.contains(&is_up(&llama.url(), true))),
                        "{metrics}"
                    );
                }
            });
        });
        over.store(true, Ordering::Relaxed);
    });
}
