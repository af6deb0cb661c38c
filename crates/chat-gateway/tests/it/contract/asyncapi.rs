//! The AsyncAPI document: the channel, what each side sends on it, and how a socket is closed.

use chat_gateway::protocol::close::Close;
use chat_gateway::protocol::v2::SUBPROTOCOL;

use super::node::Node;
use super::schema::{Direction, frames, schema};

const ADDRESS: &str = "/api/v1/ws/chat";
const ABOUT: &str = "Version 2 of Corral's chat protocol: JSON objects in text frames of one WebSocket. The first frame of a client is `hello`, \
the first of the server `welcome`. docs/protocol.md describes both versions in words. Operations are seen from the \
server: it receives the frames of clients.";

/// The document.
pub(super) fn document() -> Node {
    let mut messages = Vec::new();
    let client = operation(
        Direction::FromClient,
        "receive",
        "What a client may send",
        &mut messages,
    );
    let server = operation(
        Direction::FromServer,
        "send",
        "What the server may send",
        &mut messages,
    );
    Node::object([
        ("asyncapi", "3.0.0".into()),
        (
            "info",
            Node::object([
                ("title", "Corral chat".into()),
                ("version", "2".into()),
                (
                    "description",
                    format!("{ABOUT}\n\n{}", close_codes()).as_str().into(),
                ),
                (
                    "license",
                    Node::object([("name", env!("CARGO_PKG_LICENSE").into())]),
                ),
            ]),
        ),
        ("defaultContentType", "application/json".into()),
        (
            "channels",
            Node::object([(
                "chat",
                Node::object([
                    ("address", ADDRESS.into()),
                    ("title", "The chat's WebSocket".into()),
                    ("messages", Node::Object(messages)),
                    ("bindings", bindings()),
                ]),
            )]),
        ),
        (
            "operations",
            Node::object([("fromClient", client), ("fromServer", server)]),
        ),
    ])
}

/// The operation of one direction. Its messages are added to those of the channel.
fn operation(
    direction: Direction,
    action: &str,
    title: &str,
    messages: &mut Vec<(String, Node)>,
) -> Node {
    let file = direction.file();
    let schema = schema(direction);
    let mut own = Vec::new();
    for (name, frame) in frames(&schema) {
        let key = match direction {
            Direction::FromClient => format!("client.{name}"),
            Direction::FromServer => format!("server.{name}"),
        };
        own.push(Node::reference(&format!("#/channels/chat/messages/{key}")));
        let about = frame.text("description").unwrap();
        let message = Node::object([
            ("name", name.into()),
            ("summary", about.into()),
            ("payload", Node::reference(&format!("{file}#/$defs/{name}"))),
        ]);
        messages.push((key, message));
    }
    Node::object([
        ("action", action.into()),
        ("title", title.into()),
        ("channel", Node::reference("#/channels/chat")),
        ("messages", Node::List(own)),
    ])
}

/// How the socket is opened.
fn bindings() -> Node {
    let offered = Node::object([
        ("type", "string".into()),
        ("const", SUBPROTOCOL.into()),
        (
            "description",
            "Optional: a socket whose first frame is `hello` speaks version 2, too.".into(),
        ),
    ]);
    let headers = Node::object([
        ("type", "object".into()),
        (
            "properties",
            Node::object([("Sec-WebSocket-Protocol", offered)]),
        ),
    ]);
    let ws = Node::object([
        ("method", "GET".into()),
        ("headers", headers),
        ("bindingVersion", "0.1.0".into()),
    ]);
    Node::object([("ws", ws)])
}

fn close_codes() -> String {
    let mut table = String::from(
        "The server closes a socket with one of these codes. After 4400 to 4499 show a message; after 4500 to 4599 \
         connect again.\n\n| Code | Reason |\n|---|---|\n",
    );
    for close in Close::ALL {
        table.push_str(&format!("| {} | {} |\n", close.code(), close.reason()));
    }
    table
}
