//! Conversations over HTTP: for their owner alone, in pages, changed, deleted, written down and brought back.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::fake_llama::Script;
use testkit::v2_client::V2Client;
use testkit::ws_client::PATIENCE;

use super::{Somebody, code};
use crate::gateway::Gateway;
use crate::v2_tools::{end_of, text, until_changed};

const UNKNOWN: &str = "0190a0a0-0000-7000-8000-000000000001";

async fn created(somebody: &Somebody<'_>, body: &Value) -> Value {
    let (status, conversation) = somebody.post("/conversations", body).await;
    assert_eq!(status, 201, "{conversation}");
    conversation
}

fn path(conversation: &Value, rest: &str) -> String {
    format!(
        "/conversations/{}{rest}",
        conversation["id"].as_str().unwrap()
    )
}

#[tokio::test]
async fn a_conversation_is_begun_listed_changed_and_deleted() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let new = json!({"title": " Cheese ", "folder": "Food", "system": "Be brief.", "pinned": true});
    let mut cheese = created(&ann, &new).await;
    assert_eq!(
        (
            &cheese["title"],
            &cheese["folder"],
            &cheese["system"],
            &cheese["pinned"],
            &cheese["revision"]
        ),
        (
            &json!("Cheese"),
            &json!("Food"),
            &json!("Be brief."),
            &json!(true),
            &json!(1)
        )
    );
    assert_eq!(ann.get(&path(&cheese, "")).await, (200, cheese.clone()));
    created(&ann, &json!({"title": "A secret", "temporary": true})).await;
    let list = json!({"conversations": [cheese]});
    assert_eq!(ann.get("/conversations").await, (200, list));

    let change = json!({"title": "芝士", "folder": null, "pinned": false});
    let (status, changed) = ann.patch(&path(&cheese, ""), &change).await;
    let fields = cheese.as_object_mut().unwrap();
    fields.remove("folder");
    fields.insert("title".to_owned(), json!("芝士"));
    fields.insert("pinned".to_owned(), json!(false));
    fields.insert("revision".to_owned(), json!(2));
    assert_eq!((status, &changed), (200, &cheese));

    assert_eq!(ann.delete(&path(&cheese, "")).await.0, 204);
    let (status, gone) = ann.get(&path(&cheese, "")).await;
    assert_eq!((status, code(&gone)), (404, "not_found"));
    let (status, refused) = ann.delete("/conversations").await;
    assert_eq!((status, code(&refused)), (400, "bad_request"));
    let all = ann.delete("/conversations?all=true").await;
    assert_eq!(all, (200, json!({"deleted": 1})));
}

#[tokio::test]
async fn pages_hold_every_conversation_and_message_once() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let mut titles = Vec::new();
    for n in 0..7 {
        let title = format!("number {n}");
        created(&ann, &json!({ "title": title })).await;
        titles.push(title);
    }
    titles.reverse();
    let mut listed = Vec::new();
    let mut before = String::new();
    loop {
        let (_, page) = ann.get(&format!("/conversations?limit=3{before}")).await;
        let conversations = page["conversations"].as_array().unwrap();
        let found = conversations
            .iter()
            .map(|one| one["title"].as_str().unwrap().to_owned());
        listed.extend(found);
        let Some(next) = page["next"].as_str() else {
            break;
        };
        before = format!("&before={next}");
    }
    assert_eq!(listed, titles);

    ann.ask("chat", "one").await;
    for n in 0..3 {
        ann.ask("chat", &format!("question {n}")).await;
    }
    let (_, list) = ann.get("/conversations?limit=1").await;
    let conversation = &list["conversations"][0];
    let mut ids = Vec::new();
    let mut before = String::new();
    let mut sizes = Vec::new();
    loop {
        let (_, page) = ann
            .get(&path(conversation, &format!("/messages?limit=3{before}")))
            .await;
        let messages = page["messages"].as_array().unwrap().clone();
        sizes.push(messages.len());
        ids.splice(0..0, messages);
        let Some(next) = page["next"].as_str() else {
            break;
        };
        before = format!("&before={next}");
    }
    assert_eq!(sizes, [3, 3, 2]);
    for pair in ids.windows(2) {
        assert_eq!(pair[1]["parent"], pair[0]["id"]);
    }
}

/// The titles of a page of the list, and where the next one begins.
async fn titles(somebody: &Somebody<'_>, query: &str) -> (Vec<String>, Option<String>) {
    let (status, page) = somebody.get(&format!("/conversations?{query}")).await;
    assert_eq!(status, 200, "{page}");
    let titles = page["conversations"].as_array().unwrap().iter();
    let titles = titles.map(|one| one["title"].as_str().unwrap().to_owned());
    (titles.collect(), page["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn pinned_conversations_are_listed_first_on_every_page() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let mut all = Vec::new();
    for title in ["a", "b", "c", "d", "e"] {
        let pinned = ["b", "d", "e"].contains(&title);
        all.push(created(&ann, &json!({"title": title, "pinned": pinned})).await);
    }
    let (first, next) = titles(&ann, "limit=2").await;
    assert_eq!(first, ["e", "d"]);
    // Across the end of the pinned ones, while one of the first page is taken out of them.
    let off = json!({"pinned": false});
    assert_eq!(ann.patch(&path(&all[4], ""), &off).await.0, 200);
    let (second, next) = titles(&ann, &format!("limit=2&before={}", next.unwrap())).await;
    assert_eq!(second, ["b", "e"]);
    // One that was pinned meanwhile is above, so it does not come again.
    let on = json!({"pinned": true});
    assert_eq!(ann.patch(&path(&all[0], ""), &on).await.0, 200);
    let (third, next) = titles(&ann, &format!("limit=2&before={}", next.unwrap())).await;
    assert_eq!((third, next), (vec!["c".to_owned()], None));
    let (anew, _) = titles(&ann, "limit=5").await;
    assert_eq!(anew, ["d", "b", "a", "e", "c"]);
}

#[tokio::test]
async fn folders_are_listed_with_what_is_in_them() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let eve = Somebody::new(&gateway).await;
    for (title, folder) in [("a", "工作"), ("b", "Work"), ("c", "工作"), ("d", "工作")] {
        created(&ann, &json!({"title": title, "folder": folder})).await;
    }
    created(&ann, &json!({"title": "in none"})).await;
    let secret = json!({"title": "x", "folder": "Work", "temporary": true});
    created(&ann, &secret).await;
    created(&eve, &json!({"title": "hers", "folder": "Work"})).await;
    let folders = json!({"folders": [
        {"name": "Work", "conversations": 1},
        {"name": "工作", "conversations": 3},
    ]});
    assert_eq!(ann.get("/folders").await, (200, folders));
    let (first, next) = titles(&ann, "folder=%E5%B7%A5%E4%BD%9C&limit=2").await;
    assert_eq!(first, ["d", "c"]);
    let rest = format!("folder=%E5%B7%A5%E4%BD%9C&limit=2&before={}", next.unwrap());
    assert_eq!(titles(&ann, &rest).await, (vec!["a".to_owned()], None));
    assert_eq!(titles(&ann, "folder=none").await, (vec![], None));
    let (status, refused) = ann.get("/conversations?folder=").await;
    assert_eq!((status, code(&refused)), (400, "bad_request"));
}

#[tokio::test]
async fn a_foreign_conversation_looks_like_an_unknown_one_on_every_route() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let eve = Somebody::new(&gateway).await;
    ann.ask("chat", "a secret").await;
    let (_, list) = ann.get("/conversations").await;
    let conversation = list["conversations"][0]["id"].as_str().unwrap().to_owned();
    let routes = [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/restore"),
        (Method::GET, "/messages"),
        (Method::GET, "/export"),
        (Method::GET, "/export?format=markdown"),
    ];
    for (method, rest) in routes {
        let mut seen = Vec::new();
        for id in [&*conversation, UNKNOWN, "no-id"] {
            let request = eve.request(method.clone(), &format!("/conversations/{id}{rest}"));
            let request = if method == Method::PATCH {
                request.json(&json!({"title": "x"}))
            } else {
                request
            };
            let response = request.send().await.unwrap();
            let mut head = response.headers().clone();
            for own in ["x-request-id", "date"] {
                head.remove(own);
            }
            seen.push((
                response.status().as_u16(),
                format!("{head:?}"),
                response.text().await.unwrap(),
            ));
        }
        assert_eq!(seen[0].0, 404, "{method} {rest}");
        assert!(
            seen[0] == seen[1] && seen[1] == seen[2],
            "{method} {rest}: {seen:?}"
        );
    }
    for chat in ["chat", &conversation, UNKNOWN] {
        assert_eq!(eve.get(&format!("/chat/{chat}")).await.0, 404, "{chat}");
        assert_eq!(
            eve.get(&format!("/chat/{chat}/stream")).await.0,
            204,
            "{chat}"
        );
        assert_eq!(
            eve.post(&format!("/chat/{chat}/stop"), &json!({})).await.0,
            204,
            "{chat}"
        );
    }
    assert_eq!(
        eve.get("/search?q=secret").await,
        (200, json!({"found": []}))
    );
    assert_eq!(
        eve.get("/conversations").await,
        (200, json!({"conversations": []}))
    );
    let all = eve.delete("/conversations?all=true").await;
    assert_eq!(all, (200, json!({"deleted": 0})));
    assert_eq!(
        ann.get(&format!("/conversations/{conversation}")).await.0,
        200
    );
}

#[tokio::test]
async fn words_are_found_and_a_document_goes_out_and_comes_back() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["芝士在冰箱里"]));
    let ann = Somebody::new(&gateway).await;
    ann.ask("chat", "Where is the cheese?").await;
    let (_, found) = ann.get("/search?q=冰箱").await;
    assert_eq!(found["found"][0]["excerpt"], "芝士在冰箱里");
    let (_, list) = ann.get("/conversations").await;
    let conversation = list["conversations"][0].clone();
    assert_eq!(conversation["title"], "Where is the cheese?");

    let request = ann.request(Method::GET, &path(&conversation, "/export?format=markdown"));
    let response = request.send().await.unwrap();
    let named = response.headers()["content-disposition"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        named.starts_with("attachment; filename=\"conversation-"),
        "{named}"
    );
    assert_eq!(
        response.headers()["content-type"],
        "text/markdown; charset=utf-8"
    );
    let page = "# Where is the cheese?\n\n## You\n\nWhere is the cheese?\n\n\n## Assistant\n\n芝士在冰箱里\n";
    assert_eq!(
        response.text().await.unwrap().replace("\n\n\n", "\n\n"),
        page.replace("\n\n\n", "\n\n")
    );

    let (_, document) = ann.get(&path(&conversation, "/export")).await;
    let bob = Somebody::new(&gateway).await;
    let (status, imported) = bob.post("/conversations/import", &document).await;
    assert_eq!((status, &imported["title"]), (201, &conversation["title"]));
    assert_ne!(imported["id"], conversation["id"]);
    let (_, messages) = bob.get(&path(&imported, "/messages")).await;
    assert_eq!(messages["messages"][1]["answer"]["text"], "芝士在冰箱里");
    let (status, refused) = bob
        .post("/conversations/import", &json!({"corral_export": 7}))
        .await;
    assert_eq!((status, code(&refused)), (400, "bad_request"));
}

#[tokio::test]
async fn what_is_wrong_is_told_in_one_shape_that_names_the_field() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let long = "x".repeat(201);
    for (path, message) in [
        ("/conversations?limit=0", "`limit` must be 1 to 100"),
        (
            "/conversations?before=x",
            "`before` must be the `next` of another page",
        ),
        ("/search?q=%20", "`q` must be 1 to 200 characters"),
    ] {
        let (status, body) = ann.get(path).await;
        let error = json!({"code": "bad_request", "message": message, "type": "invalid_request_error", "param": null});
        assert_eq!(
            (status, body),
            (400, json!({"error": error, "src": "chat-gateway"})),
            "{path}"
        );
    }
    for (body, message) in [
        (
            json!({"title": long}),
            "`title` must be one line of 1 to 200 characters",
        ),
        (
            json!({"title": " "}),
            "`title` must be one line of 1 to 200 characters",
        ),
        (json!({"titel": "x"}), "`titel` is not known"),
        (json!({"pinned": "yes"}), "`pinned` must be true or false"),
        (json!([]), "the body must be a JSON object"),
    ] {
        let (status, refused) = ann.post("/conversations", &body).await;
        let said = refused["error"]["message"].as_str().unwrap();
        assert_eq!((status, code(&refused)), (400, "bad_request"), "{refused}");
        assert!(said.starts_with(message), "{said}");
    }
    let request = ann.request(Method::POST, "/conversations").body("{}");
    assert_eq!(ann.send(request).await.0, 415);
    let big = json!({"title": "x".repeat(200_000)});
    let (status, refused) = ann.post("/conversations", &big).await;
    assert_eq!((status, code(&refused)), (413, "too_large"));
    let request = ann.request(Method::PUT, "/conversations");
    let (status, refused) = ann.send(request).await;
    assert_eq!((status, code(&refused)), (405, "bad_request"));
}

#[tokio::test]
async fn no_other_sites_page_can_change_anything() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let conversation = created(&ann, &json!({"title": "mine"})).await;
    let own = format!("http://{}", gateway.public);
    for (origin, status) in [("https://evil.example", 403), ("null", 403), (&own, 200)] {
        let request = ann.request(Method::PATCH, &path(&conversation, ""));
        let request = request
            .header("origin", origin)
            .json(&json!({"title": "theirs"}));
        assert_eq!(ann.send(request).await.0, status, "{origin}");
        for route in [
            "/conversations",
            "/conversations/import",
            "/chat",
            "/chat/x/stop",
        ] {
            let request = ann.request(Method::POST, route).header("origin", origin);
            let refused = ann.send(request.json(&json!({}))).await.0 == 403;
            assert_eq!(refused, status == 403, "{origin} {route}");
        }
    }
    let response = ann
        .request(Method::GET, "/conversations")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().contains_key("x-request-id"));
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
}

#[tokio::test]
async fn who_watches_is_told_of_changes_over_http() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    let accepted = chat.say("hi", &json!({})).await.unwrap();
    let answer = accepted["answer"].as_str().unwrap().to_owned();
    chat.until_position(&answer, 1).await.unwrap();
    let ann = Somebody::of(&gateway, &chat);
    let conversation = json!({"id": accepted["conversation"]});
    assert_eq!(
        ann.patch(&path(&conversation, ""), &json!({"title": "x"}))
            .await
            .0,
        200
    );
    let changed = chat.socket.next_json().await.unwrap();
    assert_eq!(
        (&changed["type"], &changed["what"]),
        (&json!("changed"), &json!("title"))
    );
    let all = ann.delete("/conversations?all=true").await;
    assert_eq!(all, (200, json!({"deleted": 1})));
    gateway.llama.client_left(0).await;
    // The answer is stopped, and which of both is told first is open.
    let mut deleted = false;
    let mut stopped = false;
    while !(deleted && stopped) {
        let frame = chat.socket.next_json().await.unwrap();
        deleted |= frame["what"] == "deleted";
        stopped |= frame["type"] == "done" && frame["status"] == "stopped";
    }
}

#[tokio::test]
async fn what_is_deleted_is_out_of_sight_at_once_and_comes_back_when_asked_for() {
    let gateway = Gateway::start().await;
    let script = Script::tokens(["cheese", " and wine"]).stall_after(1);
    gateway.llama.script(script);
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    let accepted = chat.say("hi", &json!({})).await.unwrap();
    let answer = text(&accepted, "answer");
    chat.until_position(&answer, 6).await.unwrap();
    let ann = Somebody::of(&gateway, &chat);
    let conversation = json!({"id": accepted["conversation"]});
    assert_eq!(ann.delete(&path(&conversation, "")).await.0, 204);
    gateway.llama.client_left(0).await;
    let deleted = until_changed(&mut chat, "deleted").await["revision"].clone();
    assert_eq!(end_of(&mut chat, &answer).await, "stopped");
    for rest in ["", "/messages", "/export"] {
        assert_eq!(ann.get(&path(&conversation, rest)).await.0, 404, "{rest}");
    }
    let id = text(&conversation, "id");
    assert_eq!(ann.get(&format!("/chat/{id}")).await.0, 404);
    let nothing = json!({"conversations": []});
    assert_eq!(ann.get("/conversations").await, (200, nothing));
    let nothing = json!({"found": []});
    assert_eq!(ann.get("/search?q=cheese").await, (200, nothing));
    let watch = json!({"type": "watch", "conversation": id});
    assert_eq!(chat.request(watch).await.unwrap()["code"], "not_found");

    let restore = path(&conversation, "/restore");
    let (status, restored) = ann.post(&restore, &json!({})).await;
    assert_eq!(status, 200);
    assert!(
        restored["revision"].as_u64() > deleted.as_u64(),
        "{restored}"
    );
    // Whoever watched it before is told, and is told of what comes.
    let changed = until_changed(&mut chat, "messages").await;
    assert_eq!(changed["revision"], restored["revision"]);
    let back = json!({"title": "back"});
    assert_eq!(ann.patch(&path(&conversation, ""), &back).await.0, 200);
    until_changed(&mut chat, "title").await;
    let (_, messages) = ann.get(&path(&conversation, "/messages")).await;
    let kept = &messages["messages"][1]["answer"];
    assert_eq!(
        (&kept["status"], &kept["text"]),
        (&json!("stopped"), &json!("cheese"))
    );
    let (status, again) = ann.post(&restore, &json!({})).await;
    assert_eq!((status, &again["title"]), (200, &json!("back")));

    let all = ann.delete("/conversations?all=true").await;
    assert_eq!(all, (200, json!({"deleted": 1})));
    let (status, refused) = ann.post(&restore, &json!({})).await;
    assert_eq!((status, code(&refused)), (404, "not_found"));
}

#[tokio::test]
async fn a_chat_begins_anew_under_the_name_of_a_deleted_one() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    ann.ask("chat", "old words").await;
    let (_, old) = ann.get("/chat/chat").await;
    let conversation = json!({"id": old["conversation"]});
    assert_eq!(ann.delete(&path(&conversation, "")).await.0, 204);
    ann.ask("chat", "new words").await;
    let (_, new) = ann.get("/chat/chat").await;
    assert_eq!(new["messages"].as_array().unwrap().len(), 2);
    assert_eq!(new["messages"][0]["parts"][0]["text"], "new words");
    let found = ann.get("/search?q=old").await;
    assert_eq!(found, (200, json!({"found": []})));
}

#[tokio::test]
async fn the_tokens_of_a_message_are_counted_by_the_model_before_it_is_sent() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let counted = Script::status(200, r#"{"input_tokens":33}"#);
    gateway.llama.script_once(counted);
    let long = json!({"content": [{"type": "text", "text": "words"}]});
    let reply = ann.post("/tokens", &long).await;
    assert_eq!(reply, (200, json!({"tokens": 33})));
    let request = gateway.llama.requests().pop().unwrap();
    assert_eq!(request.line, "POST /v1/chat/completions/input_tokens");
    let messages = json!([{"role": "user", "content": "words"}]);
    assert_eq!(request.body["messages"], messages);

    let picture = json!([{"type": "image", "data_url": "data:image/png;base64,AA"}]);
    for (content, expected) in [
        (json!(" "), "bad_request"),
        (json!(7), "bad_request"),
        (json!("x".repeat(140_000)), "too_large"),
        (picture, "unsupported_content"),
    ] {
        let (_, refused) = ann.post("/tokens", &json!({"content": content})).await;
        assert_eq!(code(&refused), expected, "{refused}");
    }
    let loads = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    gateway.llama.script_once(Script::status(503, loads));
    let (status, refused) = ann.post("/tokens", &json!({"content": "hi"})).await;
    assert_eq!((status, code(&refused)), (503, "model_loading"));
    let limited = async {
        loop {
            let request = ann.request(Method::POST, "/tokens");
            let response = request.json(&json!({"content": "hi"})).send().await;
            let response = response.unwrap();
            if response.status() == 429 {
                return response.headers().contains_key("retry-after");
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, limited).await.unwrap());
}

#[tokio::test]
async fn the_description_is_served_and_is_the_committed_one() {
    let gateway = Gateway::start().await;
    let served: Value = gateway
        .get("/api/v1/openapi.json")
        .await
        .json()
        .await
        .unwrap();
    let committed = include_str!("../../../../../docs/openapi.json");
    assert_eq!(
        chat_gateway::openapi(),
        committed,
        "docs/openapi.json is stale: `cargo xtask contract --write`"
    );
    assert_eq!(served, serde_json::from_str::<Value>(committed).unwrap());
    assert_eq!(served["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_model_is_told_as_upstream_has_it() {
    let gateway = Gateway::start().await;
    gateway.readiness(200).await;
    let ann = Somebody::new(&gateway).await;
    let model = json!({"name": "fake-model", "context": 4096, "images": false, "tools": false, "state": "ready"});
    assert_eq!(ann.get("/models").await, (200, json!({"models": [model]})));
}
