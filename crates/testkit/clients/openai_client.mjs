// JavaScript's `openai` package against a running llm-proxy, and straight to llama-server for comparison.
// suite.mjs says how it is run.

import assert from 'node:assert/strict'
import { KEY, MODEL, STORY, STORY_TOKENS, expectFree, load, notAsked, run, straight, version } from './suite.mjs'

const { default: OpenAI } = await load('openai')

const messages = [{ role: 'user', content: 'Name one colour.' }]
const question = { model: MODEL, messages, max_tokens: 24, temperature: 0, seed: 7 }
const story = { model: MODEL, messages: [{ role: 'user', content: STORY }], max_tokens: STORY_TOKENS, stream: true }
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const tools = [{ type: 'function', function: { name: 'weather', description: 'The weather.', parameters } }]

function client(base, more = {}) {
  return new OpenAI({ baseURL: `${base}/v1`, apiKey: KEY, maxRetries: 0, timeout: 120_000, ...more })
}

/** The error that `call` ends with, which must be of this class and, when it came by HTTP, carry a code that is text. */
async function fails(kind, call) {
  try {
    await call()
  } catch (error) {
    assert.equal(error.constructor.name, kind.name)
    if (error.status) assert.equal(typeof error.code, 'string', `code ${error.code} is no text`)
    return error
  }
  assert.fail(`no ${kind.name}`)
}

const cases = {
  async the_served_model_is_listed(base) {
    const ids = []
    for await (const model of client(base).models.list()) ids.push(model.id)
    assert.deepEqual(ids, [MODEL])
  },
  async a_whole_answer_has_text_a_reason_to_end_and_usage(base) {
    const answer = await client(base).chat.completions.create(question)
    assert.ok(answer.choices[0].message.content)
    assert.ok(['stop', 'length'].includes(answer.choices[0].finish_reason))
    assert.ok(answer.usage.completion_tokens > 0 && answer.usage.completion_tokens <= 24)
  },
  async a_streamed_answer_is_the_whole_one_in_pieces(base) {
    const chunks = []
    const asked = { ...question, stream: true, stream_options: { include_usage: true } }
    for await (const chunk of await client(base).chat.completions.create(asked)) chunks.push(chunk)
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')
    assert.ok(chunks.length > 3 && chunks.at(-1).usage.completion_tokens > 0)
    assert.equal(text, (await client(base).chat.completions.create(question)).choices[0].message.content)
  },
  async a_stream_without_usage_has_none(base) {
    for await (const chunk of await client(base).chat.completions.create({ ...question, stream: true })) {
      assert.ok(!chunk.usage && chunk.choices.length === 1)
    }
  },
  async the_streaming_helper_puts_an_answer_together(base) {
    const answer = await client(base).chat.completions.stream({ ...question, stream: true }).finalChatCompletion()
    assert.ok(answer.choices[0].message.content)
  },
  async leaving_a_stream_frees_the_slot_at_once(base) {
    for await (const _chunk of await client(base).chat.completions.create(story)) break
    await expectFree()
  },
  async log_probabilities_come_when_asked_for(base) {
    const answer = await client(base).chat.completions.create({ ...question, logprobs: true, top_logprobs: 2 })
    // A stream, which every answer is put together from, does not show the token that ends it.
    assert.ok([0, 1].includes(answer.usage.completion_tokens - answer.choices[0].logprobs.content.length))
  },
  async a_schema_is_kept_to(base) {
    const schema = { type: 'object', properties: { colour: { type: 'string', maxLength: 12 } }, required: ['colour'] }
    const response_format = { type: 'json_schema', json_schema: { name: 's', strict: true, schema } }
    const answer = await client(base).chat.completions.create({ ...question, max_tokens: 64, response_format })
    assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ['colour'])
  },
  async a_tool_is_called_and_its_result_is_read(base) {
    const create = (more) => client(base).chat.completions.create({ ...question, tools, max_tokens: 64, ...more })
    const asked = [{ role: 'user', content: 'What is the weather in Rome?' }]
    for (const tool_choice of ['auto', 'required', { type: 'function', function: { name: 'weather' } }]) {
      const [{ finish_reason, message }] = (await create({ messages: asked, tool_choice })).choices
      assert.equal(finish_reason, 'tool_calls')
      assert.ok('city' in JSON.parse(message.tool_calls[0].function.arguments))
      const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'It is sunny in Rome.' }
      const answer = await create({ messages: [...asked, message, result] })
      assert.match(answer.choices[0].message.content, /sunny/)
    }
  },
  async a_response_has_the_requests_id(base) {
    const { data, request_id } = await client(base).chat.completions.create(question).withResponse()
    assert.ok(request_id && data.choices)
  },
  async a_wrong_key_is_an_authentication_error(base) {
    const api = client(base, { apiKey: 'not-the-key' })
    await fails(OpenAI.AuthenticationError, () => api.chat.completions.create(question))
  },
  async an_unknown_model_is_a_not_found_error(base) {
    await fails(OpenAI.NotFoundError, () => client(base).chat.completions.create({ ...question, model: 'no-such-model' }))
  },
  async an_unknown_route_is_a_not_found_error(base) {
    await fails(OpenAI.NotFoundError, () => client(base).files.list())
  },
  async a_field_out_of_range_is_a_bad_request_that_names_it(base) {
    const error = await fails(OpenAI.BadRequestError, () => client(base).chat.completions.create({ ...question, temperature: 9 }))
    assert.equal(error.param, 'temperature')
  },
  async a_prompt_that_does_not_fit_is_a_bad_request(base) {
    const long = { ...question, messages: [{ role: 'user', content: 'word '.repeat(6000) }] }
    const error = await fails(OpenAI.BadRequestError, () => client(base).chat.completions.create(long))
    assert.equal(error.code, 'context_length_exceeded')
  },
  async a_full_queue_is_a_rate_limit_error(base) {
    const api = client(base)
    const abort = new AbortController()
    const all = Array.from({ length: 80 }, () => api.chat.completions.create(story, { signal: abort.signal }))
    const refused = await Promise.any(all.map((one) => one.then(() => new Promise(() => {}), (error) => error)))
    abort.abort()
    await Promise.allSettled(all)
    assert.equal(refused.constructor.name, 'RateLimitError')
    assert.ok(Number(refused.headers.get('retry-after')) > 0)
  },
  async nobody_there_is_a_connection_error() {
    await fails(OpenAI.APIConnectionError, () => client('http://127.0.0.1:9').chat.completions.create(question))
  },
  async a_callers_own_deadline_is_a_timeout_error(base) {
    await fails(OpenAI.APIConnectionTimeoutError, () => client(base, { timeout: 1 }).chat.completions.create(question))
  },
}

const differences = {
  a_response_has_the_requests_id: straight('llama-server gives no id'),
  a_wrong_key_is_an_authentication_error: straight("llama-server's `code` is a number"),
  an_unknown_model_is_a_not_found_error: straight('llama-server answers to any name'),
  an_unknown_route_is_a_not_found_error: straight("llama-server's `code` is a number"),
  a_field_out_of_range_is_a_bad_request_that_names_it: straight('llama-server takes a temperature of 9'),
  a_prompt_that_does_not_fit_is_a_bad_request: straight("llama-server's `code` is a number"),
  a_full_queue_is_a_rate_limit_error: notAsked("llama-server's queue has no end: it would tell all eighty stories"),
}

await run(`openai (JavaScript) ${version('openai')}`, cases, differences)
