import { randomUUID } from 'node:crypto'
import { runContext } from '@w3filecoin/local/events'
import type { LambdaFunction } from '@w3filecoin/local/invoke'
import type { Resources } from '@w3filecoin/runtime/resources'
import { countBytes, specOf, type Use } from './runs.ts'

/** A process with one function of a service, e.g. `dealer` and `fill`, which runs once for each request. */
const [service, name] = process.argv.slice(2) as [string, string]

export interface RunRequest {
  event: unknown
}

export type RunAnswer = { result: unknown; use: Use } | { error: Error }

const loaded = Promise.all([
  import(`@w3filecoin/${service}/resources`) as Promise<{ resources: Resources }>,
  import(`@w3filecoin/${service}/functions`) as Promise<Record<string, LambdaFunction>>,
])

const run = async ({ event }: RunRequest): Promise<RunAnswer> => {
  try {
    const [{ resources }, functions] = await loaded
    const before = countBytes()
    const context = runContext(name, { id: randomUUID(), ...specOf(resources, name) })
    const result = await functions[name]!(event, context)
    const after = countBytes()
    return {
      result,
      use: {
        peakBytes: process.resourceUsage().maxRSS * 1024,
        ...(before &&
          after && {
            readBytes: after.readBytes - before.readBytes,
            writtenBytes: after.writtenBytes - before.writtenBytes,
          }),
      },
    }
  } catch (cause) {
    return { error: cause as Error }
  }
}

process.on('message', async (request: RunRequest) => process.send!(await run(request)))
process.on('disconnect', () => process.exit())
