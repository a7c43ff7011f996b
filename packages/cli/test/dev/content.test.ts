import { chmodSync, mkdirSync, mkdtempDisposableSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeSkipped, findFiles } from '../../src/dev/content.ts'

const NOBODY = 65_534

describe('the files of a directory', () => {
  let directory: ReturnType<typeof mkdtempDisposableSync>
  const at = (name: string) => join(directory.path, name)
  beforeEach(() => {
    directory = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
    chmodSync(directory.path, 0o755)
  })
  afterEach(() => directory.remove())

  /** Runs without the permissions of root, which may read everything. */
  const asNobody = async <T>(run: () => Promise<T>): Promise<T> => {
    if (process.getuid?.() !== 0) return run()
    process.seteuid!(NOBODY)
    try {
      return await run()
    } finally {
      process.seteuid!(0)
    }
  }

  it('are found beside an unreadable subdirectory, hidden entries and links, which are named', async () => {
    mkdirSync(at('sub/locked'), { recursive: true })
    for (const name of ['a.txt', 'sub/b.txt', '.env']) writeFileSync(at(name), 'text')
    symlinkSync('a.txt', at('sub/link'))
    chmodSync(at('sub/locked'), 0)
    const { files, skipped } = await asNobody(() => findFiles(directory.path))
    chmodSync(at('sub/locked'), 0o755)
    expect(files.map(({ name, size }) => [name, size])).toEqual([
      ['a.txt', 4],
      ['sub/b.txt', 4],
    ])
    expect(skipped).toEqual([
      { name: '.env', reason: 'hidden' },
      { name: 'sub/link', reason: 'link' },
      { name: 'sub/locked', reason: 'unreadable', detail: 'permission denied' },
    ])
    expect(describeSkipped(skipped)).toBe(
      'Skipped 3 entries: 1 hidden (.env), 1 symbolic link (sub/link), 1 unreadable (sub/locked: permission denied).',
    )
  })

  it('are missing from a directory with links only, and the message says so', async () => {
    for (const name of ['a', 'b', 'c', 'd']) symlinkSync('/etc/hosts', at(name))
    await expect(findFiles(directory.path)).rejects.toThrow(
      `The directory ${directory.path} has no files to take. Skipped 4 entries: 4 symbolic links (a, b, c and 1 more). Pass another one with --files.`,
    )
  })
})
