import type { Local } from '@w3filecoin/local'
import fc from 'fast-check'
import { readParts } from './blocks.ts'
import { castOf, recordSamples } from './corpus.ts'
import { Judge, receiptsIn } from './judge.ts'
import { type Hit, Mutator, type Plan, planOf } from './mutations.ts'
import { type Reply, send } from './send.ts'

export interface Finding {
  /** With the seed, what makes the message again. */
  index: number
  what: string
  sample: string
  plan: Plan
}

export interface Report {
  findings: Finding[]
  /** How many answers of each class each kind of mutation got. */
  classes: Map<string, Map<string, number>>
  sent: number
  slowest: number
  seconds: number
}

export interface FuzzOptions {
  local: Pick<Local, 'services' | 'agent'>
  seed: number
  /** The messages to send, by index. */
  indexes: Iterable<number>
  concurrency?: number
  onProgress?: (sent: number, findings: number) => void
}

/** What a stack trace or a path looks like. */
const LEAK = /\n\s+at .+[:(]|node_modules|file:\/\/\/|\/packages\/|\.[jt]s:\d+/

/** Sends mutated messages to the services, and holds every answer against what must always be so. */
export const fuzz = async ({
  local: { services, agent },
  seed,
  indexes,
  concurrency = 16,
  onProgress,
}: FuzzOptions): Promise<Report> => {
  const cast = await castOf(services, agent)
  const samples = await recordSamples(cast)
  const mutator = new Mutator(samples, cast)
  const judge = new Judge(cast)
  const plans = planOf(samples.length)
  const report: Report = { findings: [], classes: new Map(), sent: 0, slowest: 0, seconds: 0 }
  const begun = performance.now()

  const one = async (index: number) => {
    const [plan] = fc.sample(plans, { seed: seedOf(seed, index), numRuns: 1 }) as [Plan]
    const hit = await mutator.build(plan)
    const reply = await send(services[hit.to]!.url, hit)
    const { name, found } = await look(judge, hit, reply)
    const sample = samples[plan.sample]!.name
    report.findings.push(...found.map(what => ({ index, what, sample, plan })))
    count(report, plan, name)
    report.sent += 1
    report.slowest = Math.max(report.slowest, reply.took)
    if (report.sent % 1_000 === 0) onProgress?.(report.sent, report.findings.length)
  }
  const queue = indexes[Symbol.iterator]()
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      for (let next = queue.next(); !next.done; next = queue.next()) await one(next.value)
    }),
  )
  report.seconds = (performance.now() - begun) / 1000
  return report
}

/** Of its own for every message; those of neighbouring seeds lie far apart. */
const seedOf = (seed: number, index: number): number => (Math.imul(seed, 0x9e37_79b1) + index) | 0

const count = ({ classes }: Report, { kind }: Plan, name: string) => {
  const names = classes.get(kind) ?? new Map<string, number>()
  names.set(name, (names.get(name) ?? 0) + 1)
  classes.set(kind, names)
}

/** The class of an answer, and what is wrong with it. */
const look = async (judge: Judge, hit: Hit, reply: Reply): Promise<{ name: string; found: string[] }> => {
  const { status, type, body, problem } = reply
  const found: string[] = []
  if (problem !== undefined) found.push(problem)
  if (status >= 500) found.push(`answered ${status}: ${text(body).slice(0, 200)}`)
  if (LEAK.test(text(body))) found.push(`tells of its inside: ${LEAK.exec(text(body))?.[0]}`)
  if (hit.method !== 'POST' || hit.path !== '/' || status !== 200 || !type.includes('car'))
    return { name: `${status}`, found }

  const names = new Set<string>()
  const sent = readParts(hit.body!)
  for (const { task, out } of receiptsIn(body)) {
    names.add('ok' in out ? '200 ok' : `200 ${out.error?.name}`)
    if (out.error?.name === 'HandlerExecutionError') found.push(`failed at ${task}: ${out.error.message}`)
    if (!('ok' in out)) continue
    if (hit.hopeless) found.push(`${task} succeeded, though it can not be authorized`)
    const objection = await judge.objection(task, sent, hit.to)
    if (objection) found.push(`${task} succeeded, though ${objection}`)
  }
  return { name: [...names].toSorted().join(', ') || '200 no receipts', found }
}

const text = (body: Uint8Array) => Buffer.from(body).toString('latin1')
