//! Real llama-servers of a test's own, beside those of the chain.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::stack::{Stack, engine_command};

/// A llama-server of the test's own. Its answers carry its alias.
pub(crate) struct AliasedEngine {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl AliasedEngine {
    /// As the chain's, with another alias and port. It need not have loaded its model when this returns.
    pub(crate) fn start(stack: &Stack, alias: &str, address: SocketAddr) -> Self {
        let mut words = engine_command();
        for (flag, value) in [("--alias", alias), ("--port", &address.port().to_string())] {
            let at = words.iter().position(|word| word == flag).unwrap();
            value.clone_into(&mut words[at + 1]);
        }
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env("LLAMA_API_KEY", &stack.key)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, address }
    }

    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.unwrap().success());
        self.child.wait().await.unwrap();
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}
