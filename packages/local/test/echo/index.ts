import { mkdtempDisposableSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SQSRecord } from 'aws-lambda'
import type { ServiceSpec } from '../../src/local.ts'

/** An event of a function of the service. */
export type Seen = { queue: string; records: SQSRecord[] } | { tick: { source: string } }

/** The test service, whose functions write their events to `file`. */
export const echo = (file: string): ServiceSpec => ({
  role: 'echo',
  name: 'echo',
  resources: new URL('./resources.ts', import.meta.url).href,
  functions: new URL('./functions.ts', import.meta.url).href,
  config: () => ({ file }),
})

export const readSeen = (file: string): Seen[] => {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line))
  } catch {
    return []
  }
}

/** Creates a directory that is removed at the end of the scope. */
export const temporaryDirectory = () => mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
