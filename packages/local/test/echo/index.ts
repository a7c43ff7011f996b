import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SQSRecord } from 'aws-lambda'
import type { ServiceSpec } from '../../src/local.ts'

/** What a function of the service saw. */
export type Seen = { queue: string; records: SQSRecord[] } | { tick: { source: string } }

/** The test service, which writes down in `file` what its functions see. */
export const echo = (file: string): ServiceSpec => ({
  role: 'echo',
  name: 'echo',
  resources: new URL('./resources.ts', import.meta.url).href,
  functions: new URL('./functions.ts', import.meta.url).href,
  config: () => ({ file }),
})

export const seenIn = (file: string): Seen[] => {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line))
  } catch {
    return []
  }
}

/** A directory that is gone when the scope ends. */
export const temporaryDirectory = () => {
  const path = mkdtempSync(join(tmpdir(), 'w3filecoin-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}
