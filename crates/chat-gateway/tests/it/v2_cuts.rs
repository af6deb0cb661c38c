//! Whatever happens to sockets, every tab reads the same answer, byte for byte and in order.

use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::fake_llama::Script;
use testkit::v2_client::V2Client;

use crate::gateway::Gateway;

/// What happens to a tab next.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It reads so many frames.
    Reads(u8),
    /// Its connection is cut and made again, and it goes on from its position.
    IsCut,
    /// It reads nothing until others have read so many frames.
    Sleeps(u8),
    /// It forgets what it has, as after a reload, and reads everything again.
    Reloads,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => (1_u8..20).prop_map(Fate::Reads),
        3 => Just(Fate::IsCut),
        1 => (1_u8..20).prop_map(Fate::Sleeps),
        1 => Just(Fate::Reloads),
    ]
}

/// Pieces that split grapheme clusters: emoji, Chinese, combining characters.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{1,8}",
        "[\u{4e00}-\u{4e20}]{1,4}",
        Just("👩\u{200d}👩\u{200d}👧".to_owned()),
        Just("e".to_owned()),
        Just("\u{301}".to_owned()),
        Just("\u{1f1e8}\u{1f1f3}".to_owned()),
        Just("\n\u{0}\"\\".to_owned()),
    ]
}

/// Lives through its fates, then reads to the end. Returns the text and the status it has.
async fn live(
    mut tab: V2Client,
    url: &str,
    conversation: &str,
    answer: &str,
    fates: &[Fate],
) -> (String, Value) {
    // It asks from the beginning, so that it is shown an answer that has ended, too.
    tab.answers.entry(answer.to_owned()).or_default();
    tab.watch(conversation).await.unwrap();
    for fate in fates {
        match fate {
            Fate::Reads(frames) => {
                for _ in 0..*frames {
                    let ended = tab
                        .answers
                        .get(answer)
                        .is_some_and(|joined| joined.done.is_some());
                    if ended {
                        break;
                    }
                    tab.next().await.unwrap();
                }
            }
            Fate::Sleeps(turns) => {
                for _ in 0..*turns {
                    tokio::task::yield_now().await;
                }
            }
            Fate::IsCut => {
                let mut again = tab.again(url).await.unwrap();
                again.answers = std::mem::take(&mut tab.answers);
                tab.socket.abort();
                tab = again;
                tab.watch(conversation).await.unwrap();
            }
            Fate::Reloads => {
                let again = tab.again(url).await.unwrap();
                tab.socket.abort();
                tab = again;
                tab.answers.entry(answer.to_owned()).or_default();
                tab.watch(conversation).await.unwrap();
            }
        }
    }
    let joined = tab.until_done(answer).await.unwrap();
    let done = joined.done.unwrap();
    (joined.text, done["status"].clone())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    // Five tabs with up to twelve fates each: about a thousand cuts, reloads and pauses in all.
    #![proptest_config(ProptestConfig { cases: 70, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn every_tab_reads_the_same_bytes_whatever_happens_to_its_socket(
        pieces in prop::collection::vec(piece(), 50..400),
        fates in prop::collection::vec(prop::collection::vec(fate(), 0..12), 5),
        stops_at in prop::option::weighted(0.3, 1_u64..600),
    ) {
        runtime().block_on(async {
            let gateway = Gateway::start_with(&[
                ("GATEWAY_DELTA_INTERVAL_MS", "1"),
                ("GATEWAY_SOCKETS_PER_USER", "0"),
                ("GATEWAY_SOCKETS_PER_ADDRESS", "0"),
            ])
            .await;
            let whole = pieces.concat();
            let pause = Duration::from_micros(200);
            gateway.llama.script(Script::tokens(pieces).every(pause));
            let url = gateway.chat_url();
            let mut first = V2Client::connect(&url).await.unwrap();
            let accepted = first.say("go", &json!({})).await.unwrap();
            let conversation = accepted["conversation"].as_str().unwrap().to_owned();
            let answer = accepted["answer"].as_str().unwrap().to_owned();
            let mut tabs = Vec::new();
            for _ in &fates {
                tabs.push(first.again(&url).await.unwrap());
            }
            let reading = tabs.into_iter().zip(&fates);
            let reading = reading.map(|(tab, fates)| live(tab, &url, &conversation, &answer, fates));
            let stopping = async {
                if let Some(position) = stops_at {
                    // The answer may end before.
                    first.until_position(&answer, position).await.ok();
                    let stop = json!({"type": "stop", "message": answer});
                    first.request(stop).await.unwrap();
                }
                first.until_done(&answer).await.unwrap()
            };
            let (read, own) = tokio::join!(join_all(reading), stopping);
            for (text, status) in read {
                assert_eq!(text, own.text);
                assert_eq!(&status, &own.done.as_ref().unwrap()["status"]);
            }
            match own.done.unwrap()["status"].as_str().unwrap() {
                "done" => assert_eq!(own.text, whole),
                "stopped" => assert!(whole.starts_with(&own.text)),
                other => panic!("{other}"),
            }
        });
    }
}
