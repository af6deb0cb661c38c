//! What of a conversation the model is shown, and when the oldest turns are left out.
//!
//! Only whole turns are shown, because some chat templates refuse anything else. What is left out stays left out: the next
//! answer begins with the cut of the one before, and a new cut goes well below the limit. The beginning of the prompt, which
//! the model has in its cache, then stays the same for many turns.

use std::sync::Arc;

use uuid::Uuid;

use crate::completion::{AnswerRequest, AskContent, AskMessage};
use crate::context::Role;
use crate::conversation::room::Room;
use crate::error::{Failure, Overflow};
use crate::protocol::record::{AnswerOptions, Answered, Author, ContentPart, ContextUse, Message};
use crate::state::Gateway;

/// The share of the context's room from which on tokens are counted by the model, in percent.
const COUNT_FROM_PERCENT: u64 = 75;
/// The share of the room that a cut leaves full, in percent.
const CUT_TO_PERCENT: u64 = 60;
/// The most text and pictures of one prompt, in bytes: what stays below llm-proxy's cap on a body once it is JSON.
const MAX_PROMPT_BYTES: usize = 192 * 1024;
/// Cuts after which a prompt is sent as it is; the model then says that it is too long.
const MAX_CUTS: usize = 4;

/// A question and its answer.
#[derive(Debug)]
struct PastTurn {
    question: Vec<ContentPart>,
    answer: Box<Answered>,
}

/// What one answer is asked with.
#[derive(Debug)]
pub(crate) struct Prompt {
    system: Option<String>,
    turns: Vec<PastTurn>,
    question: Vec<ContentPart>,
    /// Thoughts and text of the answer that goes on.
    partial: Option<(String, String)>,
    options: AnswerOptions,
    lane: Arc<str>,
    /// How many of the oldest turns were left out, and are no longer here.
    dropped: usize,
    /// How many of the oldest turns that are here are left out.
    cut: usize,
    n_ctx: Option<u64>,
}

impl Prompt {
    /// The prompt of an answer that the room holds, and tells the room how much of the context it takes.
    ///
    /// # Errors
    ///
    /// When its conversation cannot be read.
    pub(crate) async fn of(gateway: &Gateway, room: &Room, id: Uuid) -> Result<Self, Failure> {
        let live = {
            let mut state = room.state();
            state.answer(id).map(|answer| {
                let partial = answer.continues.then(|| answer.written.split());
                (
                    answer.question,
                    answer.options.clone(),
                    Arc::clone(&answer.lane),
                    partial,
                )
            })
        };
        let (question, options, lane, partial) = live.ok_or(Failure::Rejected)?;
        let path = gateway.store.path(&room.owner, question).await;
        let mut path = path.map_err(|_| Failure::Storage)?;
        let question = path.pop().ok_or(Failure::Rejected)?.content;
        let system = options.system.clone();
        let system = system.unwrap_or_else(|| gateway.config.system_prompt.clone());
        let mut prompt = Self {
            system: Some(system).filter(|system| !system.is_empty()),
            turns: turns(path),
            question,
            partial,
            options,
            lane,
            dropped: 0,
            cut: 0,
            n_ctx: gateway.upstream.n_ctx(),
        };
        let used = prompt.fit(gateway).await;
        // An answer may run for minutes: it holds no more than what it asks with.
        prompt.dropped = prompt.cut;
        prompt.turns.drain(..prompt.cut);
        prompt.cut = 0;
        prompt.tell(room, id, used);
        Ok(prompt)
    }

    /// Leaves out what does not fit. Returns how many tokens are left, as far as is known.
    async fn fit(&mut self, gateway: &Gateway) -> u64 {
        let last = self.turns.last().and_then(|turn| turn.answer.context);
        let left_out = last.map_or(0, |context| context.left_out as usize / 2);
        self.cut = left_out.min(self.turns.len());
        while self.bytes() > MAX_PROMPT_BYTES && self.cut < self.turns.len() {
            self.cut += 1;
        }
        let mut tokens = self.known_tokens();
        let Some(room) = self.n_ctx.map(|n_ctx| n_ctx - self.reserve(n_ctx)) else {
            return tokens;
        };
        for _ in 0..MAX_CUTS {
            if tokens <= room * COUNT_FROM_PERCENT / 100 {
                break;
            }
            let counted = gateway.completions.count(&self.ask()).await;
            tokens = counted.map_or_else(|_| self.estimate(), u64::from);
            if tokens <= room || self.cut == self.turns.len() {
                break;
            }
            tokens = self.cut_to(room * CUT_TO_PERCENT / 100, tokens);
        }
        tokens
    }

    /// Leaves out turns until `goal` tokens are left of `tokens`. Returns how many are.
    fn cut_to(&mut self, goal: u64, tokens: u64) -> u64 {
        let whole = self.estimate().max(1);
        while self.cut < self.turns.len() {
            self.cut += 1;
            // The estimate may be wrong by a factor; it is about the same for all turns.
            let left = self.estimate().saturating_mul(tokens) / whole;
            if left <= goal {
                return left;
            }
        }
        self.estimate().saturating_mul(tokens) / whole
    }

    /// Leaves out more after the model found it too long. Returns whether there was more.
    pub(crate) fn shorten(&mut self, room: &Room, id: Uuid, overflow: Option<Overflow>) -> bool {
        if self.cut == self.turns.len() {
            return false;
        }
        let estimate = self.estimate();
        let left = match overflow {
            Some(Overflow {
                n_prompt_tokens,
                n_ctx,
            }) => {
                let room = n_ctx.saturating_sub(self.reserve(n_ctx));
                self.cut_to(room * CUT_TO_PERCENT / 100, n_prompt_tokens)
            }
            None => self.cut_to(estimate / 2, estimate),
        };
        self.tell(room, id, left);
        true
    }

    /// Asks for the rest of an answer whose engine was lost after it had written `n_tokens` since it was asked. Returns
    /// whether another engine can go on exactly there.
    pub(crate) fn go_on(&mut self, room: &Room, id: Uuid, n_tokens: u32) -> bool {
        if n_tokens == 0 {
            // All that is written was in the prompt.
            return true;
        }
        let mut state = room.state();
        let Some(live) = state.answer(id) else {
            return false;
        };
        if !live.written.join() {
            return false;
        }
        self.partial = Some(live.written.split());
        drop(state);
        // The limit is for the answer, however many engines write it.
        let most = self.options.max_tokens;
        self.options.max_tokens = most.map(|most| most.saturating_sub(n_tokens).max(1));
        true
    }

    fn tell(&self, room: &Room, id: Uuid, used: u64) {
        let Some(n_ctx) = self.n_ctx else {
            return;
        };
        let context = ContextUse {
            left_out: small((self.dropped + self.cut) as u64 * 2),
            used: small(used),
            size: small(n_ctx),
        };
        room.change(|state| {
            if let Some(answer) = state.answer(id) {
                answer.context = Some(context);
            }
        });
    }

    /// What the model is asked.
    pub(crate) fn ask(&self) -> AnswerRequest<'_> {
        let mut messages = Vec::with_capacity(2 * (self.turns.len() - self.cut) + 3);
        if let Some(system) = &self.system {
            messages.push(AskMessage::text(Role::System, system));
        }
        for turn in &self.turns[self.cut..] {
            messages.push(parts(&turn.question));
            messages.push(AskMessage::text(Role::Assistant, &turn.answer.text));
        }
        messages.push(parts(&self.question));
        if let Some((reasoning, text)) = &self.partial {
            messages.push(AskMessage {
                role: Role::Assistant,
                content: AskContent::Text(text),
                reasoning: Some(reasoning.as_str()).filter(|reasoning| !reasoning.is_empty()),
            });
        }
        AnswerRequest {
            messages,
            options: &self.options,
            continues: self.partial.is_some(),
            lane: &self.lane,
            request_id: "",
            traceparent: None,
            wants_usage: true,
            waits_for_model: true,
        }
    }

    /// Tokens that the last answer's prompt is known to have had and its answer added, and an estimate of the rest.
    fn known_tokens(&self) -> u64 {
        let last = self.turns.last().map(|turn| &*turn.answer);
        let usage = last.and_then(|answer| answer.usage);
        let same_cut = last
            .and_then(|answer| answer.context)
            .is_some_and(|context| context.left_out as usize == self.cut * 2);
        match usage {
            Some(usage) if same_cut && self.partial.is_none() => {
                let before = u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens);
                before + u64::from(self.question_alone().estimate())
            }
            _ => self.estimate(),
        }
    }

    fn question_alone(&self) -> AnswerRequest<'_> {
        AnswerRequest {
            messages: vec![parts(&self.question)],
            ..self.ask()
        }
    }

    fn estimate(&self) -> u64 {
        self.ask().estimate().into()
    }

    fn bytes(&self) -> usize {
        let shown = self.turns[self.cut..].iter();
        let turns: usize = shown
            .map(|turn| body_bytes(&turn.question) + turn.answer.text.len())
            .sum();
        turns + body_bytes(&self.question)
    }

    /// Tokens that are kept for the answer: at most half of the context.
    fn reserve(&self, n_ctx: u64) -> u64 {
        let most = self.options.max_tokens.map_or(0, u64::from);
        most.min(n_ctx / 2)
    }
}

/// Whole turns, root first. A question that got no text is left out with its answer.
fn turns(path: Vec<Message>) -> Vec<PastTurn> {
    let mut turns = Vec::new();
    let mut question = None;
    for message in path {
        match message.role {
            Author::User => question = Some(message.content),
            Author::Assistant => {
                let answer = message.answer.filter(|answer| !answer.text.is_empty());
                if let Some((question, answer)) = question.take().zip(answer) {
                    let answer = Box::new(answer);
                    turns.push(PastTurn { question, answer });
                }
            }
        }
    }
    turns
}

fn parts(content: &[ContentPart]) -> AskMessage<'_> {
    AskMessage {
        role: Role::User,
        content: AskContent::Parts(content),
        reasoning: None,
    }
}

fn body_bytes(content: &[ContentPart]) -> usize {
    let bytes = content.iter().map(|part| match part {
        ContentPart::Text { text } => text.len(),
        ContentPart::Image { data_url } => data_url.len(),
    });
    bytes.sum()
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::body_bytes;
    use crate::protocol::record::ContentPart;

    #[test]
    fn pictures_count_towards_the_size_of_a_prompt() {
        let data_url = "data:image/png;base64,AAAA".to_owned();
        let text = "What is this?".to_owned();
        let bytes = data_url.len() + text.len();
        let content = [ContentPart::Text { text }, ContentPart::Image { data_url }];
        assert_eq!(body_bytes(&content), bytes);
    }
}
