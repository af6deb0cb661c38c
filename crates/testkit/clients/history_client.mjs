// Whatever the door gave out, it takes back: answers as the Vercel AI SDK and JavaScript's `openai` put them together, sent
// as history. Each shape of answer is asked for whole and streamed. shapes.py says what a shape is, suite.mjs how it is run.

import assert from 'node:assert/strict'
import { KEY, MODEL, load, run, straight, version } from './suite.mjs'

const { generateText, jsonSchema, streamText, tool } = await load('ai')
const { createOpenAICompatible } = await load('@ai-sdk/openai-compatible')
const { default: OpenAI } = await load('openai')

globalThis.AI_SDK_LOG_WARNINGS = false

const AGAIN = { role: 'user', content: 'And one more?' }
const RESULT = 'It is sunny in Rome.'
const PARAMETERS = { type: 'object', properties: { city: { type: 'string', maxLength: 12 } }, required: ['city'] }
const TOOL = { type: 'function', function: { name: 'weather', description: 'The weather.', parameters: PARAMETERS } }

function openai(base) {
  return new OpenAI({ baseURL: `${base}/v1`, apiKey: KEY, maxRetries: 0, timeout: 120_000 })
}

/** The answer's first token. As a stop sequence it leaves nothing of the answer. */
async function firstToken() {
  const messages = [{ role: 'user', content: 'Name one colour.' }]
  const asked = { model: MODEL, messages, max_tokens: 1, temperature: 0 }
  return (await openai(process.env.CORRAL_TOOLS_PROXY_URL).chat.completions.create(asked)).choices[0].message.content
}

const shapes = {
  text: { question: 'Name one colour.', limit: 24 },
  cut_text: { question: 'Name one colour.', limit: 3 },
  nothing: { question: 'Name one colour.', limit: 24, stop: [await firstToken()] },
  only_thoughts: { question: 'Think. What is 1+1?', limit: 8 },
  only_a_call: { question: 'What is the weather in Rome?', limit: 64, tools: true },
  a_cut_call: { question: 'What is the weather in Rome?', limit: 18, tools: true },
}

/** What a question in the words of the API has in common. */
function chat(shape, limit = shape.limit) {
  const asked = { model: MODEL, temperature: 0, max_tokens: limit, messages: [{ role: 'user', content: shape.question }] }
  return { ...asked, ...(shape.stop && { stop: shape.stop }), ...(shape.tools && { tools: [TOOL] }) }
}

async function chatGoesOn(base, shape, message) {
  const results = (message.tool_calls ?? []).map(({ id }) => ({ role: 'tool', tool_call_id: id, content: RESULT }))
  const asked = chat(shape, 2)
  const messages = [...asked.messages, message, ...results, AGAIN]
  assert.ok((await openai(base).chat.completions.create({ ...asked, messages })).choices)
}

/** The same in the words of the AI SDK. */
function asked(base, shape, limit, messages) {
  const provider = createOpenAICompatible({ name: 'corral', baseURL: `${base}/v1`, apiKey: KEY })
  const weather = tool({ inputSchema: jsonSchema(PARAMETERS), execute: async () => RESULT })
  return {
    model: provider(MODEL),
    temperature: 0,
    maxRetries: 0,
    maxOutputTokens: limit,
    stopSequences: shape.stop,
    tools: shape.tools ? { weather } : undefined,
    messages: [{ role: 'user', content: shape.question }, ...messages],
  }
}

async function aiGoesOn(base, shape, messages) {
  await generateText(asked(base, shape, 2, [...messages, AGAIN]))
}

const ways = {
  async openai_object(base, shape) {
    await chatGoesOn(base, shape, (await openai(base).chat.completions.create(chat(shape))).choices[0].message)
  },
  async openai_stream_helper(base, shape) {
    const stream = openai(base).chat.completions.stream(chat(shape))
    // The helper rejects an answer that was cut within a call, and has its snapshot all the same.
    await stream.done().catch(() => {})
    await chatGoesOn(base, shape, stream.currentChatCompletionSnapshot?.choices[0].message ?? (await stream.finalMessage()))
  },
  async ai_whole(base, shape) {
    const { response } = await generateText(asked(base, shape, shape.limit, []))
    await aiGoesOn(base, shape, response.messages)
  },
  async ai_streamed(base, shape) {
    const answer = streamText(asked(base, shape, shape.limit, []))
    await answer.consumeStream()
    await aiGoesOn(base, shape, (await answer.response).messages)
  },
}

/** Whether this is a 400 for the arguments of a call, which a call that was cut may meet. */
const namesTheArguments = (error) =>
  (error.status ?? error.statusCode) === 400 && /arguments/.test(`${error.message} ${error.responseBody ?? ''}`)

const cases = {}
for (const [way, takenBack] of Object.entries(ways)) {
  for (const [name, shape] of Object.entries(shapes)) {
    cases[`${way}__${name}`] = async (base) => {
      try {
        await takenBack(base, shape)
      } catch (error) {
        if (name !== 'a_cut_call' || !namesTheArguments(error)) throw error
      }
    }
  }
}

const cutCall = straight('llama-server says 500 to arguments that are no JSON, not 400')
const differences = { openai_object__a_cut_call: cutCall, openai_stream_helper__a_cut_call: cutCall }

await run(`history of ai ${version('ai')} and openai (JavaScript) ${version('openai')}`, cases, differences)
