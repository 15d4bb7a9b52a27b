// What is wrong is refused in the form SDKs understand, and nothing half-made stays behind.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agent, api, make, mark, NOBODY, refused, Sandbox } from './helper.mjs'

const creates = ['/sandboxes', '/v2/sandboxes']
const listed = async (metadata) =>
  (await Sandbox.list({ query: { metadata } }).nextItems()).map((item) => item.sandboxId)

test('no key and a wrong key', async () => {
  for (const key of [undefined, '', `e2b_${'0'.repeat(40)}`, 'x'.repeat(5000)])
    for (const [method, path] of [['GET', '/v2/sandboxes'], ['POST', '/sandboxes'], ['DELETE', `/sandboxes/${NOBODY}`]])
      refused(await api(method, path, { headers: { 'X-API-KEY': key } }), 401)
  const health = await api('GET', '/health', { headers: { 'X-API-KEY': undefined } })
  assert.ok([200, 204].includes(health.status), `${health.status}`)
})

test('bodies that are no request', async () => {
  const bodies = ['', '{', '[]', 'null', '"base"', '{}', '{"templateID": 5}', '{"templateID": "base"']
  for (const body of [...bodies, Buffer.from([0xff, 0xfe])])
    for (const path of creates) refused(await api('POST', path, { body }), 400)
})

test('fields that are wrong', async () => {
  const metadata = mark()
  for (const wrong of [
    { timeout: 'long' },
    { timeout: -1 },
    { timeout: 0 },
    { timeout: 1e12 },
    { timeout: 1.5 },
    { metadata: 'text' },
    { metadata: { ...metadata, number: 5 } },
    { envVars: ['A=b'] },
    { envVars: { A: 5 } },
    { envVars: { 'A=B': 'x' } },
    { envVars: { A: 'nul\0inside' } },
    { allow_internet_access: 'no' },
    { network: 'none' },
    { autoPause: 'yes' },
    { templateID: '../../etc' },
    { templateID: 'x'.repeat(300) },
  ])
    for (const path of creates)
      refused(await api('POST', path, { json: { templateID: 'base', timeout: 30, metadata, ...wrong } }), 400, 404)
  assert.deepEqual(await listed(metadata), [])
})

test('unknown fields are no error', async (t) => {
  const json = { templateID: 'base', timeout: 30, fieldOfTheFuture: { a: 1 } }
  const answer = await api('POST', '/v2/sandboxes', { json })
  assert.equal(answer.status, 201, `${answer.body}`)
  const made = JSON.parse(answer.body)
  t.after(() => Sandbox.kill(made.sandboxID))
  for (const key of ['sandboxID', 'templateID', 'clientID', 'envdVersion', 'envdAccessToken'])
    assert.ok(typeof made[key] === 'string' && made[key], key)
})

test('sandboxes that never were', async () => {
  for (const name of [NOBODY, 'x', '..%2F..%2Fetc', 'a'.repeat(500), '%00'])
    for (const [method, path, json] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/timeout', { timeout: 5 }],
      ['POST', '/connect', { timeout: 5 }],
      ['POST', '/refreshes', { duration: 5 }],
      ['POST', '/pause', {}],
      ['POST', '/resume', { timeout: 5 }],
      ['POST', '/fork', {}],
      ['POST', '/snapshots', {}],
    ]) {
      const answer = await api(method, `/sandboxes/${name}${path}`, { json })
      refused(answer, ...(name === NOBODY ? [404] : [400, 404]))
    }
})

test('wrong bodies for a live sandbox', async (t) => {
  const sandbox = await make(t)
  const { endAt } = await sandbox.getInfo()
  for (const [path, ...bodies] of [
    ['timeout', {}, { timeout: 'x' }, { timeout: -5 }, { timeout: 1e15 }],
    ['connect', { timeout: 'x' }, { timeout: -5 }, { timeout: 1e15 }, { timeout: 60, memory: 'no' }],
    ['refreshes', { duration: 'x' }, { duration: -1 }, { duration: 3601 }],
    ['pause', { memory: 'yes' }, { requireHealthyGuest: 1 }],
    ['fork', { count: 0 }, { count: 101 }, { count: 'two' }, { timeout: 0 }],
    ['snapshots', { name: 5 }, { memory: 'yes' }],
  ])
    for (const json of bodies) refused(await api('POST', `/sandboxes/${sandbox.sandboxId}/${path}`, { json }), 400)
  for (const json of [{ allowOut: 'all' }, { denyOut: [5] }, { allow_internet_access: 'no' }])
    refused(await api('PUT', `/sandboxes/${sandbox.sandboxId}/network`, { json }), 400)
  for (const path of ['timeout', 'connect', 'refreshes', 'pause', 'fork', 'snapshots'])
    refused(await api('POST', `/sandboxes/${sandbox.sandboxId}/${path}`, { body: '{"timeout":' }), 400)
  const after = await sandbox.getInfo()
  assert.deepEqual([after.state, after.endAt], ['running', endAt])
})

test('a body too large', async () => {
  const body = JSON.stringify({ templateID: 'base', metadata: { x: 'x'.repeat(20 << 20) } })
  let answer
  try {
    answer = await api('POST', '/v2/sandboxes', { body })
  } catch (error) {
    // Refused before it was all sent, which is right too.
    assert.ok(['EPIPE', 'ECONNRESET'].includes(error.code), `${error}`)
    return
  }
  refused(answer, 400, 413)
})

test('paths that lead nowhere', async () => {
  refused(await api('GET', '/no/such/path'), 404)
  refused(await api('GET', '/v2/sandboxes/../../etc/passwd'), 404)
  refused(await api('PATCH', '/v2/sandboxes'), 404, 405)
})

test('what is not there yet is refused', async () => {
  // Rather than ignored: whoever asked for a rule must not believe that it holds.
  const metadata = mark()
  const rules = { 'example.com': [{ transform: { headers: { A: 'b' } } }] }
  for (const [option, name] of [
    [{ network: { egressOff: true } }, /egressOff/i],
    [{ network: { rules } }, /rules/i],
    [{ iam: { tokens: { t: { audience: 'a', tokenType: 'JWT-SVID' } } } }, /iam|tokens/i],
  ])
    for (const path of creates) {
      const json = { templateID: 'base', timeout: 30, metadata, ...option }
      assert.match(refused(await api('POST', path, { json }), 400).message, name)
    }
  assert.deepEqual(await listed(metadata), [])
})

test('the form of an error of the agent', async (t) => {
  const sandbox = await make(t)
  const missing = await agent(sandbox, '/filesystem.Filesystem/Stat', { json: { path: '/no/such' } })
  const said = JSON.parse(missing.body)
  assert.deepEqual([missing.status, said.code], [404, 'not_found'])
  assert.ok(said.message.includes('/no/such'), said.message)
  const unknown = await agent(sandbox, '/filesystem.Filesystem/NoSuchMethod', { json: {} })
  assert.ok([404, 501].includes(unknown.status), `${unknown.status}`)
  for (const body of ['{', '["/etc/passwd"]', '"/etc/passwd"', ' [ ]']) {
    const wrong = await agent(sandbox, '/filesystem.Filesystem/Stat', { body })
    assert.deepEqual([wrong.status, JSON.parse(wrong.body).code], [400, 'invalid_argument'], body)
  }
  const headers = { 'X-Access-Token': 'wrong' }
  refused(await agent(sandbox, '/process.Process/List', { json: {}, headers }), 401)
})
