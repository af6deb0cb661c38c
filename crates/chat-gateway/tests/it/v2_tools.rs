//! What the tests of version 2 share: opening sockets, and asking what a gateway holds.

use serde_json::{Value, json};
use testkit::v2_client::V2Client;

use crate::gateway::Gateway;

/// No further fields.
pub(crate) fn plain() -> Value {
    json!({})
}

/// A field that is text.
pub(crate) fn text(frame: &Value, field: &str) -> String {
    frame[field].as_str().unwrap().to_owned()
}

/// A socket of a new user.
pub(crate) async fn open(gateway: &Gateway) -> V2Client {
    V2Client::connect(&gateway.chat_url()).await.unwrap()
}

/// Says something, and returns the conversation, the message and the answer.
pub(crate) async fn say(chat: &mut V2Client, content: &str, more: &Value) -> [String; 3] {
    let accepted = chat.say(content, more).await.unwrap();
    ["conversation", "message", "answer"].map(|field| text(&accepted, field))
}

/// As [`say`], in a conversation.
pub(crate) async fn say_in(
    chat: &mut V2Client,
    conversation: &str,
    content: &str,
) -> (String, String) {
    let [_, message, answer] = say(chat, content, &json!({"conversation": conversation})).await;
    (message, answer)
}

/// Sends a frame that names a message.
pub(crate) async fn ask(chat: &mut V2Client, kind: &str, message: &str) -> Value {
    let frame = json!({"type": kind, "message": message});
    chat.request(frame).await.unwrap()
}

/// Says something and reads the answer to its end.
pub(crate) async fn converse(
    chat: &mut V2Client,
    conversation: Option<&str>,
    content: &str,
) -> [String; 3] {
    let more = conversation.map_or_else(plain, |id| json!({"conversation": id}));
    let ids = say(chat, content, &more).await;
    chat.until_done(&ids[2]).await.unwrap();
    ids
}

/// How this answer ended, in one word.
pub(crate) async fn end_of(chat: &mut V2Client, answer: &str) -> String {
    let joined = chat.until_done(answer).await.unwrap();
    text(&joined.done.unwrap(), "status")
}

/// Reads on until a `changed` of this kind comes.
pub(crate) async fn until_changed(chat: &mut V2Client, what: &str) -> Value {
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] == "changed" && frame["what"] == what {
            return frame;
        }
    }
}
