//! The list of conversations, live in every tab.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::v2_client::V2Client;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::http::Somebody;
use crate::v2_tools::{converse, open, text};

async fn watch_list(chat: &mut V2Client) {
    let reply = chat.request(json!({"type": "watch_list"})).await.unwrap();
    assert_eq!(reply["type"], "ok", "{reply}");
}

/// Reads on until the list says this of a conversation. Returns the revision.
async fn until_listed(chat: &mut V2Client, conversation: &str, what: &str) -> u64 {
    loop {
        let frame = chat.next().await.unwrap();
        let found = (&frame["type"], &frame["conversation"], &frame["what"]);
        if found == (&json!("list"), &json!(conversation), &json!(what)) {
            return frame["revision"].as_u64().unwrap();
        }
    }
}

/// What a tab was told of the list so far.
fn listed(chat: &V2Client) -> Vec<&Value> {
    let frames = chat.others.iter();
    frames.filter(|frame| frame["type"] == "list").collect()
}

#[tokio::test]
async fn each_change_of_the_list_is_told_to_every_tab_that_watches_it() {
    let gateway = Gateway::start().await;
    let mut tab = open(&gateway).await;
    let features = tab.welcome["features"].as_array().unwrap();
    assert!(features.contains(&json!("list")));
    let mut other = tab.again(&gateway.chat_url()).await.unwrap();
    let mut stranger = open(&gateway).await;
    watch_list(&mut other).await;
    watch_list(&mut other).await;
    watch_list(&mut stranger).await;
    let ann = Somebody::of(&gateway, &tab);

    // Over the socket: begun, and answered.
    let [first, _, answer] = converse(&mut tab, None, "hello").await;
    let ended = tab.answers[&answer].done.clone().unwrap();
    let mut revision = until_listed(&mut other, &first, "created").await;
    if ended["revision"] != revision {
        revision = until_listed(&mut other, &first, "changed").await;
    }
    assert_eq!(ended["revision"], revision);
    // Over HTTP, with and without an open room.
    let (_, second) = ann.post("/conversations", &json!({"title": "empty"})).await;
    let second = text(&second, "id");
    assert_eq!(until_listed(&mut other, &second, "created").await, 1);
    for id in [&first, &second] {
        let change = json!({"pinned": true, "folder": "work"});
        let (_, changed) = ann.patch(&format!("/conversations/{id}"), &change).await;
        assert_eq!(
            until_listed(&mut other, id, "changed").await,
            changed["revision"]
        );
    }
    let (_, document) = ann.get(&format!("/conversations/{first}/export")).await;
    let (_, third) = ann.post("/conversations/import", &document).await;
    let third = text(&third, "id");
    until_listed(&mut other, &third, "created").await;
    let (status, _) = ann.delete(&format!("/conversations/{first}")).await;
    assert_eq!(status, 204);
    until_listed(&mut other, &first, "deleted").await;

    // A temporary one is in no list.
    let temporary = tab
        .say("a secret", &json!({"temporary": true}))
        .await
        .unwrap();
    let secret = text(&temporary, "conversation");
    tab.until_done(&text(&temporary, "answer")).await.unwrap();
    let secret_path = format!("/conversations/{secret}");
    let (status, _) = ann.patch(&secret_path, &json!({"title": "x"})).await;
    assert_eq!(status, 200);
    let all = ann.delete("/conversations?all=true").await;
    assert_eq!(all, (200, json!({"deleted": 3})));
    let gone = [&second, &third].map(|id| json!(id));
    while !gone.iter().all(|id| {
        let mut told = listed(&other).into_iter();
        told.any(|frame| frame["what"] == "deleted" && frame["conversation"] == *id)
    }) {
        other.next().await.unwrap();
    }
    assert!(
        listed(&other)
            .iter()
            .all(|frame| frame["conversation"] != secret)
    );

    // Others are told nothing, and neither is a tab that did not ask.
    for chat in [&mut tab, &mut stranger] {
        chat.socket
            .send_json(&json!({"type": "ping"}))
            .await
            .unwrap();
        while chat.next().await.unwrap()["type"] != "pong" {}
        assert_eq!(listed(chat), Vec::<&Value>::new());
    }
}

#[tokio::test]
async fn many_changes_come_as_few_frames_and_the_last_one_is_among_them() {
    let gateway = Gateway::start().await;
    let mut tab = open(&gateway).await;
    watch_list(&mut tab).await;
    let ann = Somebody::of(&gateway, &tab);
    let (_, conversation) = ann.post("/conversations", &json!({"title": "0"})).await;
    let id = text(&conversation, "id");
    let began = Instant::now();
    let mut last = 0;
    for n in 1..60 {
        let title = json!({"title": n.to_string()});
        let (_, renamed) = ann.patch(&format!("/conversations/{id}"), &title).await;
        last = renamed["revision"].as_u64().unwrap();
    }
    while until_listed(&mut tab, &id, "changed").await < last {}
    let most = began.elapsed().as_millis() / Duration::from_millis(250).as_millis() + 2;
    let told = listed(&tab).len() as u128;
    assert!((2..=most).contains(&told), "{told} of at most {most}");
}
