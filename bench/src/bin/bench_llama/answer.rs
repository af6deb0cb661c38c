//! What the mock sends, in llama-server's own shapes, rendered once for each kind of answer.

/// One token's worth of text, of the length that a token has in English.
const TEXT: &str = "tok ";

/// The text of one event of an answer that is measured in megabytes.
const PIECE_BYTES: usize = 62_500;

/// What an answer is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Order {
    /// Whether the request asks for a stream.
    pub(crate) stream: bool,
    /// Bytes of text of an answer that is not paced.
    pub(crate) size: usize,
    /// Events that the text is cut into, when it is streamed.
    pub(crate) events: usize,
    /// Tokens of a stream.
    pub(crate) tokens: usize,
    /// Milliseconds between two of them; 0 sends all at once.
    pub(crate) pace: u64,
    /// Milliseconds before the header.
    pub(crate) first: u64,
    /// Tokens of a paced stream after which the connection is reset; 0 for never.
    pub(crate) cut: usize,
    /// Megabytes of a stream that comes as fast as it is taken.
    pub(crate) megabytes: usize,
    /// Tokens of a paced stream after which nothing more comes; 0 for never.
    pub(crate) stall: usize,
    /// Answers to the one request, which `n` asks for; 0 and 1 are one.
    pub(crate) n: usize,
    /// Numbers of an embedding, which is the whole answer then.
    pub(crate) dimensions: usize,
}

impl Order {
    /// Reads the order in a request's body, and the number that the request gave itself.
    pub(crate) fn read(body: &[u8]) -> (Self, Option<u64>) {
        let mut order = Self::default();
        let mut id = None;
        // Proxies put a blank after the colon, or not.
        order.stream = [&b"\"stream\":true"[..], b"\"stream\": true"]
            .iter()
            .any(|text| find(body, text).is_some());
        order.n = n_answers(body);
        let words = find(body, b"bench:")
            .map(|at| &body[at + b"bench:".len()..])
            .unwrap_or_default();
        let words = words.split(|byte| *byte == b';').next().unwrap_or_default();
        for word in words.split(|byte| *byte == b',') {
            let Some((name, value)) = std::str::from_utf8(word)
                .ok()
                .and_then(|word| word.split_once('='))
            else {
                continue;
            };
            let value: u64 = value.parse().unwrap_or_default();
            let number = usize::try_from(value).unwrap_or_default();
            match name {
                "size" => order.size = number,
                "events" => order.events = number,
                "tokens" => order.tokens = number,
                "pace" => order.pace = value,
                "first" => order.first = value,
                "cut" => order.cut = number,
                "stall" => order.stall = number,
                "megabytes" => order.megabytes = number,
                "dimensions" => order.dimensions = number,
                "id" => id = Some(value),
                _ => {}
            }
        }
        (order, id)
    }

    /// Whether the answer takes time, so that its client may leave meanwhile.
    pub(crate) const fn is_paced(self) -> bool {
        self.pace > 0 || self.first > 0
    }
}

/// An answer's bytes.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// The answer to a request that asked for no stream.
    pub(crate) whole: Vec<u8>,
    /// Of a stream: the header and the role; of one that has a size, everything.
    pub(crate) head: Vec<u8>,
    /// The events that come without a pause, each as a chunk.
    pub(crate) events: Vec<Vec<u8>>,
    /// The finish reason, the usage, `[DONE]`, the last chunk.
    pub(crate) tail: Vec<u8>,
}

impl Rendered {
    pub(crate) fn new(order: Order) -> Self {
        let n_tokens = order.tokens.max(order.size / TEXT.len());
        let n = order.n.max(1);
        if order.dimensions > 0 || !order.stream {
            let body = if order.dimensions > 0 {
                embedding(order.dimensions)
            } else {
                completion(n_tokens, n)
            };
            return Self {
                whole: document(200, &body),
                ..Self::default()
            };
        }
        let head = "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nX-Accel-Buffering: no\r\n\
            Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=100\r\n\r\n";
        let mut rendered = Self {
            head: head.into(),
            ..Self::default()
        };
        for index in 0..n {
            let role = r#"{"role":"assistant","content":null}"#;
            rendered.head.extend(event(&chunk(index, role, "null")));
        }
        if order.megabytes > 0 {
            rendered
                .events
                .push(token(0, &TEXT.repeat(PIECE_BYTES / TEXT.len())));
        } else if order.pace == 0 {
            let n_events = if order.size > 0 {
                order.events.clamp(1, n_tokens)
            } else {
                n_tokens
            };
            for number in 0..n_events {
                // The tokens, spread over the events as evenly as whole ones can be.
                let share = (number + 1) * n_tokens / n_events - number * n_tokens / n_events;
                let text = TEXT.repeat(share);
                // llama-server computes the answers side by side, and their events come in turn.
                rendered
                    .events
                    .extend((0..n).map(|index| token(index, &text)));
            }
        }
        for index in 0..n {
            rendered.tail.extend(event(&chunk(index, "{}", "\"stop\"")));
        }
        rendered.tail.extend(event(&format!(
            r#"{{"choices":[],"created":1795359974,"id":"chatcmpl-bench","model":"bench","system_fingerprint":"b0-unknown","object":"chat.completion.chunk",{}}}"#,
            usage(n_tokens * n)
        )));
        rendered.tail.extend(event("[DONE]"));
        rendered.tail.extend(b"0\r\n\r\n");
        if order.size > 0 {
            // All at once: what is measured is what a proxy does with it.
            let events = std::mem::take(&mut rendered.events).concat();
            rendered.head.extend(events);
            rendered.head.append(&mut rendered.tail);
        }
        rendered
    }
}

/// An event with a token of the answer `index`, as a chunk.
pub(crate) fn token(index: usize, text: &str) -> Vec<u8> {
    let delta = format!(r#"{{"content":"{text}"}}"#);
    event(&chunk(index, &delta, "null"))
}

/// `n` whole answers of `n_tokens` each.
fn completion(n_tokens: usize, n: usize) -> String {
    let text = TEXT.repeat(n_tokens);
    let choices: Vec<String> = (0..n)
        .map(|index| {
            format!(
                r#"{{"finish_reason":"stop","index":{index},"message":{{"role":"assistant","content":"{text}"}}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"choices":[{}],"created":1795359974,"model":"bench","system_fingerprint":"b0-unknown","object":"chat.completion",{},"id":"chatcmpl-bench"}}"#,
        choices.join(","),
        usage(n_tokens * n)
    )
}

/// An embedding, with numbers of the length that llama-server writes.
fn embedding(dimensions: usize) -> String {
    let numbers = vec!["-0.012345678"; dimensions];
    format!(
        r#"{{"model":"bench","object":"list","usage":{{"prompt_tokens":7,"total_tokens":7}},"data":[{{"embedding":[{}],"index":0,"object":"embedding"}}]}}"#,
        numbers.join(",")
    )
}

/// How many answers a request asks for.
fn n_answers(body: &[u8]) -> usize {
    let Some(at) = find(body, b"\"n\":") else {
        return 1;
    };
    let digits: String = body[at + b"\"n\":".len()..]
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|character| *character == ' ')
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(1)
}

fn chunk(index: usize, delta: &str, finish_reason: &str) -> String {
    format!(
        r#"{{"choices":[{{"finish_reason":{finish_reason},"index":{index},"delta":{delta}}}],"created":1795359974,"id":"chatcmpl-BO0P6czErQbtaUYBODpHR5eV9flcesn1","model":"bench","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}}"#
    )
}

fn event(data: &str) -> Vec<u8> {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8).into_bytes()
}

fn usage(n_tokens: usize) -> String {
    format!(
        r#""usage":{{"completion_tokens":{n_tokens},"prompt_tokens":7,"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":0}}}},"timings":{{"cache_n":0,"prompt_n":7,"prompt_ms":3.97,"prompt_per_token_ms":0.5,"prompt_per_second":1763.2,"predicted_n":{n_tokens},"predicted_ms":9.7,"predicted_per_token_ms":0.1,"predicted_per_second":9703.5}}"#,
        n_tokens + 7
    )
}

/// A JSON document with its header.
pub(crate) fn document(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} x\r\nServer: llama.cpp\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {}\r\nKeep-Alive: timeout=5, max=100\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn props(slots: usize) -> String {
    format!(
        r#"{{"default_generation_settings":{{"n_ctx":4096,"params":{{}}}},"total_slots":{slots},"model_alias":"bench","model_path":"/models/bench.gguf","is_sleeping":false}}"#
    )
}

pub(crate) fn slots(slots: usize, running: u64) -> String {
    let all: Vec<String> = (0..slots)
        .map(|id| {
            let busy = u64::try_from(id).is_ok_and(|id| id < running);
            format!(r#"{{"id":{id},"n_ctx":4096,"is_processing":{busy}}}"#)
        })
        .collect();
    format!("[{}]", all.join(","))
}

pub(crate) fn models() -> String {
    r#"{"object":"list","data":[{"id":"bench","object":"model","meta":{"n_ctx":4096}}]}"#.to_owned()
}

/// Requests so far, running ones, the most at once, and who left when, since this was last asked.
pub(crate) fn counts(
    (requests, running, most_running): (u64, u64, u64),
    left: &[(u64, u128)],
) -> String {
    let left: Vec<String> = left.iter().map(|(id, at)| format!("[{id},{at}]")).collect();
    format!(
        r#"{{"requests":{requests},"running":{running},"most_running":{most_running},"left":[{}]}}"#,
        left.join(",")
    )
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|bytes| bytes == needle)
}
