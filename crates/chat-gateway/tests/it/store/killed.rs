//! SIGKILL at random times: nothing that was acknowledged is lost, and the file opens every time.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus};
use chat_gateway::store::{AnswerRun, Begun, NewOrOld, NewTurn, Store};
use testkit::tools::needs;
use uuid::Uuid;

use crate::store::{OWNER, key, whole, words, written};

/// How often the process is killed.
const KILLS: u32 = 200;
/// The longest life of one process, in milliseconds; opening takes a part of it.
const MOST_LIFE_MS: u128 = 120;

/// What the child said of an answer, and what must hence be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Begun,
    Checkpointed,
    Finished,
}

#[tokio::test]
async fn killed_two_hundred_times_it_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut words_of = HashMap::new();
    for n in 0..KILLS {
        let newest = live_and_die(dir.path(), n % 2 == 0);
        let store = Store::open(dir.path()).await.unwrap();
        for (answer, word) in &newest {
            check(&store, *answer, *word).await;
        }
        words_of.extend(newest);
    }
    let store = Store::open(dir.path()).await.unwrap();
    for (answer, word) in &words_of {
        check(&store, *answer, *word).await;
    }
    let finished = words_of.values().filter(|word| **word == Word::Finished);
    assert!(finished.count() > 100, "{}", words_of.len());
}

/// The kernel survives SIGKILL, the disk's power may not last: what is acknowledged was flushed before.
#[tokio::test]
async fn what_is_acknowledged_was_flushed_and_a_checkpoint_waits_for_no_disk() {
    if !needs("strace", &["-f", "true"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=fsync,fdatasync,write", "-o"]);
    strace.arg(&trace).arg(std::env::current_exe().unwrap());
    let mut child = start(strace, dir.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let finished = lines.filter(|line| line.as_ref().unwrap().starts_with("finished "));
    assert_eq!(finished.take(20).count(), 20);
    drop(child.stdin.take());
    child.kill().unwrap();
    child.wait().unwrap();
    let mut is_flushed = false;
    let mut seen = Vec::new();
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        if line.contains("sync(") {
            is_flushed = true;
        }
        let word = ["begun ", "checkpointed ", "finished "]
            .into_iter()
            .find(|word| line.contains(&format!("write(1, \"{word}")));
        if let Some(word) = word {
            seen.push((word, is_flushed));
            is_flushed = false;
        }
    }
    // The first turn creates the file, and flushes what opening wrote.
    let later = &seen[3..60];
    let expected = [
        ("begun ", true),
        ("checkpointed ", false),
        ("finished ", true),
    ];
    assert!(later.chunks(3).all(|turn| turn == expected), "{later:?}");
}

/// Runs the child with a way to say where its folder is.
fn start(mut command: Command, dir: &Path) -> Child {
    let mut child = command
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "store::killed::child_that_is_killed",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{}", dir.display()).unwrap();
    child
}

/// Starts a process, kills it at a random moment, and returns the last word it said of each answer. The moment counts from
/// the start, or, so that a busy machine kills not only those that are starting, `from_first_word`.
fn live_and_die(dir: &Path, from_first_word: bool) -> HashMap<Uuid, Word> {
    let own = std::env::current_exe().unwrap();
    let mut child = start(Command::new(own), dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut said = HashMap::new();
    while from_first_word && !line.starts_with("begun ") {
        line.clear();
        lines.read_line(&mut line).unwrap();
    }
    said.extend(word_of(&line));
    line.clear();
    let life = Uuid::now_v7().as_u128() % MOST_LIFE_MS;
    std::thread::sleep(Duration::from_millis(u64::try_from(life).unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
    while lines.read_line(&mut line).unwrap() > 0 {
        said.extend(word_of(&line));
        line.clear();
    }
    said
}

/// What a whole line of the child says, and of which answer.
fn word_of(line: &str) -> Option<(Uuid, Word)> {
    let (word, answer) = line.strip_suffix('\n')?.split_once(' ')?;
    let word = match word {
        "begun" => Word::Begun,
        "checkpointed" => Word::Checkpointed,
        "finished" => Word::Finished,
        _ => return None,
    };
    Some((answer.parse().ok()?, word))
}

async fn check(store: &Store, answer: Uuid, word: Word) {
    let path = store.path(OWNER, answer).await.unwrap();
    let last = path
        .last()
        .unwrap_or_else(|| panic!("{answer} is lost after {word:?}"));
    let question = &path[path.len() - 2];
    assert_eq!(question.content, words(&question_of(answer)));
    let kept = last.answer.as_ref().unwrap();
    let text = (kept.status, kept.text.as_str());
    let done = (AnswerStatus::Done, "All of it.");
    let half = (AnswerStatus::Interrupted, "Half of");
    let nothing = (AnswerStatus::Interrupted, "");
    let possible = match word {
        // What was not acknowledged may be there or not.
        Word::Begun => [nothing, half, half],
        Word::Checkpointed => [half, done, done],
        Word::Finished => [done, done, done],
    };
    assert!(possible.contains(&text), "{word:?}: {text:?}");
}

fn question_of(answer: Uuid) -> String {
    format!("What is {answer}?")
}

#[tokio::test]
#[ignore = "lives until it is killed, as a child of the test above"]
async fn child_that_is_killed() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    if dir.is_empty() {
        return;
    }
    let store = Store::open(&PathBuf::from(dir.trim_end())).await.unwrap();
    let options = AnswerOptions::default();
    let half = written(&[(chat_gateway::answer::written::RunKind::Text, "Half of")]);
    let mut before: Option<(Uuid, Uuid)> = None;
    for n in 0_u64.. {
        let answer = Uuid::now_v7();
        let content = words(&question_of(answer));
        let request = answer.to_string();
        let new = Uuid::now_v7();
        let conversation = match before {
            Some((conversation, _)) => NewOrOld::Old(conversation),
            None => NewOrOld::New {
                id: new,
                title: "killed",
                temporary: false,
                system: None,
            },
        };
        let begun = store.begin(NewTurn {
            owner: OWNER,
            request: key(&request),
            conversation,
            parent: before.map(|(_, answer)| answer),
            question: Some((Uuid::now_v7(), &content)),
            answer,
            status: AnswerStatus::Running,
            options: &options,
        });
        let begun = begun.await.unwrap();
        assert!(matches!(begun, Begun::Begun { .. }), "{begun:?}");
        say("begun", answer);
        store
            .checkpoint(AnswerRun::first(answer), &half)
            .await
            .unwrap();
        say("checkpointed", answer);
        store
            .finish(AnswerRun::first(answer), &whole("All of it."))
            .await
            .unwrap();
        say("finished", answer);
        let conversation = before.map_or(new, |(conversation, _)| conversation);
        before = (n % 7 != 6).then_some((conversation, answer));
    }
}

/// One line at once, as a pipe takes it whole.
fn say(word: &str, answer: Uuid) {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(format!("{word} {answer}\n").as_bytes())
        .unwrap();
    stdout.flush().unwrap();
}
