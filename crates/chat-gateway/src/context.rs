//! What of a conversation is sent to the model, and when older turns are cut.
//!
//! It keeps whole turns only: user and assistant must alternate, or some chat templates refuse the prompt. It cuts well
//! below the limit: the beginning of the prompt, which llama-server has cached, then stays the same for many turns. The
//! turns that are cut are forgotten once the shorter prompt was answered.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Overflow;

/// Bytes of text that are taken for one token: fewer than English has, and what one Chinese character has.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens a chat template adds around each message.
const TOKENS_PER_MESSAGE: u64 = 8;
/// The most text of one prompt, in bytes: what stays below llm-proxy's cap on a body once it is JSON.
const MAX_PROMPT_BYTES: u64 = 192 * 1024;

/// Who says a message of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// What the model is asked, in order.
pub type V1Prompt = Vec<(Role, Arc<str>)>;

/// A message and its whole answer.
#[derive(Debug)]
struct V1Turn {
    question: Arc<str>,
    answer: Arc<str>,
}

impl V1Turn {
    fn tokens(&self) -> u64 {
        tokens(&self.question) + tokens(&self.answer)
    }
}

/// One conversation's memory.
#[derive(Debug)]
pub struct V1Conversation {
    system: Arc<str>,
    max_tokens: u64,
    turns: VecDeque<V1Turn>,
    /// How many of the oldest turns the running question does without.
    cut: usize,
}

impl V1Conversation {
    /// An empty one. Room for an answer of `max_tokens` is always kept.
    #[must_use]
    pub fn new(system_prompt: &str, max_tokens: u32) -> Self {
        Self {
            system: system_prompt.into(),
            max_tokens: max_tokens.into(),
            turns: VecDeque::new(),
            cut: 0,
        }
    }

    /// The prompt that asks `question`, without as many of the oldest turns as `n_ctx` tokens of context (`None` when
    /// nobody knows) demand.
    pub fn prompt(&mut self, question: &Arc<str>, n_ctx: Option<u64>) -> V1Prompt {
        self.cut = 0;
        let tokens = n_ctx.map_or(u64::MAX, |n_ctx| n_ctx - self.reserve(n_ctx));
        let budget = tokens.min(MAX_PROMPT_BYTES / BYTES_PER_TOKEN);
        if self.estimate(question) > budget {
            self.cut_to(budget / 3 * 2, question);
        }
        self.whole(question)
    }

    /// The prompt that asks `question` again after it overflowed: at least one turn shorter than the last one, and as
    /// many as the upstream's own count suggests. `None` when only the question was left.
    pub fn shortened(
        &mut self,
        question: &Arc<str>,
        overflow: Option<Overflow>,
    ) -> Option<V1Prompt> {
        let sent = self.estimate(question);
        let goal = overflow.map_or(
            sent / 2,
            |Overflow {
                 n_prompt_tokens,
                 n_ctx,
             }| {
                let fits = n_ctx.saturating_sub(self.reserve(n_ctx)) / 3 * 2;
                sent.saturating_mul(fits) / n_prompt_tokens.max(1)
            },
        );
        if self.cut == self.turns.len() {
            return None;
        }
        self.cut += 1;
        self.cut_to(goal, question);
        Some(self.whole(question))
    }

    /// Adds a whole turn, and forgets those it did without. An empty answer is not kept, nor what it answered.
    pub fn remember(&mut self, question: Arc<str>, answer: &str) {
        if !answer.is_empty() {
            self.turns.drain(..self.cut);
            self.cut = 0;
            self.turns.push_back(V1Turn {
                question,
                answer: answer.into(),
            });
        }
    }

    /// Starts anew.
    pub fn forget(&mut self) {
        self.turns.clear();
        self.cut = 0;
    }

    fn reserve(&self, n_ctx: u64) -> u64 {
        self.max_tokens.min(n_ctx / 2)
    }

    fn cut_to(&mut self, goal: u64, question: &Arc<str>) {
        let mut sum = self.estimate(question);
        while sum > goal
            && let Some(turn) = self.turns.get(self.cut)
        {
            sum -= turn.tokens();
            self.cut += 1;
        }
    }

    fn estimate(&self, question: &Arc<str>) -> u64 {
        let turns: u64 = self.turns.iter().skip(self.cut).map(V1Turn::tokens).sum();
        tokens(&self.system) + turns + tokens(question)
    }

    fn whole(&self, question: &Arc<str>) -> V1Prompt {
        let mut prompt = vec![(Role::System, Arc::clone(&self.system))];
        for turn in self.turns.iter().skip(self.cut) {
            prompt.push((Role::User, Arc::clone(&turn.question)));
            prompt.push((Role::Assistant, Arc::clone(&turn.answer)));
        }
        prompt.push((Role::User, Arc::clone(question)));
        prompt
    }
}

fn tokens(text: &str) -> u64 {
    text.len() as u64 / BYTES_PER_TOKEN + 1 + TOKENS_PER_MESSAGE
}
