//! Gateways killed at random moments, while people chat through both of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use testkit::fake_llama::Script;
use testkit::tools::times;
use testkit::v2_client::V2Client;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};

use crate::several::{Cluster, Member, NEWS_OF_DEATH};

/// How many gateways are killed, unless `CORRAL_KILLS` says more.
const KILLS: usize = 40;
/// People who chat meanwhile.
const PEOPLE: usize = 12;
/// The longest time between two kills, in milliseconds.
const MOST_LIFE_MS: u64 = 400;
/// How long a person waits for the end of an answer whose gateway may die several times.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two gateways, of which one may be dead at a moment.
struct Pair {
    members: [RwLock<Option<Member>>; 2],
    over: AtomicBool,
}

impl Pair {
    /// The address of one that may live.
    async fn some(&self) -> Option<String> {
        let first = usize::from(below(2) == 1);
        for place in [first, 1 - first] {
            if let Some(member) = &*self.members[place].read().await {
                return Some(member.chat_url());
            }
        }
        None
    }
}

/// What was acknowledged and told of one answer.
#[derive(Debug)]
struct Acknowledged {
    conversation: String,
    message: String,
    content: String,
    cookie: String,
    /// The `done` frames of its run, from whichever gateway.
    ends: Vec<Value>,
}

/// Everything that was acknowledged, by answer.
type Ledger = Mutex<BTreeMap<String, Acknowledged>>;

#[tokio::test]
async fn killed_at_random_they_lose_no_message_and_no_answer_has_two_ends() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let kills = times("CORRAL_KILLS", KILLS);
    let words = (0..30).map(|n| format!("{n:02} "));
    cluster
        .llama
        .script(Script::tokens(words).every(Duration::from_millis(15)));
    let pair = Pair {
        members: [cluster.member().await, cluster.member().await]
            .map(|member| RwLock::new(Some(member))),
        over: AtomicBool::new(false),
    };
    let ledger = Ledger::default();
    let people = (0..PEOPLE).map(|number| person(&pair, &ledger, number));
    let killing = async {
        for _ in 0..kills {
            sleep(Duration::from_millis(below(MOST_LIFE_MS))).await;
            let place = usize::from(below(2) == 1);
            let member = pair.members[place].write().await.take();
            member.unwrap().kill().await;
            *pair.members[place].write().await = Some(cluster.member().await);
        }
        pair.over.store(true, Ordering::Relaxed);
    };
    let (people, ()) = tokio::join!(join_all(people), killing);
    let said: usize = people.into_iter().map(Result::unwrap).sum();

    let ledger = ledger.into_inner().unwrap();
    assert!(
        said > PEOPLE && ledger.len() >= said,
        "{said} {}",
        ledger.len()
    );
    timeout(NEWS_OF_DEATH, until_nothing_is_open(&cluster))
        .await
        .expect("nothing stays open");
    let mut counted = BTreeMap::<String, usize>::new();
    for (answer, kept) in &ledger {
        *counted.entry(check(&pair, answer, kept).await).or_default() += 1;
    }
    println!("{counted:?} of {} answers, {kills} kills", ledger.len());
    // Both happened, or the test shows nothing.
    assert!(
        counted.contains_key("done") && counted.contains_key("interrupted"),
        "{counted:?}"
    );
}

/// A random number.
fn below(limit: u64) -> u64 {
    getrandom::u64().unwrap() % limit
}

/// Chats until the killing is over. Returns how many messages were taken.
async fn person(pair: &Pair, ledger: &Ledger, number: usize) -> anyhow::Result<usize> {
    let mut cookie = None;
    let mut conversation: Option<String> = None;
    let mut said = 0;
    while !pair.over.load(Ordering::Relaxed) {
        let content = format!("person {number}, message {said}");
        let id = format!("p{number}-{said}");
        let accepted = timeout(PATIENCE, async {
            loop {
                if let Some(accepted) = say(pair, &mut cookie, &conversation, &content, &id).await {
                    return accepted;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let accepted = accepted.await.context("a message is taken in time")?;
        let text = |field: &str| accepted[field].as_str().unwrap_or_default().to_owned();
        let answer = text("answer");
        let acknowledged = Acknowledged {
            conversation: text("conversation"),
            message: text("message"),
            content,
            cookie: cookie.clone().context("a user has a cookie")?,
            ends: Vec::new(),
        };
        conversation = Some(acknowledged.conversation.clone()).filter(|_| said % 4 != 3);
        ledger.lock().unwrap().insert(answer.clone(), acknowledged);
        let end = timeout(PATIENCE, watch(pair, ledger, &answer));
        end.await
            .with_context(|| format!("answer {answer} of {number} ends in time"))??;
        said += 1;
    }
    Ok(said)
}

/// Says it at one of the gateways. `None` when that one died, or cannot take it now.
async fn say(
    pair: &Pair,
    cookie: &mut Option<String>,
    conversation: &Option<String>,
    content: &str,
    id: &str,
) -> Option<Value> {
    let mut chat = connect(pair, cookie.as_deref()).await?;
    if cookie.is_none() {
        *cookie = chat.cookie();
    }
    let mut frame = json!({"type": "send", "id": id, "content": content});
    if let Some(conversation) = conversation {
        frame["conversation"] = conversation.as_str().into();
    }
    let reply = chat.request(frame).await.ok()?;
    if reply["type"] == "accepted" {
        return Some(reply);
    }
    // What is refused may be sent again, as the reply says.
    let code = reply["code"].as_str().unwrap_or_default();
    assert!(
        ["storage_unavailable", "internal", "unavailable"].contains(&code),
        "{reply}"
    );
    None
}

async fn connect(pair: &Pair, cookie: Option<&str>) -> Option<V2Client> {
    let url = pair.some().await?;
    let headers: Vec<_> = cookie
        .map(|cookie| ("cookie", cookie))
        .into_iter()
        .collect();
    V2Client::connect_with(&url, &headers).await.ok()
}

/// Reads an answer to its end, at one gateway after the other.
async fn watch(pair: &Pair, ledger: &Ledger, answer: &str) -> anyhow::Result<()> {
    let (cookie, conversation) = {
        let ledger = ledger.lock().unwrap();
        let kept = &ledger[answer];
        (kept.cookie.clone(), kept.conversation.clone())
    };
    loop {
        let Some(mut chat) = connect(pair, Some(&cookie)).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let named = json!({"type": "watch", "conversation": conversation, "answers": [{"message": answer, "position": 0}]});
        match chat.request(named).await {
            Ok(reply) if reply["type"] == "ok" => {}
            Ok(reply) => ensure!(reply["code"] == "storage_unavailable", "{reply}"),
            Err(_) => continue,
        }
        loop {
            if let Some(done) = chat
                .answers
                .get(answer)
                .and_then(|joined| joined.done.clone())
            {
                ledger
                    .lock()
                    .unwrap()
                    .get_mut(answer)
                    .context("it is known")?
                    .ends
                    .push(done);
                return Ok(());
            }
            match chat.next().await {
                Ok(_) => {}
                Err(error) if broken_promise(&error) => bail!(error),
                // Its gateway died.
                Err(_) => break,
            }
        }
    }
}

/// Whether the client says that a frame broke a promise, and not that the socket closed.
fn broken_promise(error: &anyhow::Error) -> bool {
    let words = error.to_string();
    [
        "a delta after the end",
        "a gap",
        "a second end",
        "an end elsewhere",
    ]
    .iter()
    .any(|promise| words.contains(promise))
}

/// Compares what was acknowledged with what both gateways show. Returns how the answer ended.
async fn check(pair: &Pair, answer: &str, kept: &Acknowledged) -> String {
    let mut shown = Vec::new();
    for member in &pair.members {
        let member = member.read().await;
        shown.push(show(member.as_ref().unwrap(), answer, kept).await);
    }
    assert_eq!(shown[0], shown[1]);
    let record = &shown[0]["answer"];
    let status = record["status"].as_str().unwrap();
    for end in &kept.ends {
        assert_eq!(end["status"], status, "{end} {record}");
        let text = record["text"].as_str().unwrap();
        assert_eq!(end["position"], text.len(), "{end} {record}");
    }
    status.to_owned()
}

/// Waits until no answer waits or runs, by the database's own word.
async fn until_nothing_is_open(cluster: &Cluster) {
    let url = cluster.shared.database.url();
    let mut database = PgConnection::connect(&url).await.unwrap();
    loop {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM messages WHERE status IN ('waiting', 'running')",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        if open == 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The answer as a gateway shows it, after its question was found.
async fn show(member: &Member, answer: &str, kept: &Acknowledged) -> Value {
    let url = format!(
        "http://{}/api/v1/conversations/{}/export",
        member.public, kept.conversation
    );
    let client = reqwest::Client::new();
    let asked = client.get(&url).header("cookie", &kept.cookie);
    let document: Value = asked.send().await.unwrap().json().await.unwrap();
    let messages = document["messages"].as_array().unwrap();
    let find = |id: &str| messages.iter().find(|message| message["id"] == id);
    let question = find(&kept.message).unwrap_or_else(|| panic!("{kept:?} is lost"));
    let expected = json!([{"type": "text", "text": kept.content}]);
    assert_eq!(question["content"], expected);
    let same = messages
        .iter()
        .filter(|message| message["content"] == expected);
    assert_eq!(same.count(), 1, "{kept:?} is there twice");
    let answer = find(answer);
    answer
        .unwrap_or_else(|| panic!("the answer of {kept:?} is lost"))
        .clone()
}
