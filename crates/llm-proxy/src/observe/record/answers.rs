//! What came of each answer to one request, as its upstream counted it, or as it was seen.

use std::time::Duration;

use llama_client::events::Usage;
use tokio::time::Instant;

/// All answers to one request.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<AnswerCount>);

#[derive(Clone, Debug, Default)]
struct AnswerCount {
    has_begun: bool,
    /// As the upstream counts it.
    usage: Option<Usage>,
    n_tokens_seen: u64,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl AnswerCount {
    /// An answer that ended early was not counted to its end.
    fn n_completion_tokens(&self) -> u64 {
        let counted = self.usage.map_or(0, |usage| usage.n_completion_tokens);
        counted.max(self.n_tokens_seen)
    }
}

impl Answers {
    pub(super) fn begin(&mut self, at: usize) {
        let n_answers = self.0.len().max(at + 1);
        self.0.resize_with(n_answers, AnswerCount::default);
        self.0[at].has_begun = true;
    }

    /// A token came. Returns when the one before it came.
    pub(super) fn token(&mut self, at: usize, now: Instant) -> Option<Instant> {
        let answer = self.0.get_mut(at)?;
        answer.n_tokens_seen += 1;
        answer.first_token.get_or_insert(now);
        answer.last_token.replace(now)
    }

    pub(super) fn counted(&mut self, at: usize, usage: Usage) {
        if let Some(answer) = self.0.get_mut(at) {
            answer.usage = Some(usage);
        }
    }

    /// What the upstreams counted; `None` when none of them did.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.0
            .iter()
            .filter_map(|answer| answer.usage)
            .reduce(Usage::plus)
    }

    pub(super) fn n_completion_tokens(&self) -> u64 {
        self.0.iter().map(AnswerCount::n_completion_tokens).sum()
    }

    /// The tokens of all answers that began, each with its prompt, which is `n_prompt_tokens` long if nobody counted it.
    pub(super) fn n_tokens(&self, n_prompt_tokens: u64) -> Option<u64> {
        self.0
            .iter()
            .filter(|answer| answer.has_begun)
            .map(|answer| {
                let usage = answer.usage;
                let prompt = usage.map_or(n_prompt_tokens, |usage| usage.n_prompt_tokens);
                prompt.saturating_add(answer.n_completion_tokens())
            })
            .reduce(u64::saturating_add)
    }

    /// The time of one token after the first, of each answer that has several.
    pub(super) fn means(&self) -> impl Iterator<Item = Duration> {
        self.0.iter().filter_map(|answer| {
            let lasted = answer.last_token? - answer.first_token?;
            let n_gaps = answer.n_tokens_seen.checked_sub(1).filter(|n| *n > 0)?;
            Some(Duration::from_secs_f64(
                lasted.as_secs_f64() / n_gaps as f64,
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(n_prompt_tokens: u64, n_completion_tokens: u64) -> Usage {
        Usage {
            n_prompt_tokens,
            n_completion_tokens,
            ..Usage::default()
        }
    }

    #[test]
    fn each_answer_that_began_is_charged_by_its_count_or_by_what_was_seen_of_it() {
        let now = Instant::now();
        let mut answers = Answers::default();
        assert_eq!(answers.n_tokens(100), None, "nothing began");
        // The first is counted to its end, the second was left in its middle, the third waits.
        answers.begin(1);
        answers.begin(0);
        for _ in 0..50 {
            answers.token(1, now);
        }
        answers.token(0, now);
        answers.counted(0, usage(80, 1));
        assert_eq!(answers.n_tokens(100), Some(80 + 1 + 100 + 50));
        assert_eq!(answers.n_completion_tokens(), 51);
        assert_eq!(answers.usage(), Some(usage(80, 1)));
        // A count at an answer's begin says nothing of its end.
        answers.counted(1, usage(80, 0));
        assert_eq!(answers.n_tokens(100), Some(80 + 1 + 80 + 50));
    }
}
