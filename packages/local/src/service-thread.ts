import { type MessagePort, parentPort } from 'node:worker_threads'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { jsonLog } from '@w3filecoin/runtime'
import { type Resources, variable } from '@w3filecoin/runtime/resources'
import { type Api, type HttpSource, serveHttp } from './http-source.ts'
import type { EventSource, LambdaFunction } from './invoke.ts'
import { provision, queueName, resourceName } from './provision.ts'
import { pollQueue } from './queue-source.ts'
import { runSchedule } from './schedule-source.ts'
import { answerWith } from './thread.ts'

/**
 * The thread of a service: its functions, and the event sources that invoke them. It listens before it starts, because
 * the services' configurations contain the addresses of the other services.
 */
const port = parentPort as MessagePort

export interface StartService {
  /** Name of this instance of the service, and prefix of its resources' names, e.g. `storefront`. */
  name: string
  /** Module specifiers of the resource description and of the functions. */
  resources: string
  functions: string
  env: Record<string, string>
  /** Upper limit of the interval of schedules. */
  everySeconds: number
}

/** Requests to the thread, one at a time. */
export type ServiceQuestion = { listen: number } | { start: StartService } | { stop: true }

const api = Promise.withResolvers<Api>()
let http: HttpSource | undefined
let sources: EventSource[] = []

const start = async ({ name, env, everySeconds, ...modules }: StartService): Promise<void> => {
  Object.assign(process.env, env)
  const { resources } = (await import(modules.resources)) as { resources: Resources }
  const sqs = env.AWS_ENDPOINT_URL_SQS as string
  const clients = {
    dynamodb: new DynamoDBClient({}),
    sqs: new SQSClient({}),
    s3: new S3Client({ forcePathStyle: true }),
  }
  Object.assign(process.env, await provision({ resources, service: name, clients, sqs }))

  // The module reads the environment when it is imported.
  const functions = (await import(modules.functions)) as Record<string, LambdaFunction>
  const functionOf = (event: string): LambdaFunction => {
    const run = functions[event]
    if (run === undefined) throw new Error(`${modules.functions} exports no function ${event}`)
    return run
  }
  const log = jsonLog(line => console.log(line), { service: name })
  sources = [
    ...Object.entries(resources.queues).map(([queue, spec]) =>
      pollQueue({
        client: clients.sqs,
        queue: queueName(name, queue, spec),
        url: process.env[variable('queue', queue)] as string,
        spec,
        run: functionOf(queue),
        log,
      }),
    ),
    ...Object.entries(resources.schedules).map(([schedule, spec]) =>
      runSchedule({
        schedule: resourceName(name, schedule),
        spec,
        everySeconds,
        run: functionOf(schedule),
        log,
      }),
    ),
  ]
  api.resolve({ name, run: functionOf('api'), spec: resources.api, log })
}

port.on('message', async (question: ServiceQuestion) => {
  if ('listen' in question)
    await answerWith(port, async () => {
      http = await serveHttp(question.listen, api.promise)
      return http.port
    })
  else if ('start' in question) await answerWith(port, () => start(question.start))
  else {
    await Promise.all([http?.stop(), ...sources.map(source => source.stop())])
    port.close()
    // Open handles of the functions must not keep the thread alive.
    setTimeout(() => process.exit(0), 200).unref()
  }
})
