// What can be seen of a sandbox from outside: metrics, logs, events.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { api, events, make, mark, NOBODY, refused, Sandbox, told, until } from './helper.mjs'

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
  const { sandboxes } = await told(`/sandboxes/metrics?sandbox_ids=${sandbox.sandboxId}`)
  assert.deepEqual(Object.keys(sandboxes), [sandbox.sandboxId])
})

test('logs in both versions', async (t) => {
  const sandbox = await make(t)
  await sandbox.commands.run('true')
  const old = await told(`/sandboxes/${sandbox.sandboxId}/logs?start=0&limit=1000`)
  const lines = old.logs.map((entry) => JSON.parse(entry.line))
  assert.equal(lines[0].message, 'sandbox created')
  assert.ok(lines.every((line) => line.level && line.logger))
  const { logs } = await told(`/v2/sandboxes/${sandbox.sandboxId}/logs?direction=backward&limit=1`)
  assert.deepEqual([logs.length, logs[0].message], [1, 'process ended'])
})

test('events of a life', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata })
  await sandbox.setTimeout(900_000)
  await sandbox.kill()
  const path = `/events/sandboxes/${sandbox.sandboxId}`
  const all = await told(`${path}?orderAsc=true`)
  assert.deepEqual(
    all.map((event) => event.type),
    ['created', 'updated', 'killed'].map((word) => `sandbox.lifecycle.${word}`),
  )
  assert.deepEqual(all[2].eventData.sandbox_metadata, metadata)
  assert.equal(all[2].eventData.reason, 'request')
  assert.deepEqual(await told(`${path}?limit=1`), all.slice(2), 'the newest first')
  assert.deepEqual(await told(`${path}?types=sandbox.lifecycle.updated`), [all[1]])
  refused(await api('GET', `${path}?types=sandbox.exploded`), 400)
})

test('a pause is told and its logs stay', async (t) => {
  const sandbox = await make(t)
  await sandbox.commands.run('true')
  await sandbox.pause()
  const { logs } = await told(`/v2/sandboxes/${sandbox.sandboxId}/logs`)
  const messages = logs.map((entry) => entry.message)
  assert.ok(messages.includes('process ended'), `${messages}`)
  assert.match(messages.at(-1), /^sandbox paused/)
  await sandbox.connect()
  const [created, paused, resumed, ...more] = await events(sandbox)
  assert.deepEqual([created.kind, paused.kind, resumed.kind, more], ['created', 'paused', 'resumed', []])
  assert.ok(paused.data.execution.execution_time >= 0)
  assert.equal(created.sandboxExecutionId, paused.sandboxExecutionId)
  assert.notEqual(paused.sandboxExecutionId, resumed.sandboxExecutionId)
})

test('a snapshot is told of its source', async (t) => {
  const metadata = mark()
  const source = await make(t, { metadata })
  const snapshot = await source.createSnapshot()
  t.after(() => Sandbox.deleteSnapshot(snapshot.snapshotId))
  const [, taken, ...more] = await events(source)
  assert.deepEqual([taken.kind, more], ['checkpointed', []])
  assert.equal(`${taken.data.snapshot_id}:default`, snapshot.snapshotId)
  assert.deepEqual([taken.data.memory, taken.data.sandbox_metadata], [false, metadata])
  assert.equal(taken.data.execution, undefined, 'the source runs on')
  // What is made from it has no parent.
  const child = await Sandbox.create(snapshot.snapshotId, { timeoutMs: 60_000 })
  t.after(() => child.kill())
  const [made] = await events(child)
  assert.deepEqual([made.kind, made.data.fork_of], ['created', undefined])
})

test('a fork names its parent', async (t) => {
  const source = await make(t)
  const forks = await source.fork({ count: 2, timeoutMs: 60_000 })
  t.after(() => Promise.all(forks.map((fork) => fork.kill())))
  const [, taken, ...more] = await events(source)
  assert.deepEqual([taken.kind, more], ['checkpointed', []])
  assert.deepEqual([taken.data.forks, taken.data.memory, taken.data.snapshot_id], [2, false, undefined])
  for (const fork of forks) {
    const [made, ...later] = await events(fork)
    assert.deepEqual([made.kind, later], ['created', []])
    assert.deepEqual([made.data.fork_of, made.data.memory], [source.sandboxId, false])
    assert.ok(made.sequence > taken.sequence)
    const { logs } = await told(`/v2/sandboxes/${fork.sandboxId}/logs`)
    assert.ok(logs[0].message.includes(`a fork of ${source.sandboxId}`), logs[0].message)
  }
})

test('an end by timeout says so', async (t) => {
  const sandbox = await make(t, { timeoutMs: 1000 })
  const path = `/events/sandboxes/${sandbox.sandboxId}?types=sandbox.lifecycle.killed`
  const [killed] = await until(async () => {
    const found = await told(path)
    return found.length && found
  }, () => 'the end')
  assert.equal(killed.eventData.reason, 'timeout')
})

test('a killed sandbox leaves its life in the logs', async (t) => {
  const sandbox = await make(t)
  await sandbox.kill()
  const { logs } = await told(`/v2/sandboxes/${sandbox.sandboxId}/logs`)
  assert.equal(logs[0].message, 'sandbox created')
  assert.match(logs.at(-1).message, /^sandbox ended \(request\)/)
  refused(await api('GET', `/v2/sandboxes/${NOBODY}/logs`), 404)
})

const bare = [
  'templateID', 'sandboxID', 'clientID', 'envdVersion', 'alias', 'startedAt', 'endAt', 'cpuCount', 'memoryMB',
  'diskSizeMB', 'state', 'metadata', 'volumeMounts', 'envdAccessToken', 'domain', 'allowInternetAccess', 'lifecycle',
]

test('details are complete', async (t) => {
  const metadata = mark()
  const sandbox = await make(t, { metadata, envs: { SECRET: 'dont-show-me' } })
  const answer = await api('GET', `/sandboxes/${sandbox.sandboxId}`)
  assert.ok(!answer.body.includes('dont-show-me'))
  const found = JSON.parse(answer.body)
  // Beside them a word of Warder's own.
  assert.deepEqual(Object.keys(found).sort(), [...bare, 'networkState'].sort())
  assert.equal(found.sandboxID, sandbox.sandboxId)
  assert.equal(found.envdAccessToken, sandbox.envdAccessToken)
  for (const name of ['templateID', 'clientID']) assert.ok(typeof found[name] === 'string' && found[name], name)
  assert.match(found.envdVersion, /^\d+\.\d+\.\d+$/)
  // Microseconds and a zone.
  for (const name of ['startedAt', 'endAt'])
    assert.match(found[name], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/, name)
  for (const name of ['cpuCount', 'memoryMB', 'diskSizeMB'])
    assert.ok(Number.isInteger(found[name]) && found[name] > 0, name)
  assert.equal(sandbox.getHost(80), `80-${sandbox.sandboxId}.${found.domain}`)
  const { alias, state, volumeMounts, allowInternetAccess, lifecycle } = found
  assert.deepEqual([alias, state, found.metadata, volumeMounts], ['base', 'running', metadata, []])
  assert.deepEqual(lifecycle, { autoResume: false, onTimeout: 'kill' })
  // As it was asked for: version 2.45 of the SDK always says it.
  assert.ok([null, true].includes(allowInternetAccess), `${allowInternetAccess}`)
  // As the SDK reads it.
  const info = await sandbox.getInfo()
  const { cpuCount, memoryMB, templateID, startedAt, endAt } = found
  assert.deepEqual([info.cpuCount, info.memoryMB, info.templateId], [cpuCount, memoryMB, templateID])
  assert.deepEqual([info.startedAt, info.endAt], [new Date(startedAt), new Date(endAt)])
})

test('details show what was given', async (t) => {
  const { mark: name } = mark()
  const volume = JSON.parse((await api('POST', '/volumes', { json: { name } })).body)
  const json = {
    templateID: 'base',
    timeout: 120,
    autoPause: true,
    autoResume: { enabled: true },
    allow_internet_access: false,
    network: { allowPublicTraffic: false, allowOut: ['6.6.6.6'], maskRequestHost: 'masked:${PORT}' },
    volumeMounts: [{ name, path: '/mnt/data' }],
  }
  const { sandboxID } = JSON.parse((await api('POST', '/v2/sandboxes', { json })).body)
  t.after(async () => {
    await Sandbox.kill(sandboxID)
    assert.equal((await api('DELETE', `/volumes/${volume.volumeID}`)).status, 204)
  })
  const detail = () => told(`/sandboxes/${sandboxID}`)
  const found = await detail()
  assert.deepEqual(Object.keys(found).sort(), [...bare, 'network', 'networkState'].sort())
  assert.deepEqual(found.lifecycle, { autoResume: true, onTimeout: 'pause' })
  assert.deepEqual(found.volumeMounts, json.volumeMounts)
  assert.equal(found.allowInternetAccess, false)
  const { allowPublicTraffic, allowOut, maskRequestHost } = found.network
  assert.deepEqual({ allowPublicTraffic, allowOut, maskRequestHost }, json.network)
  // Paused it says how; its end is when that was.
  await Sandbox.pause(sandboxID)
  const paused = await detail()
  assert.deepEqual(Object.keys(paused).sort(), [...Object.keys(found), 'pauseMode'].sort())
  assert.deepEqual([paused.state, paused.pauseMode], ['paused', 'full'])
  assert.ok(paused.endAt < found.endAt)
  const changed = ['state', 'endAt', 'pauseMode', 'networkState']
  for (const field of Object.keys(found).filter((one) => !changed.includes(one)))
    assert.deepEqual(paused[field], found[field], field)
  // A list shows neither what opens it nor its rules.
  const [listed] = (await told('/v2/sandboxes?state=paused')).filter((item) => item.sandboxID === sandboxID)
  for (const field of ['envdAccessToken', 'network', 'lifecycle', 'domain', 'allowInternetAccess', 'pauseMode'])
    assert.equal(listed[field], undefined, field)
})
