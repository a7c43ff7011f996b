import { resolve } from 'node:path'
import { readCid } from '../cid-argument.ts'
import type { Context } from '../context.ts'
import type { Outcome } from '../outcome.ts'
import { shownPath } from '../text.ts'
import { type ConnectionOptions, connectToStorefront } from './connection.ts'
import { PROOF_ENDING } from './files.ts'
import { save } from './save.ts'

/** Fetches the proof of a task, verifies it, and saves it. */
export const proof = async (
  task: string,
  { output = `${task}${PROOF_ENDING}`, ...options }: ConnectionOptions & { output?: string },
  context: Context,
): Promise<Outcome> => {
  const accept = readCid(task, 'Pass the CID of the task that w3fil add or w3fil status shows.')
  const w3 = await connectToStorefront(options, context)
  const fetched = await w3.proof({ accept }, { signal: context.signal })
  const path = resolve(context.cwd, output)
  await save(path, fetched.bytes, 'pass another file with -o')
  const file = shownPath(path, context.cwd)
  return { result: { file, storefront: w3.did, ...fetched.toJSON() }, lines: [file] }
}
