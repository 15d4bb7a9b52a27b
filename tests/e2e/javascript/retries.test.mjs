// What may be sent again: creates with a key of the client's, and what an error says of another try.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, mark, Sandbox } from './helper.mjs'

/** One request to the API as no SDK would send it: it has no option for such a key. */
function post(path, body, headers = {}) {
  return fetch(process.env.E2B_API_URL + path, {
    method: 'POST',
    headers: { 'X-API-Key': process.env.E2B_API_KEY, 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
}

async function failed(answer, status) {
  const body = await answer.json()
  assert.equal(answer.status, status, JSON.stringify(body))
  assert.equal(body.code, status)
  assert.ok(body.message)
  return body
}

const listed = async (metadata) =>
  (await Sandbox.list({ query: { metadata } }).nextItems()).map((item) => item.sandboxId)

const keyed = (body, key) => post('/v2/sandboxes', body, { 'Idempotency-Key': key })

test('sent twice it is made once', async (t) => {
  const metadata = mark()
  const body = { templateID: 'base', timeout: 60, metadata }
  const answers = [await keyed(body, metadata.mark), await keyed(body, metadata.mark)]
  assert.deepEqual(answers.map((answer) => answer.status), [201, 201])
  const [first, second] = await Promise.all(answers.map((answer) => answer.json()))
  t.after(() => Sandbox.kill(first.sandboxID))
  assert.deepEqual(second, first)
  assert.deepEqual(await listed(metadata), [first.sandboxID])
  const other = await failed(await keyed({ ...body, timeout: 61 }, metadata.mark), 422)
  assert.equal(other.error_code, 'idempotency_request_mismatch')
  await failed(await keyed(body, 'A b'), 400)
  await failed(await keyed(body, 'a'.repeat(256)), 400)
  assert.deepEqual(await listed(metadata), [first.sandboxID])
  // The sandbox that was made so is like any other to the SDK.
  const sandbox = await Sandbox.connect(first.sandboxID)
  assert.equal((await sandbox.commands.run('echo here')).stdout, 'here\n')
})

test('sent many times at once it is made once', async (t) => {
  const metadata = mark()
  const body = { templateID: 'base', timeout: 60, metadata }
  const answers = await Promise.all(Array.from({ length: 8 }, () => keyed(body, metadata.mark)))
  const made = new Set()
  for (const answer of answers) {
    // Who comes while the first is under way is told so.
    if (answer.status === 201) made.add((await answer.json()).sandboxID)
    else assert.equal((await failed(answer, 409)).error_code, 'idempotency_in_progress')
  }
  assert.equal(made.size, 1)
  const [id] = made
  t.after(() => Sandbox.kill(id))
  assert.deepEqual(await listed(metadata), [id])
  assert.equal((await (await keyed(body, metadata.mark)).json()).sandboxID, id)
})

test('a create that failed frees its key', async (t) => {
  const metadata = mark()
  const body = { templateID: 'no-such-template', timeout: 60, metadata }
  await failed(await keyed(body, metadata.mark), 404)
  const answer = await keyed({ ...body, templateID: 'base' }, metadata.mark)
  assert.equal(answer.status, 201)
  const { sandboxID } = await answer.json()
  t.after(() => Sandbox.kill(sandboxID))
})

test('an error says where another try cannot help', async (t) => {
  const sandbox = await make(t)
  const iam = { tokens: { a: { audience: 'b', tokenType: 'JWT-SVID' } } }
  for (const [path, body, status] of [
    ['/v2/sandboxes', { templateID: 'base', iam }, 400],
    ['/v3/templates', { name: 'x' }, 501],
  ]) {
    const answer = await post(path, body)
    assert.equal(answer.headers.get('should-retry'), 'false', path)
    assert.equal(answer.headers.get('retry-after'), null, path)
    await failed(answer, status)
  }
  // Nothing is said of it where the status says all.
  const answer = await post(`/sandboxes/${sandbox.sandboxId}/timeout`, { timeout: -1 })
  assert.deepEqual([answer.headers.get('should-retry'), answer.headers.get('retry-after')], [null, null])
  await failed(answer, 400)
})
