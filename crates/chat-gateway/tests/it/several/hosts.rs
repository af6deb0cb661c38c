//! Gateways, bus and database on hosts of their own: a slow network that loses packets, and one that is cut.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use testkit::fake_llama::{FakeLlama, Script};
use testkit::postgres::{PostgresDatabase, server};
use testkit::wan::{Wan, WanWay};
use tokio::process::Child;
use tokio::time::timeout;

use crate::several::{Member, NEWS_OF_DEATH, PROGRAM};
use crate::store::prepare;
use crate::v2_tools::{ask, plain, say};

/// 50 ms there and back, and one packet of fifty lost.
const FAR: WanWay = WanWay {
    delay_ms: 25,
    loss: 0.02,
};
/// Where everybody is; the model and the people are on the test's own host.
const BUS: usize = 1;
const DATABASE: usize = 2;
const GATEWAYS: [usize; 2] = [3, 4];
/// Answers at once.
const CHATS: usize = 4;
/// Tokens of each.
const TOKENS: usize = 60;

/// Five hosts.
struct Site {
    wan: Wan,
    llama: FakeLlama,
    database: PostgresDatabase,
    peers: [Child; 2],
}

impl Site {
    async fn start() -> Option<Self> {
        let database = server()?.copy_of("corral_template", prepare).await;
        let wan = Wan::start(4, FAR).await?;
        let llama = FakeLlama::start_at(SocketAddr::from((wan.address(0), 0))).await;
        llama.set_slots(64);
        let bus = wan.address(BUS).to_string();
        let valkey = wan
            .command(BUS, "redis-server")
            .args(["--bind", &bus, "--protected-mode", "no", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let socket = database.socket();
        let relay = wan.relay(DATABASE, 5432, &socket).await;
        Some(Self {
            wan,
            llama,
            database,
            peers: [valkey, relay],
        })
    }

    async fn member(&self, host: usize) -> Member {
        let own = self.wan.address(host);
        let name = self.database.name();
        let database = self.wan.address(DATABASE);
        let store = format!("postgres://corral@{database}:5432/{name}?sslmode=disable");
        let mut command = self.wan.command(host, PROGRAM);
        command.envs([
            ("GATEWAY_LISTEN", format!("{own}:8000")),
            ("GATEWAY_ADMIN_LISTEN", format!("{own}:9000")),
            ("LLM_BASE_URL", format!("{}/v1", self.llama.url())),
            ("GATEWAY_STORE", store),
            (
                "GATEWAY_BUS",
                format!("redis://{}:6379", self.wan.address(BUS)),
            ),
        ]);
        Member::start(command).await
    }

    /// Cuts the way of a gateway to what gateways share, or mends it. People and the model still reach it.
    async fn isolate(&mut self, host: usize, is_cut: bool) {
        for peer in [BUS, DATABASE] {
            if is_cut {
                self.wan.cut(host, peer).await;
            } else {
                self.wan.join(host, peer).await;
            }
        }
    }
}

#[tokio::test]
async fn over_a_slow_network_that_loses_packets_every_answer_is_whole_elsewhere() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    let [home, other] = [
        site.member(GATEWAYS[0]).await,
        site.member(GATEWAYS[1]).await,
    ];
    let words = (0..TOKENS).map(|n| format!("{n:02} "));
    let whole: String = words.clone().collect();
    site.llama
        .script(Script::tokens(words).every(Duration::from_millis(30)));
    let chats = (0..CHATS).map(async |_| {
        let mut here = home.chat().await;
        let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
        let mut there = other.also(&here).await;
        there.watch(&conversation).await.unwrap();
        let (here, there) = tokio::join!(here.until_done(&answer), there.until_done(&answer));
        (here.unwrap(), there.unwrap())
    });
    for (here, there) in join_all(chats).await {
        assert_eq!(here.text, whole);
        assert_eq!(there.text, whole);
        assert_eq!(here.done, there.done);
    }
    for peer in &mut site.peers {
        assert_eq!(peer.try_wait().unwrap(), None);
    }
}

#[tokio::test]
async fn a_gateway_cut_off_from_the_others_loses_its_answer_to_them() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    let home = site.member(GATEWAYS[0]).await;
    let other = site.member(GATEWAYS[1]).await;
    let words = ["Once ", "upon ", "a time"];
    site.llama.script(Script::tokens(words).stall_after(1));
    let mut here = home.chat().await;
    let [conversation, _, answer] = say(&mut here, "go", &plain()).await;
    here.until_position(&answer, 5).await.unwrap();
    let mut there = other.also(&here).await;
    there.watch(&conversation).await.unwrap();
    there.until_position(&answer, 5).await.unwrap();
    site.isolate(GATEWAYS[0], true).await;
    site.llama.script(Script::tokens(["another end"]));
    let told = timeout(NEWS_OF_DEATH, there.until_done(&answer)).await;
    let told = told.expect("news of a death within 10 s").unwrap();
    assert_eq!(told.done.unwrap()["status"], "interrupted");
    let reply = ask(&mut there, "continue", &answer).await;
    assert_eq!(reply["type"], "accepted", "{reply}");
    let whole = there.until_done(&answer).await.unwrap();
    // The model goes on at the gateway that is cut off, and nobody there is told of an end.
    site.llama.release();
    here.until_position(&answer, 16).await.unwrap();
    let early = timeout(Duration::from_secs(2), here.until_done(&answer)).await;
    assert!(early.is_err(), "{early:?}");
    site.isolate(GATEWAYS[0], false).await;
    let shown = timeout(Duration::from_secs(60), here.until_done(&answer)).await;
    let shown = shown.expect("the network is mended").unwrap();
    assert_eq!(shown.done, whole.done);
    assert_eq!(shown.text, whole.text);
    home.signal(Signal::TERM);
}
