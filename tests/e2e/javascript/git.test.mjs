// git inside a sandbox.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { make } from './helper.mjs'

test('by helpers and by commands', async (t) => {
  const sandbox = await make(t)
  const path = '/home/user/work'
  await sandbox.git.init(path, { initialBranch: 'main' })
  await sandbox.git.configureUser('A', 'a@example.com')
  await sandbox.files.write(`${path}/file`, 'text')
  assert.deepEqual((await sandbox.git.status(path)).fileStatus.map((entry) => entry.name), ['file'])
  await sandbox.git.add(path)
  await sandbox.git.commit(path, "with a 'quoted' message")
  assert.equal((await sandbox.git.status(path)).isClean, true)
  await sandbox.git.createBranch(path, 'topic')
  assert.equal((await sandbox.git.branches(path)).currentBranch, 'topic')
  const log = await sandbox.commands.run('git log --format=%s', { cwd: path })
  assert.equal(log.stdout, "with a 'quoted' message\n")
})
