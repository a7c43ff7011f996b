import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { CreateBucketCommand } from '@aws-sdk/client-s3'
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs'
import type { DealMaking } from '@w3filecoin/local/deal-making'
import { type Engines, s3Client, sqsClient, startEngines } from '@w3filecoin/local/engines'
import { type Api, serveHttp } from '@w3filecoin/local/http-source'
import type { LambdaFunction } from '@w3filecoin/local/invoke'
import { LogFile } from '@w3filecoin/local/log-file'
import { openMarket } from '@w3filecoin/local/market'
import { openPdpDeals } from '@w3filecoin/local/pdp-deals'
import { queueUrl } from '@w3filecoin/local/provision'
import { pollQueue } from '@w3filecoin/local/queue-source'
import { runSchedule } from '@w3filecoin/local/schedule-source'
import { jsonLog } from '@w3filecoin/runtime'
import type { StageSettings } from '../../stacks/stages.ts'
import { zipOf } from '../../stacks/test/build.ts'
import { synthesize } from '../../stacks/test/stack.ts'
import { type DeployedFunction, type Deployment, readDeployment, type Statement } from './deployment.ts'
import { FunctionProcess } from './function-process.ts'
import { type Gate, openGate } from './gate.ts'

/** The component of the API of each service. The outputs of a stack have the names of the services. */
const APIS = {
  storefront: 'StorefrontApi',
  aggregator: 'AggregatorApi',
  dealer: 'DealerApi',
  dealTracker: 'DealTrackerApi',
}
type ServiceName = keyof typeof APIS

/** Upper limit of the interval of schedules. */
const SCHEDULE_SECONDS = 2
const DEAL_DELAY_MS = 500

export interface Address {
  did: string
  url: string
}

/** A deployed stage on the engines of this machine. */
export interface System {
  services: Record<ServiceName, Address>
  engines: Engines
  deployment: Deployment
  functions: FunctionProcess[]
  gate: Gate
  stop(): Promise<void>
}

interface SystemOptions {
  /** An empty directory for data, code and logs, outside of the repository. */
  directory: string
  stage: string
  /** CIDs of pieces that storage providers reject. */
  faulty: readonly string[]
  /** DIDs that may ask the deal tracker. */
  clients: readonly string[]
}

/** What an operator would set in stacks/settings.ts for a stage on one machine. */
const settingsFor = (
  activeReplicas: string,
  { dealer, sources = [], aggregateBytes }: DealMaking,
  clients: readonly string[],
): StageSettings => {
  // A poison message is a dead letter after 19 s.
  const timing = { retrySeconds: 5, pollSeconds: 5, redeliverySeconds: 0.2 }
  return {
    storefront: { timing },
    aggregator: { timing, limits: { paddedBytes: aggregateBytes, minPaddedBytes: 0, maxWaitSeconds: 3 } },
    // Targets and storefronts are on this machine.
    dealer: { timing: { ...timing, pollSeconds: 1 }, didWeb: { allowPrivate: true }, ...dealer },
    dealTracker: {
      timing,
      clients: clients.map(did => ({ did: did as `did:key:${string}` })),
      sources: [{ name: 'market', kind: 'active-replicas', url: activeReplicas }, ...sources],
    },
  }
}

/** Starts the functions that SST has built: their resources, their event sources, and IAM between them and the engines. */
export const startSystem = async ({ directory, stage, faulty, clients }: SystemOptions): Promise<System> => {
  await using running = new AsyncDisposableStack()
  const openLog = (name: string) => running.adopt(new LogFile(directory, name), log => log.close())
  const onCrash = (error: Error) => {
    throw error
  }
  const market = await openMarket({ port: 0, log: openLog('market') })
  running.defer(() => market.stop())
  const deals = await openPdpDeals({ port: 0, log: openLog('deals') })
  running.defer(() => deals.stop())
  const engines = await startEngines({
    data: directory,
    tables: 'dynamodb',
    log: openLog('engines'),
    onCrash,
  })
  running.defer(() => engines.stop())

  const stack = await synthesize(stage, settingsFor(market.activeReplicas, deals, clients))
  const deployment = readDeployment(stack)
  await createResources(deployment, engines)

  const parameters = await serveParameters(deployment.parameters)
  running.defer(() => parameters.stop())
  const gate = await openGate({
    engines: {
      ssm: parameters.url,
      dynamodb: engines.env.AWS_ENDPOINT_URL_DYNAMODB as string,
      sqs: engines.sqs,
      s3: engines.s3,
    },
    policies: new Map(deployment.functions.flatMap(policiesOf)),
  })
  running.defer(() => gate.stop())

  const apis = await Promise.all(
    Object.entries(APIS).map(async ([service, component]) => {
      const api = Promise.withResolvers<Api>()
      const http = await serveHttp(0, api.promise)
      return { service, component, api, http, url: `http://127.0.0.1:${http.port}` }
    }),
  )

  const log = openLog('functions')
  const localise = (text: string) =>
    apis.reduce(
      (value, { service, url }) => value.replaceAll(stack.outputs[`${service}Url`]!, url),
      text.replaceAll('https://sqs.us-east-1.amazonaws.com/123456789012/', queueUrl(gate.urls.sqs, '')),
    )
  const functions = deployment.functions.map(
    deployed =>
      new FunctionProcess({
        deployed,
        code: zipOf(deployed.name),
        directory: join(directory, 'functions', deployed.name),
        env: environmentOf(deployed, { engines, gate, localise }),
        log,
      }),
  )
  running.defer(async () => {
    await Promise.all(functions.map(running => running.stop()))
  })

  // One after the other, because each cold start is measured. The first events would start all of them at once.
  for (const deployed of functions) await deployed.warm()

  const sources = startSources({ deployment, functions, gate, log })
  running.defer(async () => {
    await Promise.all([...apis.map(({ http }) => http.stop()), ...sources.map(source => source.stop())])
  })
  for (const { service, component, api } of apis) {
    const answering = functionNamed(functions, component)
    api.resolve({
      name: service,
      run: answering.run,
      spec: specOf(answering),
      log: jsonLog(line => log.write(`${line}\n`), { service, now: Date.now }),
    })
  }

  const { SERVICE_KEY_PARAMETER = '' } = deployment.functions.find(({ name }) => name === 'DealerApi')!.env
  await deals.start({
    engines,
    data: directory,
    dealDelayMs: DEAL_DELAY_MS,
    faulty: [],
    dealerKey: deployment.parameters[SERVICE_KEY_PARAMETER]!,
  })
  await market.start({
    engines,
    data: directory,
    dealDelayMs: DEAL_DELAY_MS,
    faulty,
    offers: deployment.buckets.DealerOffersData!,
    reports: deployment.queues.find(({ component }) => component === 'DealerReportWork')!.name,
  })
  const started = running.move()
  return {
    services: Object.fromEntries(
      apis.map(({ service, url }) => [service, { url, did: stack.outputs[`${service}Did`]! }]),
    ) as Record<ServiceName, Address>,
    engines,
    deployment,
    functions,
    gate,
    stop: () => started.disposeAsync(),
  }
}

/**
 * Returns the policies of a function by access key id: those of its own calls, and those of Lambda, which polls its queue with the
 * same role. Lambda does not change the visibility of messages, but the local event source hides them with it during a run.
 */
const policiesOf = ({ name, policy }: DeployedFunction): [string, Statement[]][] => [
  [name, policy],
  [pollerOf(name), [...policy, { actions: ['sqs:ChangeMessageVisibility'], resources: ['*'] }]],
]

const pollerOf = (name: string) => `${name}.poller`

const environmentOf = (
  { name, env, handler, memoryMB }: DeployedFunction,
  { engines, gate, localise }: { engines: Engines; gate: Gate; localise: (text: string) => string },
): Record<string, string> => ({
  ...Object.fromEntries(Object.entries(env).map(([variable, value]) => [variable, localise(value)])),
  ...engines.env,
  AWS_ENDPOINT_URL_DYNAMODB: gate.urls.dynamodb,
  AWS_ENDPOINT_URL_SQS: gate.urls.sqs,
  AWS_ENDPOINT_URL_S3: gate.urls.s3,
  AWS_ENDPOINT_URL_SSM: gate.urls.ssm,
  AWS_ACCESS_KEY_ID: name,
  AWS_LAMBDA_FUNCTION_NAME: name,
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: `${memoryMB}`,
  _HANDLER: handler,
  TZ: ':UTC',
})

/** Stands in for the Parameter Store. */
const serveParameters = async (values: Deployment['parameters']) => {
  const server = createServer(async (request, response) => {
    const { Name } = (await json(request)) as { Name: string }
    const Value = values[Name]
    response
      .writeHead(Value === undefined ? 400 : 200, { 'content-type': 'application/x-amz-json-1.1' })
      .end(
        JSON.stringify(
          Value === undefined ? { __type: 'ParameterNotFound' } : { Parameter: { Name, Value } },
        ),
      )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

const createResources = async ({ tables, queues, buckets }: Deployment, engines: Engines): Promise<void> => {
  const { AWS_REGION: region, AWS_ENDPOINT_URL_DYNAMODB: endpoint } = engines.env as Record<string, string>
  const dynamodb = new DynamoDBClient({
    region: region!,
    endpoint: endpoint!,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  })
  const schemaOf = ({ hash, range }: { hash: string; range?: string | undefined }) => [
    { AttributeName: hash, KeyType: 'HASH' as const },
    ...(range === undefined ? [] : [{ AttributeName: range, KeyType: 'RANGE' as const }]),
  ]
  for (const { name, keys, attributes, indexes } of tables)
    await dynamodb.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: schemaOf(keys),
        AttributeDefinitions: attributes.map(({ name, type }) => ({
          AttributeName: name,
          AttributeType: type,
        })),
        ...(indexes.length > 0 && {
          GlobalSecondaryIndexes: indexes.map(index => ({
            IndexName: index.name,
            KeySchema: schemaOf(index),
            Projection: { ProjectionType: index.projection as 'KEYS_ONLY' },
          })),
        }),
      }),
    )
  const sqs = sqsClient(engines)
  // A queue names its dead-letter queue, which must exist before.
  for (const { name, fifo, visibilitySeconds, redrivePolicy } of queues.toSorted(
    (a, b) => Number(a.redrivePolicy !== undefined) - Number(b.redrivePolicy !== undefined),
  ))
    await sqs.send(
      new CreateQueueCommand({
        QueueName: name,
        Attributes: {
          VisibilityTimeout: `${visibilitySeconds}`,
          ...(fifo && { FifoQueue: 'true' }),
          ...(redrivePolicy !== undefined && {
            RedrivePolicy: redrivePolicy.replaceAll(':123456789012:', ':000000000000:'),
          }),
        },
      }),
    )
  const s3 = s3Client(engines)
  for (const bucket of Object.values(buckets)) await s3.send(new CreateBucketCommand({ Bucket: bucket }))
  for (const client of [dynamodb, sqs, s3]) client.destroy()
}

interface SourcesOptions {
  deployment: Deployment
  functions: readonly FunctionProcess[]
  gate: Gate
  log: LogFile
}

/** Starts the event sources of queues and schedules, with the properties that the deploy registers. */
const startSources = ({ deployment, functions, gate, log: file }: SourcesOptions) => {
  const log = jsonLog(line => file.write(`${line}\n`), { service: 'event sources', now: Date.now })
  return [
    ...deployment.subscriptions.map(subscription => {
      const consumer = functionNamed(functions, subscription.function)
      // Without this property, Lambda ignores the result of a function.
      const run: LambdaFunction = async (event, context) => {
        const result = await consumer.run(event, context)
        return subscription.partialResponses ? result : undefined
      }
      return pollQueue({
        client: new SQSClient({
          region: 'us-east-1',
          endpoint: gate.urls.sqs,
          credentials: { accessKeyId: pollerOf(subscription.function), secretAccessKey: 'local' },
        }),
        queue: subscription.queue,
        url: queueUrl(gate.urls.sqs, subscription.queue),
        spec: {
          batch: subscription.batch,
          window: subscription.windowSeconds,
          concurrency: subscription.concurrency,
          attempts: subscription.attempts,
          run: specOf(consumer),
        },
        run,
        log,
      })
    }),
    ...deployment.schedules.map(({ name, function: scheduled, everySeconds, input }) => {
      const sweeper = functionNamed(functions, scheduled)
      return runSchedule({
        schedule: name,
        spec: { everySeconds, run: specOf(sweeper) },
        everySeconds: SCHEDULE_SECONDS,
        events: new EventEmitter(),
        // The event of EventBridge Scheduler is the input of the target.
        run: (_event, context) => sweeper.run(input, context),
        log,
      })
    }),
  ]
}

const functionNamed = (functions: readonly FunctionProcess[], name: string): FunctionProcess => {
  const found = functions.find(({ deployed }) => deployed.name === name)
  if (found === undefined) throw new Error(`The deploy registers no function ${name}`)
  return found
}

const specOf = ({ deployed }: FunctionProcess) => ({
  timeout: deployed.timeoutSeconds,
  memory: deployed.memoryMB,
  uses: {},
})
