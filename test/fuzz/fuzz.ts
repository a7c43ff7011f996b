import type { Local } from '@w3filecoin/local'
import fc from 'fast-check'
import { AuthorizationOracle } from './authorization.ts'
import { packMessage, readBlocks, unpackMessage } from './blocks.ts'
import { createCast, type Role, recordSamples, type Sample } from './corpus.ts'
import { generatePlans, type Hit, Mutator, type Plan } from './mutations.ts'
import { readReceipts } from './receipts.ts'
import { MAX_ANSWER_MS, type Reply, send } from './send.ts'
import { findSlowness, SLOWNESS_LIMITS } from './slowness.ts'

export interface Finding {
  /** The index of the message: with the seed, it determines the message. */
  index: number
  what: string
  /** The name of the honest message that was mutated, e.g. `filecoin/offer`. */
  sample: string
  plan: Plan
}

export interface Report {
  findings: Finding[]
  /** The number of answers by kind of mutation and class of answer, e.g. `claim` and `200 Unauthorized`. */
  classes: Map<string, Map<string, number>>
  sent: number
  slowestMs: number
  /** The number of answers above the floor for slow answers, and of those that were measured again alone. */
  suspects: number
  measured: number
  seconds: number
}

export interface FuzzOptions {
  local: Pick<Local, 'services' | 'agent'>
  seed: number
  /** The messages to send, by index. */
  indexes: Iterable<number>
  concurrency?: number
  /**
   * Runs beside the messages, and ends soon after `isOver` returns true. The fuzzer waits for it before it measures slow
   * answers, because nothing else may be sent meanwhile.
   */
  beside?: (isOver: () => boolean) => Promise<void>
  onProgress?: (sent: number, findings: number) => void
}

/** Matches a stack trace or a path of the source code. */
const LEAK = /\n\s+at .+[:(]|node_modules|file:\/\/\/|\/packages\/|\.[jt]s:\d+/

/** At most this many slow answers, and all late ones, are measured again: a busy machine has thousands of slow ones. */
const MAX_MEASURED = 200

/** Sends mutated messages to the services, and checks every answer. */
export const fuzz = async ({
  local: { services, agent },
  seed,
  indexes,
  concurrency = 16,
  beside = async () => {},
  onProgress,
}: FuzzOptions): Promise<Report> => {
  const cast = await createCast(services, agent)
  const samples = await recordSamples(cast)
  const mutator = new Mutator(samples, cast)
  const oracle = new AuthorizationOracle(cast)
  const plans = generatePlans(samples.length)
  const report: Report = {
    findings: [],
    classes: new Map(),
    sent: 0,
    slowestMs: 0,
    suspects: 0,
    measured: 0,
    seconds: 0,
  }
  const startedAt = performance.now()
  const suspects: { index: number; plan: Plan; reply: Reply }[] = []

  const check = async (index: number, plan: Plan, hit: Hit, reply: Reply) => {
    const { name, found } = await classify(oracle, hit, reply)
    const sample = samples[plan.sample]!.name
    report.findings.push(...found.map(what => ({ index, what, sample, plan })))
    count(report, plan, name)
  }
  const sendOne = async (index: number) => {
    const [plan] = fc.sample(plans, { seed: deriveSeed(seed, index), numRuns: 1 }) as [Plan]
    const hit = await mutator.build(plan)
    const reply = await send(services[hit.to]!.url, hit)
    if (reply.tookMs > SLOWNESS_LIMITS.floorMs) suspects.push({ index, plan, reply })
    // A late answer is checked when the message is sent again.
    if (!reply.late) await check(index, plan, hit, reply)
    report.sent += 1
    report.slowestMs = Math.max(report.slowestMs, reply.tookMs)
    if (report.sent % 1_000 === 0) onProgress?.(report.sent, report.findings.length)
  }
  const queue = indexes[Symbol.iterator]()
  const sendAll = () =>
    Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (let next = queue.next(); !next.done; next = queue.next()) await sendOne(next.value)
      }),
    )
  let isOver = false
  await Promise.all([
    beside(() => isOver),
    sendAll().finally(() => {
      isOver = true
    }),
  ])

  const slowestFirst = suspects.toSorted((one, other) => other.reply.tookMs - one.reply.tookMs)
  for (const [n, { index, plan, reply }] of slowestFirst.entries()) {
    if (n >= MAX_MEASURED && !reply.late) break
    const hit = await mutator.build(plan)
    const { url } = services[hit.to]!
    let last = reply
    const what = await findSlowness({
      sendSuspect: async () => {
        last = await send(url, hit)
        return last.tookMs
      },
      sendHonest: () => measureHonest(url, hit.to, samples),
    })
    if (last.late && !what) throw tooBusy(`Message ${index} got no answer`)
    if (reply.late && !last.late) await check(index, plan, hit, last)
    if (what) report.findings.push({ index, what, sample: samples[plan.sample]!.name, plan })
    report.measured += 1
  }
  report.suspects = suspects.length
  report.seconds = (performance.now() - startedAt) / 1000
  return report
}

/** Sends an honest message to a service, and returns the milliseconds until its answer. */
const measureHonest = async (url: string, to: Role, samples: readonly Sample[]): Promise<number> => {
  const { invocation } = samples.find(sample => sample.to === to)!
  const { tookMs, late, problem } = await send(url, {
    to,
    method: 'POST',
    path: '/',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body: packMessage(await unpackMessage([invocation])),
    hopeless: false,
  })
  if (late) throw tooBusy(`The ${to} did not answer an honest message`)
  if (problem) throw new Error(`The ${to} did not answer an honest message: ${problem}`)
  return tookMs
}

const tooBusy = (event: string): Error =>
  new Error(
    `${event} in ${MAX_ANSWER_MS / 1000} s. The services hang, or the machine is too busy to measure slow answers: run this again on a less busy machine.`,
  )

/** Returns a separate seed for every message; neighbouring seeds have no messages in common. */
const deriveSeed = (seed: number, index: number): number => (Math.imul(seed, 0x9e37_79b1) + index) | 0

const count = ({ classes }: Report, { kind }: Plan, name: string) => {
  const names = classes.get(kind) ?? new Map<string, number>()
  names.set(name, (names.get(name) ?? 0) + 1)
  classes.set(kind, names)
}

/** Returns the class of an answer, e.g. `200 ok`, and its faults. */
const classify = async (
  oracle: AuthorizationOracle,
  hit: Hit,
  reply: Reply,
): Promise<{ name: string; found: string[] }> => {
  const { status, type, body, problem } = reply
  const found: string[] = []
  if (problem !== undefined) found.push(problem)
  if (status >= 500) found.push(`answered ${status}: ${toText(body).slice(0, 200)}`)
  if (LEAK.test(toText(body))) found.push(`reveals internals: ${LEAK.exec(toText(body))?.[0]}`)
  if (hit.method !== 'POST' || hit.path !== '/' || status !== 200 || !type.includes('car'))
    return { name: `${status}`, found }

  const names = new Set<string>()
  const blocks = readBlocks(hit.body!)
  for (const { task, out } of readReceipts(body)) {
    names.add('ok' in out ? '200 ok' : `200 ${out.error?.name}`)
    if (out.error?.name === 'HandlerExecutionError') found.push(`failed at ${task}: ${out.error.message}`)
    if (!('ok' in out)) continue
    if (hit.hopeless) found.push(`${task} succeeded, though it cannot be authorized`)
    const objection = await oracle.findObjection(task, blocks, hit.to)
    if (objection) found.push(`${task} succeeded, though ${objection}`)
  }
  return { name: [...names].toSorted().join(', ') || '200 no receipts', found }
}

const toText = (body: Uint8Array) => Buffer.from(body).toString('latin1')
