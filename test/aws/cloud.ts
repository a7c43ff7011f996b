import { Readable } from 'node:stream'
import { ProvisionedThroughputExceededException } from '@aws-sdk/client-dynamodb'
import { NoSuchKey, NotFound, S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { currentRequest } from '@w3filecoin/aws'
import { failedOf, httpAnswer, sqsEvent } from '@w3filecoin/local/events'
import { placesOf } from '@w3filecoin/local/provision'
import { type FunctionSpec, type Resources, type TableSpec, variable } from '@w3filecoin/runtime/resources'
import { Timeline } from '@w3filecoin/testing/deterministic'
import { SimulatedDynamo } from './dynamodb.ts'
import { CALL_SECONDS, Meter, RUN_LOG_BYTES } from './meter.ts'
import { CORE_MB, ProcessorTimeline } from './processor.ts'
import { SimulatedQueue } from './sqs.ts'

/** Milliseconds that a call takes, as on AWS within a region. Calls of DynamoDB take the same whichever they are. */
const LATENCY_MS = { dynamodb: 5, sqs: 10, s3Read: 25, s3Write: 45, http: 10 }
/** HTTP APIs bill each 512 KB as one request. */
const HTTP_REQUEST_BYTES = 512 * 1024
/** The account and address that a laptop has too: `placesOf` names queues below it. */
const SQS = 'https://sqs.test'

interface Command {
  constructor: { name: string }
  // biome-ignore lint/suspicious/noExplicitAny: each command has its own input
  input: any
}

/** A service as its stack deploys it. */
export interface Deployed {
  /** Prefix of its resources' names, and name in the meter. */
  name: string
  /** Its address, e.g. `https://storefront.test`. */
  url: string
  resources: Resources
  /** Module specifier of its functions, which read `env` when they are imported. */
  functions: string
  env: Record<string, string>
}

/** The runs of a function. Times are simulated, in milliseconds. */
export interface Runs {
  spec: FunctionSpec
  runs: number
  /** Runs that threw, or returned a message that failed. */
  failed: number
  /** All runs together, and the longest one. */
  totalMs: number
  longestMs: number
  /** Processor time of all runs, in milliseconds of a whole core. 0 unless it is simulated. */
  cpuMs: number
  /** Start of the first run, and end of the last one. */
  firstAt: number
  lastAt: number
}

export interface CloudOptions {
  /** Write units that one partition key takes per second. Default: no limit. */
  writesPerSecond?: number | undefined
  /** Write units that a table takes per second, and each of its indexes. Default: no limit. */
  tableWritesPerSecond?: number | undefined
  /** Whether runs take the time of their processor too: see {@link ProcessorTimeline}. Default: false. */
  processor?: boolean | undefined
}

/** The AWS SDK tries a throttled call of DynamoDB so often, and waits with full jitter: see `@smithy/core/retry`. */
const SDK_ATTEMPTS = 4
const SDK_THROTTLED_MS = 1_000

type LambdaFunction = (event?: unknown, context?: unknown) => Promise<unknown>

/**
 * An account of AWS in memory and in simulated time: DynamoDB, SQS, S3, Lambda with its event sources, HTTP APIs and schedules.
 * It runs the services' own Lambda functions, and meters everything that AWS would bill. While it is open, it replaces the
 * AWS SDK's calls, `fetch`, `setTimeout`, `Date.now` and standard output of this thread.
 */
export class Cloud implements Disposable {
  readonly timeline: Timeline
  readonly meter = new Meter(() => currentRequest()?.split('#')[0] ?? '')
  readonly dynamodb: SimulatedDynamo
  readonly queues = new Map<string, SimulatedQueue>()
  /** Objects by bucket and key. */
  readonly objects = new Map<string, { bytes: Uint8Array; at: number }>()
  /** Answers requests that are for no service, by origin. */
  readonly hosts = new Map<string, (url: URL, init?: RequestInit) => Response>()
  /** Called after an object was stored. */
  onObject: (bucket: string, key: string, bytes: Uint8Array) => void = () => {}
  /** The runs of each function. */
  readonly runs = new Map<string, Runs>()
  /** The largest body of a message, all messages of a call or a run, and a request and response of an HTTP API, in bytes. */
  readonly largest = { message: 0, messages: 0, request: 0, response: 0 }
  /** Called when a run begins. */
  onRun: (name: string) => void = () => {}
  readonly #tables: Record<string, TableSpec> = {}
  readonly #apis = new Map<string, (request: Request) => Promise<Response>>()
  readonly #real = new DisposableStack()
  readonly #processor: ProcessorTimeline | undefined
  #count = 0

  constructor({
    writesPerSecond = Infinity,
    tableWritesPerSecond = Infinity,
    processor = false,
  }: CloudOptions = {}) {
    const start = Date.UTC(2026, 0, 1)
    this.#processor = processor ? new ProcessorTimeline(start) : undefined
    this.timeline = this.#processor ?? new Timeline(start)
    this.dynamodb = new SimulatedDynamo({
      timeline: this.timeline,
      tables: this.#tables,
      writesPerSecond,
      tableWritesPerSecond,
      latencyMs: LATENCY_MS.dynamodb,
      meter: this.meter,
    })
    this.#replace(globalThis, 'setTimeout', ((then: () => void, milliseconds = 0) => {
      this.timeline.after(milliseconds, then)
    }) as never)
    this.#replace(Date, 'now', () => this.timeline.now)
    this.#replace(globalThis, 'fetch', ((url: string | URL | Request, init?: RequestInit) =>
      this.fetch(`${url instanceof Request ? url.url : url}`, init)) as never)
    this.#replace(process.stdout, 'write', ((line: string) => {
      this.meter.add({ logBytes: line.length })
      return true
    }) as never)
    for (const { prototype } of CLIENTS) prototype.send = (command: Command) => this.#send(command)
  }

  /** Creates the resources of a service, and starts its functions. */
  async deploy({ name, url, resources, functions, env }: Deployed): Promise<void> {
    const places = placesOf({ resources, service: name, sqs: SQS })
    for (const [table, spec] of Object.entries(resources.tables))
      this.#tables[places[variable('table', table)] as string] = spec
    const before = { ...process.env }
    Object.assign(process.env, places, env, { AWS_REGION: 'us-east-1', STAGE: 'meter' })
    // A module reads the environment when it is imported, so each deployment is an import of its own.
    const module = new URL(import.meta.resolve(functions))
    module.searchParams.set('deployed', `${name}-${++deployments}`)
    const exported = (await import(module.href)) as Record<string, LambdaFunction>
    for (const variable of Object.keys(process.env)) delete process.env[variable]
    Object.assign(process.env, before)

    const lambda = (own: string, spec: FunctionSpec) => (event?: unknown) =>
      this.#run(`${name}/${own}`, spec, exported[own] as LambdaFunction, event)
    for (const [queue, spec] of Object.entries(resources.queues)) {
      const address = places[variable('queue', queue)] as string
      const physicalName = address.split('/').at(-1) as string
      const run = lambda(queue, spec.run)
      this.queues.set(
        physicalName,
        new SimulatedQueue({
          timeline: this.timeline,
          meter: this.meter,
          name: `${name}/${queue}`,
          spec,
          latencyMs: LATENCY_MS.sqs,
          run: async messages => {
            this.#measure({ messages: messages.reduce((sum, { Body = '' }) => sum + Body.length, 0) })
            const failed = failedOf(messages, await run(sqsEvent(physicalName, messages)))
            return failed.map(({ MessageId }) => MessageId as string)
          },
        }),
      )
    }
    for (const [schedule, { everySeconds, run: spec }] of Object.entries(resources.schedules)) {
      const run = lambda(schedule, spec)
      const repeat = () => {
        this.timeline.after(everySeconds * 1000, repeat)
        void run({})
      }
      this.timeline.after(everySeconds * 1000, repeat)
    }
    const api = lambda('api', resources.api)
    this.#apis.set(url, async request => {
      const body = Buffer.from(await request.arrayBuffer())
      const { pathname, search } = new URL(request.url)
      const result = await api({
        version: '2.0',
        rawPath: decodeURIComponent(pathname),
        rawQueryString: search.slice(1),
        headers: Object.fromEntries(request.headers),
        requestContext: { domainName: new URL(url).host, http: { method: request.method } },
        ...(body.byteLength > 0 && { body: body.toString('base64') }),
        isBase64Encoded: body.byteLength > 0,
      })
      const answer = httpAnswer(result)
      this.#measure({ request: base64Bytes(body), response: base64Bytes(answer.body) })
      const requests = Math.ceil(Math.max(body.byteLength, answer.body.byteLength, 1) / HTTP_REQUEST_BYTES)
      this.meter.add({ http: requests }, { name: `${name}/api` })
      return new Response(answer.body as Uint8Array<ArrayBuffer>, {
        status: answer.status,
        headers: answer.headers as Record<string, string>,
      })
    })
  }

  /** HTTP to the services and to the other hosts of the simulation. */
  async fetch(url: string, init?: RequestInit): Promise<Response> {
    const { origin } = new URL(url)
    await this.wait(LATENCY_MS.http)
    const api = this.#apis.get(origin)
    if (api !== undefined) {
      const response = await api(new Request(url, init))
      await this.#processor?.continue()
      return response
    }
    const host = this.hosts.get(origin)
    if (host === undefined) throw new TypeError(`Nothing listens at ${origin}`)
    return host(new URL(url), init)
  }

  /** Resolves later in simulated time. */
  wait(milliseconds: number): Promise<void> {
    return new Promise(resolve => this.timeline.after(milliseconds, resolve))
  }

  /** Lets time pass until `done`, at most for some milliseconds. Throws if that is too short. */
  async until(done: () => boolean, withinMs: number): Promise<void> {
    if (!(await this.timeline.run(done, this.timeline.now + withinMs)))
      throw new Error(`Not done after ${withinMs / 1000} s of simulated time`)
  }

  /** Lets time pass. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.timeline.now + milliseconds
    let isOver = false
    this.timeline.at(end, () => {
      isOver = true
    })
    await this.until(() => isOver, milliseconds)
  }

  /** Runs code in simulated time. */
  async during<T>(run: () => Promise<T>, withinMs: number): Promise<T> {
    let ended = false
    const running = run().finally(() => {
      ended = true
    })
    await this.until(() => ended, withinMs)
    return running
  }

  /** Functions that still run then wait for ever: the AWS SDK is not connected again. */
  [Symbol.dispose](): void {
    this.#real.dispose()
    for (const { prototype } of CLIENTS) prototype.send = () => new Promise(() => {})
  }

  /** Messages that became dead letters. */
  get deadLetters(): number {
    return [...this.queues.values()].reduce((sum, { dead }) => sum + dead, 0)
  }

  /** Runs a function, and meters its memory while it waits. */
  async #run(name: string, spec: FunctionSpec, run: LambdaFunction, event: unknown): Promise<unknown> {
    const startedAt = this.timeline.now
    const id = `${name}#${++this.#count}`
    const runs = this.#runsOf(name, spec)
    this.onRun(name)
    const processor = { name, share: Math.min(1, spec.memory / CORE_MB), cpuMs: 0, freeAt: startedAt }
    const call = () =>
      run(event, {
        awsRequestId: id,
        functionName: name,
        getRemainingTimeInMillis: () => startedAt + spec.timeout * 1000 - this.timeline.now,
      })
    let isFailed = true
    try {
      const result = await (this.#processor?.within(processor, call) ?? call())
      isFailed = hasFailed(result)
      return result
    } finally {
      const tookMs = this.timeline.now - startedAt
      runs.runs += 1
      runs.failed += Number(isFailed)
      runs.totalMs += tookMs
      runs.longestMs = Math.max(runs.longestMs, tookMs)
      runs.cpuMs += processor.cpuMs
      runs.firstAt = Math.min(runs.firstAt, startedAt)
      runs.lastAt = this.timeline.now
      this.meter.add(
        { runs: 1, waitingGbSeconds: (tookMs / 1000) * (spec.memory / 1024), logBytes: RUN_LOG_BYTES },
        { name },
      )
    }
  }

  #runsOf(name: string, spec: FunctionSpec): Runs {
    const none = { runs: 0, failed: 0, totalMs: 0, longestMs: 0, cpuMs: 0, firstAt: Infinity, lastAt: 0 }
    const runs = this.runs.get(name) ?? { spec, ...none }
    this.runs.set(name, runs)
    return runs
  }

  /** Calls DynamoDB as its client does, which repeats throttled calls some times. */
  async #callDynamo(command: Command): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.dynamodb.send(command)
      } catch (cause) {
        const isThrottled = cause instanceof ProvisionedThroughputExceededException
        if (!isThrottled || attempt === SDK_ATTEMPTS) throw cause
        await this.wait(Math.random() * SDK_THROTTLED_MS * 2 ** (attempt - 1))
      }
    }
  }

  async #send({ constructor: { name }, input }: Command): Promise<unknown> {
    this.meter.add({ calls: 1 })
    this.#processor?.spend(CALL_SECONDS * 1000)
    switch (name) {
      case 'SendMessageBatchCommand': {
        await this.wait(LATENCY_MS.sqs)
        const sizes: number[] = input.Entries.map(
          ({ MessageBody }: { MessageBody: string }) => MessageBody.length,
        )
        this.#measure({ message: Math.max(...sizes), messages: sizes.reduce((sum, size) => sum + size, 0) })
        this.#queue(input.QueueUrl).send(input.Entries)
        return {}
      }
      case 'SendMessageCommand':
        throw new Error(`A message became a dead letter: ${JSON.stringify(input)}`)
      case 'ChangeMessageVisibilityBatchCommand':
        // A failed message comes again after the visibility timeout.
        await this.wait(LATENCY_MS.sqs)
        this.meter.add({ sqs: 1 })
        return {}
      case 'PutObjectCommand':
        await this.wait(LATENCY_MS.s3Write)
        this.meter.add({ s3Puts: 1 })
        this.#put(input.Bucket, input.Key, input.Body)
        return {}
      case 'CopyObjectCommand':
        await this.wait(LATENCY_MS.s3Write)
        this.meter.add({ s3Puts: 1 })
        this.#put(input.Bucket, input.Key, this.#find(input.CopySource)!.bytes)
        return {}
      case 'HeadObjectCommand': {
        await this.wait(LATENCY_MS.s3Read)
        this.meter.add({ s3Gets: 1 })
        const found = this.#find(`${input.Bucket}/${input.Key}`)
        if (found === undefined) throw new NotFound({ message: 'NotFound', $metadata: {} })
        return { ContentLength: found.bytes.byteLength, LastModified: new Date(found.at) }
      }
      case 'GetObjectCommand': {
        await this.wait(LATENCY_MS.s3Read)
        this.meter.add({ s3Gets: 1 })
        const found = this.#find(`${input.Bucket}/${input.Key}`)
        if (found === undefined) throw new NoSuchKey({ message: 'NoSuchKey', $metadata: {} })
        const { bytes } = found
        return { Body: Object.assign(Readable.from([bytes]), { transformToByteArray: async () => bytes }) }
      }
      default:
        return this.#callDynamo({ constructor: { name }, input })
    }
  }

  /** Stores an object from outside, without a cost. */
  store(bucket: string, key: string, bytes: Uint8Array): void {
    // A copy, because the bytes may be a small part of a buffer.
    this.objects.set(`${bucket}/${key}`, { bytes: new Uint8Array(bytes), at: this.timeline.now })
  }

  #measure(sizes: Partial<Cloud['largest']>): void {
    for (const [kind, bytes] of Object.entries(sizes) as [keyof Cloud['largest'], number][])
      this.largest[kind] = Math.max(this.largest[kind], bytes)
  }

  #put(bucket: string, key: string, body: Uint8Array | string): void {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    this.store(bucket, key, bytes)
    this.onObject(bucket, key, bytes)
  }

  #find(place: string) {
    return this.objects.get(place)
  }

  #queue(url: string): SimulatedQueue {
    const queue = this.queues.get(url.split('/').at(-1) as string)
    if (queue === undefined) throw new Error(`There is no queue ${url}`)
    return queue
  }

  #replace<T extends object, K extends keyof T>(target: T, key: K, value: T[K]): void {
    const original = target[key]
    this.#real.defer(() => {
      target[key] = original
    })
    target[key] = value
  }
}

/** Bytes of a body in the event or the result of a Lambda function. */
const base64Bytes = ({ byteLength }: Uint8Array): number => Math.ceil(byteLength / 3) * 4

/** Whether the result of a function names a failed message, or is an error of an HTTP API. */
const hasFailed = (result: unknown): boolean => {
  const { batchItemFailures = [], statusCode = 200 } = (result ?? {}) as {
    batchItemFailures?: unknown[]
    statusCode?: number
  }
  return batchItemFailures.length > 0 || statusCode >= 500
}

/** The classes from which the clients of the AWS SDK inherit `send`. */
const CLIENTS = new Set<{ prototype: { send: (command: Command) => Promise<unknown> } }>(
  [DynamoDBDocumentClient, SQSClient, S3Client].map(client => Object.getPrototypeOf(client)),
)

let deployments = 0
