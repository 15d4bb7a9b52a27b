// A server's certificate is replaced while an SDK talks to it. Started by tls.test.mjs.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, readFileSync, renameSync } from 'node:fs'
import http2 from 'node:http2'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'

const load = createRequire(`${process.env.WARDER_E2E_SDK}/package.json`)
const { Sandbox } = load('e2b')
const WebSocket = load('ws')
const { E2B_API_KEY, E2B_DOMAIN, PRIVD, WARDER_E2E_GIVEN: given, WARDER_E2E_WARDER: warder } = process.env
const run = promisify(execFile)

const shown = (session) => session.socket.getPeerCertificate().fingerprint256
const onDisk = () => new X509Certificate(readFileSync(`${given}/chain.pem`)).fingerprint256
const reload = () => run(warder, ['reload']).then(() => 0, (error) => error.code)

async function connect() {
  const session = http2.connect(`https://api.${E2B_DOMAIN}`)
  await once(session, 'connect')
  return session
}

/** The status of a request on this very connection. */
async function listed(session) {
  const request = session.request({ ':path': '/v2/sandboxes', 'x-api-key': E2B_API_KEY })
  const [headers] = await once(request, 'response')
  request.resume()
  await once(request, 'end')
  return headers[':status']
}

/** What a client that comes now is shown. */
async function now() {
  const session = await connect()
  const seen = shown(session)
  session.close()
  return seen
}

async function renew() {
  await run(new URL('../certificate', import.meta.url).pathname, [given, E2B_DOMAIN.split(':')[0]])
  return onDisk()
}

const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
try {
  await sandbox.files.write('/home/user/web.py', process.env.WARDER_E2E_WEB)
  await sandbox.commands.run('setsid python3 /home/user/web.py 8000 127.0.0.1 >/tmp/web.log 2>&1 </dev/null & ' +
    'for i in $(seq 500); do curl -sf http://127.0.0.1:8000/hello && exit 0; sleep 0.02; done; exit 1')

  // What is under way: a connection between two requests, a WebSocket, a command whose output is still to come.
  const [first, old] = [onDisk(), await connect()]
  assert.deepEqual([await listed(old), shown(old)], [200, first])
  const socket = new WebSocket(`wss://${sandbox.getHost(8000)}/ws`)
  await once(socket, 'open')
  const held = 'until [ -e /tmp/go ]; do sleep 0.02; done; echo late'
  const command = await sandbox.commands.run(held, { background: true })

  const second = await renew()
  assert.notEqual(second, first)
  assert.equal(await now(), first, 'nobody has said that there is a new one')
  assert.equal(await reload(), 0)
  assert.equal(await now(), second)
  assert.deepEqual([await listed(old), shown(old)], [200, first])

  // A certificate that is not its key's changes nothing.
  copyFileSync(`${given}/chain.pem`, `${given}/kept`)
  await renew()
  renameSync(`${given}/kept`, `${given}/chain.pem`)
  assert.equal(await reload(), 1)
  assert.equal(await now(), second)

  const third = await renew()
  process.kill(Number(PRIVD), 'SIGHUP')
  const deadline = performance.now() + 20_000
  while ((await now()) !== third) assert.ok(performance.now() < deadline, 'waited 20 s in vain for the third')

  assert.deepEqual([await listed(old), shown(old)], [200, first])
  const echo = once(socket, 'message')
  socket.send('still here')
  assert.equal((await echo)[0].toString(), 'still here')
  await sandbox.files.write('/tmp/go', '')
  assert.equal((await command.wait()).stdout, 'late\n')
  socket.close()
  old.close()
} finally {
  await sandbox.kill()
}
console.log('all well')
