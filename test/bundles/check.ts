import { randomUUID } from 'node:crypto'
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ReceiveMessageCommand, SendMessageCommand } from '@aws-sdk/client-sqs'
import { type PostMortem, readPostMortem } from '@w3filecoin/aws'
import { sqsClient } from '@w3filecoin/local/engines'
import { queueUrl } from '@w3filecoin/local/provision'
import type { DeployedQueue } from './deployment.ts'
import type { FunctionProcess } from './function-process.ts'
import { type Call, SERVICES } from './gate.ts'
import { createAgent, openPage, travel, travelInDialect } from './journey.ts'
import { type System, startSystem } from './system.ts'

/** A message that no consumer accepts. */
const POISON = '{"no":"message"}'

/** The longest time from offer to deal, and until every poison message is a dead letter. */
const MAX_MS = 180_000
const POLL_MS = 500

/**
 * Node parses the code at each cold start. The greatest bundle has 1.4 MB. With `import { z } from 'zod'` instead of
 * `import * as z from 'zod'`, it would also contain all languages of zod's messages, 0.3 MB.
 */
const MAX_BUNDLE_BYTES = 1.4 * 2 ** 20

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export interface Report {
  functions: readonly FunctionProcess[]
  allowed: readonly Call[]
  denied: readonly Call[]
  /** Everything that a deploy of these bundles would get wrong. */
  defects: string[]
}

interface CheckOptions {
  /** An empty directory, outside of the repository. */
  directory: string
  /** The stage whose functions SST has built. */
  stage: string
}

/** Runs the bundles of all functions: an agent's files, offers in a dialect, and a poison message in each queue. */
export const checkBundles = async ({ directory, stage }: CheckOptions): Promise<Report> => {
  const agent = await createAgent()
  const system = await startSystem({
    directory,
    stage,
    faulty: [`${agent.faulty.piece}`],
    clients: [agent.signer.did()],
  })
  const defects: string[] = []
  const attempt = async (title: string, run: (signal: AbortSignal) => Promise<void>) => {
    const failing = new AbortController()
    // A denied call is retried until the time is up, so stop at the first one.
    const watch = setInterval(() => {
      if (system.gate.denied.length > 0) failing.abort(new Error('A call was denied'))
    }, POLL_MS)
    try {
      await run(AbortSignal.any([failing.signal, AbortSignal.timeout(MAX_MS)]))
    } catch (cause) {
      defects.push(`${title}: ${cause instanceof Error ? cause.message : cause}`)
    } finally {
      clearInterval(watch)
    }
  }
  try {
    await Promise.all([
      attempt('The journey failed', signal => travel(system, agent, signal)),
      attempt('An offer in a dialect failed', signal => travelInDialect(system, agent, signal)),
      attempt('The page cannot be loaded', signal => openPage(system, signal)),
      attempt('A poison message has no post-mortem', signal => poison(system, signal)),
    ])
  } finally {
    await system.stop()
  }
  const { functions, gate } = system
  // A journey that ended early has not used everything.
  if (defects.length === 0) defects.push(...findUnchecked(functions, gate.allowed))
  defects.push(...gate.denied.map(call => `Denied: ${describe(call)}`), ...functions.flatMap(findDefects))
  return { functions, allowed: gate.allowed, denied: gate.denied, defects }
}

const describe = ({ caller, action, resource, times }: Call) =>
  `${caller} may not perform ${action} on ${resource} (${times} times)`

/** Functions that have work only from records of earlier code, which the journey does not have: see decision 0076. */
const FOR_EARLIER_RECORDS: ReadonlySet<string> = new Set(['AggregatorPiece'])

/** Returns a line for each function and each service of AWS whose permissions the journey did not need. */
const findUnchecked = (functions: readonly FunctionProcess[], allowed: readonly Call[]): string[] => {
  // Every function reads its private key at its start. A consumer of only the poison message has it delivered again, and then
  // sends it to its dead-letter queue.
  const works = (name: string) =>
    allowed.some(
      ({ caller, action, resource }) =>
        caller === name &&
        !/DeadQueue/.test(resource) &&
        !['ssm:GetParameter', 'sqs:ChangeMessageVisibility'].includes(action),
    )
  const isCalled = (service: string) => allowed.some(({ action }) => action.startsWith(`${service}:`))
  return [
    ...functions
      .filter(({ deployed: { name } }) => !works(name) && !FOR_EARLIER_RECORDS.has(name))
      .map(({ deployed, runs }) => `${deployed.name} did no work in ${runs} runs, so it is unchecked`),
    ...SERVICES.filter(service => !isCalled(service)).map(
      service => `No function called ${service}, so its permissions are unchecked`,
    ),
  ]
}

const findDefects = (run: FunctionProcess): string[] => {
  const { name, memoryMB } = run.deployed
  return [
    ...run.errors.map(error => `${name} failed: ${error}`),
    ...(run.bundleBytes > MAX_BUNDLE_BYTES
      ? [
          `${name} has ${run.bundleBytes} bytes of code. Find the import that makes it larger than ${MAX_BUNDLE_BYTES}`,
        ]
      : []),
    ...(run.maxRssMB > memoryMB ? [`${name} used ${Math.round(run.maxRssMB)} MB of ${memoryMB} MB`] : []),
    ...(needsHasher(run.directory) && !hasHasher(run.directory)
      ? [`${name} has no native hasher for arm64, so it would hash slowly`]
      : []),
  ]
}

/** The package of the native hasher. It is not bundled. */
const HASHER = '@chainsafe/hashtree'

const needsHasher = (directory: string): boolean =>
  readdirSync(directory)
    .filter(name => name.endsWith('.mjs'))
    .some(name => readFileSync(join(directory, name), 'utf8').includes(HASHER))

/** The header of an ELF file: its magic number, and the processor. */
const ELF = '7f454c46'
const AARCH64 = 183

/** Whether the package and its binary for Lambda's processor are beside the code. */
const hasHasher = (directory: string): boolean =>
  existsSync(join(directory, 'node_modules', HASHER, 'package.json')) &&
  globSync(join(directory, 'node_modules', `${HASHER}-*`, '*.node')).some(file => {
    const header = readFileSync(file).subarray(0, 20)
    return header.toString('hex', 0, 4) === ELF && header.readUInt16LE(18) === AARCH64
  })

/** Sends a poison message to each queue. Resolves when each is a dead letter whose post-mortem names a line of the source. */
const poison = async ({ engines, deployment }: System, signal: AbortSignal): Promise<void> => {
  const sqs = sqsClient(engines)
  const dead: { queue: DeployedQueue; letters: DeployedQueue }[] = deployment.queues
    .filter(({ component }) => component.endsWith('Work'))
    .map(queue => ({
      queue,
      letters: deployment.queues.find(
        ({ component }) => component === queue.component.replace(/Work$/, 'Dead'),
      )!,
    }))
  try {
    await Promise.all(
      dead.map(async ({ queue, letters }) => {
        await sqs.send(
          new SendMessageCommand({
            QueueUrl: queueUrl(engines.sqs, queue.name),
            MessageBody: POISON,
            ...(queue.fifo && { MessageGroupId: 'poison', MessageDeduplicationId: randomUUID() }),
          }),
        )
        for (;;) {
          const { Messages = [] } = await sqs.send(
            new ReceiveMessageCommand({
              QueueUrl: queueUrl(engines.sqs, letters.name),
              MessageAttributeNames: ['All'],
            }),
            { abortSignal: signal },
          )
          for (const { Body, MessageAttributes } of Messages) {
            const postMortem = readPostMortem(MessageAttributes)
            if (Body !== POISON) throw new Error(`${letters.component} has another message: ${Body}`)
            expectPlace(letters.component, postMortem)
            return
          }
          await sleep(POLL_MS, undefined, { signal })
        }
      }),
    )
  } finally {
    sqs.destroy()
  }
}

/** The line at which a consumer rejects a message: the call begins at the column that the post-mortem names. */
const REJECTING = { file: 'packages/runtime/src/messages/message-format.ts', call: 'parse(message)' }

/** Throws unless the post-mortem names the line of the source. */
const expectPlace = (queue: string, postMortem: PostMortem | undefined): void => {
  const { at = '', reason } = postMortem ?? {}
  const [, file, line, column] = /([\w./-]+):(\d+):(\d+)\)$/.exec(at) ?? []
  const source = file === REJECTING.file ? readFileSync(join(ROOT, file), 'utf8').split('\n') : []
  if (source[Number(line) - 1]?.slice(Number(column) - 1).startsWith(REJECTING.call) !== true)
    throw new Error(
      `${queue} has a dead letter that does not name the line of ${REJECTING.file}: ${JSON.stringify({ at, reason })}`,
    )
}
