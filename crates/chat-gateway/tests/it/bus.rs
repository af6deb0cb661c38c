//! The bus of several gateways on a real server, which is also killed and started again.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_gateway::bus::{Bus, BusError, BusEvent, News, NewsKind, Valkey};
use chat_gateway::instance::InstanceId;
use chat_gateway::protocol::v2::Change;
use common::secret::Secret;
use testkit::valkey::ValkeyServer;
use testkit::ws_client::PATIENCE;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

/// One gateway's side of the bus.
struct Member {
    bus: Bus,
    instance: InstanceId,
    events: mpsc::Receiver<BusEvent>,
    keeping: JoinSet<()>,
}

impl Member {
    /// Joins, and waits until it hears.
    async fn join(server: &ValkeyServer) -> Self {
        let mut member = Self::begin(server);
        assert!(matches!(
            member.next().await,
            BusEvent::Back { missed: true }
        ));
        member
    }

    fn begin(server: &ValkeyServer) -> Self {
        let instance = InstanceId::generate();
        let address = Secret::new(server.url());
        let (bus, events) = Bus::open(Some(&address), instance).unwrap();
        let kept = bus.clone();
        let mut keeping = JoinSet::new();
        keeping.spawn(async move { kept.keep().await });
        Self {
            bus,
            instance,
            events,
            keeping,
        }
    }

    fn valkey(&self) -> &Valkey {
        self.bus.shared().unwrap()
    }

    async fn next(&mut self) -> BusEvent {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("something comes over the bus")
            .expect("the bus is open")
    }

    async fn next_news(&mut self) -> News {
        match self.next().await {
            BusEvent::News(news) => news,
            other => panic!("no news: {other:?}"),
        }
    }

    async fn next_entry(&mut self) -> (Uuid, String) {
        match self.next().await {
            BusEvent::Entry {
                conversation,
                entry,
            } => (conversation, entry),
            other => panic!("no entry: {other:?}"),
        }
    }
}

fn news(revision: u64) -> News {
    News {
        owner: "ann".to_owned(),
        conversation: Uuid::from_u128(1),
        revision,
        listed: true,
        logged: false,
        what: NewsKind::Changed(vec![Change::Title]),
    }
}

#[tokio::test]
async fn news_reach_every_other_gateway_once_and_in_order() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let mut ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    let mut eve = Member::join(&server).await;
    for revision in 1..=500 {
        ann.bus.tell(news(revision));
    }
    for revision in 1..=500 {
        assert_eq!(ben.next_news().await, news(revision));
        assert_eq!(eve.next_news().await, news(revision));
    }
    // Nothing comes back: what comes next is somebody else's.
    ben.bus.tell(news(501));
    assert_eq!(ann.next_news().await, news(501));
}

#[tokio::test]
async fn what_was_told_while_the_bus_was_away_is_told_when_it_is_back() {
    let Some(mut server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    server.kill().await;
    assert!(matches!(ben.next().await, BusEvent::Lost));
    ann.bus.tell(news(1));
    ann.bus.tell(news(2));
    server.start_again().await;
    // The server has forgotten everything, so some may have been missed.
    assert!(matches!(ben.next().await, BusEvent::Back { missed: true }));
    assert_eq!(ben.next_news().await, news(1));
    assert_eq!(ben.next_news().await, news(2));
    assert!(ben.valkey().link().borrow().is_up);
    assert_eq!(ben.valkey().link().borrow().losses, 1);
}

#[tokio::test]
async fn a_gateway_that_starts_before_the_bus_joins_when_it_comes() {
    let Some(mut server) = ValkeyServer::start().await else {
        return;
    };
    server.kill().await;
    let mut ann = Member::begin(&server);
    assert!(matches!(ann.next().await, BusEvent::Lost));
    let refused = ann.bus.deposit("ann", 1, "value".to_owned()).await;
    assert!(matches!(refused, Err(BusError::Failed(_))), "{refused:?}");
    server.start_again().await;
    assert!(matches!(ann.next().await, BusEvent::Back { missed: true }));
}

#[tokio::test]
async fn a_deposit_is_handed_out_once_at_any_gateway() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let ben = Member::join(&server).await;
    ann.bus.deposit("ann", 7, "value".to_owned()).await.unwrap();
    let tries = (0..50).map(|number| {
        let bus = if number % 2 == 0 { &ann.bus } else { &ben.bus };
        async move { bus.withdraw(7).await.unwrap() }
    });
    let taken = futures_util::future::join_all(tries).await;
    let taken: Vec<String> = taken.into_iter().flatten().collect();
    assert_eq!(taken, ["value"]);
    // The seventeenth takes the place of the first, whichever gateway it comes to.
    for key in 100..117 {
        let bus = if key % 2 == 0 { &ann.bus } else { &ben.bus };
        bus.deposit("ann", key, key.to_string()).await.unwrap();
    }
    ann.bus.deposit("eve", 99, "hers".to_owned()).await.unwrap();
    assert_eq!(ben.bus.withdraw(100).await.unwrap(), None);
    for key in 101..117 {
        let value = ben.bus.withdraw(key).await.unwrap();
        assert_eq!(value, Some(key.to_string()));
    }
    assert_eq!(ben.bus.withdraw(99).await.unwrap(), Some("hers".to_owned()));
}

#[tokio::test]
async fn a_log_is_read_from_its_last_whole_entry_and_then_live() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    let room = Uuid::from_u128(5);
    let log = ann.valkey();
    log.append(room, "old", true).await.unwrap();
    log.append(room, "older", false).await.unwrap();
    log.append(room, "whole", true).await.unwrap();
    log.append(room, "a", false).await.unwrap();
    let (following, held) = ben.valkey().follow(room).await.unwrap();
    assert_eq!(held, ["whole", "a"]);
    for entry in ["b", "c", "d"] {
        log.append(room, entry, false).await.unwrap();
        assert_eq!(ben.next_entry().await, (room, entry.to_owned()));
    }
    drop(following);
    log.append(room, "unread", false).await.unwrap();
    let (_guard, held) = ben.valkey().follow(room).await.unwrap();
    assert_eq!(held, ["whole", "a", "b", "c", "d", "unread"]);
}

#[tokio::test]
async fn many_logs_are_followed_at_once() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    let rooms: Vec<Uuid> = (0..200).map(Uuid::from_u128).collect();
    let mut followed = Vec::new();
    for room in &rooms {
        followed.push(ben.valkey().follow(*room).await.unwrap());
    }
    for room in &rooms {
        let entry = room.to_string();
        ann.valkey().append(*room, &entry, false).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    while seen.len() < rooms.len() {
        let (room, entry) = ben.next_entry().await;
        assert_eq!(entry, room.to_string());
        seen.insert(room);
    }
}

#[tokio::test]
async fn a_log_begins_anew_after_the_bus_has_lost_it() {
    let Some(mut server) = ValkeyServer::start().await else {
        return;
    };
    let mut ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    let room = Uuid::from_u128(5);
    ann.valkey().append(room, "before", true).await.unwrap();
    let (_guard, held) = ben.valkey().follow(room).await.unwrap();
    assert_eq!(held, ["before"]);
    server.kill().await;
    assert!(matches!(ann.next().await, BusEvent::Lost));
    assert!(matches!(ben.next().await, BusEvent::Lost));
    server.start_again().await;
    assert!(matches!(ann.next().await, BusEvent::Back { missed: true }));
    assert!(matches!(ben.next().await, BusEvent::Back { missed: true }));
    // The first command may find the connection of before.
    while ann.valkey().append(room, "after", true).await.is_err() {}
    assert_eq!(ben.next_entry().await, (room, "after".to_owned()));
}

#[tokio::test]
async fn a_call_is_answered_by_the_gateway_that_it_names() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    let to = ben.instance;
    let answering = async {
        let BusEvent::Call(call) = ben.next().await else {
            panic!("no call");
        };
        let reply = format!("{} back", call.request);
        ben.bus.answer(&call, reply).await.unwrap();
    };
    let calling = ann.bus.call(to, "hello".to_owned());
    let (reply, ()) = tokio::join!(calling, answering);
    assert_eq!(reply.unwrap(), "hello back");
}

#[tokio::test]
async fn a_call_to_a_gateway_that_is_gone_or_silent_says_so() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let nobody = ann
        .bus
        .call(InstanceId::generate(), "hello".to_owned())
        .await;
    assert!(matches!(nobody, Err(BusError::Dead)), "{nobody:?}");
    let ben = Member::join(&server).await;
    let silent = ann.bus.call(ben.instance, "hello".to_owned()).await;
    assert!(matches!(silent, Err(BusError::NoReply)), "{silent:?}");
}

#[tokio::test]
async fn a_gateway_that_ends_is_dead_to_the_others_within_seconds() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let ben = Member::join(&server).await;
    let gone = ben.instance;
    drop(ben);
    let dead = async {
        while !matches!(
            ann.bus.call(gone, "hello".to_owned()).await,
            Err(BusError::Dead)
        ) {}
    };
    timeout(Duration::from_secs(20), dead).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_leaves_is_dead_to_the_others_at_once() {
    let Some(server) = ValkeyServer::start().await else {
        return;
    };
    let ann = Member::join(&server).await;
    let mut ben = Member::join(&server).await;
    ben.keeping.shutdown().await;
    ben.bus.leave().await;
    let dead = ann.bus.call(ben.instance, "hello".to_owned()).await;
    assert!(matches!(dead, Err(BusError::Dead)), "{dead:?}");
}

#[test]
fn only_the_address_of_a_bus_is_taken() {
    for address in [
        "",
        "valkey:6379",
        "http://valkey",
        "redis+unix:///run/x",
        "postgres://db/x",
    ] {
        let refused = Bus::open(Some(&Secret::new(address)), InstanceId::generate());
        assert!(matches!(refused, Err(BusError::Address)), "{address}");
    }
}
