//! The bus is lost, or the database.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use testkit::fake_llama::{Ended, Script};
use tokio::time::timeout;

use crate::http::parts;
use crate::several::Cluster;
use crate::v2_tools::{ask, end_of, plain, say};

/// Tokens of a long answer.
const TOKENS: usize = 400;

fn long() -> Script {
    let words = (0..TOKENS).map(|n| format!("{n:03} "));
    Script::tokens(words).every(Duration::from_millis(25))
}

#[tokio::test]
async fn without_the_bus_a_watcher_reads_checkpoints_and_later_reads_along_again() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let [home, other] = [cluster.member().await, cluster.member().await];
    cluster.llama.script(long());
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    let mut there = other.also(&here).await;
    there.watch(&conversation).await.unwrap();
    there.until_position(&answer, 40).await.unwrap();
    cluster.shared.valkey.kill().await;
    other.until("/metrics", "chat_gateway_bus_up 0").await;
    let known = there.answers[&answer].position;
    // From the store, at the pace of checkpoints.
    let read = timeout(
        Duration::from_secs(8),
        there.until_position(&answer, known + 40),
    );
    read.await.expect("checkpoints are shown").unwrap();
    cluster.shared.valkey.start_again().await;
    other.until("/metrics", "chat_gateway_bus_up 1").await;
    let shown = there.until_done(&answer).await.unwrap();
    let whole: String = (0..TOKENS).map(|n| format!("{n:03} ")).collect();
    assert_eq!(shown.text, whole);
    assert_eq!(shown.done, here.until_done(&answer).await.unwrap().done);
}

#[tokio::test]
async fn without_the_bus_a_stream_over_http_is_whole_and_no_answer_counts_as_deleted() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let [home, other] = [cluster.member().await, cluster.member().await];
    let script = Script::tokens(["a", "b", "c"]).stall_after(1);
    cluster.llama.script(script);
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 1).await.unwrap();
    cluster.shared.valkey.kill().await;
    other.until("/metrics", "chat_gateway_bus_up 0").await;
    let mut stream = other.stream(&here, &conversation).await;
    let begun = stream.chunk().await.unwrap().unwrap();
    cluster.llama.release();
    let rest = stream.text().await.unwrap();
    let all = format!("{}{rest}", std::str::from_utf8(&begun).unwrap());
    let deltas: Vec<_> = parts(&all)
        .into_iter()
        .filter(|part| part["type"] == "text-delta")
        .map(|part| part["delta"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(deltas.concat(), "abc", "{all}");
    assert!(all.ends_with("[DONE]\n\n"), "{all}");
}

#[tokio::test]
async fn without_the_database_answers_go_on_and_no_end_is_told_that_is_not_kept() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let home = cluster.member().await;
    cluster
        .llama
        .script(Script::tokens(["a", "b", "c"]).stall_after(1));
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 1).await.unwrap();
    cluster.shared.database.close();
    home.until(
        "/readyz",
        "not ready: the database of GATEWAY_STORE cannot be reached",
    )
    .await;
    cluster.llama.release();
    here.until_position(&answer, 3).await.unwrap();
    let early = timeout(Duration::from_secs(2), here.until_done(&answer)).await;
    assert!(early.is_err(), "{early:?}");
    let send = serde_json::json!({"type": "send", "content": "x", "conversation": conversation});
    let refused = here.request(send).await.unwrap();
    assert_eq!(refused["code"], "storage_unavailable", "{refused}");
    cluster.shared.database.open();
    let shown = here.until_done(&answer).await.unwrap();
    assert_eq!(shown.text, "abc");
    assert_eq!(shown.done.unwrap()["status"], "done");
    home.until_ready().await;
    let mut again = home.also(&here).await;
    let path = format!("/api/v1/conversations/{conversation}/messages");
    let url = format!("http://{}{path}", home.public);
    let cookie = again.cookie().unwrap();
    let client = reqwest::Client::new();
    let kept = client
        .get(url)
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    let kept = kept.text().await.unwrap();
    assert!(kept.contains("\"abc\""), "{kept}");
    again.watch(&conversation).await.unwrap();
}

#[tokio::test]
async fn without_the_database_an_answer_can_still_be_stopped() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let home = cluster.member().await;
    cluster
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut here = home.chat().await;
    let [_, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 1).await.unwrap();
    cluster.shared.database.close();
    assert_eq!(ask(&mut here, "stop", &answer).await["type"], "ok");
    assert_eq!(cluster.llama.ended(0).await, Ended::ClientLeft);
    cluster.shared.database.open();
    assert_eq!(end_of(&mut here, &answer).await, "stopped");
}

/// As when the reply to the commit that began it was lost.
#[tokio::test]
async fn what_is_open_in_the_store_and_written_by_nobody_is_interrupted() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let home = cluster.member().await;
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_done(&answer).await.unwrap();
    let url = cluster.shared.database.url();
    let mut database = PgConnection::connect(&url).await.unwrap();
    let opened = sqlx::query("UPDATE messages SET status = 'running' WHERE home IS NOT NULL");
    opened.execute(&mut database).await.unwrap();
    let ended = async {
        loop {
            let status: String =
                sqlx::query_scalar("SELECT status FROM messages WHERE home IS NOT NULL")
                    .fetch_one(&mut database)
                    .await
                    .unwrap();
            if status == "interrupted" {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), ended).await.unwrap();
    let reply = ask(&mut here, "continue", &answer).await;
    assert_eq!(reply["type"], "accepted", "{reply}");
    assert_eq!(reply["conversation"], conversation.as_str());
}
