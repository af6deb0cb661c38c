//! The state machine's promises, for any sequence of what clients and upstream may do.

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::json;

use super::{Action, Connection, MAX_DELTA_BYTES, MAX_WAITING, Outcome};
use crate::context::{Role, V1Conversation};
use crate::error::{Failure, Overflow};
use crate::event::{Event, Finish};
use crate::protocol::close::Close;
use crate::protocol::record::FinishReason;
use crate::protocol::v1::ServerMessage;

fn connection() -> Connection {
    Connection::new(V1Conversation::new("system", 100))
}

fn ended(reason: FinishReason) -> Event {
    Event::Finished(Finish {
        reason,
        usage: None,
        tokens_per_second: None,
    })
}

fn finished() -> Event {
    ended(FinishReason::Stop)
}

fn content(text: &str) -> String {
    json!({ "content": text }).to_string()
}

#[derive(Clone, Debug)]
enum Step {
    Content,
    Blank,
    Nonsense,
    Reset,
    Upstream(Event),
    Drain,
    Deadline,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let full = |numbers| Step::Upstream(Event::Failed(Failure::ContextFull(numbers)));
    let numbers = Overflow {
        n_prompt_tokens: 9000,
        n_ctx: 4096,
    };
    let step = prop_oneof![
        20 => Just(Step::Content),
        1 => Just(Step::Blank),
        1 => Just(Step::Nonsense),
        1 => Just(Step::Reset),
        10 => "[a-z芝🧀]{1,3}".prop_map(|text| Step::Upstream(Event::Text(text))),
        10 => Just(Step::Upstream(finished())),
        2 => Just(Step::Upstream(ended(FinishReason::Length))),
        3 => Just(Step::Upstream(Event::Failed(Failure::Interrupted))),
        2 => Just(full(None)),
        2 => Just(full(Some(numbers))),
        1 => Just(Step::Drain),
        1 => Just(Step::Deadline),
    ];
    prop::collection::vec(step, 0..120)
}

/// What the promises allow to happen next.
#[derive(Default)]
struct Model {
    sent: usize,
    /// The numbers of the accepted messages without a terminal, oldest first; the first one runs.
    open: VecDeque<usize>,
    /// Whole turns that the history must hold, except for the oldest ones.
    remembered: Vec<(String, String)>,
    answer: String,
    asked: bool,
    draining: bool,
    closed: bool,
}

impl Model {
    fn check(&mut self, step: &Step, actions: &[Action]) {
        let mut accepted = false;
        if matches!(step, Step::Content) {
            let refused = self.draining || self.open.len() == MAX_WAITING + 1;
            assert_eq!(
                refused,
                matches!(actions, [Action::Send(ServerMessage::Error { .. })]),
                "{actions:?}"
            );
            accepted = !refused;
            if accepted {
                self.open.push_back(self.sent);
            }
            self.sent += 1;
        }
        if matches!(step, Step::Reset) {
            self.open.clear();
            self.remembered.clear();
            self.asked = false;
        }
        if let Step::Upstream(Event::Text(text)) = step {
            self.answer.push_str(text);
        }
        let replies_only = matches!(step, Step::Blank | Step::Nonsense)
            || matches!(step, Step::Content if !accepted);
        for action in actions {
            assert!(!self.closed, "nothing follows a close");
            match action {
                Action::Send(ServerMessage::Done | ServerMessage::DoneAtLimit { .. }) => {
                    let number = self.open.pop_front().expect("done without a message");
                    if !self.answer.is_empty() {
                        self.remembered
                            .push((number.to_string(), std::mem::take(&mut self.answer)));
                    }
                    self.asked = false;
                }
                Action::Send(ServerMessage::Error { .. }) if !replies_only => {
                    self.open.pop_front().expect("error without a message");
                    self.asked = false;
                }
                Action::Send(_) => {}
                Action::Ask(prompt) | Action::AskAgain(prompt) => {
                    let running = self.open.front().expect("an answer to nothing").to_string();
                    assert_eq!(
                        self.asked,
                        matches!(action, Action::AskAgain(_)),
                        "one answer at a time"
                    );
                    self.asked = true;
                    self.answer.clear();
                    let texts: Vec<&str> = prompt.iter().map(|(_, text)| &**text).collect();
                    let turns = self
                        .remembered
                        .iter()
                        .flat_map(|(question, answer)| [&**question, answer]);
                    let turns: Vec<&str> = turns.collect();
                    assert_eq!((texts[0], texts[texts.len() - 1]), ("system", &*running));
                    assert!(
                        turns.ends_with(&texts[1..texts.len() - 1]),
                        "{texts:?} of {turns:?}"
                    );
                }
                Action::Settle(Outcome::Reset) => assert!(matches!(step, Step::Reset)),
                Action::Settle(_) => {}
                Action::Close(close) => {
                    assert_eq!(*close, Close::GoingAway);
                    assert!(
                        self.open.is_empty(),
                        "closed before {:?} had a terminal",
                        self.open
                    );
                    self.closed = true;
                }
            }
        }
        assert_eq!(
            self.asked,
            !self.open.is_empty(),
            "a message waits although nothing runs"
        );
    }
}

proptest! {
    #[test]
    fn every_accepted_message_gets_one_terminal_in_order_unless_reset_or_closed(steps in steps()) {
        let (mut connection, mut model) = (connection(), Model::default());
        for step in steps {
            if model.closed || (matches!(step, Step::Upstream(_)) && !model.asked) {
                continue;
            }
            let actions = match &step {
                Step::Content => connection.on_text(&content(&model.sent.to_string()), Some(4096)),
                Step::Blank => connection.on_text(&content(" "), Some(4096)),
                Step::Nonsense => connection.on_text("[]", Some(4096)),
                Step::Reset => connection.on_text(r#"{"type":"reset"}"#, Some(4096)),
                Step::Upstream(event) => connection.on_event(event.clone(), Some(4096)),
                Step::Drain => connection.on_drain(),
                Step::Deadline => connection.on_deadline(),
            };
            model.draining |= matches!(step, Step::Drain | Step::Deadline);
            model.check(&step, &actions);
        }
    }

    #[test]
    fn the_joined_deltas_are_the_answer_byte_for_byte(pieces in prop::collection::vec(".{0,40}", 0..20), big in 0..3_usize) {
        let mut connection = connection();
        connection.on_text(&content("hi"), None);
        let mut sent = String::new();
        let big = "a芝🧀\n".repeat(big * MAX_DELTA_BYTES / 7);
        for piece in pieces.iter().chain([&big]) {
            for action in connection.on_event(Event::Text(piece.clone()), None) {
                let Action::Send(ServerMessage::Delta { content }) = action else { panic!("{action:?}") };
                prop_assert!(content.len() <= MAX_DELTA_BYTES);
                sent.push_str(&content);
            }
        }
        prop_assert_eq!(sent, pieces.concat() + &big);
    }
}

#[test]
fn a_context_that_overflows_is_cut_until_only_the_question_is_left_then_refused() {
    let mut connection = connection();
    for number in 0..4 {
        connection.on_text(&content(&number.to_string()), None);
        connection.on_event(Event::Text("answer".to_owned()), None);
        connection.on_event(finished(), None);
    }
    connection.on_text(&content("last"), None);
    let mut lengths = Vec::new();
    let refusal = loop {
        match &connection.on_event(Event::Failed(Failure::ContextFull(None)), None)[..] {
            [Action::AskAgain(prompt)] => lengths.push(prompt.len()),
            refusal => break refusal.to_vec(),
        }
    };
    assert_eq!(lengths.last(), Some(&2), "{lengths:?}");
    assert!(
        lengths.is_sorted_by(|more, less| more > less),
        "{lengths:?}"
    );
    let failure = Failure::ContextFull(None);
    let error = Action::Send(ServerMessage::Error {
        message: failure.message(),
    });
    assert_eq!(refusal, [Action::Settle(Outcome::Failed(failure)), error]);
}

#[test]
fn a_long_chat_keeps_its_latest_turns_and_room_for_the_answer() {
    let mut connection = connection();
    for number in 0..200 {
        let [Action::Ask(prompt)] = &connection.on_text(
            &content(&format!("{number} {}", "x".repeat(90))),
            Some(1000),
        )[..] else {
            panic!("an answer was expected")
        };
        let bytes: usize = prompt.iter().map(|(_, text)| text.len()).sum();
        assert!(
            bytes / 3 + prompt.len() * 9 <= 900,
            "{bytes} bytes in {} messages",
            prompt.len()
        );
        assert_eq!(prompt[0].0, Role::System);
        let alternating = prompt[1..].chunks(2).all(|turn| turn[0].0 == Role::User);
        assert!(alternating && prompt.len() % 2 == 0, "{prompt:?}");
        connection.on_event(Event::Text("y".repeat(90)), Some(1000));
        connection.on_event(finished(), Some(1000));
    }
}
