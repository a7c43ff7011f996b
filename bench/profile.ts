import type { Profiler } from 'node:inspector'
import { Session } from 'node:inspector'

const ROOT = new URL('..', import.meta.url).href

/** The package that a function of a CPU profile is in; `undefined` if the caller's package counts. */
const packageOf = ({ functionName, url }: { functionName: string; url: string }): string | undefined => {
  if (functionName === '(idle)') return 'idle'
  if (functionName === '(garbage collector)') return 'garbage collection'
  if (functionName.startsWith('(')) return 'V8 and system calls'
  // Functions of V8 and of Node in C++, e.g. the one that signs.
  if (url === '') return undefined
  if (url.startsWith('node:')) return /crypto/.test(url) ? 'node:crypto' : 'the rest of Node'
  const installed = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules)/.exec(url)?.[1]
  if (installed !== undefined) return installed
  return url.startsWith(ROOT) ? /^(?:packages\/)?[^/]+/.exec(url.slice(ROOT.length))?.[0] : url
}

/** Returns the busy milliseconds of each package in a profile, from the largest. */
export const sumByPackage = ({
  nodes,
  samples = [],
  timeDeltas = [],
}: Profiler.Profile): [name: string, ms: number][] => {
  const callers = new Map(nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id])))
  const packages = new Map<number, string>()
  // A caller comes before the functions that it calls.
  for (const { id, callFrame } of nodes)
    packages.set(id, packageOf(callFrame) ?? packages.get(callers.get(id) ?? 0) ?? 'V8 and system calls')
  const sums = new Map<string, number>()
  for (const [n, id] of samples.entries()) {
    const name = packages.get(id)!
    sums.set(name, (sums.get(name) ?? 0) + timeDeltas[n]! / 1000)
  }
  sums.delete('idle')
  return [...sums].toSorted(([, a], [, b]) => b - a)
}

/** A connection of the inspector to a worker thread. */
interface Thread {
  sessionId: string
  title: string
}

/** Profiles a worker thread of this process, by its name. Returns the function that ends the profile. */
export const profileThread = async (name: string): Promise<() => Promise<Profiler.Profile>> => {
  const session = new Session()
  session.connect()
  const threads: Thread[] = []
  const answers = new Map<number, (result: unknown) => void>()
  let ids = 0
  session.on('NodeWorker.attachedToWorker', ({ params: { sessionId, workerInfo } }) =>
    threads.push({ sessionId, title: workerInfo.title }),
  )
  session.on('NodeWorker.receivedMessageFromWorker', ({ params: { message } }) => {
    const { id, result } = JSON.parse(message)
    answers.get(id)?.(result)
  })
  await new Promise<void>((resolve, reject) =>
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false }, error =>
      error ? reject(error) : resolve(),
    ),
  )
  const { promise: attached, resolve } = Promise.withResolvers<void>()
  setTimeout(resolve, 200)
  await attached
  const thread = threads.find(({ title }) => title.includes(name))
  if (thread === undefined)
    throw new Error(`No thread ${name}, but ${threads.map(({ title }) => title).join(', ')}`)
  const ask = <T>(method: string, params = {}): Promise<T> => {
    const { promise, resolve } = Promise.withResolvers<T>()
    const id = ++ids
    answers.set(id, resolve as never)
    session.post('NodeWorker.sendMessageToWorker', {
      sessionId: thread.sessionId,
      message: JSON.stringify({ id, method, params }),
    })
    return promise
  }
  await ask('Profiler.enable')
  await ask('Profiler.setSamplingInterval', { interval: 500 })
  await ask('Profiler.start')
  return async () => {
    const { profile } = await ask<{ profile: Profiler.Profile }>('Profiler.stop')
    session.disconnect()
    return profile
  }
}
