// What every test needs: the SDK under test, sandboxes that are gone afterwards, plain HTTP, a server inside.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'

// WARDER_E2E_SDK names the folder whose node_modules hold the SDK version to test.
const load = createRequire(`${process.env.WARDER_E2E_SDK}/package.json`)
export const sdk = load('e2b')
export const WebSocket = load('ws')
export const { Sandbox } = sdk
export const version = load('e2b/package.json').version

for (const name of ['E2B_API_URL', 'E2B_SANDBOX_URL', 'E2B_API_KEY'])
  if (!process.env[name]) throw new Error(`${name} is not set: start a server with \`make up\` and export its lines`)

const edge = new URL(process.env.E2B_SANDBOX_URL)

/** Makes a sandbox that is killed when the test `t` is over. */
export async function make(t, options = {}) {
  const sandbox = await Sandbox.create({ timeoutMs: 120_000, ...options })
  t.after(() => sandbox.kill())
  return sandbox
}

/** Metadata that no other test uses. */
export const mark = () => ({ mark: randomUUID() })

/** Waits for a condition that has to come; the deadline only ends a test that has failed already. */
export async function until(condition, what, seconds = 20) {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    const result = await condition()
    if (result) return result
    assert.ok(performance.now() < deadline, `waited ${seconds} s in vain for: ${what()}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

/** One request on a connection of its own, with no header but these; one whose value is undefined is not sent. */
function send(base, path, { method = 'GET', headers = {}, body, onData } = {}) {
  return new Promise((done, fail) => {
    const sent = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined))
    const options = { host: base.hostname, port: base.port, path, method, headers: sent, agent: false }
    const request = http.request(options, (answer) => {
      const parts = []
      answer.on('data', (part) => {
        parts.push(part)
        onData?.(part.toString())
      })
      answer.on('error', fail)
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) }))
    })
    request.on('error', fail)
    request.end(body)
  })
}

/** One request to the address that leads into sandboxes. */
export const ask = (path, options) => send(edge, path, options)

/** One request to the control API as no SDK would send it; `json` is its body. */
export function api(method, path, { json, body = json && JSON.stringify(json), headers = {} } = {}) {
  const type = body === undefined ? {} : { 'Content-Type': 'application/json' }
  const all = { 'X-API-KEY': process.env.E2B_API_KEY, ...type, ...headers }
  return send(new URL(process.env.E2B_API_URL), path, { method, headers: all, body })
}

/** What the control API says to a GET. */
export async function told(path) {
  const answer = await api('GET', path)
  assert.equal(answer.status, 200, `${path}: ${answer.body}`)
  return JSON.parse(answer.body)
}

/** The events of a sandbox's life, oldest first, each by the last word of its type. */
export async function events(sandbox) {
  const all = await told(`/events/sandboxes/${sandbox.sandboxId}?orderAsc=true&limit=100`)
  return all.map(({ type, eventData, ...more }) => ({ ...more, kind: type.split('.').at(-1), data: eventData }))
}

/** One request to a sandbox's agent, with its token. */
export function agent(sandbox, path, { json, body = JSON.stringify(json), headers = {} } = {}) {
  const own = {
    'E2b-Sandbox-Id': sandbox.sandboxId,
    'E2b-Sandbox-Port': '49983',
    'X-Access-Token': sandbox.envdAccessToken,
    'Content-Type': 'application/json',
  }
  return ask(path, { method: 'POST', headers: { ...own, ...headers }, body })
}

/** The body of an error: JSON, its code equal to the status, its message some text. */
export function refused(answer, ...statuses) {
  const { status, headers, body } = answer
  assert.ok(statuses.includes(status), `${status} instead of ${statuses}: ${body}`)
  assert.match(headers['content-type'], /^application\/json\b/)
  const said = JSON.parse(body)
  assert.equal(said.code, status, `${body}`)
  assert.ok(typeof said.message === 'string' && said.message, `${body}`)
  return said
}

/** One request to a whole URL, with nothing but what the URL holds. */
export function fetchUrl(url, options) {
  const { pathname, search } = new URL(url)
  return ask(pathname + search, options)
}

/** Starts guest/web.py in a sandbox and returns when it answers there. */
export async function serve(sandbox, port = 8000) {
  await sandbox.files.write('/home/user/web.py', readFileSync(new URL('../guest/web.py', import.meta.url), 'utf8'))
  await sandbox.commands.run(
    `setsid python3 /home/user/web.py ${port} >/tmp/web.log 2>&1 </dev/null & ` +
      `for i in $(seq 500); do curl -sf http://127.0.0.1:${port}/hello && exit 0; sleep 0.02; done; ` +
      'cat /tmp/web.log >&2; exit 1',
  )
}

/** The error that a promise is rejected with; it must be of the SDK's class of that name. */
export async function rejection(promise, name) {
  try {
    await promise
  } catch (error) {
    assert.ok(error instanceof sdk[name], `${error?.name ?? error}: ${error?.message} instead of ${name}`)
    return error
  }
  assert.fail(`nothing went wrong, though ${name} was due`)
}

export const HELD = 'until [ -e /tmp/go ]; do sleep 0.02; done; '
export const NOBODY = `i${'0'.repeat(20)}`
