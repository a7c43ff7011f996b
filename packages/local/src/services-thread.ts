import { EventEmitter } from 'node:events'
import { type MessagePort, parentPort } from 'node:worker_threads'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { jsonLog } from '@w3filecoin/runtime'
import { type Resources, variable } from '@w3filecoin/runtime/resources'
import { type Api, type HttpSource, serveHttp } from './http-source.ts'
import type { EventSource, LambdaFunction } from './invoke.ts'
import { type Clients, provision, queueName, resourceName, type TableMaker } from './provision.ts'
import { pollQueue } from './queue-source.ts'
import { runSchedule, type Wake } from './schedule-source.ts'
import { openTableMaker } from './table-engine.ts'
import { answerWith } from './thread.ts'

/**
 * The thread of all services: their functions, and the event sources that invoke them. It listens before it starts, because
 * the services' configurations contain the addresses of the other services.
 */
const port = parentPort as MessagePort

export interface StartService {
  /** Name of this instance of the service, and prefix of its resources' names, e.g. `storefront`. */
  name: string
  /** Module specifiers of the resource description and of the functions. */
  resources: string
  functions: string
  /** The variables of this service. Those of the engines are shared. */
  env: Record<string, string>
  /** By the name of a schedule in the resource description: the event after which it also runs. */
  wakes?: Record<string, Wake> | undefined
}

export interface StartServices {
  services: readonly StartService[]
  /** The variables of the engines. */
  env: Record<string, string>
  /** Upper limit of the interval of schedules. */
  everySeconds: number
  /** The same for those that are unhurried. */
  unhurriedSeconds: number
}

/** Requests to the thread, one at a time. A service is known by its place in the list. */
export type ServicesQuestion = { listen: readonly number[] } | { start: StartServices } | { stop: true }

/** A message without an answer: an event outside the thread has happened, see `Wake.after`. */
export interface ServicesNews {
  happened: string
}

const opened: { api: PromiseWithResolvers<Api>; http: HttpSource }[] = []
const sources: EventSource[] = []
/** Emits the name of each queue whose function has run, and the events of {@link ServicesNews}. */
const events = new EventEmitter()
let tables: TableMaker | undefined
/** Unhurried schedules wait for it: the checks of a service call the others, and should not make their start longer. */
const allStarted = Promise.withResolvers<void>()

/** The environment that every service of this thread has. */
const inherited = { ...process.env }

const listen = async (ports: readonly number[]): Promise<number[]> => {
  for (const port of ports) {
    const api = Promise.withResolvers<Api>()
    opened.push({ api, http: await serveHttp(port, api.promise) })
  }
  return opened.map(({ http }) => http.port)
}

const start = async ({ services, env, ...intervals }: StartServices): Promise<void> => {
  enter(env)
  const sqs = env.AWS_ENDPOINT_URL_SQS as string
  const clients = { sqs: new SQSClient({}), s3: new S3Client({ forcePathStyle: true }) }
  tables = await openTableMaker(env)
  for (const [n, service] of services.entries())
    opened[n]!.api.resolve(await startService(service, { env, ...intervals, sqs, clients, tables }))
  allStarted.resolve()
}

interface Shared extends Omit<StartServices, 'services'> {
  sqs: string
  clients: Clients
  tables: TableMaker
}

const startService = async (
  { name, env, wakes, ...modules }: StartService,
  { env: engines, everySeconds, unhurriedSeconds, sqs, clients, tables }: Shared,
): Promise<Api> => {
  const { resources } = (await import(modules.resources)) as { resources: Resources }
  const places = await provision({ resources, service: name, clients, tables, sqs })

  // The module reads its environment when it is imported: one after the other. Two storefronts are two imports.
  enter({ ...engines, ...env, ...places })
  const url = new URL(import.meta.resolve(modules.functions))
  url.searchParams.set('service', name)
  const functions = (await import(url.href)) as Record<string, LambdaFunction>
  const functionOf = (event: string): LambdaFunction => {
    const run = functions[event]
    if (run === undefined) throw new Error(`${modules.functions} exports no function ${event}`)
    return run
  }
  const log = jsonLog(line => console.log(line), { service: name, now: Date.now })
  sources.push(
    ...Object.entries(resources.queues).map(([queue, spec]) => {
      const physicalName = queueName(name, queue, spec)
      return pollQueue({
        client: clients.sqs,
        queue: physicalName,
        url: places[variable('queue', queue)] as string,
        spec,
        run: announce(physicalName, functionOf(queue)),
        log,
      })
    }),
    ...Object.entries(resources.schedules).map(([schedule, spec]) =>
      runSchedule({
        schedule: resourceName(name, schedule),
        spec,
        everySeconds: spec.unhurried ? unhurriedSeconds : everySeconds,
        ...(spec.unhurried && { ready: allStarted.promise }),
        wake: wakes?.[schedule],
        events,
        run: functionOf(schedule),
        log,
      }),
    ),
  )
  return { name, run: announce(resourceName(name, 'api'), functionOf('api')), spec: resources.api, log }
}

/** Returns the function, which emits an event after each run. */
const announce =
  (event: string, run: LambdaFunction): LambdaFunction =>
  async (...args) => {
    try {
      return await run(...args)
    } finally {
      events.emit(event)
    }
  }

/** Replaces the environment of the thread. */
const enter = (env: Record<string, string>): void => {
  for (const name of Object.keys(process.env)) delete process.env[name]
  Object.assign(process.env, inherited, env)
}

port.on('message', async (message: ServicesQuestion | ServicesNews) => {
  if ('happened' in message) events.emit(message.happened)
  else if ('listen' in message) await answerWith(port, () => listen(message.listen))
  else if ('start' in message) await answerWith(port, () => start(message.start))
  else {
    const stopping = [...opened.map(({ http }) => http.stop()), ...sources.map(source => source.stop())]
    allStarted.resolve()
    await Promise.all(stopping)
    tables?.close()
    port.close()
    // Open handles of the functions must not keep the thread alive.
    setTimeout(() => process.exit(0), 200).unref()
  }
})
