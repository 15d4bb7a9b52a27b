// Network policies, given when a sandbox is made and changed while it runs.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { api, ask, make, NOBODY, rejection, Sandbox, sdk, serve, told, until } from './helper.mjs'

const [one, two] = ['6.6.6.6', '7.7.7.7']
const every = [sdk.ALL_TRAFFIC]
const skip = process.env.WARDER_E2E_INTERNET ? false : 'the server has no internet of its own to try'

async function reached(sandbox) {
  const all = []
  for (const address of [one, two]) {
    const got = await sandbox.commands.run(`curl -s -m 3 --http0.9 telnet://${address}:8080 </dev/null; true`)
    if (got.stdout === 'the internet') all.push(address)
  }
  return all
}

const network = async (sandbox) => (await Sandbox.getInfo(sandbox.sandboxId)).network

test('what is allowed when it is made, and changed while it runs', { skip }, async (t) => {
  const sandbox = await make(t, { network: { allowOut: [one], denyOut: ({ allTraffic }) => [allTraffic] } })
  assert.deepEqual(await reached(sandbox), [one])
  for (const [update, wanted] of [
    [{ denyOut: every }, []],
    [{ allowOut: [two], denyOut: every }, [two]],
    [{ allowOut: ['6.6.6.0/24'], denyOut: every }, [one]],
    [{}, [one, two]],
    [{ allowInternetAccess: false }, []],
    [{ allowInternetAccess: true }, [one, two]],
  ]) {
    await sandbox.updateNetwork(update)
    assert.deepEqual(await reached(sandbox), wanted, JSON.stringify(update))
  }
})

test('it is shown as it was given', async (t) => {
  const egressProxy = { address: `${two}:1`, username: 'u', password: 'p' }
  const sandbox = await make(t, { network: { allowOut: [one, 'A.Example'], denyOut: every, egressProxy } })
  const shown = await network(sandbox)
  assert.deepEqual([shown.allowOut, shown.denyOut], [[one, 'A.Example'], every])
  assert.deepEqual(shown.egressProxy, { address: `${two}:1`, username: 'u' })
  await sandbox.updateNetwork({ denyOut: [one] })
  const after = await network(sandbox)
  assert.deepEqual([after.allowOut, after.denyOut, after.egressProxy], [undefined, [one], undefined])
})

test('what cannot be meant is refused', async (t) => {
  const sandbox = await make(t)
  for (const [wrong, text] of [
    [{ denyOut: ['example.com'] }, 'invalid denied CIDR example.com'],
    [{ allowOut: ['*.example.com'] }, 'ALL_TRAFFIC'],
    [{ allowOut: ['8.8.8.8:80-443'] }, 'port-specific rules are not supported'],
  ]) {
    // Each is made when it is awaited: one that fails while another is awaited has nobody to catch it.
    for (const attempt of [() => sandbox.updateNetwork(wrong), () => Sandbox.create({ network: wrong })]) {
      const error = await rejection(attempt(), 'SandboxError')
      assert.ok(error.message.includes(text), error.message)
    }
  }
  await rejection(Sandbox.updateNetwork(NOBODY, {}), 'SandboxNotFoundError')
})

test('pause and resume keep it', { skip }, async (t) => {
  const sandbox = await make(t, { network: { allowOut: [two], denyOut: every } })
  await sandbox.pause()
  await rejection(sandbox.updateNetwork({}), 'SandboxError')
  await sandbox.connect()
  assert.deepEqual(await reached(sandbox), [two])
})

test('forks have it and what is made of a snapshot has its own', { skip }, async (t) => {
  const source = await make(t, { network: { allowOut: [one], denyOut: every } })
  const [fork] = await source.fork({ timeoutMs: 60_000 })
  t.after(() => fork.kill())
  assert.deepEqual(await reached(fork), [one])
  const { snapshotId } = await source.createSnapshot()
  t.after(() => Sandbox.deleteSnapshot(snapshotId))
  for (const [network, wanted] of [[{ denyOut: [one] }, [two]], [undefined, [one, two]]]) {
    const child = await Sandbox.create(snapshotId, { timeoutMs: 60_000, network })
    t.after(() => child.kill())
    assert.deepEqual(await reached(child), wanted)
  }
})

test('what was refused can be read', { skip }, async (t) => {
  const sandbox = await make(t, { network: { denyOut: [two] } })
  assert.deepEqual(await reached(sandbox), [one])
  const entry = await until(
    async () => {
      const log = await told(`/sandboxes/${sandbox.sandboxId}/network/log`)
      return log.find(({ address, port }) => address === two && port === 8080)
    },
    () => 'the refusal',
  )
  assert.deepEqual([entry.protocol, entry.reason, entry.rule], ['tcp', 'denied', `denyOut ${two}/32`])
})

test('behind the air gap nothing leaves, and everything else goes on', { skip }, async (t) => {
  const sandbox = await make(t)
  await serve(sandbox)
  const gap = async (enabled) => {
    const answer = await api('PUT', `/sandboxes/${sandbox.sandboxId}/airgap`, { json: { enabled } })
    assert.equal(answer.status, 204, `${answer.body}`)
    assert.equal((await told(`/sandboxes/${sandbox.sandboxId}`)).networkState.airGap, enabled)
  }
  await gap(true)
  assert.deepEqual(await reached(sandbox), [])
  assert.equal((await sandbox.commands.run('echo runs')).stdout, 'runs\n')
  assert.equal((await ask('/hello', { headers: { Host: sandbox.getHost(8000) } })).status, 200)
  // Options may change behind it.
  await sandbox.updateNetwork({ denyOut: [two] })
  assert.deepEqual(await reached(sandbox), [])
  await gap(false)
  assert.deepEqual(await reached(sandbox), [one])
})
