import { opendir, stat } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import { W3Error } from '@w3filecoin/client'
import { shownPath } from '../text.ts'

/** The ending of a file with a proof. */
export const PROOF_ENDING = '.w3proof'

/** Files of one command: their results are kept in memory. */
const MAX_FILES = 10_000

export interface NamedFile {
  path: string
  /** The path as the user sees it, from the working directory. */
  shown: string
  /** The path from the directory that the user named, or the name of the file. @example `2026/cat.jpg` */
  name: string
}

/**
 * Returns the files that the user names, and the regular files in named directories and below, by name. It leaves out hidden
 * files and proofs there, which an earlier `add` has written.
 */
export const findFiles = async (paths: readonly string[], cwd: string): Promise<NamedFile[]> => {
  const files = new Map<string, NamedFile>()
  const keep = (path: string, name: string) => {
    if (!files.has(path)) files.set(path, { path, shown: shownPath(path, cwd), name })
    if (files.size > MAX_FILES)
      throw new W3Error('TooManyFiles', `There are more than ${MAX_FILES} files`, {
        hint: 'Name subdirectories in several commands.',
      })
  }
  const walk = async (directory: string, root: string): Promise<void> => {
    const entries = await Array.fromAsync(await opendir(directory))
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(directory, entry.name)
      if (entry.name.startsWith('.')) continue
      if (entry.isDirectory()) await walk(path, root)
      if (entry.isFile() && !entry.name.endsWith(PROOF_ENDING)) keep(path, relative(root, path))
    }
  }
  for (const named of paths) {
    const path = resolve(cwd, named)
    try {
      if ((await stat(path)).isDirectory()) await walk(path, path)
      else keep(path, basename(path))
    } catch (cause) {
      if (cause instanceof W3Error) throw cause
      throw new W3Error('InvalidSource', `Cannot read ${named}: ${(cause as Error).message}`, {
        hint: 'Check the path and its permissions.',
        cause,
      })
    }
  }
  if (files.size === 0)
    throw new W3Error('NoFiles', `There are no files in ${paths.join(', ')}`, {
      hint: `Name files or other directories. Hidden files and ${PROOF_ENDING} files in directories are left out.`,
    })
  return [...files.values()]
}
