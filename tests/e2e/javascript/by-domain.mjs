// What the SDK does when it is told a domain and a key and nothing else. Started by tls.test.mjs.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'

const load = createRequire(`${process.env.WARDER_E2E_SDK}/package.json`)
const { Sandbox, Volume } = load('e2b')
const WebSocket = load('ws')
const run = promisify(execFile)

assert.equal(process.env.E2B_API_URL ?? process.env.E2B_SANDBOX_URL, undefined)
const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
try {
  assert.equal((await sandbox.commands.run('echo over TLS')).stdout, 'over TLS\n')
  const big = randomBytes(3_000_000)
  await sandbox.files.write('/home/user/big', new Blob([big]))
  assert.deepEqual(Buffer.from(await sandbox.files.read('/home/user/big', { format: 'bytes' })), big)

  const url = await sandbox.downloadUrl('/home/user/big')
  assert.ok(url.startsWith(`https://49983-${sandbox.sandboxId}.${process.env.E2B_DOMAIN}/`), url)
  assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), big)

  await sandbox.files.write('/home/user/web.py', process.env.WARDER_E2E_WEB)
  await sandbox.commands.run('setsid python3 /home/user/web.py 8000 127.0.0.1 >/tmp/web.log 2>&1 </dev/null & ' +
    'for i in $(seq 500); do curl -sf http://127.0.0.1:8000/hello && exit 0; sleep 0.02; done; exit 1')
  const host = sandbox.getHost(8000)
  assert.equal((await fetch(`https://${host}/hello`)).status, 200)
  // In both versions of HTTP, and by whatever client.
  for (const version of ['1.1', '2']) {
    const { NODE_EXTRA_CA_CERTS } = process.env
    const curl = ['-sS', `--http${version}`, '--cacert', NODE_EXTRA_CA_CERTS, '-o', '/dev/null', '-w']
    const { stdout } = await run('curl', [...curl, '%{http_version} %{http_code}', `https://${host}/hello`])
    assert.equal(stdout, `${version} 200`)
  }
  const socket = new WebSocket(`wss://${host}/ws`)
  const echoed = await new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('open', () => socket.send('through TLS'))
    socket.on('message', (data) => resolve(data.toString()))
  })
  assert.ok(echoed.includes('through TLS'), echoed)
  socket.close()

  // The content of a volume has a host of its own, below the same domain.
  if (Volume) {
    const volume = await Volume.create(`by-domain-${sandbox.sandboxId}`)
    try {
      await volume.writeFile('/note.txt', 'over TLS')
      assert.equal(await volume.readFile('/note.txt'), 'over TLS')
    } finally {
      await Volume.destroy(volume.volumeId)
    }
  }
} finally {
  await sandbox.kill()
}
console.log('all well')
