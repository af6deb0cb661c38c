//! Events are cut and known the same however they arrive.

use proptest::prelude::{Just, any, prop_oneof, proptest};
use proptest::{collection, prop_assert_eq};

use super::{Kind, MAX_EVENT_BYTES, MAX_TOKENS, PrefillProgress, Scanner, TooLong, Usage, read};

fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut scanner = Scanner::default();
    let mut events = Vec::new();
    for chunk in chunks {
        scanner.push(chunk).unwrap();
        while let Some(event) = scanner.next_event() {
            events.push(event.to_vec());
        }
    }
    events.extend(scanner.rest().map(|rest| rest.to_vec()));
    events
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_bytes_and_the_same_events(
        lines in collection::vec(prop_oneof![
            Just(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xc3\xa4\"}}]}".to_vec()),
            Just(b"data: [DONE]".to_vec()), Just(b": ping".to_vec()), Just(Vec::new()), Just(b"\r".to_vec()),
            collection::vec(any::<u8>(), 0..12),
        ], 0..40),
        cuts in collection::vec(1_usize..9, 1..20),
    ) {
        let stream = lines.join(&b'\n');
        let mut rest = stream.as_slice();
        let mut chunks = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            chunks.push(chunk);
            rest = after;
        }
        let events = scan(chunks);
        prop_assert_eq!(events.concat(), stream.clone());
        prop_assert_eq!(&events, &scan([stream.as_slice()]));
    }

    #[test]
    fn no_event_makes_it_panic(event in collection::vec(any::<u8>(), 0..200)) {
        read(&event);
    }
}

#[test]
fn events_are_known_for_what_they_are() {
    let of = |text: &str| read(text.as_bytes()).0;
    assert_eq!(of(":\n\n"), Kind::Other);
    assert_eq!(of("data: [DONE]\r\n\r\n"), Kind::Done);
    assert_eq!(of("data:[DONE]"), Kind::Done);
    assert_eq!(
        of(r#"data: {"choices":[{"delta":{"role":"assistant","content":null}}]}"#),
        Kind::Other
    );
    assert_eq!(
        of(
            r#"data: {"choices":[{"delta":{"content":""}}],"prompt_progress":{"total":9,"processed":4}}"#
        ),
        Kind::Progress(PrefillProgress {
            processed: 4,
            total: 9
        })
    );
    assert_eq!(
        of(r#"data: {"choices":[{"delta":{"content":"a\nb"}}]}"#),
        Kind::Token
    );
    assert_eq!(
        of(r#"data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}"#),
        Kind::Token
    );
    assert_eq!(
        of(r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#),
        Kind::Token
    );
    assert_eq!(
        of(r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#),
        Kind::Other
    );
    assert_eq!(
        of(r#"data: {"choices":null,"delta":null,"usage":null}"#),
        Kind::Other
    );
    assert_eq!(
        of(r#"data: {"choices":[{"delta":null}],"error":null}"#),
        Kind::Other
    );
    assert_eq!(
        of(r#"data: {"choices":[{"delta":{"tool_calls":[]}}]}"#),
        Kind::Other
    );
    assert_eq!(
        of(r#"data: {"choices":[{"text":"a","logprobs":null}]}"#),
        Kind::Token
    );
    assert_eq!(
        of(r#"data: {"choices":[{"text":""}],"prompt_progress":{}}"#),
        Kind::Progress(PrefillProgress {
            processed: 0,
            total: 0
        })
    );
    assert_eq!(of(r#"data: {"error":{"code":500}}"#), Kind::Error);
    assert_eq!(of(r#"error: {"code":500}"#), Kind::Error);
}

#[test]
fn events_of_responses_and_messages_are_known_too() {
    let of =
        |name: &str| read(format!("event: {name}\ndata: {{\"type\":\"{name}\"}}\n\n").as_bytes()).0;
    for (kind, names) in [
        (
            Kind::Token,
            &["response.output_text.delta", "content_block_delta"][..],
        ),
        (
            Kind::Done,
            &["response.completed", "response.incomplete", "message_stop"],
        ),
        (Kind::Error, &["error", "response.failed"]),
        (
            Kind::Other,
            &[
                "response.created",
                "response.output_text.done",
                "message_start",
                "message_delta",
                "ping",
            ],
        ),
    ] {
        names
            .iter()
            .for_each(|name| assert_eq!(of(name), kind, "{name}"));
    }
    let failed =
        b"event: error\ndata: {\"code\":500,\"message\":\"x\",\"type\":\"server_error\"}\n\n";
    assert_eq!(read(failed).0, Kind::Error);
    let progress = br#"data: {"type":"response.in_progress","prompt_progress":{"total":31}}"#;
    assert_eq!(
        read(progress).0,
        Kind::Progress(PrefillProgress {
            processed: 0,
            total: 31
        })
    );
}

#[test]
fn counts_are_found_wherever_they_stand() {
    let of = |text: &str| read(format!("data: {text}").as_bytes());
    let usage = |n_prompt_tokens, n_cached_tokens, n_completion_tokens| {
        Some(Usage {
            n_prompt_tokens,
            n_cached_tokens,
            n_completion_tokens,
            ..Usage::default()
        })
    };
    let counts = r#""usage":{"completion_tokens":6,"prompt_tokens":37}"#;
    assert_eq!(
        of(&format!(r#"{{"choices":[],{counts}}}"#)),
        (Kind::Usage, usage(37, None, 6))
    );
    assert_eq!(
        of(&format!(
            r#"{{"choices":[],{counts},"timings":{{"cache_n":36}}}}"#
        )),
        (Kind::Usage, usage(37, Some(36), 6))
    );
    // `/v1/completions` has them on the event with the finish reason, which every caller gets.
    assert_eq!(
        of(&format!(
            r#"{{"choices":[{{"text":"","finish_reason":"stop"}}],{counts}}}"#
        )),
        (Kind::Other, usage(37, None, 6))
    );
    let completed = r#"{"type":"response.completed","response":{"usage":{"input_tokens":31,"output_tokens":3}}}"#;
    assert_eq!(of(completed), (Kind::Done, usage(31, None, 3)));
    let (_, start) = of(
        r#"{"type":"message_start","message":{"usage":{"cache_read_input_tokens":24,"input_tokens":7,"output_tokens":0}}}"#,
    );
    let (_, end) = of(r#"{"type":"message_delta","usage":{"output_tokens":3}}"#);
    assert_eq!(
        start.unwrap().and(end.unwrap()),
        usage(31, Some(24), 3).unwrap()
    );
}

#[test]
fn a_byte_order_mark_hides_nothing_and_any_line_end_ends_a_line() {
    let text = "\u{feff}data: [DONE]\n\n".as_bytes();
    assert_eq!(scan(text.chunks(1)), [b"data: [DONE]\n\n"]);
    let text = b": a\r\rdata: 1\rdata: 2\r\rdata: 3\r\n\r\ndata: [DONE]\r\r";
    for events in [scan([&text[..]]), scan(text.chunks(1))] {
        let kinds: Vec<Kind> = events.iter().map(|event| read(event).0).collect();
        assert_eq!(
            (kinds, events.concat()),
            (
                vec![Kind::Other, Kind::Other, Kind::Other, Kind::Done],
                text.to_vec()
            )
        );
        assert_eq!(super::data(&events[1]), &b"1\n2"[..]);
    }
}

#[test]
fn an_endless_event_is_refused_and_many_events_at_once_are_not() {
    let mut scanner = Scanner::default();
    scanner.push(&vec![b'x'; MAX_EVENT_BYTES + 1]).unwrap();
    assert_eq!(
        (scanner.next_event(), scanner.push(b"x")),
        (None, Err(TooLong))
    );
    let mut scanner = Scanner::default();
    assert_eq!(
        scanner.push("data: x\n\n".repeat(MAX_EVENT_BYTES / 4).as_bytes()),
        Ok(())
    );
    while scanner.next_event().is_some() {}
    assert_eq!(scanner.rest(), None);
    // Lines that never end their event are one event too.
    let endless = (0..MAX_EVENT_BYTES).find_map(|_| {
        let pushed = scanner.push(b"data: x\n");
        assert_eq!(scanner.next_event(), None);
        pushed.err()
    });
    assert_eq!(endless, Some(TooLong));
}

#[test]
fn a_count_that_no_context_has_is_cut() {
    let most = u64::MAX;
    let counts = format!(
        r#"data: {{"choices":[],"usage":{{"prompt_tokens":{most},"completion_tokens":{most},"cache_read_input_tokens":{most}}}}}"#
    );
    let (kind, usage) = read(counts.as_bytes());
    let usage = usage.unwrap();
    assert_eq!(kind, Kind::Usage);
    assert_eq!(
        (
            usage.n_prompt_tokens,
            usage.n_cached_tokens,
            usage.n_completion_tokens
        ),
        (MAX_TOKENS, Some(MAX_TOKENS), MAX_TOKENS)
    );
}
