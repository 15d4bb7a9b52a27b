// HTTPS by name: a domain and a key are all that a client is told.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import { test } from 'node:test'
import { promisify } from 'node:util'

const envFile = process.env.WARDER_E2E_TLS_ENV
const skip = envFile ? false : 'the server under test speaks no TLS (tests/e2e/run starts one that does)'
// The certificate that a second server was given, and what the names of its state and its lines begin with.
const given = process.env.WARDER_E2E_GIVEN

const exported = (file = envFile) =>
  Object.fromEntries(
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('export '))
      .map((line) => line.slice('export '.length).split(/=(.*)/s).slice(0, 2)),
  )

const run = (env, script = 'by-domain.mjs') =>
  promisify(execFile)(process.execPath, [new URL(script, import.meta.url).pathname], { env, timeout: 120_000 })

function clean(lines = exported()) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(E2B_|SSL_|NODE_)/.test(name))
  const web = readFileSync(new URL('../guest/web.py', import.meta.url), 'utf8')
  return { ...Object.fromEntries(kept), ...lines, WARDER_E2E_WEB: web }
}

/** The same of the server that was given its certificate, and trust in who signed it. */
const ofGiven = () => clean({ ...exported(`${given}-env`), NODE_EXTRA_CA_CERTS: `${given}/ca.pem` })

for (const [name, environment] of [['its own authority', clean], ['a certificate that was given', ofGiven]])
  test(`a domain and a key drive the SDK: ${name}`, { skip }, async () => {
    const { stdout } = await run(environment())
    assert.match(stdout, /all well/)
  })

test('a certificate is replaced', { skip }, async () => {
  // privd is what `warder up` started first.
  const pid = process.env.WARDER_E2E_GIVEN_PID
  const [PRIVD] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
  const { stdout } = await run({ ...ofGiven(), PRIVD, WARDER_STATE_DIR: `${given}-state` }, 'renewal.mjs')
  assert.match(stdout, /all well/)
})

test('without trust nothing is said to the server', { skip }, async () => {
  const env = clean()
  delete env.NODE_EXTRA_CA_CERTS
  delete env.SSL_CERT_FILE
  await assert.rejects(run(env), (error) => /certificate|fetch failed/i.test(error.stderr))
})

test('many requests on one connection', { skip }, async () => {
  const { E2B_DOMAIN, E2B_API_KEY, NODE_EXTRA_CA_CERTS } = exported()
  const client = http2.connect(`https://api.${E2B_DOMAIN}`, { ca: readFileSync(NODE_EXTRA_CA_CERTS) })
  const one = () =>
    new Promise((resolve, reject) => {
      const request = client.request({ ':path': '/v2/sandboxes', 'x-api-key': E2B_API_KEY })
      request.on('response', (headers) => resolve(headers[':status']))
      request.on('error', reject)
      request.resume()
      request.end()
    })
  try {
    const statuses = await Promise.all(Array.from({ length: 50 }, one))
    assert.deepEqual(new Set(statuses), new Set([200]))
    assert.equal(client.remoteSettings.enableConnectProtocol, false)
  } finally {
    client.close()
  }
})
