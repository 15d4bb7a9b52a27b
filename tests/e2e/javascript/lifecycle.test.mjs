// Create, connect, look at, prolong, end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, mark, NOBODY, rejection, Sandbox, until } from './helper.mjs'

const listed = async (metadata) =>
  (await Sandbox.list({ query: { metadata } }).nextItems()).map((item) => item.sandboxId)

test('a new sandbox answers and describes itself', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { timeoutMs: 90_000, metadata })
  assert.match(sandbox.sandboxId, /^i[a-z0-9]{20}$/)
  assert.equal((await sandbox.commands.run('echo ready')).stdout, 'ready\n')
  const info = await sandbox.getInfo()
  assert.equal(info.sandboxId, sandbox.sandboxId)
  assert.equal(info.state, 'running')
  assert.deepEqual(info.metadata, metadata)
  assert.equal(info.envdVersion, '0.6.13')
  assert.ok(Math.abs(info.endAt - info.startedAt - 90_000) <= 1000)
})

test('base by name is the default', async (t) => {
  const named = await Sandbox.create('base', { timeoutMs: 60_000 })
  t.after(() => named.kill())
  const plain = await make(t)
  assert.equal((await named.getInfo()).templateId, (await plain.getInfo()).templateId)
})

test('a killed sandbox is gone everywhere', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  assert.equal(await sandbox.isRunning(), true)
  assert.deepEqual(await listed(metadata), [sandbox.sandboxId])
  assert.equal(await sandbox.kill(), true)
  assert.equal(await sandbox.isRunning(), false)
  assert.deepEqual(await listed(metadata), [])
  await rejection(sandbox.getInfo(), 'NotFoundError')
  await rejection(sandbox.commands.run('true'), 'SandboxNotFoundError')
  await rejection(sandbox.files.read('/etc/passwd'), 'SandboxError')
  await rejection(Sandbox.connect(sandbox.sandboxId), 'NotFoundError')
  assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
})

test('connect reaches the same sandbox', async (t) => {
  const first = await make(t)
  await first.files.write('/tmp/note', 'left by the first')
  const second = await Sandbox.connect(first.sandboxId)
  assert.equal(second.sandboxId, first.sandboxId)
  assert.equal(await second.files.read('/tmp/note'), 'left by the first')
})

test('connect prolongs and never shortens', async (t) => {
  const sandbox = await make(t, { timeoutMs: 200_000 })
  const before = (await sandbox.getInfo()).endAt
  await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 10_000 })
  assert.deepEqual((await sandbox.getInfo()).endAt, before)
  await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 1_000_000 })
  assert.ok((await sandbox.getInfo()).endAt - before > 700_000)
})

test('setTimeout prolongs and shortens', async (t) => {
  const sandbox = await make(t, { timeoutMs: 100_000 })
  const start = (await sandbox.getInfo()).endAt
  await sandbox.setTimeout(500_000)
  assert.ok((await sandbox.getInfo()).endAt - start > 300_000)
  await Sandbox.setTimeout(sandbox.sandboxId, 50_000)
  assert.ok((await sandbox.getInfo()).endAt < start)
})

test('it ends when its time is up', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { timeoutMs: 2000, metadata })
  await until(async () => !(await sandbox.isRunning()), () => 'the end of the sandbox')
  await until(async () => (await listed(metadata)).length === 0, () => 'its end in the list')
})

test('a timeout of zero ends it now', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  await sandbox.setTimeout(0)
  await until(async () => !(await sandbox.isRunning()), () => 'the end of the sandbox')
  await until(async () => (await listed(metadata)).length === 0, () => 'its end in the list')
  await rejection(sandbox.getInfo(), 'NotFoundError')
})

test('host names carry port and id', async (t) => {
  const sandbox = await make(t)
  const { port } = new URL(process.env.E2B_SANDBOX_URL)
  // `http://` + host is a whole URL: the port of the server is in it.
  assert.equal(sandbox.getHost(3000), `3000-${sandbox.sandboxId}.localhost:${port}`)
  assert.equal((await Sandbox.connect(sandbox.sandboxId)).getHost(3000), sandbox.getHost(3000))
})

test('an unknown sandbox is not found', async () => {
  await rejection(Sandbox.connect(NOBODY), 'NotFoundError')
  await rejection(Sandbox.getInfo(NOBODY), 'NotFoundError')
  await rejection(Sandbox.setTimeout(NOBODY, 5000), 'NotFoundError')
  assert.equal(await Sandbox.kill(NOBODY), false)
})

test('envs reach every command', async (t) => {
  const sandbox = await make(t, { envs: { COLOUR: 'green', QUOTE: 'it\'s "so" $HOME' } })
  const show = 'printf "%s|%s" "$COLOUR" "$QUOTE"'
  assert.equal((await sandbox.commands.run(show)).stdout, 'green|it\'s "so" $HOME')
  assert.equal((await sandbox.commands.run(show, { envs: { COLOUR: 'red' } })).stdout, 'red|it\'s "so" $HOME')
})

test('many at once are all different', async (t) => {
  const sandboxes = await Promise.all(Array.from({ length: 8 }, (_, n) => make(t, { envs: { N: `${n}` } })))
  assert.equal(new Set(sandboxes.map((sandbox) => sandbox.sandboxId)).size, 8)
  const outputs = await Promise.all(sandboxes.map((sandbox) => sandbox.commands.run('echo $N')))
  assert.deepEqual(outputs.map((output) => output.stdout), Array.from({ length: 8 }, (_, n) => `${n}\n`))
})

test('a wrong key and an unknown template make nothing', async () => {
  const metadata = mark()
  await rejection(Sandbox.create({ apiKey: `e2b_${'0'.repeat(40)}`, metadata }), 'AuthenticationError')
  await assert.rejects(Sandbox.create('no-such-template', { metadata }))
  assert.deepEqual(await listed(metadata), [])
})
