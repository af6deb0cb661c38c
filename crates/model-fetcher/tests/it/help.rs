//! `--help` of every command says what it does, with an example.

use tokio::process::Command;

#[tokio::test]
async fn every_command_explains_itself_with_an_example() {
    for command in [
        "", "import", "list", "prune", "status", "verify", "settings",
    ] {
        let arguments = [command, "--help"]
            .into_iter()
            .filter(|argument| !argument.is_empty());
        let output = Command::new(env!("CARGO_BIN_EXE_model-fetcher"))
            .env_clear()
            .args(arguments)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), &b""[..]),
            "{command}"
        );
        let (about, example) = text
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("{command}: {text}"));
        assert!(about.contains("Usage: model-fetcher"), "{text}");
        assert!(example.contains("model-fetcher"), "{text}");
    }
}
