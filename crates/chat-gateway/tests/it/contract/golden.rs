//! Frames that were written by hand, as every client and server must read them: docs/protocol/golden.

use std::collections::BTreeSet;

use chat_gateway::protocol::reading::{MAX_COMPLAINT_CHARS, MAX_ID_CHARS, read};
use chat_gateway::protocol::v2::ServerFrame;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use super::node::Node;
use super::schema::{Direction, frames, schema};
use super::{FOLDER, from_root};
use crate::v2_bad_frames::frames_against_the_schema;

/// The frames of one direction, one on each line of their file.
pub(super) fn lines(direction: Direction) -> Vec<String> {
    let file = match direction {
        Direction::FromClient => "client-frames.jsonl",
        Direction::FromServer => "server-frames.jsonl",
    };
    let text = std::fs::read_to_string(from_root(&format!("{FOLDER}golden/{file}"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What checks frames of this direction.
pub(super) fn validator(direction: Direction) -> Validator {
    let schema: Value = serde_json::from_str(&schema(direction).file()).unwrap();
    let mut options = jsonschema::options();
    options = options.should_validate_formats(true);
    options.build(&schema).unwrap()
}

#[test]
fn golden_frames_of_clients_are_read_and_written_unchanged() {
    let validator = validator(Direction::FromClient);
    for line in lines(Direction::FromClient) {
        let frame = read(&line).unwrap();
        let golden: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_value(&frame).unwrap(), golden);
        validator.validate(&golden).unwrap();
    }
}

#[test]
fn golden_frames_of_the_server_are_read_and_written_unchanged() {
    let validator = validator(Direction::FromServer);
    for line in lines(Direction::FromServer) {
        let frame: ServerFrame = serde_json::from_str(&line).unwrap();
        let golden: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_value(&frame).unwrap(), golden);
        validator.validate(&golden).unwrap();
    }
}

#[test]
fn golden_frames_have_each_field_and_lack_each_optional_one() {
    for direction in [Direction::FromClient, Direction::FromServer] {
        let golden: Vec<Value> = lines(direction)
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let schema = schema(direction);
        for (name, frame) in frames(&schema) {
            let required = frame.get("required").unwrap().items();
            for (field, _) in frame.get("properties").map(Node::fields).unwrap() {
                let of_type = golden.iter().filter(|golden| golden["type"] == name);
                let seen: BTreeSet<bool> =
                    of_type.map(|golden| golden.get(field).is_some()).collect();
                let wanted = if required.contains(&field.as_str().into()) {
                    BTreeSet::from([true])
                } else {
                    BTreeSet::from([false, true])
                };
                assert_eq!(seen, wanted, "`{field}` of `{name}`");
            }
        }
    }
}

#[test]
fn unknown_fields_pass_the_schema_where_receivers_ignore_them() {
    for direction in [Direction::FromClient, Direction::FromServer] {
        let validator = validator(direction);
        for line in lines(direction) {
            let mut golden: Value = serde_json::from_str(&line).unwrap();
            golden["later"] = true.into();
            validator.validate(&golden).unwrap();
        }
    }
}

#[test]
fn the_schema_refuses_what_the_server_refuses() {
    let validator = validator(Direction::FromClient);
    for frame in frames_against_the_schema() {
        let json: Value = serde_json::from_str(&frame.text).unwrap();
        assert!(!validator.is_valid(&json), "{}", frame.text);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_in_a_short_sentence(
        golden in select(lines(Direction::FromClient)),
        at in any::<Index>(),
        removed in 0_usize..4,
        inserted in r#"[]\[{}",:0-9eu\\.-]{0,4}|芝|null|"type":"#,
    ) {
        let mut text: Vec<char> = golden.chars().collect();
        let from = at.index(text.len());
        let to = (from + removed).min(text.len());
        text.splice(from..to, inserted.chars());
        match read(&text.into_iter().collect::<String>()) {
            Ok(frame) => prop_assert!(read(&serde_json::to_string(&frame).unwrap()).is_ok()),
            Err(refused) => {
                prop_assert!(refused.message.chars().count() <= MAX_COMPLAINT_CHARS);
                prop_assert!(refused.re.is_none_or(|re| re.chars().count() <= MAX_ID_CHARS));
            }
        }
    }
}
