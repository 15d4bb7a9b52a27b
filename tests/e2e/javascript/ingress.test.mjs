// Who is let in to the ports of a sandbox, as which host, and what becomes of those who no longer are.
//
// Clients are told apart by `X-Forwarded-For`, as behind E2B's edge: the last element but one is the client.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { ask, make, rejection, Sandbox, sdk, serve, WebSocket } from './helper.mjs'

const ALL = sdk.ALL_TRAFFIC
const WE = '203.0.113.99'
// Set by tests/e2e/run when it has told its server to believe so many proxies.
const hops = process.env.WARDER_E2E_TRUSTED_HOPS === '2'
const skip = hops ? false : 'the server does not believe two proxies (trusted_hops 2)'

const forwarded = (client) => ({ 'X-Forwarded-For': `${client}, 0.0.0.0` })

/** Replaces the rules of a sandbox, those of ingress too, for which the SDK has no word. The status and the answer. */
async function put(sandbox, rules = {}) {
  const url = `${process.env.E2B_API_URL}/sandboxes/${sandbox.sandboxId}/network`
  const headers = { 'X-API-KEY': process.env.E2B_API_KEY, 'Content-Type': 'application/json' }
  const answer = await fetch(url, { method: 'PUT', headers, body: JSON.stringify(rules) })
  return { status: answer.status, text: await answer.text() }
}

async function puts(sandbox, rules) {
  const { status, text } = await put(sandbox, rules)
  assert.equal(status, 204, text)
}

async function reach(sandbox, port, client = WE) {
  const answer = await ask('/hello', { headers: { Host: sandbox.getHost(port), ...forwarded(client) } })
  return answer.status
}

/** The headers that a server inside sees. */
async function seen(sandbox, port, headers = {}) {
  const answer = await ask('/request', { headers: { Host: sandbox.getHost(port), ...headers } })
  assert.equal(answer.status, 200, answer.body.toString())
  return Object.fromEntries(JSON.parse(answer.body).headers)
}

test('filters step by step', { skip }, async (t) => {
  const sandbox = await make(t)
  for (const port of [8000, 8001]) await serve(sandbox, port)
  for (const [name, allowIn, denyIn, statuses] of [
    ['a port is denied', [], [`${ALL}:8000`], { 8000: 403, 8001: 200 }],
    ['a port is allowed, all is denied', [`${ALL}:8000`], [ALL], { 8000: 200, 8001: 403 }],
    ['all is denied', [], [ALL], { 8000: 403, 8001: 403 }],
    ['all is allowed over it', [ALL], [ALL], { 8000: 200, 8001: 200 }],
    ['somebody else is denied', [], ['198.51.100.0/24'], { 8000: 200 }],
    ['a range of ports is denied', [], [`${ALL}:8000-8001`], { 8000: 403, 8001: 403 }],
    ['a range of ports is allowed', [`${ALL}:8000-8001`], [ALL], { 8000: 200, 8001: 200 }],
  ]) {
    await puts(sandbox, { allowIn, denyIn })
    for (const [port, status] of Object.entries(statuses))
      assert.equal(await reach(sandbox, Number(port)), status, `${name}: ${port}`)
  }
  await puts(sandbox, { allowIn: ['203.0.113.42'], denyIn: [ALL, '203.0.113.0/24'] })
  assert.equal(await reach(sandbox, 8000, '203.0.113.42'), 200)
  assert.equal(await reach(sandbox, 8000), 403)
  await puts(sandbox, { denyIn: ['198.51.100.0/24'] })
  assert.equal(await reach(sandbox, 8000, 'not an address'), 403)
  // The agent is no port of the sandbox's.
  await puts(sandbox, { denyIn: [ALL] })
  assert.equal((await sandbox.commands.run('echo still here')).stdout, 'still here\n')
  await puts(sandbox)
  assert.equal(await reach(sandbox, 8000), 200)
})

test('what is set for the way out clears what was set for the way in', { skip }, async (t) => {
  const sandbox = await make(t)
  await serve(sandbox)
  await puts(sandbox, { denyOut: [ALL], denyIn: [`${ALL}:8000`] })
  assert.equal(await reach(sandbox, 8000), 403)
  await sandbox.updateNetwork({ denyOut: [ALL] })
  assert.equal(await reach(sandbox, 8000), 200)
  assert.deepEqual((await Sandbox.getInfo(sandbox.sandboxId)).network.denyOut, [ALL])
})

test('who is refused is told', async (t) => {
  const sandbox = await make(t)
  await serve(sandbox)
  await puts(sandbox, { denyIn: [ALL] })
  const host = { Host: sandbox.getHost(8000) }
  const refused = await ask('/hello', { headers: host })
  assert.equal(refused.status, 403)
  const told = JSON.parse(refused.body)
  assert.deepEqual([told.code, told.sandboxId, told.port], [403, sandbox.sandboxId, 8000])
  assert.equal(
    told.message,
    `Access denied: client ${told.clientIp} is not allowed to reach port 8000 on this sandbox`,
  )
  const browser = { 'User-Agent': 'Mozilla/5.0 Firefox/140.0', Accept: 'text/html' }
  const page = await ask('/hello', { headers: { ...host, ...browser } })
  assert.equal(page.status, 403)
  assert.match(page.body.toString(), new RegExp(`^<!DOCTYPE html>[^]*${sandbox.sandboxId}[^]*</html>$`))
})

test('a client cannot say who it is', async (t) => {
  const sandbox = await make(t)
  await serve(sandbox)
  await puts(sandbox, { allowIn: ['192.0.2.7'], denyIn: [ALL] })
  for (const forged of [
    { 'X-E2B-Client-IP': '192.0.2.7' },
    { 'X-Real-IP': '192.0.2.7' },
    { Forwarded: 'for=192.0.2.7' },
    { 'X-Forwarded-For': `192.0.2.7, ${WE}, 0.0.0.0` },
  ]) {
    const answer = await ask('/hello', { headers: { Host: sandbox.getHost(8000), ...forged } })
    assert.equal(answer.status, 403, JSON.stringify(forged))
  }
  await puts(sandbox)
  const headers = await seen(sandbox, 8000, { 'X-E2B-Client-IP': '192.0.2.7' })
  assert.equal(headers['x-e2b-client-ip'], undefined)
})

test('a private URL opens with its token only', async (t) => {
  const sandbox = await make(t, { network: { allowPublicTraffic: false } })
  await serve(sandbox)
  assert.ok(sandbox.trafficAccessToken)
  const host = { Host: sandbox.getHost(8000) }
  const status = async (token) => {
    const headers = token === undefined ? host : { ...host, 'e2b-traffic-access-token': token }
    return (await ask('/hello', { headers })).status
  }
  assert.equal(await status(), 403)
  assert.equal(await status('wrong'), 403)
  assert.equal(await status(''), 403)
  assert.equal(await status(sandbox.trafficAccessToken), 200)
  // It is not the sandbox's to read.
  const headers = await seen(sandbox, 8000, { 'e2b-traffic-access-token': sandbox.trafficAccessToken })
  assert.equal(headers['e2b-traffic-access-token'], undefined)
  // Rules are set beside it, and leave it as it is.
  await puts(sandbox, { denyIn: ['198.51.100.0/24'] })
  assert.deepEqual([await status(), await status(sandbox.trafficAccessToken)], [403, 200])
  const other = await make(t, { network: { allowPublicTraffic: false } })
  assert.notEqual(other.trafficAccessToken, sandbox.trafficAccessToken)
  assert.equal(await status(other.trafficAccessToken), 403)
  // Its agent is reached by a token of its own.
  assert.equal((await sandbox.commands.run('echo here')).stdout, 'here\n')
})

test('a public sandbox has no token', async (t) => {
  const sandbox = await make(t)
  assert.ok(!sandbox.trafficAccessToken)
})

test('the masked host', async (t) => {
  const sandbox = await make(t, { network: { maskRequestHost: '${PORT}-myapp.example.com' } })
  await serve(sandbox, 8002)
  const own = sandbox.getHost(8002)
  const told = async () => {
    const headers = await seen(sandbox, 8002)
    return [headers.host, headers['x-forwarded-host']]
  }
  assert.deepEqual(await told(), ['8002-myapp.example.com', own])
  await puts(sandbox)
  assert.deepEqual(await told(), [own, own])
  for (const [maskRequestHost, host] of [
    ['masked-host:${PORT}', 'masked-host:8002'],
    ['masked-host:{port}', 'masked-host:8002'],
    ['other-host:9999', 'other-host:9999'],
  ]) {
    await puts(sandbox, { maskRequestHost })
    assert.deepEqual(await told(), [host, own])
  }
})

test('rules outlive a pause', { skip }, async (t) => {
  const sandbox = await make(t)
  await serve(sandbox)
  await puts(sandbox, { allowIn: ['203.0.113.42'], denyIn: [ALL], maskRequestHost: 'masked:{port}' })
  for (let n = 0; n < 2; n++) {
    assert.deepEqual([await reach(sandbox, 8000), await reach(sandbox, 8000, '203.0.113.42')], [403, 200])
    assert.equal((await seen(sandbox, 8000, forwarded('203.0.113.42'))).host, 'masked:8000')
    await sandbox.pause()
    await sandbox.connect()
  }
})

test('new rules close websockets that they forbid', { skip }, async (t) => {
  const sandbox = await make(t)
  await serve(sandbox)
  const url = process.env.E2B_SANDBOX_URL.replace(/^http/, 'ws')
  const open = async (client) => {
    const headers = { Host: sandbox.getHost(8000), ...forwarded(client) }
    const socket = new WebSocket(`${url}/ws`, { headers, perMessageDeflate: false })
    // One that is cut off tells of it twice; the end is what is waited for.
    const closed = new Promise((done) => socket.once('close', done))
    socket.on('error', () => {})
    t.after(() => socket.terminate())
    await Promise.race([once(socket, 'open'), closed])
    assert.equal(socket.readyState, WebSocket.OPEN)
    return { socket, closed }
  }
  const echo = async ({ socket }, text) => {
    const back = once(socket, 'message')
    socket.send(text)
    assert.equal((await back)[0].toString(), text)
  }
  const bad = await open(WE)
  const good = await open('198.51.100.1')
  for (const one of [bad, good]) await echo(one, 'before')
  await puts(sandbox, { denyIn: ['203.0.113.0/24'] })
  await bad.closed
  await echo(good, 'after')
})

test('bad rules are refused, and good ones taken', async (t) => {
  const sandbox = await make(t)
  for (const rules of [
    { denyIn: ['example.com'] },
    { allowIn: ['example.com'], denyIn: [ALL] },
    { allowIn: ['8.8.8.8'] },
    { allowIn: ['8.8.8.8'], denyIn: ['10.0.0.0/8'] },
    { denyIn: ['8.8.8.8:0'] },
    { denyIn: ['8.8.8.8:443-80'] },
    { denyIn: Array(10_000).fill('8.8.8.8') },
    { maskRequestHost: '-https://abcd' },
  ]) {
    const { status, text } = await put(sandbox, rules)
    assert.equal(status, 400, JSON.stringify(rules).slice(0, 100))
    assert.equal(JSON.parse(text).code, 400)
  }
  for (const rules of [
    { denyIn: ['10.0.0.0/8'] },
    { denyIn: [`${ALL}:80-443`] },
    { allowIn: ['8.8.8.8'], denyIn: [ALL] },
  ])
    await puts(sandbox, rules)
  const wrong = { network: { maskRequestHost: '-https://abcd' } }
  await rejection(Sandbox.create(wrong), 'SandboxError')
})
