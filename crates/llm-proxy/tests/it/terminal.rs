//! `llm-proxy top` in a terminal: what is painted there, and that the terminal is left as it was.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use testkit::fake_llama::FakeLlama;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{PATIENCE, Proxy};

/// What is written first and last.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
/// Where a painting begins and ends.
const HOME: &str = "\u{1b}[H";
const DOWN: &str = "\u{1b}[J";
/// What empties a line.
const ANEW: &str = "\u{1b}[2K";

/// A terminal with `llm-proxy top` in it.
struct Terminal {
    ours: OwnedFd,
    /// Kept, so that what was written can be read when the child has gone.
    theirs: OwnedFd,
    child: Child,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
    modes: String,
}

impl Terminal {
    fn start(admin: &str, n_rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
        resize(&ours, n_rows);
        // One mode that is not as everywhere, to see that it comes back.
        let mut odd = tcgetattr(&theirs).unwrap();
        odd.local_modes -= LocalModes::ECHOK;
        tcsetattr(&theirs, OptionalActions::Now, &odd).unwrap();
        let modes = modes(&theirs);
        let end = || Stdio::from(theirs.try_clone().unwrap());
        // A session of its own, whose terminal this is: otherwise Ctrl-C would interrupt nobody.
        let child = Command::new("setsid")
            .args([
                "--ctty",
                "--wait",
                env!("CARGO_BIN_EXE_llm-proxy"),
                "top",
                "--admin",
                admin,
            ])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (tell, output) = mpsc::channel(64);
        let mut reader = File::from(ours.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                if tell.blocking_send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            ours,
            theirs,
            child,
            output,
            seen: String::new(),
            modes,
        }
    }

    /// Reads on until `text` has come, and forgets what came up to its end.
    async fn until(&mut self, text: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = self.seen.find(text) {
                    let rest = self.seen.split_off(at + text.len());
                    return std::mem::replace(&mut self.seen, rest);
                }
                let bytes = self.output.recv().await.expect("the terminal is there");
                self.seen.push_str(&String::from_utf8(bytes).unwrap());
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("{text:?} never came: {:?}", self.seen))
    }

    /// The lines of the next whole painting that holds `text`.
    async fn painted(&mut self, text: &str) -> Vec<String> {
        loop {
            self.until(HOME).await;
            let page = self.until(DOWN).await;
            if page.contains(text) {
                let page = page.strip_suffix(DOWN).unwrap();
                // The terminal itself makes a line's end two bytes.
                let lines = page
                    .split("\r\n")
                    .map(|line| line.trim_end_matches('\r').strip_prefix(ANEW).unwrap());
                return lines.map(str::to_owned).collect();
            }
        }
    }

    async fn press(&self, keys: &str) {
        let mut terminal = tokio::fs::File::from_std(File::from(self.ours.try_clone().unwrap()));
        terminal.write_all(keys.as_bytes()).await.unwrap();
        terminal.flush().await.unwrap();
    }

    /// Waits for the end, which must be a good one and leave the terminal as it was.
    async fn ended(mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "{status}");
        self.until(LEAVE).await;
        assert_eq!(modes(&self.theirs), self.modes);
    }
}

fn resize(terminal: &OwnedFd, ws_row: u16) {
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
}

/// Everything that can be set of a terminal.
fn modes(terminal: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(terminal).unwrap())
}

#[tokio::test]
async fn top_paints_no_more_than_the_terminal_holds_and_follows_its_size() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let mut terminal = Terminal::start(&proxy.admin.to_string(), 24);
    assert!(
        terminal
            .until(HOME)
            .await
            .ends_with(&format!("{ENTER}{HOME}"))
    );
    let page = terminal.painted("slots busy").await;
    assert!(page[0].starts_with("\u{1b}[1mllm-proxy "), "{page:?}");
    assert!(
        page.iter().any(|line| line.contains("nobody asks")),
        "{page:?}"
    );
    assert_eq!(page.last().unwrap(), "q quits");
    let n_lines = page.len();

    resize(&terminal.ours, 4);
    let page = terminal.painted("more lines").await;
    let more = format!("q quits   {} more lines have no room", n_lines - 5);
    assert_eq!((page.len(), page.last().unwrap()), (4, &more));
    resize(&terminal.ours, 24);
    assert_eq!(terminal.painted("nobody asks").await.len(), n_lines);
    terminal.press("q").await;
    terminal.ended().await;
}

#[tokio::test]
async fn top_without_a_terminal_prints_its_page_once_without_colours_and_ends() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let mut top = Command::new(env!("CARGO_BIN_EXE_llm-proxy"));
    let output = top
        .args(["top", "--admin", &proxy.admin.to_string()])
        .stdin(Stdio::null())
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap()
        .unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && page.contains("slots busy") && !page.contains('\u{1b}'),
        "{page}"
    );
}

#[tokio::test]
async fn top_says_at_once_what_is_no_address() {
    for admin in [
        "localhost",
        "http://localhost/",
        "https://localhost:9081",
        "localhost:",
        "localhost:x",
    ] {
        let mut top = Command::new(env!("CARGO_BIN_EXE_llm-proxy"));
        let output = top
            .args(["top", "--once", "--admin", admin])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "llm-proxy: --admin {admin} has no HOST:PORT: it must look like http://127.0.0.1:9081\n"
        );
        assert_eq!((said, output.status.code()), (expected, Some(1)));
    }
}

#[tokio::test]
async fn top_goes_on_when_llm_proxy_goes() {
    let llama = FakeLlama::start().await;
    let mut proxy = Proxy::before(&llama).await;
    let mut terminal = Terminal::start(&proxy.admin.to_string(), 24);
    terminal.painted("slots busy").await;
    let admin = proxy.admin;
    proxy.begin_shutdown();
    proxy.ended().await;
    let page = terminal.painted("trying again").await;
    assert!(
        page[0].starts_with(&format!("{admin} cannot be asked: ")),
        "{page:?}"
    );
    assert_eq!(page[1..], ["trying again", "", "q quits"]);
    terminal.press("\u{3}").await;
    terminal.ended().await;
}

#[tokio::test]
async fn top_ends_at_once_and_leaves_the_terminal_as_it_was_whatever_ends_it_also_while_nobody_answers()
 {
    let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for end in ["q", "\u{3}", "TERM", "HUP"] {
        let mut terminal = Terminal::start(&stuck.local_addr().unwrap().to_string(), 24);
        terminal.until(ENTER).await;
        let asked = stuck.accept().await.unwrap();
        assert!(
            !tcgetattr(&terminal.theirs)
                .unwrap()
                .local_modes
                .contains(LocalModes::ECHO)
        );
        let began = Instant::now();
        match end {
            "TERM" | "HUP" => {
                let setsid = terminal.child.id().unwrap().to_string();
                // It forks when it leads a group already; otherwise it has become llm-proxy itself.
                let signal = format!("-{end}");
                assert!(
                    Command::new("kill")
                        .args([&signal, &setsid])
                        .status()
                        .await
                        .unwrap()
                        .success()
                );
            }
            // Ctrl-Z does nothing here.
            keys => terminal.press(&format!("\u{1a}{keys}")).await,
        }
        terminal.ended().await;
        // It would wait 3 s for the answer.
        assert!(
            began.elapsed() < Duration::from_millis(2500),
            "{end}: {:?}",
            began.elapsed()
        );
        drop(asked);
    }
}
