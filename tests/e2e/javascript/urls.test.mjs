// Signed URLs: whoever holds one needs no key, no token and no SDK.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fetchUrl, make } from './helper.mjs'

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
