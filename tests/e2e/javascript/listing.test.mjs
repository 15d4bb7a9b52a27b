// Lists: filters, order, pages.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, mark, Sandbox } from './helper.mjs'

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
