// `useChat` of `@ai-sdk/react` (for `ai` 5, 6 and 7) in a real Chromium against a running chat-gateway: what a person sees
// who reads, reloads, stops or loses the line.
//
// A small server holds the page (ui_hook_page.js) and passes /api on to the gateway, as an app's own server does. It can
// cut an answer on the way. `cargo xtask test` names Chromium in CHROMIUM_BIN, the chain in the environment and the folder
// of the packages on the command line.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { load, version } from './suite.mjs'

const FOLDER = process.argv[2]
const GATEWAY = new URL(process.env.CORRAL_GATEWAY_URL)
const ENGINE = process.env.CORRAL_ENGINE_URL
const PATIENCE_MS = 60_000
// The story that was stopped would take several times as long.
const FREE_WITHIN_MS = 2000
const HOOKS = ['ai-5-react', 'ai-6-react', 'ai-7-react']
const HTML =
  '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module" src="page.js"></script>'
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking']

const { build } = await load('esbuild')
const { chromium } = (await load('playwright-core')).default

/** The page's program with one major of the hook, and with the `ai` that this major brings. */
async function bundled(hook) {
  const modules = join(FOLDER, 'node_modules')
  const own = {
    name: 'own',
    setup(build) {
      build.onResolve({ filter: /^(hook|ai)$/ }, ({ path, kind, pluginData }) => {
        if (pluginData === own) return undefined
        const [name, resolveDir] = path === 'hook' ? [hook, modules] : ['ai', join(modules, hook)]
        return build.resolve(name, { kind, resolveDir, pluginData: own })
      })
    },
  }
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('ui_hook_page.js', import.meta.url))],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    nodePaths: [modules],
    plugins: [own],
    write: false,
  })
  return outputFiles[0].text
}

/** The answer that the app's server passes on now. */
let passing

/** Cuts it: `broken` as by a lost line, `clean` as if it had ended. */
function cut(how) {
  const { answer, reply } = passing
  answer.destroy()
  if (how === 'clean') reply.end()
  else reply.destroy()
}

/** An app's own server. */
async function serve(script) {
  const server = createServer((asked, reply) => {
    if (!asked.url.startsWith('/api/')) {
      const isScript = asked.url === '/page.js'
      reply.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' })
      reply.end(isScript ? script : HTML)
      return
    }
    const options = { host: GATEWAY.hostname, port: GATEWAY.port, path: asked.url, method: asked.method, headers: asked.headers }
    const passed = request(options, (answer) => {
      reply.writeHead(answer.statusCode, answer.headers)
      if (asked.method === 'POST' && asked.url === '/api/v1/chat') passing = { answer, reply }
      answer.on('data', (piece) => reply.write(piece))
      answer.on('end', () => reply.end())
      answer.on('error', () => reply.destroy())
    })
    passed.on('error', () => reply.destroy())
    reply.on('close', () => passed.destroy())
    asked.pipe(passed)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${server.address().port}`, end: () => (server.close(), server.closeAllConnections()) }
}

/** A person before the page. */
class Reader {
  constructor(page, base, id) {
    Object.assign(this, { page, base, id })
  }

  async open() {
    await this.page.goto(`${this.base}/?id=${encodeURIComponent(this.id)}`)
    await this.page.locator('output').waitFor()
  }

  async ask(question) {
    await this.page.locator('textarea').fill(question)
    await this.page.getByRole('button', { name: 'Send' }).click()
  }

  press(name) {
    return this.page.getByRole('button', { name }).click()
  }

  /** Waits until something holds in the page, which gets `argument`. */
  until(holds, argument) {
    return this.page.waitForFunction(holds, argument, { timeout: PATIENCE_MS })
  }

  /** Waits until some of the answer is there. */
  inTheMiddle() {
    return this.until(() => document.querySelector('[data-role=assistant]')?.textContent.length > 20)
  }

  status(status) {
    return this.until((status) => document.querySelector('output')?.textContent === status, status)
  }

  /** Waits until the hook has said `count` times how an answer ended. */
  async ends(count) {
    await this.until((count) => document.querySelectorAll('li').length >= count, count)
    return this.page.locator('li').allTextContents()
  }

  answers() {
    return this.page.locator('[data-role=assistant]').allTextContents()
  }

  alert() {
    return this.page.getByRole('alert').textContent()
  }

  /** The chat as the gateway has it now. */
  history() {
    return this.page.evaluate((id) => fetch(`/api/v1/chat/${id}`).then((reply) => reply.json()), this.id)
  }

  /** The answer is shown once, to its end. */
  async expectWhole() {
    await this.status('ready')
    const kept = await this.kept()
    assert.equal(kept.length, 2, 'the question was sent once')
    assert.deepEqual(await this.answers(), [textOf(kept[1])])
  }

  /** The newest branch as the gateway keeps it, once the answer has ended. */
  async kept() {
    const end = Date.now() + PATIENCE_MS
    for (;;) {
      const { messages } = await this.history()
      if (messages.at(-1).role === 'assistant') return messages
      assert.ok(Date.now() < end, 'the answer never ended')
    }
  }
}

const textOf = (message) => message.parts.filter(({ type }) => type === 'text').map(({ text }) => text).join('')

/** Waits until no slot of the engine computes. */
async function expectFree() {
  const end = Date.now() + FREE_WITHIN_MS
  const headers = { authorization: `Bearer ${process.env.CORRAL_API_KEY}` }
  for (;;) {
    const slots = await (await fetch(`${ENGINE}/slots`, { headers })).json()
    if (!slots.some((slot) => slot.is_processing)) return
    assert.ok(Date.now() < end, 'the answer was stopped, and its slot is busy')
  }
}

async function cutByTheLine(reader) {
  await reader.ask('Write a very long story about a river.')
  await reader.inTheMiddle()
  cut('broken')
  await reader.status('error')
  assert.deepEqual(await reader.ends(1), ['isDisconnect, isError'])
}

const cases = {
  async an_answer_is_shown_to_its_end(reader) {
    await reader.ask('Say 你好 🧀.')
    assert.match((await reader.ends(1))[0], /^finish (stop|length)$/)
    await reader.expectWhole()
  },
  async a_reload_in_the_middle_goes_on_to_the_whole_text(reader) {
    await reader.ask('Write a very long story about the sea.')
    await reader.inTheMiddle()
    await reader.page.reload()
    assert.match((await reader.ends(1))[0], /^finish (stop|length)$/)
    await reader.expectWhole()
  },
  async stop_frees_the_model_and_ends_the_answer_as_stopped(reader) {
    await reader.ask('Write a very long story about a mountain.')
    await reader.inTheMiddle()
    await reader.press('Stop')
    await reader.status('ready')
    if (ENGINE) await expectFree()
    const kept = await reader.kept()
    assert.equal(kept[1].metadata.stopped, true)
    assert.ok(textOf(kept[1]).startsWith((await reader.answers())[0].trimEnd()))
  },
  async a_refusal_of_the_gateway_is_shown_as_an_error(reader) {
    await reader.ask('   ')
    await reader.status('error')
    assert.match(await reader.alert(), /`content` must not be empty/)
  },
  async an_answer_that_the_line_cuts_is_an_error_and_a_reload_goes_on_to_the_whole_text(reader) {
    await cutByTheLine(reader)
    await reader.page.reload()
    await reader.expectWhole()
  },
  async an_answer_that_the_line_cuts_can_be_resumed_in_place(reader) {
    await cutByTheLine(reader)
    await reader.press('Resume')
    assert.match((await reader.ends(2))[1], /^finish (stop|length)$/)
    await reader.expectWhole()
  },
  // The hook calls this `ready`. Only the missing reason tells; docs/http.md says so.
  async an_answer_that_a_proxy_ends_early_has_no_reason_to_end(reader) {
    await reader.ask('Write a very long story about a forest.')
    await reader.inTheMiddle()
    cut('clean')
    assert.deepEqual(await reader.ends(1), ['no reason'])
    const [shown] = await reader.answers()
    const kept = await reader.kept()
    assert.ok(textOf(kept[1]).startsWith(shown) && shown.length < textOf(kept[1]).length)
  },
}

// What does not hold, and why. A difference that is gone is a failure, too.
const ADDS = '`resumeStream` adds the replay to what was shown; docs/http.md says what to do instead'
const differences = {
  'ai-5-react an_answer_that_the_line_cuts_can_be_resumed_in_place': ADDS,
  'ai-6-react an_answer_that_the_line_cuts_can_be_resumed_in_place': ADDS,
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', args: FLAGS })
let problems = 0
const chosen = process.argv.slice(3)
for (const hook of HOOKS) {
  const app = await serve(await bundled(hook))
  for (const [promise, holds] of Object.entries(cases)) {
    if (chosen.length > 0 && !chosen.includes(promise)) continue
    const context = await browser.newContext()
    const reader = new Reader(await context.newPage(), app.url, `${hook}-${promise}-${process.pid}`)
    const difference = differences[`${hook} ${promise}`]
    let outcome = 'ok'
    try {
      await reader.open()
      await holds(reader)
    } catch (error) {
      outcome = `${error.constructor.name}: ${error.message}`.replaceAll('\n', ' ').slice(0, 300)
    }
    if ((outcome === 'ok') === (difference !== undefined)) problems += 1
    await context.close()
    console.log(`@ai-sdk/react ${version(hook)}  ${promise}: ${outcome}`)
    if (difference) console.log(`    differs: ${difference}`)
  }
  app.end()
}
await browser.close()
process.exit(problems > 0 ? 1 : 0)
