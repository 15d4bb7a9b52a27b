// What can be seen of a sandbox from outside: metrics, logs, events.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, mark, Sandbox } from './helper.mjs'

const get = async (path) => {
  const answer = await fetch(process.env.E2B_API_URL + path, { headers: { 'X-API-Key': process.env.E2B_API_KEY } })
  assert.equal(answer.status, 200, path)
  return answer.json()
}

test('metrics', async (t) => {
  const sandbox = await make(t)
  const samples = await sandbox.getMetrics()
  const newest = samples.at(-1)
  assert.ok(newest.timestamp instanceof Date && newest.cpuCount >= 1 && newest.cpuUsedPct >= 0)
  assert.ok(newest.memUsed > 0 && newest.memUsed < newest.memTotal && newest.diskTotal > 0)
  assert.deepEqual((await Sandbox.getMetrics(sandbox.sandboxId))[0], samples[0])
  const [hour, at] = [3_600_000, samples[0].timestamp.getTime()]
  const before = { start: new Date(at - 2 * hour), end: new Date(at - hour) }
  assert.deepEqual(await sandbox.getMetrics(before), [])
  const { sandboxes } = await get(`/sandboxes/metrics?sandbox_ids=${sandbox.sandboxId}`)
  assert.deepEqual(Object.keys(sandboxes), [sandbox.sandboxId])
})

test('logs in both versions', async (t) => {
  const sandbox = await make(t)
  await sandbox.commands.run('true')
  const old = await get(`/sandboxes/${sandbox.sandboxId}/logs?start=0&limit=1000`)
  const lines = old.logs.map((entry) => JSON.parse(entry.line))
  assert.equal(lines[0].message, 'sandbox created')
  assert.ok(lines.every((line) => line.level && line.logger))
  const { logs } = await get(`/v2/sandboxes/${sandbox.sandboxId}/logs?direction=backward&limit=1`)
  assert.deepEqual([logs.length, logs[0].message], [1, 'process ended'])
})

test('events of a life', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  await sandbox.setTimeout(900_000)
  await sandbox.kill()
  const events = await get(`/events/sandboxes/${sandbox.sandboxId}?orderAsc=true`)
  assert.deepEqual(
    events.map((event) => event.type),
    ['created', 'updated', 'killed'].map((word) => `sandbox.lifecycle.${word}`),
  )
  assert.deepEqual(events[2].eventData.sandbox_metadata, metadata)
  assert.equal(events[2].eventData.reason, 'request')
})
