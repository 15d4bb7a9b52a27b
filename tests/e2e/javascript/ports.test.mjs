// Servers inside, reached from outside.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, make, NOBODY, serve, WebSocket } from './helper.mjs'

async function web(t) {
  const sandbox = await make(t)
  await serve(sandbox)
  const by = { headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8000' } }
  return { sandbox, by, host: { headers: { Host: sandbox.getHost(8000) } } }
}

test('by headers and by host name', async (t) => {
  const { by, host } = await web(t)
  for (const way of [by, host]) {
    const answer = await ask('/hello', way)
    assert.deepEqual([answer.status, answer.body.toString()], [200, 'hello from inside\n'])
  }
})

test('a large body both ways', async (t) => {
  const { by } = await web(t)
  const body = Buffer.from(new Uint8Array(4 << 20).map((_, n) => n % 251))
  const seen = JSON.parse((await ask('/digest', { ...by, method: 'POST', body })).body)
  assert.equal(seen.length, body.length)
  assert.ok((await ask(`/bytes?n=${body.length}`, by)).body.equals(body))
})

test('events are not held back', async (t) => {
  // The second event is sent only after the first was heard.
  const { by } = await web(t)
  let released
  const onData = (text) => {
    if (text.includes('one')) released = ask('/release', by)
  }
  const answer = await ask('/events', { ...by, onData })
  assert.equal(answer.body.toString(), 'data: one\n\ndata: two\n\n')
  assert.equal((await released).status, 200)
})

for (const kind of ['headers', 'host'])
  test(`websocket by ${kind}`, async (t) => {
    const { by, host } = await web(t)
    const url = process.env.E2B_SANDBOX_URL.replace(/^http/, 'ws')
    const socket = new WebSocket(`${url}/ws`, { ...(kind === 'headers' ? by : host), perMessageDeflate: false })
    await new Promise((done, fail) => socket.once('open', done).once('error', fail))
    for (const message of ['hello', '☃'.repeat(1000), 'x'.repeat(70_000)]) {
      const echo = new Promise((done) => socket.once('message', done))
      socket.send(message)
      assert.equal((await echo).toString(), message)
    }
    socket.close()
    await new Promise((done) => socket.once('close', done))
  })

test('closed ports and unknown sandboxes', async (t) => {
  const sandbox = await make(t)
  const closed = await ask('/', { headers: { Host: sandbox.getHost(8001) } })
  assert.equal(closed.status, 502)
  assert.deepEqual(JSON.parse(closed.body), {
    sandboxId: sandbox.sandboxId,
    message: 'The sandbox is running but port is not open',
    port: 8001,
    code: 502,
  })
  const gone = await ask('/', { headers: { 'E2b-Sandbox-Id': NOBODY, 'E2b-Sandbox-Port': '8000' } })
  assert.equal(gone.status, 502)
  const wanted = { sandboxId: NOBODY, message: 'The sandbox was not found', code: 502 }
  assert.deepEqual(JSON.parse(gone.body), wanted)
})

test('a server that is just starting is waited for', async (t) => {
  const sandbox = await make(t)
  await sandbox.commands.run('(sleep 0.3; exec python3 -m http.server 8010 --bind 127.0.0.1) >/dev/null 2>&1 </dev/null &')
  assert.equal((await ask('/', { headers: { Host: sandbox.getHost(8010) } })).status, 200)
})

test('traffic does not extend the timeout', async (t) => {
  const { sandbox, by } = await web(t)
  const before = (await sandbox.getInfo()).endAt.getTime()
  for (let n = 0; n < 3; n++) assert.equal((await ask('/hello', by)).status, 200)
  await sandbox.commands.run('true')
  assert.equal((await sandbox.getInfo()).endAt.getTime(), before)
})

test('a sandbox without internet is whole otherwise', async (t) => {
  const sandbox = await make(t, { allowInternetAccess: false })
  assert.equal((await sandbox.getInfo()).allowInternetAccess, false)
  await serve(sandbox)
  assert.equal((await ask('/hello', { headers: { Host: sandbox.getHost(8000) } })).status, 200)
})

test('two sandboxes are apart', async (t) => {
  const [first, second] = await Promise.all([make(t), make(t)])
  await first.files.write('/tmp/own', 'of the first')
  assert.equal(await second.files.exists('/tmp/own'), false)
  await serve(first)
  const refused = await second.commands.run('curl -s -m 3 http://127.0.0.1:8000/hello || echo refused')
  assert.equal(refused.stdout, 'refused\n')
})
