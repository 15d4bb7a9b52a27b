// Files: every format in and out, directories, links, owners.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agent, ask, make, refused, rejection } from './helper.mjs'

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

test('awkward names', async (t) => {
  const { files } = await make(t)
  const names = ['with space', 'per%20cent', 'ünï ☃', 'a+b&c=d?e#f', '-rf', 'new\nline']
  for (const name of names) {
    await files.write(`/tmp/names/${name}`, name)
    assert.equal(await files.read(`/tmp/names/${name}`), name)
  }
  assert.deepEqual((await files.list('/tmp/names')).map((entry) => entry.name).sort(), names.toSorted())
})

test('what belongs to root stays so', async (t) => {
  const { files, commands } = await make(t)
  await files.write('/root/secret', 'hidden', { user: 'root' })
  await commands.run('chmod 600 /root/secret && chmod 700 /root', { user: 'root' })
  for (const tried of ['cat /root/secret', 'echo x >/usr/bin/planted'])
    await rejection(commands.run(tried), 'CommandExitError')
})

test('metadata of a file', async (t) => {
  const { files } = await make(t)
  await files.write('/home/user/m', 'x', { metadata: { Origin: 'a test', n: '1' } })
  assert.deepEqual((await files.getInfo('/home/user/m')).metadata, { origin: 'a test', n: '1' })
  await files.write('/home/user/m', 'y')
  assert.deepEqual(Object.keys((await files.getInfo('/home/user/m')).metadata ?? {}), [])
})

test('parts of a file', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.write('/tmp/digits', '0123456789')
  await sandbox.files.write('/tmp/empty', '')
  const token = { 'X-Access-Token': sandbox.envdAccessToken }
  const named = { ...token, 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49983' }
  const got = async (path, headers) => {
    const answer = await ask(`/files?path=${path}`, { headers: { ...named, ...headers } })
    const { 'content-length': length, 'content-range': range } = answer.headers
    return [answer.status, answer.body.toString(), length, range]
  }
  assert.deepEqual(await got('/tmp/digits', { Range: 'bytes=2-5' }), [206, '2345', '4', 'bytes 2-5/10'])
  assert.deepEqual(await got('/tmp/digits'), [200, '0123456789', '10', undefined])
  assert.deepEqual(await got('/tmp/empty'), [200, '', '0', undefined])
})

test('uploads that cannot be', async (t) => {
  const sandbox = await make(t)
  const raw = { 'Content-Type': 'application/octet-stream' }
  const upload = (query, headers = raw) => agent(sandbox, `/files${query}`, { body: 'x', headers })
  refused(await upload(''), 400)
  refused(await upload('?path=/tmp/x', { 'Content-Type': 'text/plain' }), 400)
  refused(await upload('?path=/tmp/x&username=nobody-such'), 401)
  assert.equal(await sandbox.files.exists('/tmp/x'), false)
})
