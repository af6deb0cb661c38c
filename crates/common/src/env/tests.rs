//! What the environment says, and how it is refused.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::{Environment, Variable, markdown};

const PORT: Variable = Variable::new("TEST_PORT", "80", "The port.");
const NAME: Variable = Variable::new("TEST_NAME", "", "The name.");
const KEY: Variable = Variable::secret("LLM_KEY", "The key.");
const TABLE: &[Variable] = &[PORT, NAME, KEY];

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::from_pairs("TEST_", &[TABLE], pairs.iter().copied())
}

/// A folder for the files of one test.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The path of a new file in `folder` that holds `bytes`.
fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_empty_value_counts_as_unset() {
    let mut env = environment(&[("TEST_PORT", ""), ("TEST_NAME", " ")]);
    assert_eq!(env.read::<u16>(&PORT), 80);
    assert_eq!(env.optional(&NAME), None);
    env.finish().unwrap();
}

#[test]
fn every_problem_is_reported_at_once_by_name_and_never_by_value() {
    let mut env = environment(&[
        ("TEST_PORT", "s3cret"),
        ("TEST_PROT", "s3cret"),
        ("TEST_SOMETHING", "s3cret"),
        ("OTHER", "s3cret"),
    ]);
    env.read::<u16>(&PORT);
    env.required(&NAME, "choose one");
    env.required_secret(&KEY, "make one");
    let message = env.finish().unwrap_err().to_string();
    assert_eq!(
        message,
        "the settings are not usable:\n  \
         TEST_PROT is not a setting; did you mean TEST_PORT?\n  \
         TEST_SOMETHING is not a setting; use one of TEST_NAME, TEST_PORT\n  \
         TEST_PORT is not usable: must be a whole number\n  \
         TEST_NAME is not set: choose one\n  \
         LLM_KEY is not set: make one (LLM_KEY_FILE may name a file that holds it)"
    );
}

#[test]
fn a_value_that_does_not_parse_is_refused_with_what_it_must_be() {
    fn told<T: std::str::FromStr<Err: std::fmt::Display + 'static>>(text: &str) -> String {
        let mut env = environment(&[("TEST_PORT", text)]);
        let default = Variable {
            default: "127.0.0.1:1",
            ..PORT
        };
        let variable = if text.contains('.') { default } else { PORT };
        env.read::<T>(&variable);
        let told = env.finish().unwrap_err().to_string();
        let head = "the settings are not usable:\n  TEST_PORT is not usable: ";
        told.strip_prefix(head).unwrap().to_owned()
    }
    assert_eq!(told::<u16>("80 80"), "must be a whole number");
    assert_eq!(told::<u16>("70000"), "is too large");
    assert_eq!(told::<std::num::NonZeroU16>("0"), "must be at least 1");
    assert_eq!(
        told::<std::net::SocketAddr>("127.0.0.1"),
        "must be ADDRESS:PORT, as in 0.0.0.0:8081"
    );
}

#[test]
fn a_value_that_is_not_utf_8_is_refused() {
    let latin = OsStr::from_bytes(b"caf\xe9").to_owned();
    let pairs = ["TEST_NAME", "TEST_OTHER", "LLM_KEY_FILE", "OTHER"]
        .map(|name| (OsString::from(name), latin.clone()));
    let env = Environment::from_pairs("TEST_", &[TABLE], pairs);
    assert_eq!(
        env.finish().unwrap_err().to_string(),
        "the settings are not usable:\n  \
         TEST_NAME is not UTF-8 text\n  \
         TEST_OTHER is not UTF-8 text\n  \
         LLM_KEY_FILE is not UTF-8 text"
    );
}

#[test]
fn service_links_of_kubernetes_are_passed_over() {
    environment(&[
        ("TEST_SERVICE_HOST", "10.96.0.7"),
        ("TEST_SERVICE_PORT", "8081"),
        ("TEST_SERVICE_PORT_HTTP_ADMIN", "9081"),
        ("TEST_PORT_8081_TCP", "tcp://10.96.0.7:8081"),
        ("TEST_PORT_8081_TCP_PROTO", "tcp"),
        ("TEST_PORT_8081_TCP_PORT", "8081"),
        ("TEST_PORT_8081_TCP_ADDR", "10.96.0.7"),
        ("TEST_PORT_53_UDP", "udp://[fd00::7]:53"),
        ("TEST_PORT_53_UDP_ADDR", "fd00::7"),
        ("TEST_NAME_PORT", "sctp://10.96.0.8:80"),
        ("TEST_NAME_SERVICE_HOST", "10.96.0.8"),
    ])
    .finish()
    .unwrap();
}

#[test]
fn a_misspelt_setting_is_not_taken_for_a_service_of_kubernetes() {
    for (name, value) in [
        ("TEST_SERVICE_HOST", "box.local"),
        ("TEST_SERVICE_PORT", "http"),
        ("TEST_SERVICE_PORTS", "8081"),
        ("TEST_LISTEN_PORT", "8081"),
        ("TEST_LISTEN_PORT", "tcp://box:8081"),
        ("TEST_LISTEN_PORT", "http://10.96.0.7:8081"),
        ("TEST_PORT_8081", "tcp://10.96.0.7:8081"),
        ("TEST_PORT_8081_TCP_PORT", "many"),
        ("TEST_PORT_8081_TCP_NAME", "tcp"),
        ("TEST_PORT_8081_HTTP", "tcp://10.96.0.7:8081"),
    ] {
        let problems = environment(&[(name, value)]).finish().unwrap_err();
        let told = problems.to_string();
        assert!(
            told.contains(&format!("\n  {name} is not a setting")),
            "{name}={value}: {told}"
        );
    }
}

#[test]
fn a_secret_comes_from_its_file_without_the_end_of_its_line() {
    let folder = folder();
    for text in ["0012345", "0012345\n", "\n0012345\n\n"] {
        let path = file(&folder, "key", text.as_bytes());
        let mut env = environment(&[("LLM_KEY_FILE", &path)]);
        assert_eq!(env.secret(&KEY).unwrap().expose(), "0012345", "{text:?}");
        env.finish().unwrap();
    }
}

#[test]
fn a_secret_that_is_not_usable_is_refused_by_its_place_and_reason() {
    let folder = folder();
    let empty = file(&folder, "empty", b"");
    let latin = file(&folder, "latin", b"caf\xe9");
    let twin = file(&folder, "twin", b"0012345");
    let refused = |pairs: &[(&str, &str)]| {
        let mut env = environment(pairs);
        env.required_secret(&KEY, "make one");
        env.finish().unwrap_err().to_string()
    };
    for (pairs, problem) in [
        (
            [("LLM_KEY", "s3cret,s3cret"), ("OTHER", "")],
            "LLM_KEY has a comma or a double quote, at which llama-server divides keys: choose another key".to_owned(),
        ),
        (
            [("LLM_KEY", "s3cret\n"), ("OTHER", "")],
            "LLM_KEY has a line feed, at which llama-server divides the keys of a file, or which it takes for a part of one: remove it".to_owned(),
        ),
        (
            [("LLM_KEY_FILE", &twin), ("LLM_KEY", "s3cret")],
            "LLM_KEY and LLM_KEY_FILE are both set: keep one".to_owned(),
        ),
        (
            [("LLM_KEY_FILE", &empty), ("OTHER", "")],
            format!("LLM_KEY_FILE: {empty} is empty"),
        ),
        (
            [("LLM_KEY_FILE", &latin), ("OTHER", "")],
            format!("LLM_KEY_FILE: {latin} is not UTF-8 text"),
        ),
        (
            [("LLM_KEY_FILE", "/nowhere/key"), ("OTHER", "")],
            "LLM_KEY_FILE: cannot open /nowhere/key: No such file or directory (os error 2)".to_owned(),
        ),
    ] {
        assert_eq!(refused(&pairs), format!("the settings are not usable:\n  {problem}"));
    }
}

#[test]
fn the_environment_wins_over_the_settings_file() {
    let folder = folder();
    let key = file(&folder, "key", b"from-the-file");
    let text = format!("TEST_PORT = 8081\nTEST_NAME = \"ours\"\nLLM_KEY_FILE = {key:?}\n");
    let path = file(&folder, "settings.toml", text.as_bytes());
    let mut env = environment(&[("SETTINGS_FILE", &path), ("TEST_NAME", "theirs")]);
    assert_eq!(env.read::<u16>(&PORT), 8081);
    assert_eq!(env.optional(&NAME).as_deref(), Some("theirs"));
    assert_eq!(env.secret(&KEY).unwrap().expose(), "from-the-file");
    env.finish().unwrap();

    let mut env = environment(&[("SETTINGS_FILE", &path), ("LLM_KEY", "from-the-shell")]);
    assert_eq!(env.secret(&KEY).unwrap().expose(), "from-the-shell");
    env.finish().unwrap();
}

#[test]
fn a_settings_file_that_is_not_usable_is_refused_without_its_words() {
    let told = |text: &str| {
        let folder = folder();
        let path = file(&folder, "settings.toml", text.as_bytes());
        let problems = environment(&[("SETTINGS_FILE", &path)])
            .finish()
            .unwrap_err();
        problems.to_string().replace(&path, "PATH")
    };
    let head = "the settings are not usable:\n  SETTINGS_FILE: ";
    assert_eq!(
        told("TEST_PROT = 1\nLLM_KEY = \"s3cret\"\n"),
        format!(
            "{head}LLM_KEY is a secret: name its file in LLM_KEY_FILE instead\n  \
             SETTINGS_FILE: TEST_PROT is not a setting; did you mean TEST_PORT?"
        )
    );
    assert_eq!(
        told("TEST_NAME = [\"s3cret\"]\n"),
        format!("{head}TEST_NAME must be text in quotes, a number, true or false")
    );
    assert_eq!(
        told("TEST_PORT = 1\nLLM_KEY = s3cret\n"),
        format!(
            "{head}PATH is not TOML in the form NAME = VALUE: TOML parse error at line 2, column 11"
        )
    );
    let missing = environment(&[("SETTINGS_FILE", "/nowhere/settings.toml")]);
    assert_eq!(
        missing.finish().unwrap_err().to_string(),
        format!("{head}cannot read /nowhere/settings.toml: No such file or directory (os error 2)")
    );
}

#[test]
fn the_table_has_a_row_per_variable() {
    let page = markdown(&[TABLE]);
    let rows: Vec<&str> = page.lines().collect();
    assert_eq!(
        rows[..5],
        [
            "| Variable | Default | Meaning |",
            "|---|---|---|",
            "| `TEST_PORT` | `80` | The port. |",
            "| `TEST_NAME` | – | The name. |",
            "| `LLM_KEY` or `LLM_KEY_FILE` | – | The key. |"
        ]
    );
    assert!(rows[5].starts_with("| `SETTINGS_FILE` | – | "), "{page}");
}
