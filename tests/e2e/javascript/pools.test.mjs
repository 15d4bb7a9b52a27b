// Warm pools, as seen through the SDK: nothing but the time tells them apart.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { make, mark, Sandbox, until } from './helper.mjs'

const command = process.env.WARDER_E2E_WARDER
const skip = command ? false : "only the server's operator sets pools"

async function warder(...args) {
  const { stdout } = await promisify(execFile)(command, ['--json', ...args], { timeout: 60_000 })
  return JSON.parse(stdout || 'null')
}

const ready = async (template) => (await warder('pool', 'list')).find((pool) => pool.template === template)?.ready ?? 0

const full = (template, size) =>
  until(async () => (await ready(template)) === size, () => `${size} of ${template} that are ready`, 60)

/** A pool that is ended when the test is over. */
async function pool(t, template, size) {
  t.after(() => warder('pool', 'set', template, '0'))
  await warder('pool', 'set', template, `${size}`)
}

/** A template with nothing in it but a word, removed and made anew for each word. */
async function ownTemplate(t) {
  const name = `pool-${randomUUID().slice(0, 8)}`
  const tree = await mkdtemp(join(tmpdir(), 'warder-e2e-tree.'))
  t.after(() => rm(tree, { recursive: true }))
  let there = false
  const remove = async () => {
    if (there) await warder('template', 'remove', name)
    there = false
  }
  t.after(remove)
  await mkdir(join(tree, 'etc'))
  await writeFile(join(tree, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n')
  await writeFile(join(tree, 'etc/group'), 'root:x:0:\nuser:x:1000:\n')
  const says = async (word) => {
    await writeFile(join(tree, 'word'), word)
    await remove()
    await warder('template', 'import-dir', name, tree)
    there = true
  }
  return [name, says]
}

test('five at once from a pool of three', { skip }, async (t) => {
  await pool(t, 'base', 3)
  await full('base', 3)
  const metadata = mark()
  const numbers = [0, 1, 2, 3, 4]
  const made = await Promise.all(
    numbers.map((n) => make(t, { timeoutMs: 60_000, envs: { N: `${n}` }, metadata: { ...metadata, n: `${n}` } })),
  )
  assert.equal(new Set(made.map((sandbox) => sandbox.sandboxId)).size, 5)
  const look = 'echo $N; cat /proc/sys/kernel/random/boot_id; ls -A /tmp'
  const told = await Promise.all(
    made.map(async (sandbox) => (await sandbox.commands.run(look)).stdout.trimEnd().split('\n')),
  )
  assert.deepEqual(told.map(([n]) => n), ['0', '1', '2', '3', '4'])
  assert.equal(new Set(told.map(([, boot]) => boot)).size, 5, 'each has its own boot id')
  assert.ok(told.every((lines) => lines.length === 2), `nobody was there before: ${JSON.stringify(told)}`)
  for (const [n, sandbox] of made.entries()) {
    const info = await sandbox.getInfo()
    assert.deepEqual(info.metadata, { ...metadata, n: `${n}` })
    assert.ok(Math.abs(info.endAt - info.startedAt - 60_000) <= 1000)
  }
})

test('what is ready is nobody\'s, and is made again behind those that are taken', { skip }, async (t) => {
  const [name, says] = await ownTemplate(t)
  await says('once')
  await pool(t, name, 2)
  await full(name, 2)
  const listed = (await Sandbox.list().nextItems()).map((item) => item.templateId)
  assert.ok(!listed.includes(name), 'no list shows them')
  // With nothing left over for others, each time as many as there are.
  const seen = new Set()
  for (let round = 0; round < 3; round++) {
    await full(name, 2)
    for (let n = 0; n < 2; n++) {
      const sandbox = await Sandbox.create(name, { timeoutMs: 60_000 })
      t.after(() => sandbox.kill())
      assert.ok(!seen.has(sandbox.sandboxId), 'each is handed out once')
      seen.add(sandbox.sandboxId)
      assert.equal(await sandbox.files.read('/word'), 'once')
      assert.equal(await sandbox.files.exists('/tmp/left'), false, 'as nobody has left it')
      await sandbox.files.write('/tmp/left', `${n}`)
    }
  }
})

test('none is handed out that was made before its template changed', { skip }, async (t) => {
  const [name, says] = await ownTemplate(t)
  await says('old')
  await pool(t, name, 2)
  await full(name, 2)
  for (const word of ['new', 'newer']) {
    await says(word)
    const sandbox = await Sandbox.create(name, { timeoutMs: 60_000 })
    t.after(() => sandbox.kill())
    assert.equal(await sandbox.files.read('/word'), word)
    await full(name, 2)
  }
  const sandbox = await Sandbox.create(name, { timeoutMs: 60_000 })
  t.after(() => sandbox.kill())
  assert.equal(await sandbox.files.read('/word'), 'newer', 'from the pool that was filled anew')
})

test('a pool is set by the name of a snapshot', { skip }, async (t) => {
  const source = await make(t)
  await source.files.write('/home/user/kept', 'yes')
  const name = `pool-${randomUUID().slice(0, 8)}`
  const { snapshotId } = await source.createSnapshot({ name })
  t.after(() => Sandbox.deleteSnapshot(snapshotId))
  const { template } = await warder('pool', 'set', name, '1')
  t.after(() => warder('pool', 'set', template, '0'))
  assert.notEqual(template, name, 'the answer says which one it is')
  await full(template, 1)
  const sandbox = await Sandbox.create(name, { timeoutMs: 60_000 })
  t.after(() => sandbox.kill())
  assert.equal(await sandbox.files.read('/home/user/kept'), 'yes')
  await full(template, 1)
})
