import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { LambdaFunction } from '@w3filecoin/local/invoke'
import type { Resources } from '@w3filecoin/runtime/resources'
import type { RunAnswer, RunRequest } from './instance.ts'
import { type RunReport, specOf, type Use } from './runs.ts'

/**
 * The functions of a service, for the local system, whose runs are reported to a channel. A function that handles payloads runs in
 * processes: each has one run at a time, as an instance of Lambda has, so its memory is that of the function alone.
 *
 * @example import('./measured-functions.ts?channel=0b1f…&service=dealer')
 */
const { searchParams } = new URL(import.meta.url)
const service = searchParams.get('service') as string
const reports = new BroadcastChannel(searchParams.get('channel') as string)
reports.unref()

/** The functions that read or write the bytes of pieces and of wholes. */
const WITH_PAYLOADS = ['storefront/submit', 'dealer/fill']

/** Read now: the thread of the services replaces it when it imports the next service. */
const env = { ...process.env }

type Answer = { result: unknown; use?: Use }

const startInstance = (name: string): ChildProcess => {
  const child = fork(fileURLToPath(new URL('instance.ts', import.meta.url)), [service, name], {
    env,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    serialization: 'advanced',
  })
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (bytes: Uint8Array) => process.stdout.write(bytes))
  return child
}

/** Returns a function that runs in processes. It starts another one while all others are running. */
const runInInstances = (name: string): ((event: unknown) => Promise<Answer>) => {
  const idle: ChildProcess[] = []
  return async event => {
    const instance = idle.pop() ?? startInstance(name)
    const { promise, resolve, reject } = Promise.withResolvers<RunAnswer>()
    const onExit = () => reject(new Error(`The process of ${service}/${name} ended`))
    instance.once('message', (answer: RunAnswer) => resolve(answer)).once('exit', onExit)
    instance.send({ event } satisfies RunRequest)
    const answer = await promise
    instance.off('exit', onExit)
    idle.push(instance)
    if ('error' in answer) throw answer.error
    return answer
  }
}

const hasFailed = (result: unknown): boolean => {
  const { batchItemFailures = [], statusCode = 200 } = (result ?? {}) as {
    batchItemFailures?: object[]
    statusCode?: number
  }
  return batchItemFailures.length > 0 || statusCode >= 500
}

const { resources } = (await import(`@w3filecoin/${service}/resources`)) as { resources: Resources }
const functions = (await import(`@w3filecoin/${service}/functions`)) as Record<string, LambdaFunction>

const measure = (name: string, run: LambdaFunction): LambdaFunction => {
  const spec = specOf(resources, name)
  const apart = WITH_PAYLOADS.includes(`${service}/${name}`) ? runInInstances(name) : undefined
  return async (event, context) => {
    const report = { name: `${service}/${name}`, spec, startedAt: Date.now() }
    const start = performance.now()
    let answer: Answer | undefined
    try {
      answer = apart ? await apart(event) : { result: await run(event, context) }
      return answer.result
    } finally {
      const isFailed = answer === undefined || hasFailed(answer.result)
      reports.postMessage({
        ...report,
        ms: performance.now() - start,
        isFailed,
        use: answer?.use,
      } satisfies RunReport)
    }
  }
}

/** The functions of all services by name: the local system asks for those that the service has. */
export const {
  aggregation,
  api,
  check,
  conclude,
  deal,
  fill,
  include,
  notify,
  order,
  outcome,
  piece,
  poll,
  report,
  retry,
  seal,
  submit,
  sweep,
  sync,
  track,
  translate,
  update,
}: Record<string, LambdaFunction> = Object.fromEntries(
  Object.entries(functions).map(([name, run]) => [name, measure(name, run)]),
)
