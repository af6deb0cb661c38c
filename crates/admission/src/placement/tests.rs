//! What is decided, and what is believed of the slots.

use std::time::Duration;

use super::{Placed, Placement, Prefix, PromptCount, Seat, UpstreamId};

/// A prompt of a topic's own words; a longer one of the same topic begins with the shorter one.
fn prompt(topic: u8, n_bytes: usize) -> Prefix {
    Prefix::of(&vec![topic; n_bytes])
}

/// Upstreams 0, 1, ... with two slots each, so many of them busy.
fn seats(busy: &[usize]) -> Vec<Seat> {
    let seat = |(number, in_flight): (usize, &usize)| Seat {
        upstream: UpstreamId(number as u64),
        slots: 2,
        in_flight: *in_flight,
    };
    busy.iter().enumerate().map(seat).collect()
}

/// Answers a prompt to its end, `cached` of ten tokens of it being there.
fn answer(placement: &mut Placement, placed: &Placed, n_cached: u64) {
    placement.prefilled(placed);
    let prefill = Duration::from_millis(1);
    let decode = Duration::from_millis(1);
    placement.counted(
        placed,
        PromptCount {
            n_cached,
            n_prompt: 10,
            prefill,
            decode,
        },
    );
    placement.release(placed);
}

fn ask(placement: &mut Placement, prompt: &Prefix, busy: &[usize], n_cached: u64) -> u64 {
    let placed = placement.place(prompt, &seats(busy)).unwrap();
    answer(placement, &placed, n_cached);
    placed.upstream().0
}

#[test]
fn a_prompt_goes_where_it_is_and_a_new_one_where_nobody_was_for_longest() {
    let mut placement = Placement::default();
    assert!(placement.place(&prompt(1, 4_000), &[]).is_none());
    assert_eq!(ask(&mut placement, &prompt(1, 4_000), &[0, 0, 0], 0), 0);
    assert_eq!(ask(&mut placement, &prompt(2, 4_000), &[0, 0, 0], 0), 1);
    assert_eq!(ask(&mut placement, &prompt(3, 4_000), &[0, 0, 0], 0), 2);
    assert_eq!(ask(&mut placement, &prompt(2, 5_000), &[0, 0, 0], 8), 1);
    assert_eq!(ask(&mut placement, &prompt(3, 5_000), &[0, 0, 1], 8), 2);
    // The other slot of each is still empty.
    assert_eq!(ask(&mut placement, &prompt(4, 4_000), &[0, 0, 0], 0), 0);
    assert_eq!(ask(&mut placement, &prompt(1, 5_000), &[1, 0, 0], 8), 0);
}

#[test]
fn no_prompt_is_worth_an_upstream_that_is_busier_by_two() {
    let mut placement = Placement::default();
    let seat = |number, in_flight| Seat {
        upstream: UpstreamId(number),
        slots: 4,
        in_flight,
    };
    assert_eq!(ask(&mut placement, &prompt(1, 40_000), &[0, 0], 0), 0);
    let placed = placement
        .place(&prompt(1, 41_000), &[seat(0, 2), seat(1, 0)])
        .unwrap();
    assert_eq!(placed.upstream(), UpstreamId(1));
}

#[test]
fn what_a_busy_slot_holds_helps_nobody_else() {
    let mut placement = Placement::default();
    assert_eq!(ask(&mut placement, &prompt(1, 4_000), &[0, 0], 0), 0);
    let running = placement.place(&prompt(1, 5_000), &seats(&[0, 0])).unwrap();
    assert_eq!(running.upstream(), UpstreamId(0));
    assert_eq!(ask(&mut placement, &prompt(1, 6_000), &[1, 0], 0), 1);
    answer(&mut placement, &running, 8);
    assert_eq!(ask(&mut placement, &prompt(1, 7_000), &[0, 0], 8), 1);
}

#[test]
fn a_belief_that_an_answer_contradicts_is_given_up_and_no_other() {
    let seat = |number| Seat {
        upstream: UpstreamId(number),
        slots: 1,
        in_flight: 0,
    };
    for (n_cached, expected) in [(8, 0), (0, 1)] {
        let mut placement = Placement::default();
        // One slot, three topics: the first two are believed to be parked.
        for topic in [1, 2, 3] {
            let placed = placement.place(&prompt(topic, 4_000), &[seat(0)]).unwrap();
            answer(&mut placement, &placed, 0);
        }
        let parked = placement
            .place(&prompt(1, 4_200), &[seat(0), seat(1)])
            .unwrap();
        assert_eq!(parked.upstream(), UpstreamId(0));
        answer(&mut placement, &parked, n_cached);
        let other = placement
            .place(&prompt(2, 4_200), &[seat(0), seat(1)])
            .unwrap();
        assert_eq!(other.upstream(), UpstreamId(expected), "{n_cached}");
    }
}

#[test]
fn of_an_upstream_that_left_nothing_is_believed() {
    let mut placement = Placement::default();
    assert_eq!(ask(&mut placement, &prompt(1, 4_000), &[0, 0], 0), 0);
    placement.forget(UpstreamId(0));
    assert_eq!(ask(&mut placement, &prompt(1, 4_400), &[1, 0], 0), 1);
}

#[test]
fn an_answer_that_never_began_leaves_the_slot_as_it_was() {
    let mut placement = Placement::default();
    assert_eq!(ask(&mut placement, &prompt(1, 4_000), &[0, 0], 0), 0);
    let refused = placement.place(&prompt(1, 4_500), &seats(&[0, 0])).unwrap();
    placement.release(&refused);
    assert_eq!(ask(&mut placement, &prompt(1, 5_000), &[1, 0], 8), 0);
}

#[test]
fn where_there_is_no_prompt_to_look_for_nobody_looks_through_the_slots() {
    let mut placement = Placement::default();
    let only = UpstreamId(0);
    let seat = Seat {
        upstream: only,
        slots: usize::MAX,
        in_flight: 0,
    };
    let placed = placement.place(&Prefix::default(), &[seat]).unwrap();
    answer(&mut placement, &placed, 0);
    assert_eq!(placed.upstream(), only);
}
