import { identify } from '@w3filecoin/client'
import type { Context } from '../context.ts'
import type { Outcome } from '../outcome.ts'
import { table } from '../text.ts'
import { findFiles } from './files.ts'

/** Computes the CIDs of files. It sends nothing. */
export const cid = async (paths: string[], _: object, { cwd, signal }: Context): Promise<Outcome> => {
  const result = []
  for (const { path, shown } of await findFiles(paths, cwd)) {
    const { bytes, content, piece } = await identify(path, { signal })
    result.push({ file: shown, bytes, content: `${content}`, piece: `${piece}` })
  }
  const rows = result.map(({ file, bytes, content, piece }) => [file, `${bytes}`, content, piece])
  return { result, lines: table(['file', 'bytes', 'content', 'piece'], rows) }
}
