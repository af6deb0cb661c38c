// `useChat` of the Vercel AI SDK (`ai` 5, 6 and 7) against a running chat-gateway: what a page that is reloaded, stopped or
// answered twice shows. The strict versions refuse every part with a field too many.
//
// It is run like the suites of suite.mjs, but there is only one side to ask. Each case gets a chat of its own.

import assert from 'node:assert/strict'
import { load, version } from './suite.mjs'

const BASE = process.env.CORRAL_GATEWAY_URL
const PATIENCE_MS = 120_000
// So many tokens that there is a middle, and so few that the model soon ends.
const STORY = { options: { max_tokens: 60, temperature: 0 } }
const SHORT = { options: { max_tokens: 8, temperature: 0 } }
const PACKAGES = ['ai', 'ai-6', 'ai-5', 'ai-7-strict', 'ai-6-strict', 'ai-5-strict']

const first = await fetch(`${BASE}/api/v1/models`)
const headers = { cookie: first.headers.get('set-cookie').split(';')[0] }

const text = (message) => message.parts.filter((part) => part.type === 'text').map((part) => part.text).join('')

async function until(what) {
  const end = Date.now() + PATIENCE_MS
  while (!what()) {
    assert.ok(Date.now() < end, `this took too long: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function history(id) {
  const response = await fetch(`${BASE}/api/v1/chat/${id}`, { headers })
  return (await response.json()).messages
}

const stop = (id) => fetch(`${BASE}/api/v1/chat/${id}/stop`, { method: 'POST', headers })

/** Opens chats as a page does, with the given package. */
function opener({ AbstractChat, DefaultChatTransport }) {
  class Page extends AbstractChat {
    constructor({ messages, ...init }) {
      const state = {
        status: 'ready',
        error: undefined,
        messages,
        pushMessage(message) {
          this.messages = [...this.messages, message]
        },
        popMessage() {
          this.messages = this.messages.slice(0, -1)
        },
        replaceMessage(at, message) {
          this.messages = this.messages.with(at, structuredClone(message))
        },
        snapshot: (thing) => structuredClone(thing),
      }
      super({ ...init, state })
    }
  }
  return (id, messages, body, hooks = {}) =>
    new Page({ id, messages, transport: new DefaultChatTransport({ api: `${BASE}/api/v1/chat`, headers, body }), ...hooks })
}

/** Waits until some of the answer to a page's first question is there. */
const inTheMiddle = (page) => until(() => page.messages.length === 2 && text(page.lastMessage).length > 20)

const cases = {
  async an_answer_is_shown_as_it_is_kept(open, id) {
    const told = []
    const page = open(id, [], SHORT, { onData: (part) => told.push(part.type) })
    await page.sendMessage({ text: 'Say 你好 🧀.' })
    assert.equal(page.status, 'ready', String(page.error))
    const kept = await history(id)
    assert.equal(page.lastMessage.id, kept[1].id)
    assert.equal(text(page.lastMessage), text(kept[1]))
    assert.ok(page.lastMessage.metadata.usage.completion_tokens > 0)
    assert.ok(told.includes('data-progress'))
  },
  async a_page_that_is_reloaded_in_the_middle_shows_the_text_once(open, id) {
    const page = open(id, [], STORY)
    const sent = page.sendMessage({ text: 'Write a very long story about the sea.' })
    await inTheMiddle(page)
    await page.stop()
    await sent
    const before = await history(id)
    assert.equal(before.at(-1).role, 'user', 'while it runs, the history ends with the question')
    const tabs = [open(id, before, STORY), open(id, before, STORY)]
    await Promise.all(tabs.map((tab) => tab.resumeStream()))
    const kept = await history(id)
    for (const tab of tabs) {
      assert.equal(tab.status, 'ready', String(tab.error))
      assert.deepEqual(tab.messages.map(({ id }) => id), kept.map(({ id }) => id))
      assert.equal(text(tab.lastMessage), text(kept[1]))
    }
    const idle = open(`${id}-idle`, [], STORY)
    await idle.resumeStream()
    assert.equal(idle.status, 'ready', 'nothing runs')
  },
  async an_answer_that_is_stopped_ends_for_every_tab(open, id) {
    const page = open(id, [], STORY)
    const sent = page.sendMessage({ text: 'Write a very long story about a mountain.' })
    await inTheMiddle(page)
    const tab = open(id, await history(id), STORY)
    const read = tab.resumeStream()
    assert.equal((await stop(id)).status, 204)
    await Promise.all([sent, read])
    const kept = await history(id)
    assert.ok(kept[1].metadata.stopped)
    assert.equal(text(page.lastMessage), text(kept[1]))
    assert.equal(text(tab.lastMessage), text(kept[1]))
  },
  async another_answer_replaces_the_one_that_is_shown(open, id) {
    const page = open(id, [], SHORT)
    await page.sendMessage({ text: 'Name a fruit.' })
    const old = page.lastMessage.id
    await page.regenerate()
    assert.notEqual(page.lastMessage.id, old)
    assert.deepEqual((await history(id)).map(({ id }) => id).at(-1), page.lastMessage.id)
  },
  async a_refusal_is_an_error_in_words(open, id) {
    const page = open(id, [], SHORT)
    await page.sendMessage({ text: '   ' })
    assert.equal(page.status, 'error')
    assert.match(page.error.message, /`content` must not be empty/)
  },
}

let problems = 0
for (const name of PACKAGES) {
  const open = opener(await load(name))
  for (const [promise, holds] of Object.entries(cases)) {
    let outcome = 'ok'
    try {
      await holds(open, `${name}-${promise}-${process.pid}`)
    } catch (error) {
      outcome = `${error.constructor.name}: ${error.message}`.replaceAll('\n', ' ').slice(0, 300)
      problems += 1
    }
    console.log(`ai ${version(name)}  ${promise}: ${outcome}`)
  }
}
process.exit(problems > 0 ? 1 : 0)
