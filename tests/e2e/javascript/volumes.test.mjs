// Volumes: made, mounted in many sandboxes, read and written from outside.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { make, rejection, Sandbox, sdk } from './helper.mjs'

process.env.E2B_VOLUME_API_URL ??= process.env.E2B_API_URL
const { Volume } = sdk
const skip = Volume ? false : 'this SDK has no volumes'

const fresh = () => Volume.create(`test-${randomUUID()}`)

const paths = (entries) => entries.map((entry) => entry.path)

test('made, listed, described and destroyed', { skip }, async () => {
  const one = await fresh()
  assert.ok(one.volumeId && one.token)
  assert.ok((await Volume.list()).some((found) => found.volumeId === one.volumeId && found.name === one.name))
  assert.equal((await Volume.getInfo(one.volumeId)).token, one.token)
  assert.equal((await Volume.connect(one.volumeId)).token, one.token)
  await assert.rejects(Volume.create(one.name))
  assert.equal(await Volume.destroy(one.volumeId), true)
  assert.equal(await Volume.destroy(one.volumeId), false)
  await rejection(Volume.getInfo(one.volumeId), 'VolumeNotFoundError')
})

test('content without any sandbox', { skip }, async (t) => {
  const one = await fresh()
  t.after(() => Volume.destroy(one.volumeId))
  assert.deepEqual(await one.list('/'), [])
  const entry = await one.writeFile('/note.txt', 'Zeile ☃\n')
  assert.deepEqual([entry.name, entry.path, entry.type, entry.size, entry.mode], ['note.txt', '/note.txt', 'file', 10, 0o644])
  assert.ok(entry.mtime instanceof Date)
  assert.equal(await one.readFile('/note.txt'), 'Zeile ☃\n')
  const odd = Uint8Array.from({ length: 100_000 }, (_, n) => n % 251)
  await one.writeFile('/blob', new Blob([odd]), { mode: 0o600, uid: 0, gid: 0 })
  assert.deepEqual(await one.readFile('/blob', { format: 'bytes' }), odd)
  await one.writeFile('/stream', new Blob([odd]).stream())
  const parts = []
  for await (const part of await one.readFile('/stream', { format: 'stream' })) parts.push(part)
  assert.ok(Buffer.concat(parts).equals(Buffer.from(odd)))
  await one.makeDir('/a/b', { force: true })
  await rejection(one.makeDir('/x/y'), 'VolumePathNotFoundError')
  assert.deepEqual(paths(await one.list('/')), ['/a', '/blob', '/note.txt', '/stream'])
  assert.deepEqual(paths(await one.list('/', { depth: 2 })).slice(0, 2), ['/a', '/a/b'])
  const changed = await one.updateMetadata('/note.txt', { uid: 1, gid: 2, mode: 0o640 })
  assert.deepEqual([changed.uid, changed.gid, changed.mode], [1, 2, 0o640])
  await one.remove('/a')
  assert.equal(await one.exists('/a'), false)
  await rejection(one.readFile('/a'), 'VolumePathNotFoundError')
})

test('two sandboxes and the outside see the same files', { skip }, async (t) => {
  const one = await fresh()
  const mounted = { volumeMounts: { '/mnt/data': one } }
  const [first, second] = [await Sandbox.create(mounted), await Sandbox.create(mounted)]
  try {
    await first.commands.run('echo from the first >/mnt/data/shared')
    assert.equal(await second.files.read('/mnt/data/shared'), 'from the first\n')
    assert.equal(await one.readFile('/shared'), 'from the first\n')
    await one.writeFile('/outside', 'from outside')
    assert.equal(await second.files.read('/mnt/data/outside'), 'from outside')
    assert.match((await rejection(Volume.destroy(one.volumeId), 'VolumeError')).message, /mounted/)
  } finally {
    await first.kill()
    await second.kill()
  }
  const third = await make(t, mounted)
  assert.equal(await third.files.read('/mnt/data/shared'), 'from the first\n')
  await third.kill()
  assert.equal(await Volume.destroy(one.volumeId), true)
})

test('a paused sandbox keeps it', { skip }, async (t) => {
  const one = await fresh()
  const sandbox = await make(t, { volumeMounts: { '/mnt/data': one } })
  await sandbox.files.write('/mnt/data/file', 'before')
  for (const keepMemory of [true, false]) {
    await sandbox.pause({ keepMemory })
    assert.match((await rejection(Volume.destroy(one.volumeId), 'VolumeError')).message, /mounted/)
    await one.writeFile('/file', `meanwhile ${keepMemory}`)
    await sandbox.connect()
    assert.equal(await sandbox.files.read('/mnt/data/file'), `meanwhile ${keepMemory}`)
  }
  await sandbox.kill()
  assert.equal(await Volume.destroy(one.volumeId), true)
})

test('what cannot be mounted is refused', { skip }, async (t) => {
  const one = await fresh()
  t.after(() => Volume.destroy(one.volumeId))
  for (const place of ['relative', '/', '/proc/x', '/a/../b'])
    await assert.rejects(Sandbox.create({ volumeMounts: { [place]: one } }), /volumeMounts/, place)
  await assert.rejects(Sandbox.create({ volumeMounts: { '/x': one, '/x/y': one } }), /one below the other/)
})
