// Runs a JavaScript client's cases twice, straight to llama-server and through llm-proxy, and prints a table of both.
//
// The rules are those of suite.py: a case holds when it throws nothing, it must hold on both sides, and `differences` gives
// the reason where it does not. `cargo xtask test` names the packages' folder as the first argument; names of cases may
// follow it.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const FOLDER = process.argv[2]
const require = createRequire(pathToFileURL(`${FOLDER}/`))
const { env } = process

export const KEY = env.CORRAL_API_KEY
export const MODEL = env.CORRAL_MODEL
const PROXY = env.CORRAL_TOOLS_PROXY_URL
const ENGINE = env.CORRAL_TOOLS_ENGINE_URL

// A story that nobody reads to its end: more than ten seconds of the development model.
export const STORY = 'Write a very long story about a horse.'
export const STORY_TOKENS = 900
// How long a slot may be busy after its caller left; the story would take several times as long.
const FREE_WITHIN_MS = 2000
const PATIENCE_MS = 60_000

/** The case does not hold straight, though it holds through the proxy; always or by chance. */
export const straight = (reason, always = true) => ({ side: 'straight', reason, always })
/** The case does not hold through the proxy, though it holds straight. */
export const proxy = (reason) => ({ side: 'proxy', reason })
/** llama-server is not asked at all. */
export const notAsked = (reason) => ({ side: 'not asked', reason })

export const UNNOTICED = straight(
  'llama-server notices that the caller of a whole answer left only when nobody else asks anything',
  false,
)

/** A package out of the folder of packages. */
export const load = (name) => import(pathToFileURL(require.resolve(name)))

export const version = (name) => JSON.parse(readFileSync(`${FOLDER}/node_modules/${name}/package.json`, 'utf8')).version

async function outcome(run, base) {
  try {
    await run(base)
    return 'ok'
  } catch (error) {
    if (env.CORRAL_TRACE) console.error(error)
    return `${error.constructor.name}: ${error.message}`.replaceAll('\n', ' ').slice(0, 200)
  }
}

/** Why the two outcomes are not what `difference` says, or nothing. */
function verdict(through, alone, difference) {
  const holds = through === 'ok'
  switch (difference?.side) {
    case undefined:
      if (!holds) return 'does not hold through the proxy, and no reason is given'
      return alone === 'ok' ? undefined : 'holds only through the proxy, and no reason is given'
    case 'proxy':
      if (holds) return 'holds through the proxy: take its reason out'
      return alone === 'ok' ? undefined : 'holds nowhere'
    case 'straight':
      if (alone === 'ok' && difference.always) return 'holds straight too: take its reason out'
      return holds ? undefined : 'does not hold through the proxy'
    default:
      return holds ? undefined : 'does not hold through the proxy'
  }
}

/** Runs all cases, prints the table, and ends the process: with 1 when a case is not as promised. */
export async function run(client, cases, differences) {
  const chosen = Object.keys(cases).filter((name) => process.argv.length < 4 || process.argv.slice(3).includes(name))
  let problems = 0
  for (const name of chosen) {
    const difference = differences[name]
    const through = await outcome(cases[name], PROXY)
    let alone = difference?.side === 'not asked' ? 'not asked' : await outcome(cases[name], ENGINE)
    // llama-server closes a connection after each stream without saying so. What a client sends into one is lost.
    if (!difference && alone !== 'ok') alone = await outcome(cases[name], ENGINE)
    const problem = verdict(through, alone, difference)
    console.log(`${name.padEnd(62)} proxy: ${through.padEnd(8)} llama-server: ${alone}`)
    if (difference) console.log(`    differs: ${difference.reason}`)
    if (problem) {
      problems += 1
      console.log(`    FAILED: ${problem}`)
    }
  }
  console.log(`${client}: ${chosen.length - problems} of ${chosen.length} are as promised`)
  process.exit(problems ? 1 : 0)
}

/** How many slots of llama-server compute now. */
async function busySlots() {
  const slots = await (await fetch(`${ENGINE}/slots`, { headers: { authorization: `Bearer ${KEY}` } })).json()
  return slots.filter((slot) => slot.is_processing).length
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 50))

/** To be called when a story has just been left: its slot must be free at once. */
export async function expectFree() {
  const left = Date.now()
  while (await busySlots()) {
    assert.ok(Date.now() - left < FREE_WITHIN_MS, `a slot is busy ${Date.now() - left} ms after its caller left`)
    await pause()
  }
}

/** Waits until a slot computes. */
export async function expectBusy() {
  const begin = Date.now()
  while (!(await busySlots())) {
    assert.ok(Date.now() - begin < PATIENCE_MS, 'no slot ever computed')
    await pause()
  }
}
