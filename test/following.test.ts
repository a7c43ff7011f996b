import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import {
  aggregator,
  connect,
  type Fetch,
  identify,
  type PieceEvent,
  type WorkflowEvent,
} from '@w3filecoin/client'
import { CID } from 'multiformats/cid'
import { identity } from 'multiformats/hashes/identity'
import { describe, expect, test } from 'vitest'
import { useSystem } from './system.ts'

/** Following many pieces to their ends, with the requests counted. */

const PIECES = 1_000
const MAX_REQUESTS = 50
const RAW = 0x55
/** The services work on 2,000 pieces, for two minutes on an idle machine. */
const PATIENCE_MS = 600_000

const system = useSystem({
  configure: (role, config) =>
    role === 'aggregator'
      ? { ...config, limits: { paddedBytes: 2 ** 24, minPaddedBytes: 0, maxWaitSeconds: 10 } }
      : config,
})
const { at } = system

/** Returns a `fetch` that counts requests by method and path. */
const countingFetch = (
  change: (path: string, response: Response) => Response = (_, response) => response,
) => {
  const counts = new Map<string, number>()
  const counted: Fetch = async (url, init = {}) => {
    const { pathname } = new URL(url)
    const path = `${init.method ?? 'GET'} ${pathname.replace(/^(\/receipt\/).*/, '$1')}`
    counts.set(path, (counts.get(path) ?? 0) + 1)
    return change(path, await fetch(url, init))
  }
  return { fetch: counted, counts }
}

/** Returns contents that are in their own CIDs, so that the storefront reads them without an upload. */
const contentsOf = (name: string, count: number) =>
  Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const bytes = new TextEncoder().encode(`${name} ${n} ${'.'.repeat(100)}`)
      const { piece } = await identify(bytes)
      return { content: CID.createV1(RAW, identity.digest(bytes)), piece }
    }),
  )

const sum = (counts: ReadonlyMap<string, number>) =>
  [...counts.values()].reduce((total, count) => total + count, 0)

/** Offers contents in messages of 100 invocations. Returns what `watchAll` takes. */
const offerMany = async (contents: Awaited<ReturnType<typeof contentsOf>>, signer: Signer) => {
  const w3 = await connect(at('storefront').url, { signer })
  const offers = []
  for (let start = 0; start < contents.length; start += 100) {
    const some = contents.slice(start, start + 100)
    const answers = await w3.invokeAll(some.map(nb => ({ can: 'filecoin/offer' as const, nb })))
    for (const [n, { ok, error }] of answers.entries()) {
      if (error) throw error
      offers.push({ ...some[n]!, accept: `${ok.fx.join!.link()}` })
    }
  }
  return offers
}

describe('1,000 pieces are followed to their ends with less than 50 requests', {
  timeout: PATIENCE_MS,
}, () => {
  test('at a storefront, with a verified proof of each', async () => {
    const signer = (await ed25519.generate()) as Signer
    const offers = await offerMany(await contentsOf('storefront', PIECES), signer)
    const { fetch, counts } = countingFetch()
    const w3 = await connect(at('storefront').url, { signer, fetch })
    const ends = new Map<string, WorkflowEvent>()
    const stages = new Set<string>()
    for await (const event of w3.watchAll(offers)) {
      if (event.type === 'stage') stages.add(event.stage)
      else ends.set(event.workflow.accept, event)
    }
    expect(ends.size).toBe(PIECES)
    for (const { piece, accept } of offers) {
      const end = ends.get(accept)
      expect(end?.type).toBe('accepted')
      if (end?.type === 'accepted') expect(`${end.proof.piece}`).toBe(`${piece}`)
    }
    expect([...stages]).toEqual(expect.arrayContaining(['queued', 'accepted']))
    expect(sum(counts), JSON.stringify([...counts])).toBeLessThan(MAX_REQUESTS)
  })

  test('through the aggregator, with every inclusion proof and deal', async () => {
    const { fetch, counts } = countingFetch()
    const w3 = await aggregator(at('aggregator').url, { signer: system.signer('storefront'), fetch })
    const contents = await contentsOf('aggregator', PIECES)
    const stages = new Map<string, PieceEvent['stage'][]>()
    for await (const { piece, stage } of w3.offerAll(
      contents.map(({ piece }) => piece),
      { group: 'following' },
    ))
      stages.set(`${piece}`, [...(stages.get(`${piece}`) ?? []), stage])
    expect(stages.size).toBe(PIECES)
    for (const list of stages.values()) expect(list).toEqual(['queued', 'aggregated', 'accepted'])
    // The offers are 20 messages of 50 pieces. All other requests follow them.
    expect(counts.get('POST /')).toBe(20)
    expect(sum(counts) - 20, JSON.stringify([...counts])).toBeLessThan(MAX_REQUESTS)
  })
})

describe('a service of an earlier version, which answers about single tasks only', () => {
  /** Answers as a service does that has no such route. */
  const earlier = (path: string, response: Response) =>
    path === 'POST /receipts' ? new Response('Not found', { status: 404 }) : response

  test('is followed all the same at a storefront', async () => {
    const signer = (await ed25519.generate()) as Signer
    const offers = await offerMany(await contentsOf('earlier storefront', 5), signer)
    const { fetch, counts } = countingFetch(earlier)
    const w3 = await connect(at('storefront').url, { signer, fetch })
    const ends = []
    for await (const event of w3.watchAll(offers)) if (event.type !== 'stage') ends.push(event.type)
    expect(ends).toEqual(Array(5).fill('accepted'))
    expect(counts.get('POST /receipts')).toBe(1)
  })

  test('is followed all the same at an aggregator', async () => {
    const { fetch, counts } = countingFetch(earlier)
    const w3 = await aggregator(at('aggregator').url, { signer: system.signer('storefront'), fetch })
    const contents = await contentsOf('earlier aggregator', 5)
    const ends = []
    for await (const { stage } of w3.offerAll(
      contents.map(({ piece }) => piece),
      { group: 'earlier' },
    ))
      if (stage === 'accepted' || stage === 'failed') ends.push(stage)
    expect(ends).toEqual(Array(5).fill('accepted'))
    expect(counts.get('POST /receipts')).toBe(1)
  })
})
