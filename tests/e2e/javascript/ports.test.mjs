// Servers inside, reached from outside.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { agent, ask, make, NOBODY, refused, serve, WebSocket } from './helper.mjs'

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

test('by an old host name', async (t) => {
  // Old ids carry a client id behind a dash; it is dropped.
  const { sandbox } = await web(t)
  const Host = sandbox.getHost(8000).replace(sandbox.sandboxId, `${sandbox.sandboxId}-00000000`)
  const answer = await ask('/hello', { headers: { Host } })
  assert.deepEqual([answer.status, answer.body.toString()], [200, 'hello from inside\n'])
})

test('requests and answers pass as they are', async (t) => {
  const { by } = await web(t)
  const path = '/request?a=1&b=%2Fx%20y&empty='
  const own = { 'X-Mine': 'kept', Cookie: 'a=b', Authorization: 'Bearer own' }
  const seen = JSON.parse((await ask(path, { headers: { ...by.headers, ...own } })).body)
  assert.deepEqual([seen.method, seen.path], ['GET', path])
  const headers = Object.fromEntries(seen.headers)
  assert.deepEqual([headers['x-mine'], headers.cookie, headers.authorization], Object.values(own))
  for (const code of [201, 302, 404, 418, 500, 503]) {
    const answer = await ask(`/status?code=${code}`, by)
    assert.deepEqual([answer.status, answer.body.toString()], [code, 'as asked\n'])
  }
  for (const method of ['PUT', 'PATCH', 'POST']) {
    const heard = JSON.parse((await ask('/body', { ...by, method, body: 'some body' })).body)
    assert.deepEqual([heard.method, heard.length], [method, 9])
  }
  assert.equal((await ask('/body', { ...by, method: 'DELETE' })).body.toString(), 'deleted\n')
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

test('a page for a browser', async (t) => {
  const sandbox = await make(t)
  const browser = {
    Accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
    'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    'Sec-Fetch-Mode': 'navigate',
  }
  const closed = { ...browser, Host: sandbox.getHost(8001) }
  const page = await ask('/', { headers: closed })
  assert.equal(page.status, 502)
  assert.match(page.headers['content-type'], /^text\/html\b/)
  assert.match(page.body.toString(), /^<!DOCTYPE html>[^]*<\/html>$/)
  for (const word of [sandbox.sandboxId, '8001']) assert.ok(page.body.includes(word), word)
  const unknown = sandbox.getHost(8001).replace(sandbox.sandboxId, NOBODY)
  const gone = await ask('/', { headers: { ...browser, Host: unknown } })
  assert.equal(gone.status, 502)
  assert.match(gone.body.toString(), /^<!DOCTYPE html>[^]*<\/html>$/)
  // A script of the same browser reads JSON.
  const script = await ask('/', { headers: { ...closed, 'Sec-Fetch-Mode': 'cors' } })
  assert.equal(refused(script, 502).port, 8001)
})

test('a page of any origin may read why', async (t) => {
  // Of a live port preflights are the server's to answer; where there is none, the gateway lets the script read why.
  const { sandbox } = await web(t)
  const preflight = (port) => {
    const asked = {
      Origin: 'https://app.example',
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'authorization,x-mine',
    }
    return ask('/', { method: 'OPTIONS', headers: { ...asked, Host: sandbox.getHost(port) } })
  }
  const nobody = await preflight(8001)
  assert.equal(nobody.status, 204)
  assert.equal(nobody.headers['access-control-allow-headers'], 'authorization,x-mine')
  assert.equal(nobody.headers['access-control-allow-origin'], '*')
  const closed = await ask('/', { headers: { Origin: 'https://app.example', Host: sandbox.getHost(8001) } })
  assert.equal(refused(closed, 502).port, 8001)
  assert.equal(closed.headers['access-control-allow-origin'], '*')
  const inside = await preflight(8000)
  assert.equal(inside.headers['access-control-allow-headers'], undefined)
})

test('whoever names no sandbox gets into none', async (t) => {
  const sandbox = await make(t)
  // One that runs is not taken for the one that was meant, though its token is there.
  const token = { 'X-Access-Token': sandbox.envdAccessToken, 'Content-Type': 'application/json' }
  const list = (headers, path = '/process.Process/List') =>
    ask(path, { method: 'POST', headers: { ...token, ...headers }, body: '{}' })
  const [id, port] = [{ 'E2b-Sandbox-Id': sandbox.sandboxId }, { 'E2b-Sandbox-Port': '49983' }]
  const { message } = refused(await list({ Host: 'sandbox.localhost' }), 400)
  assert.match(message, /E2b-Sandbox-Id and E2b-Sandbox-Port are missing/)
  for (const wrong of [{ 'E2b-Sandbox-Id': '' }, { 'E2b-Sandbox-Id': '../etc' }])
    refused(await list({ ...port, ...wrong }), 400)
  for (const wrong of [{}, { 'E2b-Sandbox-Port': '0' }, { 'E2b-Sandbox-Port': '65536' }])
    refused(await list({ ...id, ...wrong }), 400)
  // The one URL leads to the control API as well, which is where such a request is taken to go.
  for (const path of ['/process.Process/List', '/filesystem.Filesystem/ListDir', '/hello']) {
    refused(await list(port, path), 401)
    refused(await list({ ...port, 'X-API-KEY': process.env.E2B_API_KEY }, path), 404)
  }
  refused(await ask('/files?path=/etc/passwd', { headers: token }), 401)
  assert.equal((await agent(sandbox, '/process.Process/List', { json: {} })).status, 200)
})

test('host names that mean nothing', async () => {
  for (const Host of ['nonsense-host.localhost', `99999-${NOBODY}.localhost`, '-.localhost'])
    refused(await ask('/', { headers: { Host } }), 400)
})

test('the agent wants its token, and no other\'s', async (t) => {
  const [first, second] = await Promise.all([make(t), make(t)])
  const json = { path: '/home/user' }
  const stat = (headers) => agent(first, '/filesystem.Filesystem/Stat', { json, headers })
  assert.equal((await stat()).status, 200)
  refused(await stat({ 'E2b-Sandbox-Id': second.sandboxId }), 401)
  refused(await stat({ 'X-Access-Token': undefined }), 401)
  const health = { 'E2b-Sandbox-Id': first.sandboxId, 'E2b-Sandbox-Port': '49983' }
  assert.ok([200, 204].includes((await ask('/health', { headers: health })).status))
  // Who holds the token may not do with the agent what only the server does.
  for (const path of ['/init', '/freeze', '/upgrade'])
    refused(await agent(first, path, { json: { accessToken: 'taken-over' } }), 404)
  assert.equal((await first.commands.run('echo still mine')).stdout, 'still mine\n')
})

test('a websocket to a closed port', async (t) => {
  const sandbox = await make(t)
  const url = process.env.E2B_SANDBOX_URL.replace(/^http/, 'ws')
  const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8001' }
  const socket = new WebSocket(`${url}/ws`, { headers })
  socket.on('error', () => {})
  const [, answer] = await once(socket, 'unexpected-response')
  assert.equal(answer.statusCode, 502)
  socket.terminate()
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
