// The snippets of README.md in JavaScript, run on the chain as a reader would run them: Node.js on the API, and the
// WebSocket of the browser's console.
//
// `cargo xtask test` names the chain in the environment, and the folder of the packages on the command line. Only the
// addresses replace those of the page. readme.py has the other snippets.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const PATIENCE_MS = 180_000
const packages = process.argv[2]
const page = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
const blocks = [...page.matchAll(/^```js\n(.*?)^```/gms)].map(([, block]) =>
  block
    .replaceAll('http://127.0.0.1:8081', process.env.CORRAL_PROXY_URL)
    .replaceAll('ws://127.0.0.1:8000', process.env.CORRAL_GATEWAY_URL.replace('http', 'ws')),
)
// Closes the socket, so that the program ends.
const CLOSE = `
chat.addEventListener("message", (event) => {
  if (["done", "error"].includes(JSON.parse(event.data).type)) chat.close()
})`

/** What the program prints. It is written among the packages, where Node.js looks for them. */
function printed(name, program) {
  const file = join(packages, name)
  writeFileSync(file, program)
  const env = { ...process.env, LLM_API_KEY: process.env.CORRAL_API_KEY }
  return execFileSync(process.execPath, ['--experimental-websocket', file], { env, encoding: 'utf8', timeout: PATIENCE_MS })
}

const [api, page_console] = blocks
assert.equal(blocks.length, 2)
const answer = printed('readme-api.mjs', api)
assert.ok(answer.trim(), 'Node.js printed nothing')
const chat = printed('readme-console.mjs', page_console + CLOSE)
assert.match(chat, /^done: .+closed 1\d{3}\n$/s)
console.log(`Node.js: ${answer.length} characters\nWebSocket: ${chat.length} characters`)
