// The Vercel AI SDK (`ai` with `@ai-sdk/openai-compatible`) against a running llm-proxy, and straight to llama-server.
// suite.mjs says how it is run.

import assert from 'node:assert/strict'
import { KEY, MODEL, STORY, STORY_TOKENS, UNNOTICED, expectBusy, expectFree, load, run, version } from './suite.mjs'

const { Output, generateObject, generateText, isStepCount, streamText, tool } = await load('ai')
const { createOpenAICompatible } = await load('@ai-sdk/openai-compatible')
const { z } = await load('zod')

globalThis.AI_SDK_LOG_WARNINGS = false

const prompt = 'Name one colour.'
const schema = z.object({ colour: z.string().max(12) })
const weather = tool({
  description: 'The weather in a city.',
  inputSchema: z.object({ city: z.string().max(12) }),
  execute: async ({ city }) => `It is sunny in ${city}.`,
})

/** What every question has in common. */
function asked(base, more) {
  const provider = createOpenAICompatible({
    name: 'corral',
    baseURL: `${base}/v1`,
    apiKey: KEY,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })
  return { model: provider(MODEL), maxOutputTokens: 64, temperature: 0, seed: 7, maxRetries: 0, ...more }
}

const calls = (steps) => steps.flatMap((step) => step.toolCalls.map((call) => call.toolName))

const cases = {
  async a_whole_answer_has_text_a_reason_to_end_and_usage(base) {
    const answer = await generateText(asked(base, { prompt }))
    assert.ok(answer.text && ['stop', 'length'].includes(answer.finishReason))
    assert.ok(answer.usage.outputTokens > 0)
  },
  async a_streamed_answer_is_the_whole_one_in_pieces(base) {
    const answer = streamText(asked(base, { prompt }))
    const pieces = []
    for await (const piece of answer.textStream) pieces.push(piece)
    assert.ok(pieces.length > 3 && (await answer.usage).outputTokens > 0)
    assert.equal(pieces.join(''), (await generateText(asked(base, { prompt }))).text)
  },
  async an_answer_has_the_type_that_was_asked_for(base) {
    const { output } = await generateText(asked(base, { prompt, output: Output.object({ schema }) }))
    assert.ok(output.colour)
    assert.ok((await generateObject(asked(base, { prompt, schema }))).object.colour)
  },
  async a_streamed_answer_has_the_type_that_was_asked_for(base) {
    const answer = streamText(asked(base, { prompt, output: Output.object({ schema }) }))
    const parts = []
    for await (const part of answer.partialOutputStream) parts.push(part)
    assert.ok(parts.length > 1 && parts.at(-1).colour)
  },
  async a_tool_is_called_and_its_result_is_read(base) {
    const question = { prompt: 'What is the weather in Rome?', tools: { weather }, stopWhen: isStepCount(3) }
    const answer = await generateText(asked(base, question))
    assert.deepEqual(calls(answer.steps), ['weather'])
    assert.match(answer.text, /sunny/)
    for (const toolChoice of ['required', { type: 'tool', toolName: 'weather' }]) {
      const called = await generateText(asked(base, { ...question, toolChoice, stopWhen: isStepCount(1) }))
      assert.deepEqual(calls(called.steps), ['weather'])
    }
  },
  async a_streamed_call_of_a_tool_is_put_together(base) {
    const question = { prompt: 'What is the weather in Rome?', tools: { weather }, stopWhen: isStepCount(3) }
    const answer = streamText(asked(base, question))
    assert.match(await answer.text, /sunny/)
    assert.deepEqual(calls(await answer.steps), ['weather'])
  },
  async leaving_a_stream_frees_the_slot_at_once(base) {
    const abort = new AbortController()
    const story = { prompt: STORY, maxOutputTokens: STORY_TOKENS, abortSignal: abort.signal }
    for await (const _piece of streamText(asked(base, story)).textStream) break
    abort.abort()
    await expectFree()
  },
  async leaving_a_whole_answer_frees_the_slot_at_once(base) {
    const abort = new AbortController()
    const story = { prompt: STORY, maxOutputTokens: STORY_TOKENS, abortSignal: abort.signal }
    const answer = generateText(asked(base, story)).catch((error) => error)
    await expectBusy()
    abort.abort()
    assert.equal((await answer).name, 'AbortError')
    await expectFree()
  },
}

const differences = { leaving_a_whole_answer_frees_the_slot_at_once: UNNOTICED }

await run(`ai ${version('ai')} (Vercel AI SDK)`, cases, differences)
