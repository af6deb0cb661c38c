//! The log of a room over a real bus, which is killed in mid-answer.

use std::sync::Arc;
use std::time::Duration;

use common::secret::Secret;
use common::shutdown::Shutdown;
use testkit::valkey::ValkeyServer;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{RoomEntry, write};
use crate::answer::task::settle;
use crate::answer::written::{RunKind, Written};
use crate::bus::{Bus, BusEvent};
use crate::conversation::lists::Lists;
use crate::conversation::mirror::apply;
use crate::conversation::room::{LiveAnswer, Room, Stage};
use crate::instance::InstanceId;
use crate::protocol::record::{AnswerOptions, AnswerStatus};
use crate::protocol::v2::{Change, Done};
use crate::store::AnswerRun;

/// The most that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One gateway's side of the bus.
struct BusSide {
    bus: Bus,
    events: mpsc::Receiver<BusEvent>,
    shutdown: Shutdown,
}

impl BusSide {
    async fn join(server: &ValkeyServer) -> Self {
        let address = Secret::new(server.url());
        let (bus, events) = Bus::open(Some(&address), InstanceId::generate()).unwrap();
        let shutdown = Shutdown::new();
        let kept = bus.clone();
        shutdown.spawn(async move { kept.keep().await });
        let mut side = Self {
            bus,
            events,
            shutdown,
        };
        let back = timeout(PATIENCE, side.events.recv()).await.unwrap();
        assert!(matches!(back, Some(BusEvent::Back { .. })), "{back:?}");
        side
    }

    /// Applies what comes of the log until the mirror is as it should be.
    async fn mirror_until(&mut self, room: &Room, is_enough: impl Fn(&LiveAnswer) -> bool) {
        let mirroring = async {
            loop {
                let is_there = room.state().answers.first().is_some_and(&is_enough);
                if is_there {
                    return;
                }
                if let Some(BusEvent::Entry { entry, .. }) = self.events.recv().await {
                    take(room, &entry);
                }
            }
        };
        timeout(PATIENCE, mirroring).await.unwrap();
    }
}

fn take(room: &Room, entry: &str) {
    let entry: RoomEntry = serde_json::from_str(entry).unwrap();
    let doubtful = room.mirror(|state, now| apply(state, &entry, now));
    assert!(doubtful.is_empty(), "{doubtful:?}");
}

fn room() -> Arc<Room> {
    let lists = Arc::new(Lists::new(Bus::default()));
    Arc::new(Room::new(Uuid::from_u128(7), Arc::from("ann"), 0, lists))
}

fn running(id: Uuid) -> LiveAnswer {
    LiveAnswer {
        id,
        question: Uuid::from_u128(1),
        run: 0,
        begun: AnswerRun::first(id),
        elsewhere: None,
        status: AnswerStatus::Running,
        written: Written::new(),
        options: AnswerOptions::none(),
        continues: false,
        began_at: 0,
        lane: Arc::from("lane"),
        stage: Stage::Unknown,
        stage_version: 0,
        context: None,
        done: None,
        stop: CancellationToken::new(),
    }
}

#[tokio::test]
async fn text_and_end_reach_another_gateway_though_the_bus_is_killed_meanwhile() {
    let Some(mut server) = ValkeyServer::start().await else {
        return;
    };
    let home = BusSide::join(&server).await;
    let mut there = BusSide::join(&server).await;
    let [room, mirror] = [room(), room()];
    let id = Uuid::from_u128(10);
    let opened = room.change(|state| {
        let opened = state.open_log();
        state.add(running(id));
        state.note(Change::Messages, 1);
        opened
    });
    let valkey = home.bus.shared().unwrap().clone();
    let written = Arc::clone(&room);
    let writing = home
        .shutdown
        .spawn(async move { write(&valkey, &written, opened.unwrap()).await });
    let valkey = there.bus.shared().unwrap().clone();
    let (following, held) = valkey.follow(room.id).await.unwrap();
    for entry in held {
        take(&mirror, &entry);
    }
    room.write(id, RunKind::Text, "before ");
    there
        .mirror_until(&mirror, |live| live.written.as_str() == "before ")
        .await;

    server.kill().await;
    room.write(id, RunKind::Text, "meanwhile ");
    server.start_again().await;
    there
        .mirror_until(&mirror, |live| live.written.as_str() == "before meanwhile ")
        .await;
    assert!(mirror.state().is_busy());

    room.write(id, RunKind::Text, "after");
    let done = Done {
        answer: id,
        position: 22,
        status: AnswerStatus::Done,
        finish_reason: None,
        usage: None,
        timings: None,
        error: None,
        joints: Vec::new(),
        revision: 2,
    };
    settle(&room, done.clone(), Change::Messages);
    there
        .mirror_until(&mirror, |live| live.done.is_some())
        .await;
    {
        let mut state = mirror.state();
        let live = state.answer(id).unwrap();
        assert_eq!(live.written.as_str(), "before meanwhile after");
        assert_eq!(live.done.as_ref().map(|(done, _)| done), Some(&done));
        assert_eq!(state.revision, 2);
    }
    // Nothing runs any more, so nobody writes the log.
    timeout(PATIENCE, writing).await.unwrap().unwrap();
    assert!(!room.state().has_log());
    drop(following);
}
