// Terminals.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make, rejection, until } from './helper.mjs'

async function terminal(sandbox, options = {}) {
  const screen = { text: '' }
  const decoder = new TextDecoder()
  const onData = (data) => void (screen.text += decoder.decode(data, { stream: true }))
  const handle = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 30_000, onData, ...options })
  const type = (line) => sandbox.pty.sendInput(handle.pid, new TextEncoder().encode(line))
  const shows = (text) => until(() => screen.text.includes(text), () => `${text} in ${JSON.stringify(screen.text)}`)
  return { handle, type, shows, onData }
}

test('echo and exit', async (t) => {
  const sandbox = await make(t)
  const { handle, type, shows } = await terminal(sandbox)
  await type('echo $((40 + 2))-answer\n')
  await shows('42-answer')
  await type('exit 6\n')
  assert.equal((await rejection(handle.wait(), 'CommandExitError')).exitCode, 6)
})

test('size, resize, surroundings', async (t) => {
  const sandbox = await make(t)
  const { handle, type, shows } = await terminal(sandbox, { cols: 97, rows: 31, cwd: '/tmp', envs: { MINE: 'yes' } })
  await type('stty size; echo "<$PWD $MINE $TERM>"\n')
  await shows('31 97')
  await shows('</tmp yes xterm-256color>')
  await sandbox.pty.resize(handle.pid, { cols: 132, rows: 50 })
  await type('stty size\n')
  await shows('50 132')
  await handle.kill()
})

test('interrupt from the keyboard', async (t) => {
  const sandbox = await make(t)
  const { handle, type, shows } = await terminal(sandbox)
  await type(`sh -c 'echo begin-$((1 + 1)); exec sleep 1000'\n`)
  await shows('begin-2')
  await type('\x03')
  await type('echo after-$((2 + 2))\n')
  await shows('after-4')
  await handle.kill()
})

test('reconnect', async (t) => {
  const sandbox = await make(t)
  const { handle, type, shows, onData } = await terminal(sandbox)
  await type('KEPT=from-before; echo set-$((1 + 1))\n')
  await shows('set-2')
  await handle.disconnect()
  const again = await sandbox.pty.connect(handle.pid, { onData, timeoutMs: 30_000 })
  await type('echo [$KEPT]\n')
  await shows('[from-before]')
  assert.equal(await again.kill(), true)
  await rejection(again.wait(), 'CommandExitError')
  assert.equal(await sandbox.pty.kill(handle.pid), false)
})

test('much output comes whole', async (t) => {
  const sandbox = await make(t)
  const { handle, type, shows } = await terminal(sandbox)
  await type('stty -echo; seq 1 20000; echo last-$((1 + 1))\n')
  await shows('last-2')
  await shows(Array.from({ length: 20_000 }, (_, n) => `${n + 1}\r\n`).join(''))
  await handle.kill()
})
