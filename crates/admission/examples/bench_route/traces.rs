//! The traces: ordinary days, and days made to show a policy at its worst. Each is the same for the same seed.

use super::chance::Chance;
use super::machine::{Build, Piece};
use super::simulation::{Conversation, Outage, Trace, Turn};

/// A small machine: a 4B model on four cores. Its answers share the memory's bandwidth, not its cores.
const MACHINE: Build = Build {
    slots: 4,
    prefill_per_second: 120.0,
    decode_per_second: 12.0,
    crowding: 0.25,
    parked_tokens: 0,
    caches: true,
};

/// How large a trace is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) machines: usize,
    pub(crate) conversations: usize,
    pub(crate) seed: u64,
}

/// Makes one trace after another.
struct Maker {
    chance: Chance,
    size: Size,
    next_id: u64,
}

/// What a kind of conversation is like, in tokens.
#[derive(Clone, Copy)]
struct Manner {
    turns: (u32, u32),
    /// The first words of the conversation, shared by as many kinds of conversation; the first kind is the most common.
    shared: (u32, u32),
    n_shared: u32,
    /// What only this conversation begins with.
    own: (u32, u32),
    says: (u32, u32),
    answer: (u32, u32),
    thinks: f64,
}

const CHAT: Manner = Manner {
    turns: (2, 10),
    shared: (300, 300),
    n_shared: 1,
    own: (0, 0),
    says: (20, 200),
    answer: (50, 250),
    thinks: 20.0,
};

/// All traces of a size.
pub(crate) fn all(size: Size) -> Vec<Trace> {
    let document = Manner {
        turns: (3, 6),
        own: (2_000, 5_000),
        says: (20, 60),
        ..CHAT
    };
    let agents = Manner {
        turns: (1, 1),
        shared: (1_500, 3_000),
        n_shared: 12,
        says: (100, 400),
        answer: (20, 80),
        ..CHAT
    };
    let same = Manner {
        turns: (1, 1),
        shared: (1_000, 1_000),
        says: (10, 10),
        ..CHAT
    };
    let unique = Manner {
        turns: (1, 1),
        shared: (0, 0),
        own: (200, 2_000),
        ..CHAT
    };
    let talkers = Manner {
        turns: (2, 4),
        shared: (400, 400),
        says: (20, 40),
        answer: (400, 800),
        ..CHAT
    };
    let compute_bound = Build {
        crowding: 1.0,
        ..MACHINE
    };
    let parking = Build {
        parked_tokens: 30_000,
        ..MACHINE
    };
    let forgetful = Build {
        caches: false,
        ..MACHINE
    };
    let fast = Build {
        prefill_per_second: 2_000.0,
        decode_per_second: 60.0,
        ..MACHINE
    };
    let mut traces = vec![
        Maker::new(size).steady("chats", MACHINE, CHAT, 0.3),
        Maker::new(size).steady("chats, few", MACHINE, CHAT, 0.15),
        Maker::new(size).steady("chats, too many", MACHINE, CHAT, 1.3),
        Maker::new(size).steady("chats, prompts parked", parking, CHAT, 0.3),
        Maker::new(size).steady("chats, fast machines", fast, CHAT, 0.5),
        Maker::new(size).bursts("chats in bursts", MACHINE, CHAT, 0.3),
        Maker::new(size).steady("questions on documents", MACHINE, document, 0.15),
        Maker::new(size).steady("agents, 12 prompts, skewed", MACHINE, agents, 0.4),
        Maker::new(size).steady("all the same prompt", MACHINE, same, 0.5),
        Maker::new(size).bursts("the same prompt in bursts", compute_bound, same, 0.6),
        Maker::new(size).steady("no repeats", MACHINE, unique, 0.5),
        Maker::new(size).steady("long answers, compute-bound", compute_bound, talkers, 0.4),
        Maker::new(size).steady("a cache that keeps nothing", forgetful, CHAT, 0.25),
        Maker::new(size).giant("one giant conversation"),
    ];
    let mut uneven = Maker::new(size).steady("machines of two speeds", MACHINE, CHAT, 0.2);
    for slow in uneven.machines.iter_mut().step_by(2) {
        (slow.prefill_per_second, slow.decode_per_second) =
            (slow.prefill_per_second / 3.0, slow.decode_per_second / 3.0);
    }
    traces.push(uneven);
    let mut lossy = Maker::new(size).steady("a quarter lost mid-way", MACHINE, document, 0.15);
    let end = lossy
        .conversations
        .iter()
        .map(|conversation| conversation.starts_at)
        .fold(0.0, f64::max);
    lossy.outages = (0..size.machines.div_ceil(4))
        .map(|machine| Outage {
            machine,
            from: end / 3.0,
            to: end * 2.0 / 3.0,
        })
        .collect();
    traces.push(lossy);
    traces
}

impl Maker {
    fn new(size: Size) -> Self {
        Self {
            chance: Chance::new(size.seed),
            size,
            next_id: 1,
        }
    }

    fn piece(&mut self, (low, high): (u32, u32)) -> Piece {
        self.next_id += 1;
        Piece {
            id: self.next_id,
            n_tokens: self.chance.between(low, high),
        }
    }

    fn conversation(&mut self, manner: &Manner, shared: &[Piece]) -> Conversation {
        let n_turns = self.chance.between(manner.turns.0, manner.turns.1);
        let mut turns: Vec<Turn> = (0..n_turns)
            .map(|_| Turn {
                says: vec![self.piece(manner.says)],
                answer: self.piece(manner.answer),
                thinks: self.chance.wait(manner.thinks),
            })
            .collect();
        let which = self.chance.skewed(manner.n_shared) as usize;
        let own = self.piece(manner.own);
        turns[0].says.splice(
            0..0,
            [shared[which], own]
                .into_iter()
                .filter(|piece| piece.n_tokens > 0),
        );
        Conversation {
            starts_at: 0.0,
            turns,
        }
    }

    fn conversations(&mut self, manner: &Manner) -> Vec<Conversation> {
        let shared: Vec<Piece> = (0..manner.n_shared)
            .map(|_| self.piece(manner.shared))
            .collect();
        (0..self.size.conversations)
            .map(|_| self.conversation(manner, &shared))
            .collect()
    }

    /// Conversations that come one after another, so many that the slots would be busy for the `load` share of the time
    /// if only what is new had to be computed.
    fn steady(mut self, name: &'static str, build: Build, manner: Manner, load: f64) -> Trace {
        let mut conversations = self.conversations(&manner);
        let gap = self.gap(&build, &conversations, load);
        let mut now = 0.0;
        for conversation in &mut conversations {
            now += self.chance.wait(gap);
            conversation.starts_at = now;
        }
        self.trace(name, build, conversations)
    }

    /// The same number, all at once every few minutes.
    fn bursts(mut self, name: &'static str, build: Build, manner: Manner, load: f64) -> Trace {
        let mut conversations = self.conversations(&manner);
        let gap = self.gap(&build, &conversations, load);
        let size = self.size.machines * 3;
        for (number, conversation) in conversations.iter_mut().enumerate() {
            conversation.starts_at =
                (number / size) as f64 * gap * size as f64 + self.chance.share();
        }
        self.trace(name, build, conversations)
    }

    /// A prompt of 6,000 tokens that is asked about by many at once, among ordinary chats.
    fn giant(mut self, name: &'static str) -> Trace {
        let mut conversations = self.conversations(&CHAT);
        let giant = self.piece((6_000, 6_000));
        for conversation in conversations.iter_mut().step_by(3) {
            conversation.turns.truncate(2);
            conversation.turns[0].says.insert(0, giant);
        }
        let gap = self.gap(&MACHINE, &conversations, 0.4);
        let mut now = 0.0;
        for conversation in &mut conversations {
            now += self.chance.wait(gap);
            conversation.starts_at = now;
        }
        self.trace(name, MACHINE, conversations)
    }

    /// Seconds from one conversation to the next.
    fn gap(&self, build: &Build, conversations: &[Conversation], load: f64) -> f64 {
        let neighbours = (build.slots - 1) as f64 / 2.0;
        let decode = build.decode_per_second / (1.0 + build.crowding * neighbours);
        let mut total = 0.0;
        for turn in conversations
            .iter()
            .flat_map(|conversation| &conversation.turns)
        {
            let new: u32 = turn.says.iter().map(|piece| piece.n_tokens).sum();
            total += f64::from(new) / build.prefill_per_second * neighbours
                + f64::from(turn.answer.n_tokens) / decode;
        }
        let n_slots = (self.size.machines * build.slots) as f64;
        total / conversations.len() as f64 / n_slots / load
    }

    fn trace(self, name: &'static str, build: Build, conversations: Vec<Conversation>) -> Trace {
        Trace {
            name,
            machines: vec![build; self.size.machines],
            conversations,
            outages: Vec::new(),
        }
    }
}
