//! The frames of version 2 of one answer as parts of the AI SDK's UI message stream. Pure: frames in, bytes out.
//!
//! Whatever the frames are cut into, the parts are well formed: each piece of text is inside a part that was begun in this
//! stream, and an answer that is not whole never ends like one that is.

use std::fmt::Write as _;

use uuid::Uuid;

use crate::answer::written::RunKind;
use crate::http::problem::word;
use crate::protocol::record::{AnswerProblem, AnswerStatus, ErrorCode, FinishReason};
use crate::protocol::ui_stream::{UiFinishReason, UiMetadata, UiProgress, UiQueue, UiStreamPart};
use crate::protocol::v2::{Done, ServerFrame};

/// The end of a stream whose answer is whole or was stopped.
const DONE: &str = "data: [DONE]\n\n";

/// Writes the parts of one answer.
#[derive(Debug)]
pub(super) struct PartWriter {
    answer: Uuid,
    /// The part that is open.
    open: Option<(RunKind, String)>,
    n_parts: u32,
    is_over: bool,
}

impl PartWriter {
    /// A writer, and how the stream begins.
    pub(super) fn new(answer: Uuid) -> (Self, String) {
        let writer = Self {
            answer,
            open: None,
            n_parts: 0,
            is_over: false,
        };
        let mut out = String::new();
        put(&mut out, &UiStreamPart::Start { message_id: answer });
        (writer, out)
    }

    /// Whether nothing may follow.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Writes what a frame says of the answer.
    pub(super) fn write(&mut self, frame: &ServerFrame, out: &mut String) {
        if self.is_over {
            return;
        }
        match frame {
            ServerFrame::Queued {
                answer,
                place,
                wait_seconds,
            } if *answer == self.answer => {
                let data = UiQueue {
                    place: *place,
                    wait_ms: wait_seconds.map(|seconds| u64::from(seconds) * 1_000),
                };
                let transient = true;
                put(out, &UiStreamPart::DataQueue { data, transient });
            }
            ServerFrame::Progress(progress) if progress.answer == self.answer => {
                let data = UiProgress {
                    phase: progress.phase,
                    done: progress.done,
                    total: progress.total,
                    cached: progress.cached,
                };
                let transient = true;
                put(out, &UiStreamPart::DataProgress { data, transient });
            }
            ServerFrame::Delta {
                answer,
                text,
                reasoning,
                ..
            } if *answer == self.answer => {
                for (kind, piece) in [(RunKind::Reasoning, reasoning), (RunKind::Text, text)] {
                    if let Some(piece) = piece {
                        self.piece(kind, piece, out);
                    }
                }
            }
            ServerFrame::Done(done) if done.answer == self.answer => self.end(done, out),
            // Parts cannot be taken back.
            ServerFrame::Snapshot { answer, .. } if *answer == self.answer => {
                let problem = AnswerProblem {
                    code: ErrorCode::Conflict,
                    message: "the answer is another one by now; read it again".to_owned(),
                };
                self.fail(&problem, out);
            }
            // The rest is no part of an answer.
            _ => {}
        }
    }

    /// Ends the stream of an answer that is not whole.
    pub(super) fn fail(&mut self, problem: &AnswerProblem, out: &mut String) {
        self.close(out);
        self.is_over = true;
        let error_text = format!("{}: {}", word(problem.code), problem.message);
        put(out, &UiStreamPart::Error { error_text });
    }

    fn piece(&mut self, kind: RunKind, piece: &str, out: &mut String) {
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close(out);
            let id = format!("p{}", self.n_parts);
            self.n_parts += 1;
            let id = &self.open.insert((kind, id)).1;
            put(
                out,
                &match kind {
                    RunKind::Text => UiStreamPart::TextStart { id },
                    RunKind::Reasoning => UiStreamPart::ReasoningStart { id },
                },
            );
        }
        if let Some((_, id)) = &self.open {
            let delta = piece;
            put(
                out,
                &match kind {
                    RunKind::Text => UiStreamPart::TextDelta { id, delta },
                    RunKind::Reasoning => UiStreamPart::ReasoningDelta { id, delta },
                },
            );
        }
    }

    fn close(&mut self, out: &mut String) {
        if let Some((kind, id)) = self.open.take() {
            let id = &id;
            put(
                out,
                &match kind {
                    RunKind::Text => UiStreamPart::TextEnd { id },
                    RunKind::Reasoning => UiStreamPart::ReasoningEnd { id },
                },
            );
        }
    }

    fn end(&mut self, done: &Done, out: &mut String) {
        let finish_reason = match (done.status, done.finish_reason) {
            (AnswerStatus::Done, Some(FinishReason::Length)) => UiFinishReason::Length,
            (AnswerStatus::Done, Some(FinishReason::ToolCalls)) => UiFinishReason::ToolCalls,
            (AnswerStatus::Done | AnswerStatus::Stopped, _) => UiFinishReason::Stop,
            (AnswerStatus::Interrupted, _) => {
                let problem = AnswerProblem {
                    code: ErrorCode::ShuttingDown,
                    message: "the answer was interrupted".to_owned(),
                };
                return self.fail(done.error.as_ref().unwrap_or(&problem), out);
            }
            (AnswerStatus::Failed | AnswerStatus::Waiting | AnswerStatus::Running, _) => {
                let problem = AnswerProblem {
                    code: ErrorCode::Internal,
                    message: "the answer failed".to_owned(),
                };
                return self.fail(done.error.as_ref().unwrap_or(&problem), out);
            }
        };
        self.close(out);
        self.is_over = true;
        let message_metadata = UiMetadata {
            usage: done.usage,
            timings: done.timings,
            stopped: done.status == AnswerStatus::Stopped,
            status: None,
            error: None,
        };
        put(
            out,
            &UiStreamPart::Finish {
                finish_reason,
                message_metadata,
            },
        );
        out.push_str(DONE);
    }
}

fn put(out: &mut String, part: &UiStreamPart<'_>) {
    match serde_json::to_string(part) {
        // Writing to a string cannot fail.
        Ok(json) => write!(out, "data: {json}\n\n").unwrap_or_default(),
        Err(error) => tracing::error!(%error, "a part of a stream is not JSON"),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::PartWriter;
    use crate::protocol::record::AnswerStatus;
    use crate::protocol::v2::{Done, ServerFrame};

    #[test]
    fn a_stream_whose_text_was_replaced_ends_as_an_error_and_never_as_whole() {
        let answer = Uuid::from_u128(1);
        let (mut writer, _) = PartWriter::new(answer);
        let frames = [
            ServerFrame::Delta {
                answer,
                position: 3,
                text: Some("one".to_owned()),
                reasoning: None,
            },
            ServerFrame::Snapshot {
                answer,
                position: 5,
                text: "other".to_owned(),
                reasoning: None,
                status: AnswerStatus::Running,
            },
            ServerFrame::Done(Done {
                answer,
                position: 5,
                status: AnswerStatus::Done,
                finish_reason: None,
                usage: None,
                timings: None,
                error: None,
                joints: Vec::new(),
                revision: 1,
            }),
        ];
        let mut out = String::new();
        for frame in frames {
            writer.write(&frame, &mut out);
        }
        let parts: Vec<&str> = out.split_terminator("\n\n").collect();
        let expected = [
            r#"data: {"type":"text-start","id":"p0"}"#,
            r#"data: {"type":"text-delta","id":"p0","delta":"one"}"#,
            r#"data: {"type":"text-end","id":"p0"}"#,
            r#"data: {"type":"error","errorText":"conflict: the answer is another one by now; read it again"}"#,
        ];
        assert_eq!(parts, expected);
    }
}
