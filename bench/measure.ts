import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Processor time of this process with all its threads, and elapsed time. In milliseconds. */
export interface Cost {
  cpuMs: number
  elapsedMs: number
}

/** Runs something, and returns its cost. */
export const costOf = async (run: () => unknown): Promise<Cost> => {
  const before = process.cpuUsage()
  const start = performance.now()
  await run()
  const elapsedMs = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  return { cpuMs: (user + system) / 1000, elapsedMs }
}

export const medianOf = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The costs of one way. */
export interface Compared extends Cost {
  /** How many times less processor time it takes than `published`. */
  ratio: number
}

/**
 * Runs several ways of doing the same work in turns. Returns the median costs of each way, and the median of the ratios of each
 * round, because other work on the machine slows down all ways of a round.
 */
export const compare = async <Name extends string>(
  ways: Record<Name | 'published', () => unknown>,
  rounds: number,
): Promise<Record<Name | 'published', Compared>> => {
  const names = Object.keys(ways) as (Name | 'published')[]
  const costs = Object.fromEntries(names.map(name => [name, [] as Cost[]])) as Record<string, Cost[]>
  for (let round = 0; round < rounds; round++)
    for (const name of names) costs[name]!.push(await costOf(ways[name]))
  return Object.fromEntries(
    names.map(name => [
      name,
      {
        ...medianCost(costs[name]!),
        ratio: medianOf(costs[name]!.map(({ cpuMs }, round) => costs.published![round]!.cpuMs / cpuMs)),
      },
    ]),
  ) as Record<Name | 'published', Compared>
}

export const medianCost = (costs: readonly Cost[]): Cost => ({
  cpuMs: medianOf(costs.map(({ cpuMs }) => cpuMs)),
  elapsedMs: medianOf(costs.map(({ elapsedMs }) => elapsedMs)),
})

/** The most memory that this process had so far, in MB (10^6 bytes). */
export const peakMb = (): number => (process.resourceUsage().maxRSS * 1024) / 1e6

/** A call of an exported function in another process. */
export interface Call {
  /** URL of the module. */
  module: string
  name: string
  args: readonly unknown[]
}

/**
 * Calls an exported function in a fresh process, so that its memory and its optimized code are its own. Arguments and result
 * must survive `structuredClone`. The process prints nothing but errors.
 *
 * @param module e.g. `import.meta.url`
 */
export const callInFreshProcess = async <T>(
  module: string,
  name: string,
  ...args: readonly unknown[]
): Promise<T> => {
  const child = fork(fileURLToPath(new URL('call.ts', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  })
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  child.once('message', (result: { value: T }) => resolve(result.value))
  child.once('error', reject)
  child.once('exit', (code, signal) => reject(new Error(`${name} of ${module} ended with ${signal ?? code}`)))
  child.send({ module, name, args } satisfies Call)
  return promise
}

/** @example times(5.43) // '5.4×' */
export const times = (ratio: number): string => `${ratio.toFixed(ratio < 100 ? 1 : 0)}×`

/** Milliseconds with three digits at least, e.g. `1234`, `56.7`. */
export const ms = (value: number): string => value.toFixed(value < 1 ? 3 : value < 100 ? 1 : 0)

/** @example count(262144) // '262,144' */
export const count = (value: number): string => value.toLocaleString('en')
