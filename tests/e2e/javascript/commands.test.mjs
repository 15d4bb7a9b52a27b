// Commands: foreground, background, input, signals, streams, time limits, surroundings.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { agent, HELD, make, rejection, until } from './helper.mjs'

test('output and exit code', async (t) => {
  const sandbox = await make(t)
  const result = await sandbox.commands.run('echo out; echo err >&2')
  assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['out\n', 'err\n', 0])
})

test('a failure carries everything', async (t) => {
  const sandbox = await make(t)
  const failure = await rejection(sandbox.commands.run('echo out; echo err >&2; exit 7'), 'CommandExitError')
  assert.deepEqual([failure.stdout, failure.stderr, failure.exitCode], ['out\n', 'err\n', 7])
})

test('output streams while the command runs', async (t) => {
  // The command waits for what only the callback does, so output kept back would never end.
  const sandbox = await make(t)
  const heard = []
  const result = await sandbox.commands.run(`echo one; ${HELD}echo two; echo err >&2`, {
    timeoutMs: 20_000,
    onStdout: async (text) => {
      heard.push(text)
      if (text.includes('one')) await sandbox.files.write('/tmp/go', '')
    },
    onStderr: (text) => heard.push(`[${text}]`),
  })
  assert.equal(result.stdout, 'one\ntwo\n')
  assert.equal(heard.filter((text) => text[0] !== '[').join(''), 'one\ntwo\n')
  assert.ok(heard.includes('[err\n]'))
})

test('large output is whole, characters are not cut', async (t) => {
  const sandbox = await make(t)
  const lines = (await sandbox.commands.run('seq 1 200000')).stdout.trimEnd().split('\n')
  assert.deepEqual([lines.length, lines[0], lines.at(-1)], [200000, '1', '200000'])
  const text = (await sandbox.commands.run("for i in $(seq 20000); do printf 'ž☃🚀'; done")).stdout
  assert.equal(text, 'ž☃🚀'.repeat(20000))
})

test('surroundings: user, cwd, envs', async (t) => {
  const sandbox = await make(t)
  const run = async (cmd, opts) => (await sandbox.commands.run(cmd, opts)).stdout
  assert.equal(await run('echo "$(whoami) $(pwd) $HOME $E2B_SANDBOX"'), 'user /home/user /home/user true\n')
  assert.equal(await run('whoami', { user: 'root' }), 'root\n')
  assert.equal(await run('sudo -n id -u'), '0\n')
  assert.equal(await run('pwd', { cwd: '/tmp' }), '/tmp\n')
  assert.equal(await run('echo $ONCE', { envs: { ONCE: 'here' } }), 'here\n')
  assert.equal(await run('echo $ONCE'), '\n')
  await rejection(sandbox.commands.run('pwd', { cwd: '/no/such/place' }), 'InvalidArgumentError')
  await rejection(sandbox.commands.run('true', { user: 'nobody-of-that-name' }), 'AuthenticationError')
})

test('the time limit kills the command', async (t) => {
  const sandbox = await make(t)
  const slow = sandbox.commands.run('echo $$ >/tmp/pid; exec sleep 1000', { timeoutMs: 1000 })
  await rejection(slow, 'TimeoutError')
  const alive = 'kill -0 $(cat /tmp/pid) 2>/dev/null && echo alive || echo gone'
  await until(async () => (await sandbox.commands.run(alive)).stdout === 'gone\n', () => 'the end of the command')
})

test('background, list, wait', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run(`echo early; ${HELD}echo late; exit 3`, { background: true })
  const found = (await sandbox.commands.list()).find((process) => process.pid === handle.pid)
  assert.deepEqual([found.cmd, ...found.args.slice(0, 2)], ['/bin/bash', '-l', '-c'])
  await sandbox.files.write('/tmp/go', '')
  const end = await rejection(handle.wait(), 'CommandExitError')
  assert.deepEqual([end.exitCode, end.stdout], [3, 'early\nlate\n'])
  assert.ok(!(await sandbox.commands.list()).some((process) => process.pid === handle.pid))
})

test('list shows surroundings', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run('sleep 1000', { background: true, cwd: '/tmp', envs: { SHOWN: 'yes' } })
  const found = (await sandbox.commands.list()).find((process) => process.pid === handle.pid)
  assert.deepEqual([found.cwd, found.envs.SHOWN, found.args.at(-1)], ['/tmp', 'yes', 'sleep 1000'])
})

test('two listeners hear the same', async (t) => {
  const sandbox = await make(t)
  const first = await sandbox.commands.run(`${HELD}echo both`, { background: true })
  const second = await sandbox.commands.connect(first.pid)
  await sandbox.files.write('/tmp/go', '')
  assert.deepEqual([(await first.wait()).stdout, (await second.wait()).stdout], ['both\n', 'both\n'])
})

test('a polite signal', async (t) => {
  // The SDK only kills; other clients send SIGTERM.
  const sandbox = await make(t)
  const script = 'trap "echo asked to stop; exit 9" TERM; echo ready; while :; do sleep 0.02; done'
  let heard = ''
  const onStdout = (text) => void (heard += text)
  const handle = await sandbox.commands.run(script, { background: true, timeoutMs: 20_000, onStdout })
  const end = rejection(handle.wait(), 'CommandExitError')
  await until(() => heard === 'ready\n', () => 'the trap')
  const json = { process: { pid: handle.pid }, signal: 'SIGNAL_SIGTERM' }
  assert.equal((await agent(sandbox, '/process.Process/SendSignal', { json })).status, 200)
  const { exitCode, stdout } = await end
  assert.deepEqual([exitCode, stdout], [9, 'ready\nasked to stop\n'])
})

test('kill', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run('exec sleep 1000', { background: true })
  assert.equal(await handle.kill(), true)
  const end = await rejection(handle.wait(), 'CommandExitError')
  assert.deepEqual([end.exitCode, end.error], [-1, 'signal: killed'])
  assert.equal(await sandbox.commands.kill(handle.pid), false)
  assert.equal(await sandbox.commands.kill(999999), false)
})

test('a dropped connection kills nothing', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run(`${HELD}echo late; exit 4`, { background: true })
  await handle.disconnect()
  const again = await sandbox.commands.connect(handle.pid)
  await sandbox.files.write('/tmp/go', '')
  const end = await rejection(again.wait(), 'CommandExitError')
  assert.deepEqual([end.exitCode, end.stdout], [4, 'late\n'])
})

test('a late connect still hears the end; one that never was is not found', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run('exit 5', { background: true })
  await rejection(handle.wait(), 'CommandExitError')
  const again = await sandbox.commands.connect(handle.pid)
  assert.equal((await rejection(again.wait(), 'CommandExitError')).exitCode, 5)
  await rejection(sandbox.commands.connect(999999), 'NotFoundError')
})

test('input', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run('cat; echo end', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, 'first\n')
  await sandbox.commands.sendStdin(handle.pid, 'zweitens ☃\n')
  await sandbox.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).stdout, 'first\nzweitens ☃\nend\n')
  assert.equal((await sandbox.commands.run('cat; echo end', { timeoutMs: 20_000 })).stdout, 'end\n')
  const deaf = await sandbox.commands.run('sleep 1000', { background: true, stdin: false })
  await rejection(sandbox.commands.sendStdin(deaf.pid, 'x'), 'SandboxError')
})

test('large input', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run('sha256sum | cut -c-64', { background: true, stdin: true })
  const [block, digest] = ['0123456789abcdef'.repeat(2048), createHash('sha256')]
  for (let n = 0; n < 20; n++) {
    await sandbox.commands.sendStdin(handle.pid, block)
    digest.update(block)
  }
  await sandbox.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).stdout, `${digest.digest('hex')}\n`)
})

test('many at once do not mix', async (t) => {
  const sandbox = await make(t)
  const outputs = await Promise.all(
    Array.from({ length: 20 }, (_, n) => sandbox.commands.run(`seq ${n * 100} ${n * 100 + 99}`)),
  )
  outputs.forEach((output, n) =>
    assert.deepEqual(output.stdout.trim().split('\n').map(Number), Array.from({ length: 100 }, (_, i) => n * 100 + i)),
  )
})

test('a sandbox killed meanwhile ends its commands', async (t) => {
  const sandbox = await make(t)
  const handle = await sandbox.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
  const end = rejection(handle.wait(), 'SandboxError')
  await sandbox.kill()
  await end
})
