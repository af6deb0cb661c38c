//! The store's promises, through its public interface and against real files.

mod turns;

use chat_gateway::answer::written::{RunKind, Written};
use chat_gateway::protocol::record::{FinishReason, Options, Part, Status, Usage};
use chat_gateway::store::{Begun, End, NewOrOld, NewTurn, RequestKey, Store};
use tempfile::TempDir;
use uuid::Uuid;

/// Whose conversations these are.
const OWNER: &str = "ada";
/// Somebody else.
const STRANGER: &str = "eve";

/// A store in a folder of its own.
struct Kept {
    store: Store,
    dir: TempDir,
}

impl Kept {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        Self { store, dir }
    }

    /// The same folder, after the process has ended and begun again.
    async fn again(self) -> Self {
        let Self { store, dir } = self;
        drop(store);
        let store = Store::open(dir.path()).await.unwrap();
        Self { store, dir }
    }

    /// A new conversation with one question, whose answer runs.
    async fn ask(&self, text: &str) -> Asked {
        let asked = Asked::new(Uuid::now_v7());
        let new = NewOrOld::New {
            id: asked.conversation,
            title: text,
            temporary: false,
            system: None,
        };
        self.begin(&asked, new, None, text, Status::Running).await;
        asked
    }

    /// A question after `parent`.
    async fn go_on(
        &self,
        conversation: Uuid,
        parent: Option<Uuid>,
        text: &str,
        status: Status,
    ) -> Asked {
        let asked = Asked::new(conversation);
        let old = NewOrOld::Old(conversation);
        self.begin(&asked, old, parent, text, status).await;
        asked
    }

    async fn begin(
        &self,
        asked: &Asked,
        conversation: NewOrOld<'_>,
        parent: Option<Uuid>,
        text: &str,
        status: Status,
    ) {
        let content = words(text);
        let request = asked.answer.to_string();
        let options = Options::default();
        let begun = self.store.begin(NewTurn {
            owner: OWNER,
            request: key(&request),
            conversation,
            parent,
            question: Some((asked.question, &content)),
            answer: asked.answer,
            status,
            options: &options,
        });
        let begun = begun.await.unwrap();
        assert!(matches!(begun, Begun::Begun { .. }), "{begun:?}");
    }

    async fn finish(&self, answer: Uuid, text: &str) {
        self.store.finish(answer, &whole(text)).await.unwrap();
    }
}

/// The ids of one turn.
#[derive(Clone, Copy, Debug)]
struct Asked {
    conversation: Uuid,
    question: Uuid,
    answer: Uuid,
}

impl Asked {
    fn new(conversation: Uuid) -> Self {
        Self {
            conversation,
            question: Uuid::now_v7(),
            answer: Uuid::now_v7(),
        }
    }
}

fn key(id: &str) -> RequestKey<'_> {
    RequestKey {
        id,
        digest: [7; 32],
    }
}

fn words(text: &str) -> Vec<Part> {
    vec![Part::Text {
        text: text.to_owned(),
    }]
}

fn written(pieces: &[(RunKind, &str)]) -> Written {
    let mut written = Written::new();
    for (kind, text) in pieces {
        written.push(*kind, text);
    }
    written
}

/// The end of a whole answer.
fn whole(text: &str) -> End {
    End {
        status: Status::Done,
        finish_reason: Some(FinishReason::Stop),
        error: None,
        usage: Some(Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 5,
        }),
        timings: None,
        context: None,
        written: written(&[(RunKind::Text, text)]),
    }
}
