//! People who chat: what each asks next, and how long each thinks before. The same for the same seed, whatever the
//! others do.

use super::chance::Chance;
use super::machine::{Piece, n_tokens};

/// System prompts, the first the most common.
const N_SYSTEM_PROMPTS: u32 = 5;
/// The tokens of each.
const SYSTEM_TOKENS: u32 = 300;
const SAYS_TOKENS: (u32, u32) = (20, 200);
const ANSWER_TOKENS: (u32, u32) = (50, 250);
/// Questions of one conversation.
const TURNS: (u32, u32) = (2, 10);
/// A conversation of one person never has a piece with the same id as one of another person.
const IDS_PER_PERSON: u64 = 1 << 32;

/// One person, or one of the requests that somebody who floods has at once.
#[derive(Debug)]
pub(crate) struct Person {
    /// The user for whom the key asks.
    pub(crate) user: String,
    /// Whether the next question follows the last answer at once, in a new conversation.
    pub(crate) floods: bool,
    chance: Chance,
    next_id: u64,
    turns_left: u32,
    /// What the conversation has so far.
    prompt: Vec<Piece>,
}

/// A question that a person is about to ask.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) prompt: Vec<Piece>,
    pub(crate) answer: Piece,
    /// The tokens of the prompt that an engine has seen already; 0 for the first question of a conversation.
    pub(crate) n_seen: u32,
}

impl Person {
    pub(crate) fn new(number: usize, user: String, floods: bool, seed: u64) -> Self {
        let number = number as u64 + 1;
        Self {
            user,
            floods,
            chance: Chance::new(seed.wrapping_mul(0x9e37_79b9) ^ (number << 20)),
            next_id: number * IDS_PER_PERSON,
            turns_left: 0,
            prompt: Vec::new(),
        }
    }

    /// How long the person thinks, in seconds, `mean` in the mean.
    pub(crate) fn thinks(&mut self, mean: f64) -> f64 {
        self.chance.wait(mean)
    }

    /// The next question, in the conversation under way or in a new one.
    pub(crate) fn asks(&mut self) -> Question {
        let mut n_seen = n_tokens(&self.prompt);
        if self.turns_left == 0 || self.floods {
            n_seen = 0;
            self.turns_left = self.chance.between(TURNS.0, TURNS.1);
            let system = self.chance.skewed(N_SYSTEM_PROMPTS);
            self.prompt = vec![Piece {
                id: u64::from(system) + 1,
                n_tokens: SYSTEM_TOKENS,
            }];
        }
        self.turns_left -= 1;
        let says = self.piece(SAYS_TOKENS);
        self.prompt.push(says);
        let prompt = self.prompt.clone();
        let answer = self.piece(ANSWER_TOKENS);
        self.prompt.push(answer);
        Question {
            prompt,
            answer,
            n_seen,
        }
    }

    fn piece(&mut self, (low, high): (u32, u32)) -> Piece {
        self.next_id += 1;
        Piece {
            id: self.next_id,
            n_tokens: self.chance.between(low, high),
        }
    }
}
