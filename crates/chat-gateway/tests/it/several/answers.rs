//! An answer at one gateway, and people at another.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use testkit::fake_llama::{Ended, Script};
use tokio::time::timeout;

use crate::http::parts;
use crate::several::{Cluster, NEWS_OF_DEATH};
use crate::v2_tools::{ask, end_of, plain, say, say_in, until_changed};

#[tokio::test]
async fn an_answer_is_read_and_stopped_at_another_gateway_and_the_model_is_free() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let [home, other] = [cluster.member().await, cluster.member().await];
    let words = (0..4).map(|n| format!("word {n} "));
    cluster.llama.script(Script::tokens(words).stall_after(3));
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 21).await.unwrap();
    let mut there = other.also(&here).await;
    assert_eq!(there.welcome["user"], here.welcome["user"]);
    there.watch(&conversation).await.unwrap();
    there.until_position(&answer, 21).await.unwrap();
    assert_eq!(ask(&mut there, "stop", &answer).await["type"], "ok");
    assert_eq!(cluster.llama.ended(0).await, Ended::ClientLeft);
    let shown = there.until_done(&answer).await.unwrap();
    assert_eq!(here.until_done(&answer).await.unwrap().done, shown.done);
    assert_eq!(shown.text, "word 0 word 1 word 2 ");
    assert_eq!(shown.done.unwrap()["status"], "stopped");
}

#[tokio::test]
async fn what_is_sent_elsewhere_waits_at_the_home_and_is_changed_from_anywhere() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let [home, other] = [cluster.member().await, cluster.member().await];
    cluster
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut here = home.chat().await;
    let [conversation, _, first] = say(&mut here, "zero", &plain()).await;
    here.until_position(&first, 1).await.unwrap();
    cluster.llama.script(Script::tokens(["c"]));
    let mut there = other.also(&here).await;
    there.watch(&conversation).await.unwrap();
    let (one, second) = say_in(&mut there, &conversation, "one").await;
    until_changed(&mut here, "queue").await;
    let (two, _) = say_in(&mut there, &conversation, "two").await;
    until_changed(&mut here, "queue").await;
    let edit = json!({"type": "edit_queued", "message": one, "content": "ONE"});
    assert_eq!(there.request(edit).await.unwrap()["type"], "ok");
    assert_eq!(ask(&mut there, "drop_queued", &two).await["type"], "ok");
    cluster.llama.release();
    for answer in [&first, &second] {
        assert_eq!(end_of(&mut here, answer).await, "done");
        assert_eq!(end_of(&mut there, answer).await, "done");
    }
    let asked = cluster.llama.requests();
    let contents = asked[1].body["messages"].as_array().unwrap().iter();
    let contents: Vec<_> = contents.map(|message| &message["content"]).collect();
    assert_eq!(contents.last().unwrap().to_string(), "\"ONE\"");
    assert_eq!(asked.len(), 2);
    assert_eq!(cluster.llama.most_running(), 1);
}

#[tokio::test]
async fn what_a_killed_gateway_wrote_is_interrupted_for_all_and_goes_on_elsewhere() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let [mut home, other, third] = [
        cluster.member().await,
        cluster.member().await,
        cluster.member().await,
    ];
    cluster
        .llama
        .script(Script::tokens(["Once ", "upon"]).stall_after(1));
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 5).await.unwrap();
    let mut there = other.also(&here).await;
    let mut beside = third.also(&here).await;
    there.watch(&conversation).await.unwrap();
    beside.watch(&conversation).await.unwrap();
    there.until_position(&answer, 5).await.unwrap();
    cluster.llama.script(Script::tokens(["more"]));
    home.kill().await;
    let told = timeout(NEWS_OF_DEATH, async {
        let there = there.until_done(&answer).await.unwrap();
        let beside = beside.until_done(&answer).await.unwrap();
        assert_eq!(there.done, beside.done);
        there
    });
    let interrupted = told.await.expect("news of a death within 10 s");
    assert_eq!(interrupted.done.unwrap()["status"], "interrupted");
    let reply = ask(&mut there, "continue", &answer).await;
    assert_eq!(reply["type"], "accepted", "{reply}");
    let whole = there.until_done(&answer).await.unwrap();
    assert_eq!(whole.done.as_ref().unwrap()["status"], "done");
    assert!(whole.text.ends_with("more"), "{}", whole.text);
}

#[tokio::test]
async fn a_gateway_that_stops_waits_for_no_answer_of_another_one() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let [home, mut other] = [cluster.member().await, cluster.member().await];
    cluster
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 1).await.unwrap();
    let stream = other.stream(&here, &conversation).await;
    other.signal(Signal::TERM);
    let stream = stream.text().await.unwrap();
    let told = parts(&stream);
    let last = told.last().unwrap();
    assert_eq!(last["type"], "error", "{stream}");
    let reason = last["errorText"].as_str().unwrap();
    assert!(reason.starts_with("shutting_down: "), "{stream}");
    let ended = timeout(Duration::from_secs(10), other.child.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    cluster.llama.release();
    assert_eq!(here.until_done(&answer).await.unwrap().text, "ab");
}

#[tokio::test]
async fn who_was_taken_for_dead_writes_no_more_and_shows_what_became_of_it() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let [home, other] = [cluster.member().await, cluster.member().await];
    cluster
        .llama
        .script(Script::tokens(["Once ", "upon ", "a time"]).stall_after(1));
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 5).await.unwrap();
    let mut there = other.also(&here).await;
    there.watch(&conversation).await.unwrap();
    home.signal(Signal::STOP);
    cluster.llama.script(Script::tokens(["another end"]));
    let told = timeout(NEWS_OF_DEATH, there.until_done(&answer)).await;
    let told = told.expect("news of a death within 10 s").unwrap();
    assert_eq!(told.done.unwrap()["status"], "interrupted");
    let reply = ask(&mut there, "continue", &answer).await;
    assert_eq!(reply["type"], "accepted", "{reply}");
    let whole = there.until_done(&answer).await.unwrap();
    // The model goes on writing the first one.
    home.signal(Signal::CONT);
    cluster.llama.release();
    let shown = here.until_done(&answer).await.unwrap();
    assert_eq!(shown.done, whole.done);
    assert_eq!(shown.text, whole.text);
    assert!(whole.text.ends_with("another end"), "{}", whole.text);
}
