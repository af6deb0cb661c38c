// JavaScript's `openai` package against a running llm-proxy, and straight to llama-server for comparison.
//
// `cargo xtask test` runs it with the package's folder as its first argument and CORRAL_PROXY_URL, CORRAL_ENGINE_URL,
// CORRAL_API_KEY and CORRAL_MODEL. It prints a line for each case and exits with 1 when one does not hold through the
// proxy; what llama-server alone does is only shown.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(`${process.argv[2]}/`))
const { default: OpenAI } = await import(pathToFileURL(require.resolve('openai')))
const { CORRAL_API_KEY: KEY, CORRAL_MODEL: MODEL, CORRAL_PROXY_URL: PROXY, CORRAL_ENGINE_URL: ENGINE } = process.env

const messages = [{ role: 'user', content: 'Name one colour.' }]
const question = { model: MODEL, messages, max_tokens: 24, temperature: 0, seed: 7 }
const story = { model: MODEL, messages: [{ role: 'user', content: 'Write a very long story about a horse.' }], max_tokens: 300, stream: true }
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const tools = [{ type: 'function', function: { name: 'weather', description: 'The weather.', parameters } }]

const client = (base, more = {}) => new OpenAI({ baseURL: `${base}/v1`, apiKey: KEY, maxRetries: 0, timeout: 120_000, ...more })

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
  async a_stream_can_be_left(base) {
    for await (const _ of await client(base).chat.completions.create(story)) break
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
  async tools_are_taken_and_their_results_are_read(base) {
    const { create } = { create: (body) => client(base).chat.completions.create(body) }
    assert.ok((await create({ ...question, tools, tool_choice: 'auto' })).choices[0].message)
    const call = { id: 'c1', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } }
    const turns = [...messages, { role: 'assistant', content: null, tool_calls: [call] }, { role: 'tool', tool_call_id: 'c1', content: 'sunny' }]
    assert.equal(typeof (await create({ model: MODEL, messages: turns, tools, max_tokens: 8 })).choices[0].message.content, 'string')
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
// Eighty stories would all be told.
const notStraight = ['a_full_queue_is_a_rate_limit_error']

async function outcome(name, base) {
  try {
    await cases[name](base)
    return 'ok'
  } catch (error) {
    return `${error.constructor.name}: ${error.message}`.replaceAll('\n', ' ').slice(0, 110)
  }
}

let failed = 0
for (const name of Object.keys(cases)) {
  const through = await outcome(name, PROXY)
  const straight = notStraight.includes(name) ? 'not asked' : await outcome(name, ENGINE)
  if (through !== 'ok') failed += 1
  console.log(`${name.padEnd(56)} proxy: ${through.padEnd(8)} llama-server: ${straight}`)
}
const { version } = JSON.parse(readFileSync(`${process.argv[2]}/node_modules/openai/package.json`, 'utf8'))
const n = Object.keys(cases).length
console.log(`openai (JavaScript) ${version}: ${n - failed} of ${n} hold through the proxy`)
process.exit(failed ? 1 : 0)
