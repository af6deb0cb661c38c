//! `llm-proxy keys`: the commands that make, list and check keys.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::PATIENCE;
use crate::keys::{KeysFile, hex, lines};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_llm-proxy");

/// Exit code, standard output and standard error of `llm-proxy ARGUMENTS`.
async fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that wants no input may have ended by now.
    stdin.write_all(input.as_bytes()).await.ok();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn path(file: &KeysFile) -> String {
    file.path().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_key_is_shown_once_beside_the_lines_that_let_it_in() {
    let options = "--scopes chat,tokens --models m,n --weight 3 --requests-at-once 2 --requests-per-minute 60 \
                   --tokens-per-minute 20000 --tokens-per-day 1000000 --not-before 2020-01-01 --expires 2999-01-01";
    let arguments: Vec<&str> = ["keys", "new", "app"]
        .into_iter()
        .chain(options.split_whitespace())
        .collect();
    let (code, out, err) = run(&arguments, "").await;
    let key = err.lines().last().unwrap();
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        err,
        format!("The key of app. It is shown this once and is kept nowhere:\n{key}\n")
    );
    assert_eq!(
        out,
        format!(
            "\n[[key]]\nname = \"app\"\nsha256 = \"{}\"\nmodels = [\"m\", \"n\"]\nscopes = [\"chat\", \"tokens\"]\n\
             weight = 3\nrequests_at_once = 2\nrequests_per_minute = 60\ntokens_per_minute = 20000\n\
             tokens_per_day = 1000000\nnot_before = 2020-01-01T00:00:00Z\nexpires = 2999-01-01T00:00:00Z\n",
            hex(key)
        )
    );
    let file = KeysFile::of(&out);
    let opened = run(&["keys", "check", &path(&file), "--key"], key).await;
    let line = "the key of \"app\": valid until 2999-01-01T00:00:00Z; opens chat, tokens\n";
    assert_eq!(opened, (0, line.to_owned(), String::new()));
}

#[tokio::test]
async fn what_cannot_be_a_key_is_not_made() {
    for arguments in [
        ["keys", "new", "two words"].as_slice(),
        &["keys", "new", ""],
        &["keys", "new", "app", "--weight", "0"],
        &["keys", "new", "app", "--scopes", "admin"],
        &["keys", "new", "app", "--expires", "soon"],
        &["keys", "new", "app", "--models", "a\"b"],
        &["keys", "new", "app", "--requests-per-minute", "0"],
        &[
            "keys",
            "new",
            "app",
            "--expires",
            "2020-01-01",
            "--not-before",
            "2021-01-01",
        ],
    ] {
        let (code, out, err) = run(arguments, "").await;
        assert!(
            code != 0 && out.is_empty() && !err.contains("llmk_"),
            "{arguments:?}: {code} {out} {err}"
        );
    }
}

#[tokio::test]
async fn the_list_has_names_states_and_limits_and_never_a_whole_digest() {
    let file = KeysFile::of(
        &(lines(
            "app",
            "a",
            "weight = 3\nrequests_per_minute = 60\ntokens_per_day = 1000",
        ) + &lines("old", "b", "expires = 2020-01-01\nscopes = [\"tokens\"]")
            + &lines("coming", "c", "not_before = 2999-01-01\nmodels = [\"m\"]")),
    );
    let (code, out, _) = run(&["keys", "list", &path(&file)], "").await;
    let rows = [
        "NAME    STATE                            KEY       OPENS      WEIGHT  LIMITS".to_owned(),
        format!(
            "app     valid                            {}  chat       3       60 requests/min, 1000 tokens/day",
            &hex("a")[..8]
        ),
        format!(
            "old     expired 2020-01-01T00:00:00Z     {}  tokens     1       none",
            &hex("b")[..8]
        ),
        format!(
            "coming  not before 2999-01-01T00:00:00Z  {}  chat of m  1       none",
            &hex("c")[..8]
        ),
    ];
    assert_eq!((code, out), (0, rows.join("\n") + "\n"));
}

#[tokio::test]
async fn a_check_says_how_many_keys_there_are_and_which_are_not_good() {
    let file = KeysFile::of("");
    let ended = lines("old", "o", "expires = 2020-01-01");
    let early = lines("coming", "c", "not_before = 2999-01-01");
    let app = lines("app", "a", "");
    let old = "\n  \"old\" is not good now: expired 2020-01-01T00:00:00Z";
    let coming = "\n  \"coming\" is not good now: not before 2999-01-01T00:00:00Z";
    for (text, said) in [
        (String::new(), "no key, so no named key would be good"),
        (app.clone(), "1 key"),
        (ended.clone(), &format!("1 key{old}")),
        (app + &ended + &early, &format!("3 keys{old}{coming}")),
    ] {
        file.write(&text);
        let place = file.path().display().to_string();
        let said = format!("{place}: the file can be used; {said}\n");
        let checked = run(&["keys", "check", &place], "").await;
        assert_eq!(checked, (0, said, String::new()));
    }
}

#[tokio::test]
async fn a_check_says_where_a_file_is_wrong_and_what_is_wrong_with_a_key() {
    let file = KeysFile::of(&lines("app", "a", "weight = 0"));
    let problem = format!(
        "llm-proxy: {}: line 4: `weight` must be a whole number from 1 to 1000\n",
        file.path().display()
    );
    assert_eq!(
        run(&["keys", "check", &path(&file)], "").await,
        (65, String::new(), problem)
    );

    file.write(
        &(lines("app", "a", "")
            + &lines("with-newline", "b\n", "")
            + &lines("old", "c", "expires = 2020-01-01")),
    );
    for (key, said) in [
        ("", "standard input holds no key"),
        (
            "llmk_short",
            "this key is not whole: it was cut or mistyped",
        ),
        (
            "b\n",
            "the file holds the digest of this key with an end of line: hash it with `printf %s`",
        ),
        (
            "x\n",
            "this key opens nothing: the file does not hold its digest",
        ),
    ] {
        let said = format!("llm-proxy: {said}\n");
        assert_eq!(
            run(&["keys", "check", &path(&file), "--key"], key).await,
            (1, String::new(), said)
        );
    }
    let expired = "the key of \"old\": expired 2020-01-01T00:00:00Z; opens chat\n".to_owned();
    assert_eq!(
        run(&["keys", "check", &path(&file), "--key"], "c").await,
        (1, expired, String::new())
    );
    for missing in ["/nowhere/keys.toml", "/keys.toml"] {
        assert_eq!(run(&["keys", "check", missing], "").await.0, 65);
    }
}
