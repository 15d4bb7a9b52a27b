// Lists: filters, order, pages.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { api, make, mark, refused, Sandbox, told } from './helper.mjs'

async function every(options) {
  const pages = Sandbox.list(options)
  const ids = []
  while (pages.hasNext) ids.push(...(await pages.nextItems()).map((item) => item.sandboxId))
  return ids
}

test('metadata must match in all keys', async (t) => {
  const metadata = mark()
  const first = await make(t, { metadata: { ...metadata, stage: 'one' } })
  const second = await make(t, { metadata: { ...metadata, stage: 'two' } })
  assert.deepEqual(await every({ query: { metadata } }), [second.sandboxId, first.sandboxId])
  assert.deepEqual(await every({ query: { metadata: { ...metadata, stage: 'one' } } }), [first.sandboxId])
  assert.deepEqual(await every({ query: { metadata: { ...metadata, stage: 'three' } } }), [])
})

test('metadata of any text comes back and matches', async (t) => {
  const metadata = { ...mark(), 'a k': 'b c&d', 'k=v': '100% %25', ключ: 'é ☃ /?#+' }
  const sandbox = await make(t, { metadata })
  assert.deepEqual((await sandbox.getInfo()).metadata, metadata)
  assert.deepEqual(await every({ query: { metadata } }), [sandbox.sandboxId])
  assert.deepEqual(await every({ query: { metadata: { ...metadata, 'a k': 'b c' } } }), [])
})

test('states, templates and start times', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  const { startedAt } = await sandbox.getInfo()
  const id = [sandbox.sandboxId]
  assert.deepEqual(await every({ query: { metadata, state: ['running'] } }), id)
  assert.deepEqual(await every({ query: { metadata, state: ['running', 'paused'] } }), id)
  assert.deepEqual(await every({ query: { metadata, state: ['paused'] } }), [])
  assert.deepEqual(await every({ query: { metadata, template: 'base' } }), id)
  assert.deepEqual(await every({ query: { metadata, template: 'no-such-template' } }), [])
  assert.deepEqual(await every({ query: { metadata, startedAfter: startedAt } }), id)
  assert.deepEqual(await every({ query: { metadata, startedAfter: new Date(+startedAt + 1000) } }), [])
})

test('pages hold each once in order', async (t) => {
  const metadata = mark()
  const made = []
  for (let n = 0; n < 3; n++) made.push((await make(t, { metadata })).sandboxId)
  const newest = made.toReversed()
  for (const limit of [1, 2, 3]) assert.deepEqual(await every({ query: { metadata }, limit }), newest)
  assert.deepEqual(await every({ query: { metadata }, limit: 1, order: 'asc' }), made)
  const pages = Sandbox.list({ query: { metadata }, limit: 2 })
  assert.equal((await pages.nextItems()).length, 2)
  assert.ok(pages.hasNext && pages.nextToken)
  assert.equal((await pages.nextItems()).length, 1)
  assert.ok(!pages.hasNext)
})

test('a listed item describes the sandbox', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  const [item] = await Sandbox.list({ query: { metadata } }).nextItems()
  const info = await sandbox.getInfo()
  assert.equal(item.sandboxId, sandbox.sandboxId)
  assert.deepEqual([item.startedAt, item.endAt, item.state], [info.startedAt, info.endAt, 'running'])
  assert.equal(item.templateId, info.templateId)
})

test('a page can be gone on from, while sandboxes come and go', async (t) => {
  const metadata = mark()
  const made = []
  for (let n = 0; n < 3; n++) made.push(await make(t, { metadata }))
  const ids = made.map((sandbox) => sandbox.sandboxId)
  const first = Sandbox.list({ query: { metadata }, limit: 1 })
  assert.deepEqual((await first.nextItems()).map((item) => item.sandboxId), [ids[2]])
  await make(t, { metadata })
  await made[2].kill()
  assert.deepEqual(await every({ query: { metadata }, limit: 1, nextToken: first.nextToken }), [ids[1], ids[0]])
})

test('the plain list', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  const query = `metadata=${encodeURIComponent(`mark=${metadata.mark}`)}`
  const page = await api('GET', `/v2/sandboxes?${query}`)
  assert.equal(page.status, 200)
  const [item, ...more] = JSON.parse(page.body)
  assert.deepEqual([item.sandboxID, more], [sandbox.sandboxId, []])
  for (const key of ['templateID', 'clientID', 'startedAt', 'endAt', 'cpuCount', 'memoryMB', 'diskSizeMB'])
    assert.ok(item[key], key)
  assert.equal(item.envdAccessToken, undefined)
  assert.ok(!page.headers['x-next-token'])
  assert.ok(Number(page.headers['x-total-running']) >= 1)
  assert.deepEqual((await told(`/sandboxes?${query}`)).map((one) => one.sandboxID), [sandbox.sandboxId])
  // To the microsecond, which the SDK's dates do not hold.
  const after = (time) => told(`/v2/sandboxes?${query}&startedAfter=${encodeURIComponent(time)}`)
  assert.equal((await after(item.startedAt)).length, 1)
  const later = item.startedAt.replace(/\.(\d{6})/, (_, digits) => `.${`${Number(digits) + 1}`.padStart(6, '0')}`)
  // Unless it was the last one of its second.
  if (!item.startedAt.includes('.999999')) assert.deepEqual(await after(later), [])
})

test('a query that makes no sense is refused', async (t) => {
  const queries = ['limit=0', 'limit=101', 'limit=many', 'nextToken=!!!', 'state=asleep', 'order=sideways']
  for (const query of [...queries, 'startedAfter=soon']) refused(await api('GET', `/v2/sandboxes?${query}`), 400)
  const metadata = mark()
  for (let n = 0; n < 2; n++) await make(t, { metadata })
  const path = `/v2/sandboxes?metadata=${encodeURIComponent(`mark=${metadata.mark}`)}&limit=1`
  const token = (await api('GET', path)).headers['x-next-token']
  const next = `${path}&nextToken=${encodeURIComponent(token)}`
  assert.equal((await told(next)).length, 1)
  // It was given for the other order.
  refused(await api('GET', `${next}&order=asc`), 400)
})
