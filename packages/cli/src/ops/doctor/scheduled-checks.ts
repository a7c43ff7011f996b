import { bind, type Tables } from '@w3filecoin/aws'
import { type Clock, type Environment, listAll, MAX_CHECK_AGE_MS } from '@w3filecoin/runtime'
import { type Resources, variable } from '@w3filecoin/runtime/resources'
import * as z from 'zod'
import { describeError } from '../describe-error.ts'
import type { Surroundings } from './address.ts'
import { type Diagnosis, diagnose } from './diagnosis.ts'

/** The last result of a check that a service runs on schedule: of a peer, a source of deals, the hasher, … */
const CheckRow = z.object({
  name: z.string(),
  ok: z.boolean(),
  /** Milliseconds since 1970. */
  since: z.number(),
  checkedAt: z.number(),
  message: z.string().optional(),
})

/** Returns the results that a service has recorded; `undefined` if this version of the service records none. */
const readRows = async (
  resources: Resources,
  places: Environment,
  tables: Tables | undefined,
): Promise<z.infer<typeof CheckRow>[] | undefined> => {
  if (places[variable('table', 'health')] === undefined) return undefined
  const { table } = bind(resources, places, tables)
  return z.array(CheckRow).parse(await listAll(table('health'), resources.service))
}

/** Returns a diagnosis for each check that a service runs on schedule. */
export const showScheduledChecks = async (
  resources: Resources,
  places: Environment,
  { tables, now, logOf }: { tables: Tables | undefined; now: Clock } & Pick<Surroundings, 'logOf'>,
): Promise<Diagnosis[]> => {
  const { service } = resources
  const { well, ill } = diagnose(service, 'checks')
  const log = logOf(service, 'check')
  try {
    const rows = await readRows(resources, places, tables)
    if (rows === undefined) return [well('no checks recorded yet: this version of the service runs none')]
    if (rows.length === 0)
      return [
        ill(
          'no checks recorded yet',
          `They run every five minutes: repeat the command then. After that, see ${log}`,
        ),
      ]
    const old = rows.filter(({ checkedAt }) => now() - checkedAt > MAX_CHECK_AGE_MS)
    return [
      ...(old.length === 0
        ? []
        : [
            ill(
              `${old.length} of ${rows.length} checks ran last at ${new Date(Math.min(...old.map(({ checkedAt }) => checkedAt))).toISOString()} or later`,
              `The schedule check does not run, or fails: see ${log}`,
            ),
          ]),
      ...rows
        .toSorted((a, b) => (a.name < b.name ? -1 : 1))
        .map(({ name, ok, since, message }): Diagnosis => {
          const found = diagnose(service, name)
          return ok
            ? found.well(message ?? 'fine')
            : found.ill(
                `${message ?? 'it fails'}, since ${new Date(since).toISOString()}`,
                `docs/operations.md explains it. See ${log}`,
              )
        }),
    ]
  } catch (cause) {
    return [
      ill(
        `the table health cannot be read: ${describeError(cause).split('\n')[0]}`,
        'Check the permissions of this command.',
      ),
    ]
  }
}
