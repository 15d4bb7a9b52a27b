// Signed URLs: whoever holds one needs no key, no token and no SDK.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, fetchUrl, make, refused } from './helper.mjs'

test('download', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.write('a folder/ü & é.txt', 'found')
  const answer = await fetchUrl(await sandbox.downloadUrl('a folder/ü & é.txt'))
  assert.deepEqual([answer.status, answer.body.toString()], [200, 'found'])
})

test('a signature that is still good, and one that is no more', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.write('/home/user/f', 'x')
  const good = await fetchUrl(await sandbox.downloadUrl('/home/user/f', { useSignatureExpiration: 1000 }))
  assert.deepEqual([good.status, good.body.toString()], [200, 'x'])
  const late = await fetchUrl(await sandbox.downloadUrl('/home/user/f', { useSignatureExpiration: -1000 }))
  assert.equal(late.status, 401)
  assert.deepEqual(JSON.parse(late.body), { code: 401, message: 'signature is already expired' })
})

test('upload', async (t) => {
  const sandbox = await make(t)
  const edge = 'b0undary'
  const body =
    `--${edge}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n` +
    `sent by a form\r\n--${edge}--\r\n`
  const headers = { 'Content-Type': `multipart/form-data; boundary=${edge}` }
  const url = await sandbox.uploadUrl('/home/user/up.bin')
  const answer = await fetchUrl(url, { method: 'POST', headers, body })
  assert.equal(answer.status, 200, answer.body.toString())
  assert.equal(await sandbox.files.read('/home/user/up.bin'), 'sent by a form')
})

test('as a user', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.write('/root/f', 'of root', { user: 'root' })
  await sandbox.files.write('/home/user/f', 'of user')
  assert.equal((await fetchUrl(await sandbox.downloadUrl('f', { user: 'root' }))).body.toString(), 'of root')
  assert.equal((await fetchUrl(await sandbox.downloadUrl('f', { user: 'user' }))).body.toString(), 'of user')
  assert.equal((await fetchUrl(await sandbox.downloadUrl('f', { user: 'nobody-of-that-name' }))).status, 401)
})

test('upload of a raw body, with an end and as a user', async (t) => {
  const sandbox = await make(t)
  const raw = { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: 'raw' }
  assert.equal((await fetchUrl(await sandbox.uploadUrl('/tmp/raw'), raw)).status, 200)
  assert.equal(await sandbox.files.read('/tmp/raw'), 'raw')
  const url = await sandbox.uploadUrl('/root/up', { user: 'root', useSignatureExpiration: 1000 })
  assert.equal((await fetchUrl(url, raw)).status, 200)
  assert.equal((await sandbox.files.getInfo('/root/up', { user: 'root' })).owner, 'root')
})

test('a signature opens one file for one purpose', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.write('/home/user/open', 'x')
  await sandbox.files.write('/home/user/closed', 'secret')
  const { searchParams } = new URL(await sandbox.downloadUrl('/home/user/open'))
  const own = { path: '/home/user/open', signature: searchParams.get('signature') }
  const named = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49983' }
  const files = (query, more = {}) => ask(`/files?${new URLSearchParams(query)}`, { headers: named, ...more })
  assert.equal((await files(own)).body.toString(), 'x')
  const headers = { ...named, 'Content-Type': 'application/octet-stream' }
  for (const [query, more] of [
    [{ ...own, path: '/home/user/closed' }],
    [{ ...own, username: 'root' }],
    [{ ...own, signature_expiration: '99999999999' }],
    [{ ...own, signature: `v1_${'A'.repeat(43)}` }],
    [own, { method: 'POST', headers, body: 'overwritten' }],
  ])
    assert.equal(refused(await files(query, more), 401).message, 'invalid signature', JSON.stringify(query))
  const unsigned = refused(await files({ path: '/home/user/open' }), 401)
  assert.equal(unsigned.message, 'missing signature query parameter')
  assert.equal(await sandbox.files.read('/home/user/open'), 'x')
})

test('a signature of one sandbox opens no other, and dies with its own', async (t) => {
  const [first, second] = await Promise.all([make(t), make(t)])
  const urls = []
  for (const [sandbox, text] of [[first, 'of the first'], [second, 'of the second']]) {
    await sandbox.files.write('/home/user/f', text)
    urls.push(await sandbox.downloadUrl('/home/user/f'))
    assert.equal((await fetchUrl(urls.at(-1))).body.toString(), text)
  }
  const crossed = { 'E2b-Sandbox-Id': second.sandboxId, 'E2b-Sandbox-Port': '49983' }
  refused(await fetchUrl(urls[0], { headers: crossed }), 401)
  await first.kill()
  const gone = await fetchUrl(urls[0])
  assert.ok(gone.status >= 400 && !gone.body.includes('of the first'), `${gone.status}`)
  refused(await fetchUrl(urls[0], { headers: { ...crossed, 'E2b-Sandbox-Id': first.sandboxId } }), 502)
  assert.equal((await fetchUrl(urls[1])).body.toString(), 'of the second')
})

test('a wrong signature without a name opens nothing', async (t) => {
  const sandbox = await make(t)
  await sandbox.files.write('/home/user/f', 'secret')
  for (const signature of [`&signature=v1_${'A'.repeat(43)}`, '']) {
    const answer = await ask(`/files?path=/home/user/f${signature}`)
    assert.ok(answer.status >= 400 && answer.status < 500 && !answer.body.includes('secret'), `${answer.status}`)
  }
})
