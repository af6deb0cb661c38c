//! Properties of what is written: any pieces, cut anywhere between characters.

use proptest::prelude::*;

use super::{RunKind, Written, WrittenRun};

/// Pieces as models write them: ASCII, Chinese, emoji of several code points, combining characters, and NUL.
fn pieces() -> impl Strategy<Value = Vec<(RunKind, String)>> {
    let kind = prop_oneof![Just(RunKind::Reasoning), Just(RunKind::Text)];
    let text = proptest::collection::vec(
        prop_oneof![
            Just("a"),
            Just("你好"),
            Just("👩‍👩‍👧"),
            Just("e\u{301}"),
            Just("\u{0}"),
            Just("🇨🇳"),
            Just(""),
        ],
        0..6,
    );
    proptest::collection::vec((kind, text.prop_map(|parts| parts.concat())), 0..40)
}

fn written(pieces: &[(RunKind, String)]) -> Written {
    let mut written = Written::new();
    for (kind, text) in pieces {
        written.push(*kind, text);
    }
    written
}

fn joined<'a>(pieces: impl IntoIterator<Item = &'a (RunKind, String)>, wanted: RunKind) -> String {
    pieces
        .into_iter()
        .filter(|(kind, _)| *kind == wanted)
        .map(|(_, text)| text.as_str())
        .collect()
}

proptest! {
    #[test]
    fn what_was_pushed_comes_back_by_kind_and_in_order(pieces in pieces()) {
        let written = written(&pieces);
        let all: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
        prop_assert_eq!(written.as_str(), &all);
        prop_assert_eq!(written.position(), all.len() as u64);
        let expected = (joined(&pieces, RunKind::Reasoning), joined(&pieces, RunKind::Text));
        prop_assert_eq!(written.split(), expected);
    }

    #[test]
    fn a_slice_from_any_position_continues_exactly_there(pieces in pieces()) {
        let written = written(&pieces);
        for position in 0..=written.as_str().len() + 2 {
            let slice = written.slice_from(position as u64);
            if !written.as_str().is_char_boundary(position) {
                prop_assert_eq!(slice, None);
                continue;
            }
            let slice = slice.unwrap();
            let mut rejoined = Written::from_parts(String::new(), Vec::new()).unwrap();
            for (kind, text) in &slice {
                prop_assert!(!text.is_empty());
                rejoined.push(*kind, text);
            }
            prop_assert_eq!(rejoined.as_str(), &written.as_str()[position..]);
            // What came before and what comes after are the whole, kinds included.
            let mut whole = Written::new();
            let mut left = position;
            for run in written.runs() {
                let taken = run.bytes.min(left);
                let start = whole.as_str().len();
                whole.push(run.kind, &written.as_str()[start..start + taken]);
                left -= taken;
            }
            for (kind, text) in slice {
                whole.push(kind, text);
            }
            prop_assert_eq!(&whole, &written);
        }
    }

    #[test]
    fn what_is_kept_comes_back_equal(pieces in pieces()) {
        let written = written(&pieces);
        let runs = serde_json::to_string(written.runs()).unwrap();
        let runs = serde_json::from_str(&runs).unwrap();
        prop_assert_eq!(Written::from_parts(written.as_str().to_owned(), runs), Some(written));
    }
}

#[test]
fn runs_that_do_not_fit_the_text_are_refused() {
    let run = |bytes| WrittenRun {
        kind: RunKind::Text,
        bytes,
        joint: false,
    };
    for runs in [
        vec![],
        vec![run(1)],
        vec![run(1), run(2)],
        vec![run(4)],
        vec![run(usize::MAX), run(4)],
    ] {
        assert_eq!(
            Written::from_parts("你".to_owned(), runs.clone()),
            None,
            "{runs:?}"
        );
    }
}

#[test]
fn joints_are_where_another_engine_began_and_only_text_is_gone_on_with() {
    let mut written = Written::new();
    assert!(!written.join(), "nothing is written");
    written.push(RunKind::Reasoning, "hm");
    assert!(!written.join(), "thoughts");
    written.push(RunKind::Text, "Al");
    assert!(written.join());
    assert_eq!(written.joints(), [0; 0], "nothing came after it");
    // The engine that was to go on is lost before it wrote anything.
    assert!(written.join());
    written.push(RunKind::Text, "so");
    written.push(RunKind::Text, "芝");
    assert!(written.join());
    written.push(RunKind::Text, "!");
    assert_eq!(written.joints(), [4, 9]);
    assert_eq!(written.split(), ("hm".to_owned(), "Also芝!".to_owned()));
    let runs = serde_json::to_string(written.runs()).unwrap();
    let kept = Written::from_parts(
        written.as_str().to_owned(),
        serde_json::from_str(&runs).unwrap(),
    );
    assert_eq!(kept, Some(written));
}
