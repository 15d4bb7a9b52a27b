// Watching directories.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, rejection, until } from './helper.mjs'

async function watch(sandbox, path, options) {
  const events = []
  const handle = await sandbox.files.watchDir(path, (event) => void events.push(event), options)
  const kinds = (name) => events.filter((event) => event.name === name).map((event) => event.type)
  const due = (kind, name) =>
    until(() => kinds(name).includes(kind), () => `${kind} of ${name} in ${JSON.stringify(events)}`)
  return { events, handle, kinds, due }
}

test('create, chmod, write, rename, remove', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.makeDir('/tmp/w')
  const { due, kinds, handle } = await watch(sandbox, '/tmp/w')
  await sandbox.files.write('/tmp/w/new', 'text')
  await due('write', 'new')
  assert.equal(kinds('new')[0], 'create')
  assert.ok(kinds('new').includes('chmod'))
  await sandbox.files.rename('/tmp/w/new', '/tmp/w/other')
  await due('rename', 'new')
  await due('create', 'other')
  await sandbox.files.remove('/tmp/w/other')
  await due('remove', 'other')
  await handle.stop()
})

test('recursive, and into new directories', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.makeDir('/tmp/w/one/two')
  const { due, handle } = await watch(sandbox, '/tmp/w', { recursive: true })
  await sandbox.files.write('/tmp/w/one/two/deep', 'x')
  await due('create', 'one/two/deep')
  await sandbox.files.makeDir('/tmp/w/later')
  await due('create', 'later')
  await sandbox.files.write('/tmp/w/later/file', 'x')
  await due('create', 'later/file')
  await handle.stop()
})

test('not recursive', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.makeDir('/tmp/w/inner')
  const { due, events, handle } = await watch(sandbox, '/tmp/w')
  await sandbox.files.write('/tmp/w/inner/unseen', 'x')
  await sandbox.files.write('/tmp/w/seen', 'x')
  await due('write', 'seen')
  assert.ok(!events.some((event) => event.name.includes('unseen')))
  await handle.stop()
})

test('entries on demand', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.makeDir('/tmp/w')
  const { events, handle } = await watch(sandbox, '/tmp/w', { includeEntry: true })
  await sandbox.files.write('/tmp/w/file', '12345')
  const sized = () => events.find((event) => event.entry?.size === 5)
  const { entry } = await until(sized, () => `its size in ${JSON.stringify(events)}`)
  assert.deepEqual([entry.name, entry.path], ['file', '/tmp/w/file'])
  await handle.stop()
})

test('the end is told: by stop, and by the time limit', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.makeDir('/tmp/w')
  const ends = []
  const handle = await sandbox.files.watchDir('/tmp/w', () => {}, { onExit: (error) => void ends.push(error) })
  await handle.stop()
  await until(() => ends.length === 1, () => 'the end of the watch')
  await sandbox.files.watchDir('/tmp/w', () => {}, { timeoutMs: 500, onExit: (error) => void ends.push(error) })
  await until(() => ends.length === 2, () => 'the end by the time limit')
  assert.ok(ends[1] instanceof Error)
})

test('what cannot be watched', async (t) => {
  const sandbox = await make(t)
  await rejection(sandbox.files.watchDir('/no/such/folder', () => {}), 'NotFoundError')
  await sandbox.files.write('/tmp/file', '')
  await rejection(sandbox.files.watchDir('/tmp/file', () => {}), 'InvalidArgumentError')
})
