// Files: every format in and out, directories, links, owners.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, rejection } from './helper.mjs'

const ODD = Uint8Array.from({ length: 10496 }, (_, n) => n % 256)

async function drain(stream) {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

test('every format there and back', async (t) => {
  const { files } = await make(t)
  const written = await files.write('/home/user/note.txt', 'Zeile ☃ 🚀\n')
  assert.deepEqual([written.name, written.path, written.type], ['note.txt', '/home/user/note.txt', 'file'])
  assert.equal(await files.read('/home/user/note.txt'), 'Zeile ☃ 🚀\n')
  await files.write('/tmp/buffer', ODD.buffer)
  assert.deepEqual(await files.read('/tmp/buffer', { format: 'bytes' }), ODD)
  await files.write('/tmp/blob', new Blob([ODD]))
  const blob = await files.read('/tmp/blob', { format: 'blob' })
  assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), ODD)
  await files.write('/tmp/stream', new Blob([ODD]).stream())
  assert.deepEqual(new Uint8Array(await drain(await files.read('/tmp/stream', { format: 'stream' }))), ODD)
})

test('a large file', async (t) => {
  const { files, commands } = await make(t)
  const data = new Uint8Array(8 << 20).map((_, n) => n % 251)
  await files.write('/tmp/large', data.buffer)
  assert.equal((await commands.run('wc -c </tmp/large')).stdout.trim(), `${data.length}`)
  assert.ok(Buffer.from(await files.read('/tmp/large', { format: 'bytes' })).equals(data))
})

test('compressed and raw bodies', async (t) => {
  const { files } = await make(t)
  await files.write('/tmp/squeezed', 'x'.repeat(100_000), { gzip: true })
  assert.equal(await files.read('/tmp/squeezed'), 'x'.repeat(100_000))
  assert.equal(await files.read('/tmp/squeezed', { gzip: true }), 'x'.repeat(100_000))
  await files.write('/tmp/raw', 'raw', { useOctetStream: true })
  assert.equal(await files.read('/tmp/raw'), 'raw')
})

test('empty files, and files whose size stat does not know', async (t) => {
  const { files, commands } = await make(t)
  await files.write('/tmp/empty', '')
  assert.equal(await files.read('/tmp/empty'), '')
  const told = await files.read('/proc/sys/kernel/random/boot_id')
  assert.equal(told, (await commands.run('cat /proc/sys/kernel/random/boot_id')).stdout)
})

test('relative paths, parents, owners, overwriting', async (t) => {
  const { files } = await make(t)
  await files.write('a/b/c.txt', 'a longer text')
  await files.write('/home/user/a/b/c.txt', 'short')
  assert.equal(await files.read('~/a/b/c.txt'), 'short')
  assert.equal((await files.getInfo('a/b')).owner, 'user')
  await files.write('mine', 'of root', { user: 'root' })
  assert.equal(await files.read('/root/mine', { user: 'root' }), 'of root')
})

test('many at once', async (t) => {
  const { files } = await make(t)
  const entries = Array.from({ length: 20 }, (_, n) => ({ path: `/tmp/many/${n}.txt`, data: `number ${n}` }))
  const written = await files.write(entries)
  assert.deepEqual(written.map((item) => item.path), entries.map((item) => item.path))
  for (const { path, data } of entries) assert.equal(await files.read(path), data)
  assert.deepEqual(await files.writeFiles([]), [])
})

test('what is not there, and what is no file', async (t) => {
  const { files } = await make(t)
  await rejection(files.read('/no/such/file'), 'FileNotFoundError')
  await rejection(files.getInfo('/no/such/file'), 'FileNotFoundError')
  await rejection(files.list('/no/such/folder'), 'FileNotFoundError')
  await rejection(files.rename('/no/such/file', '/tmp/x'), 'FileNotFoundError')
  await rejection(files.read('/tmp'), 'SandboxError')
  await files.write('/tmp/file', '')
  await rejection(files.list('/tmp/file'), 'InvalidArgumentError')
  await rejection(files.makeDir('/tmp/file'), 'InvalidArgumentError')
})

test('info and links', async (t) => {
  const { files, commands } = await make(t)
  await files.write('/home/user/f.bin', '12345')
  await commands.run('chmod 640 f.bin && ln -s f.bin link')
  const info = await files.getInfo('/home/user/f.bin')
  assert.deepEqual(
    [info.name, info.path, info.type, info.size, info.mode, info.permissions, info.owner, info.group],
    ['f.bin', '/home/user/f.bin', 'file', 5, 0o640, '-rw-r-----', 'user', 'user'],
  )
  assert.ok(info.modifiedTime instanceof Date)
  assert.equal((await files.getInfo('/home/user/link')).symlinkTarget, '/home/user/f.bin')
})

test('list by depth', async (t) => {
  const { files, commands } = await make(t)
  await commands.run('mkdir -p /tmp/t/a/b/c && touch /tmp/t/1 /tmp/t/a/2 /tmp/t/a/b/3')
  const seen = async (depth) => (await files.list('/tmp/t', { depth })).map((entry) => entry.path).sort()
  assert.deepEqual(await seen(1), ['/tmp/t/1', '/tmp/t/a'])
  assert.deepEqual(await seen(2), ['/tmp/t/1', '/tmp/t/a', '/tmp/t/a/2', '/tmp/t/a/b'])
  assert.equal((await seen(9)).length, 6)
  const kinds = Object.fromEntries((await files.list('/tmp/t')).map((entry) => [entry.name, entry.type]))
  assert.deepEqual(kinds, { 1: 'file', a: 'dir' })
})

test('exists, makeDir, rename, remove', async (t) => {
  const { files } = await make(t)
  assert.equal(await files.exists('/home/user/x'), false)
  assert.equal(await files.makeDir('/home/user/x/y'), true)
  assert.equal(await files.makeDir('/home/user/x/y'), false)
  assert.equal(await files.exists('/home/user/x'), true)
  await files.write('/home/user/x/y/f', 'moved')
  const entry = await files.rename('/home/user/x/y/f', '/home/user/new/g')
  assert.deepEqual([entry.name, entry.path], ['g', '/home/user/new/g'])
  assert.equal(await files.read('/home/user/new/g'), 'moved')
  await files.remove('/home/user/x')
  assert.equal(await files.exists('/home/user/x'), false)
})
