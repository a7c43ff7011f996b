import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parsePieceLink } from '@w3filecoin/capabilities'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, test, vi } from 'vitest'
import type { Context } from '../packages/cli/src/context.ts'
import { trace as runTrace } from '../packages/cli/src/ops/trace.ts'
import { type Content, randomContent, upload } from './content.ts'
import { createAgent, invoke, offer } from './invoke.ts'
import { awaitReceipt, effectOf, PATIENCE } from './receipts.ts'
import { type System, sealsSmallAggregates, useSystem } from './system.ts'

/** `ops trace` on the running system. */

const MAIN = fileURLToPath(new URL('../packages/cli/src/main.ts', import.meta.url))

const trace = ({ data }: System, ...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>(resolve => {
    execFile(process.execPath, [MAIN, 'ops', 'trace', ...args, '--data', data], (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })

interface Step {
  kind: string
  at: string
  service: string
  record?: string
  stage?: string
  aggregate?: number
  lastedMs?: number
  name?: string
  task?: string
  issuer?: string
  error?: { name: string }
  join?: { ability: string }
  forks?: number
}
interface Story {
  kind: string
  piece?: string
  content?: string
  nonce?: string
  stage: string
  reason?: { name: string }
  aggregates: { aggregate: string; stage: string; deal?: number }[]
  steps: Step[]
  open: {
    service: string
    table: string
    stage: string
    next: string
    trouble?: { message: string; times: number; at: string }
    checkAt?: string
    isOverdue: boolean
  }[]
}

/** Runs the command in this process: each process of its own would start for seconds. */
const storiesOf = async ({ data }: System, cid: string, options: object = {}): Promise<Story[]> => {
  const context = { env: process.env, now: Date.now } as Context
  const outcome = await runTrace(cid, { data, limit: 10, segments: 4, ...options }, context)
  expect(outcome.error).toBeUndefined()
  return JSON.parse(JSON.stringify(outcome.result)).stories
}
const storyOf = async (system: System, cid: string, options?: object): Promise<Story> => {
  const stories = await storiesOf(system, cid, options)
  expect(stories).toHaveLength(1)
  return stories[0]!
}
/** The stages of a kind of record at a service, in order. */
const stagesOf = ({ steps }: Story, service: string, record: string) =>
  steps
    .filter(step => step.kind === 'stage' && step.service === service && step.record === record)
    .map(({ stage, aggregate }) => (aggregate === undefined ? stage : `${stage} ${aggregate}`))
const receiptsOf = ({ steps }: Story) =>
  steps
    .filter(({ kind }) => kind === 'receipt')
    .map(({ name, error }) => (error ? `${name}: ${error.name}` : name))
const acceptOf = (offered: { fx: { join?: unknown } }) => `${effectOf(offered.fx.join).cid}`

describe('a piece whose aggregate failed', async () => {
  const faulty = await randomContent(20_000)
  const good = await randomContent(5_000)
  const system = useSystem({
    faulty: [`${faulty.piece}`],
    configure: sealsSmallAggregates,
  })
  const { at } = system
  let accept: string
  let added: string
  let offerTask: string

  test('is told from the offer to the deal of its second aggregate, in the order of time', async () => {
    for (const content of [faulty, good]) await upload(system.local, content)
    await offer(at('storefront'), faulty)
    const offered = await offer(at('storefront'), good)
    // The same workflow in the words of draft 2.
    const { content, piece } = good
    const inDraft = await invoke(at('storefront'), {
      ...(await createAgent()),
      can: 'filecoin/add',
      nb: { content, piece },
    })
    added = acceptOf(inDraft)
    accept = acceptOf(offered)
    offerTask = `${offered.ran.link()}`
    await awaitReceipt(at('storefront'), accept)
    await awaitReceipt(at('storefront'), added)

    const story = await vi.waitFor(async () => {
      const story = await storyOf(system, `${piece}`)
      expect(story.open).toEqual([])
      return story
    }, PATIENCE)
    expect(story).toMatchObject({
      kind: 'workflow',
      piece: `${piece}`,
      content: `${content}`,
      stage: 'accepted',
      aggregates: [{ stage: 'failed' }, { stage: 'accepted', deal: expect.stringMatching(/^\d+$/) }],
    })
    expect(stagesOf(story, 'storefront', 'piece')).toEqual([
      'offered',
      'submitted',
      'queued',
      'aggregated 1',
      'retried 1',
      'queued',
      'aggregated 2',
      'accepted',
    ])
    expect(stagesOf(story, 'aggregator', 'piece')).toEqual(['offered', 'included 1', 'offered', 'included 2'])
    expect(stagesOf(story, 'aggregator', 'aggregate')).toEqual([
      'sealed 1',
      'offered 1',
      'failed 1',
      'sealed 2',
      'offered 2',
      'accepted 2',
    ])
    expect(stagesOf(story, 'dealer', 'aggregate')).toEqual([
      'offered 1',
      'failed 1',
      'offered 2',
      'accepted 2',
    ])
    const receipts = receiptsOf(story)
    for (const receipt of [
      'filecoin/submit',
      'filecoin/add',
      'piece/offer',
      'piece/accept',
      'aggregate/offer',
      'aggregate/accept: InvalidPiece',
      'piece/offer 2',
      'piece/accept 2',
      'aggregate/offer 2',
      'aggregate/accept 2',
    ])
      expect(receipts).toContain(receipt)
    expect(receipts.at(-1)).toBe('filecoin/accept')
    const named = (name: string) => story.steps.find(step => step.name === name)
    expect(named('piece/accept')).toMatchObject({
      service: 'aggregator',
      issuer: at('aggregator').did,
      join: { ability: 'aggregate/offer' },
    })
    expect(named('aggregate/accept')).toMatchObject({ issuer: at('dealer').did, forks: 1 })
    expect(named('filecoin/accept')?.task).toBe(accept)
    expect(story.steps.filter(({ kind }) => kind === 'deal')).toMatchObject([
      { aggregate: 2, status: 'Active' },
    ])
    const times = story.steps.map(({ at }) => at)
    expect(times).toEqual(times.toSorted())
    // Every stage but the last one has its duration.
    const stages = story.steps.filter(({ service, record }) => service === 'storefront' && record === 'piece')
    expect(stages.map(({ lastedMs }) => lastedMs !== undefined)).toEqual([...Array(7).fill(true), false])
  })

  test('is found by its CIDs and by each task, promised or run, of the protocol and of a dialect', async () => {
    const { content, piece } = good
    const story = await storyOf(system, `${piece}`)
    const tasks = story.steps.flatMap(({ kind, name, task }) =>
      // The receipts of an aggregate lead to its other piece too.
      kind === 'receipt' && !/^(aggregate|offer)\//.test(`${name}`) ? [task as string] : [],
    )
    expect(tasks).toContain(added)
    for (const cid of [`${content}`, `${toV1(piece).ok?.root}`, accept, offerTask, ...tasks])
      expect(await storyOf(system, cid), cid).toEqual(story)
  })

  test('is found by each of its aggregates, and by the tasks of an aggregate', async () => {
    const own = await storyOf(system, `${good.piece}`)
    const [failed, accepted] = own.aggregates as unknown as [{ aggregate: string }, { aggregate: string }]
    for (const [{ aggregate }, stage, pieces] of [
      [failed, 'failed', [good, faulty]],
      [accepted, 'accepted', [good]],
    ] as [{ aggregate: string }, string, Content[]][]) {
      const [first, ...stories] = await storiesOf(system, aggregate)
      expect(first).toMatchObject({ kind: 'aggregate', stage, aggregates: [{ aggregate }] })
      expect(stagesOf(first!, 'dealer', 'aggregate')).toEqual(['offered 1', `${stage} 1`])
      expect(stories.map(({ piece }) => piece).sort()).toEqual(pieces.map(({ piece }) => `${piece}`).sort())
      expect(stories).toContainEqual(own)
    }
    const taskOf = (name: string) => own.steps.find(step => step.name === name)?.task as string
    for (const name of ['aggregate/offer', 'aggregate/accept']) {
      const stories = await storiesOf(system, taskOf(name))
      expect(stories.map(({ piece }) => piece)).toContain(`${good.piece}`)
    }
    const root = toV1(parsePieceLink(failed.aggregate)).ok?.root
    expect(await storiesOf(system, `${root}`)).toEqual(await storiesOf(system, failed.aggregate))
  })

  test('that failed for good says why', async () => {
    const story = await storyOf(system, `${faulty.content}`)
    expect(story).toMatchObject({ stage: 'failed', reason: { name: 'InvalidContentPiece' }, open: [] })
    expect(receiptsOf(story).at(-1)).toBe('filecoin/accept: InvalidContentPiece')
    const { out } = await trace(system, `${faulty.content}`)
    expect(out).toMatch(
      /^Workflow 1 of 1: failed\n {2}since .* UTC, .* after the first step\n {2}why {9}InvalidContentPiece: /,
    )
  })

  test('is printed in at most 80 columns, with every CID in full', async () => {
    const story = await storyOf(system, `${good.piece}`)
    const { code, out, err } = await trace(system, `${good.piece}`)
    expect([code, err]).toEqual([0, ''])
    for (const line of out.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
    for (const { task } of story.steps) if (task) expect(out).toContain(task)
    for (const { aggregate } of story.aggregates) expect(out).toContain(aggregate)
    const json = await trace(system, `${good.piece}`, '--json')
    expect(JSON.parse(json.out)).toMatchObject({
      ok: true,
      command: 'ops trace',
      result: { subject: `${good.piece}`, more: false, stories: [{ stage: 'accepted' }] },
    })
    expect(json).toMatchObject({ code: 0, out: expect.stringMatching(/^[^\n]+\n$/), err: '' })
  })

  test('without a workflow at the storefront is found by its tasks, and by its CID with --scan', async () => {
    const piece = somePiece('from elsewhere')
    const offered = await invoke(at('aggregator'), {
      issuer: system.signer('storefront'),
      can: 'aggregate/queue',
      nb: { piece, group: 'elsewhere' },
    })
    const promised = acceptOf(offered)
    // The promised task has no receipt yet: an unfinished record has it.
    const isAtAggregator = { kind: 'workflow', piece: `${piece}`, storefront: at('storefront').did }
    expect(await storyOf(system, promised)).toMatchObject(isAtAggregator)
    expect(await storyOf(system, `${offered.ran.link()}`)).toMatchObject(isAtAggregator)
    await expect(storyOf(system, `${piece}`)).rejects.toMatchObject({ code: 'NotFound' })
    expect(await storyOf(system, `${piece}`, { scan: true })).toMatchObject(isAtAggregator)
    await awaitReceipt(at('aggregator'), promised)
    const story = await storyOf(system, promised)
    expect(story).toMatchObject({ ...isAtAggregator, aggregates: [{}] })
    expect(receiptsOf(story)).toEqual(expect.arrayContaining(['piece/accept', 'aggregate/add']))
  })

  test('a CID that no service knows is not found, and the message says what was searched', async () => {
    const unknown = `${somePiece('unknown')}`
    const { code, out, err } = await trace(system, unknown)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(
      `w3fil: No service has a record of ${unknown}. Searched:\n  storefront piece, by its index root\n`,
    )
    expect(err).toContain('--scan reads whole tables')
    const scanned = await trace(system, unknown, '--scan', '--json')
    expect(scanned.code).toBe(1)
    expect(JSON.parse(scanned.out)).toMatchObject({
      ok: false,
      error: { code: 'NotFound', message: expect.stringMatching(/aggregator piece, all \d+ records/) },
    })
    expect(await trace(system, 'photo.jpg')).toMatchObject({
      code: 2,
      err: expect.stringContaining('photo.jpg is not a CID'),
    })
  })
})

describe('a piece that waits', () => {
  const nowhere = 'http://127.0.0.1:9'
  const system = useSystem({
    configure: (role, config) =>
      role === 'aggregator'
        ? {
            ...config,
            dealer: { ...config.dealer, url: nowhere },
            limits: { minPaddedBytes: 0, maxWaitSeconds: 1 },
          }
        : config,
  })
  const { at } = system

  test('because a service is unreachable names it, and the time of the next try', async () => {
    const content = await randomContent(1_000)
    await upload(system.local, content)
    await offer(at('storefront'), content)
    const story = await vi.waitFor(async () => {
      const story = await storyOf(system, `${content.content}`)
      expect(story.open.map(({ trouble }) => trouble?.times ?? 0)).toContain(2)
      return story
    }, PATIENCE)
    expect(story).toMatchObject({ stage: 'aggregated', aggregates: [{ stage: 'sealed' }] })
    const sealed = story.open.at(-1)!
    expect(sealed).toMatchObject({
      service: 'aggregator',
      table: 'aggregate',
      stage: 'sealed',
      next: 'the dealer must accept the offer',
      trouble: { message: `${at('dealer').did} cannot be reached`, times: 2 },
      isOverdue: false,
    })
    const [last, next] = [sealed.trouble!.at, sealed.checkAt!].map(time => Date.parse(time))
    expect(next! - last!).toBeGreaterThan(1_000)
    const { out } = await trace(system, `${content.piece}`)
    expect(out).toMatch(/^Workflow 1 of 1: aggregated\n.*\n {2}next {8}the dealer must accept the offer/)
    expect(out).toMatch(/ {4}why not yet did:key:z6Mk\S+ cannot be reached \(\d+ times, last/)
    expect(out).toMatch(/ {4}tried again 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC/)
    for (const line of out.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)

    // The offer of the aggregate was promised, and has no receipt.
    const promised = story.steps.find(({ name }) => name === 'piece/accept')!
    const { fx } = await awaitReceipt(at('aggregator'), promised.task!)
    const stories = await storiesOf(system, `${effectOf(fx.join).cid}`)
    expect(stories).toMatchObject([{ kind: 'aggregate', stage: 'sealed' }, { piece: `${content.piece}` }])
  })

  test('for its content says so; each workflow of a piece is told, up to the limit', async () => {
    const content = await randomContent(900)
    const nonces = ['a', 'b', 'c']
    const offers = []
    for (const nonce of nonces) offers.push(await offer(at('storefront'), content, { nonce }))
    const stories = await vi.waitFor(async () => {
      const stories = await storiesOf(system, `${content.piece}`)
      expect(stories.map(({ open }) => open[0]?.trouble !== undefined)).toEqual([true, true, true])
      return stories
    }, PATIENCE)
    expect(stories.map(({ nonce }) => nonce).sort()).toEqual(nonces)
    for (const story of stories)
      expect(story).toMatchObject({
        stage: 'offered',
        open: [
          { service: 'storefront', table: 'piece', next: 'the storefront must read and check its content' },
        ],
      })
    expect(await storiesOf(system, `${content.content}`, { limit: 2 })).toHaveLength(2)
    expect(await storyOf(system, acceptOf(offers[1]!))).toMatchObject({ nonce: 'b' })
    const { out } = await trace(system, `${content.piece}`, '--limit', '2')
    expect(out).toContain('Workflow 1 of 2 or more: offered\n')
    expect(out).toMatch(/There are more workflows: raise --limit\n$/)
  })
})
