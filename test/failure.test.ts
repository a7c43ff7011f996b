import type { Invocation, Receipt } from '@ucanto/interface'
import type {
  FilecoinAcceptSuccess,
  FilecoinInfoSuccess,
  PieceLink,
  Workflow,
} from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { describe, expect, test, vi } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { follow, followPiece } from './follow.ts'
import { createAgent, invoke, offer as offerAs } from './invoke.ts'
import { awaitReceipt, effectOf, fetchReceipt, PATIENCE } from './receipts.ts'
import { type System, sealsSmallAggregates, useSystem } from './system.ts'

/** Pieces whose journey fails: each ends with a receipt that states the reason. */

/** Makes all offers, because `filecoin/info` shows workflows to the space that offered them. */
const agent = await createAgent()
const offer: typeof offerAs = (storefront, content, options) =>
  offerAs(storefront, content, { agent, ...options })

const info = async ({ at }: System, piece: PieceLink, role = 'storefront'): Promise<FilecoinInfoSuccess> => {
  const { out } = await invoke(at(role), { ...agent, can: 'filecoin/info', nb: { piece } })
  expect(out.error).toBeUndefined()
  return out.ok as FilecoinInfoSuccess
}
const workflow = async (system: System, piece: PieceLink, role?: string): Promise<Workflow> => {
  const { workflows } = await info(system, piece, role)
  expect(workflows).toHaveLength(1)
  return workflows[0] as Workflow
}
const stagesOf = ({ history }: Workflow) => history.map(({ stage }) => stage)
const pieceIn = ({ capabilities: [capability] }: Invocation) =>
  `${(capability?.nb as { piece?: unknown } | undefined)?.piece}`
const acceptOf = (offered: Receipt) => `${effectOf(offered.fx.join).cid}`
const submitOf = (offered: Receipt) => `${effectOf(offered.fx.fork[0]).cid}`

describe('a piece that storage providers reject', async () => {
  const faulty = await randomContent(20_000)
  const system = useSystem({
    faulty: [`${faulty.piece}`],
    configure: sealsSmallAggregates,
  })

  test('D5, S7, S9: its aggregate fails, it ends with the reason, and the other pieces reach a later aggregate', async () => {
    const { at } = system
    const others = await Promise.all([1_000, 40_000, 90_000].map(randomContent))
    const all = [faulty, ...others]
    for (const content of all) await upload(system.local, content)
    const offers = await Promise.all(all.map(content => offer(at('storefront'), content)))

    // All pieces are in one aggregate, whose deal fails.
    const first = await Promise.all(
      offers.map(async offered => {
        const submitted = await awaitReceipt(at('storefront'), submitOf(offered))
        return followPiece(system, await awaitReceipt(at('aggregator'), `${effectOf(submitted.fx.join).cid}`))
      }),
    )
    const { aggregate } = first[0]!.success
    for (const { success } of first) expect(`${success.aggregate}`).toBe(`${aggregate}`)
    const failed = await awaitReceipt(at('dealer'), `${effectOf(first[0]!.dealt.fx.join).cid}`)
    expect(failed.out).toEqual({
      error: {
        name: 'InvalidPiece',
        message: expect.any(String),
        aggregate,
        cause: [{ name: 'InvalidPieceCID', message: expect.any(String), piece: faulty.piece }],
      },
    })
    expect(failed.fx.join).toBeUndefined()

    // The dealer forks an offer of each other piece, with its own DID and the aggregate as nonce.
    const retries = failed.fx.fork.map(effectOf)
    const byPiece = new Map(retries.map(task => [pieceIn(task), task]))
    expect([...byPiece.keys()].sort()).toEqual(others.map(({ piece }) => `${piece}`).sort())
    const { did } = at('dealer')
    for (const task of retries) {
      expect([task.issuer.did(), task.audience.did(), task.nonce]).toEqual([
        did,
        at('aggregator').did,
        `${aggregate}`,
      ])
      expect(task.capabilities[0]).toMatchObject({ can: 'piece/offer', with: did, nb: { group: 'local' } })
    }

    await Promise.all(
      others.map(async ({ piece, content }, n) => {
        // The effects continue from the fork, receipt by receipt.
        const queued = await awaitReceipt(at('aggregator'), `${byPiece.get(`${piece}`)!.cid}`)
        expect(queued.out).toEqual({ ok: { piece } })
        expect(effectOf(queued.fx.join).nonce).toBe(`${aggregate}`)
        const second = await followPiece(system, queued)
        expect(`${second.success.aggregate}`).not.toBe(`${aggregate}`)
        expect(second.pieces.map(String)).not.toContain(`${faulty.piece}`)
        const live = await awaitReceipt(at('dealer'), `${effectOf(second.dealt.fx.join).cid}`)
        expect(live.fx).toEqual({ fork: [] })

        // The task that was promised to the agent ends with the proof of the second aggregate.
        const accepted = await awaitReceipt(at('storefront'), acceptOf(offers[n + 1]!))
        const success = accepted.out.ok as FilecoinAcceptSuccess
        expect(`${success.aggregate}`).toBe(`${second.success.aggregate}`)
        expect(success.aux.dataSource).toEqual((live.out.ok as FilecoinAcceptSuccess['aux']).dataSource)
        const inclusion = success.inclusion as EncodedInclusion
        expect(verifyInclusion({ piece, aggregate: success.aggregate, inclusion })).toEqual({ ok: {} })

        const found = await info(system, piece)
        expect(found.aggregates.map(each => `${each.aggregate}`)).toEqual([
          `${success.aggregate}`,
          `${aggregate}`,
        ])
        for (const each of found.aggregates)
          expect(
            verifyInclusion({
              piece,
              aggregate: each.aggregate,
              inclusion: each.inclusion as EncodedInclusion,
            }),
          ).toEqual({ ok: {} })
        expect(found.deals).toMatchObject([
          { aggregate: success.aggregate, aux: success.aux, status: 'Active' },
        ])
        const [only] = found.workflows as [Workflow]
        expect(`${only.content}`).toBe(`${content}`)
        expect(stagesOf(only)).toEqual([
          'offered',
          'submitted',
          'queued',
          'aggregated',
          'retried',
          'queued',
          'aggregated',
          'accepted',
        ])
      }),
    )

    const ended = await awaitReceipt(at('storefront'), acceptOf(offers[0]!))
    expect(ended.out).toEqual({
      error: { name: 'InvalidContentPiece', message: expect.any(String), content: faulty.content },
    })
    expect(ended.fx).toEqual({ fork: [] })
    expect(await workflow(system, faulty.piece)).toMatchObject({
      stage: 'failed',
      error: { name: 'InvalidContentPiece' },
    })
  })

  test('D5: only the dealer can retry pieces, and only pieces of a failed aggregate', async () => {
    const { at, signer } = system
    const content = await randomContent(3_000)
    await upload(system.local, content)
    const { success } = await follow(system, await offer(at('storefront'), content))
    const retry = (issuer: string, piece: PieceLink) =>
      invoke(at('aggregator'), {
        issuer: signer(issuer),
        can: 'piece/offer',
        nb: { piece, group: 'local' },
        nonce: `${success.aggregate}`,
      })
    // This aggregate has a deal, so its pieces cannot be retried.
    expect((await retry('dealer', content.piece)).out.error).toMatchObject({ name: 'UnknownAggregate' })
    expect((await retry('dealTracker', content.piece)).out.error).toMatchObject({ name: 'UnknownStorefront' })
  })
})

describe('an aggregate that gets no deal in time', () => {
  const system = useSystem({
    // The market makes the deal after the dealer has abandoned the first aggregate: at the first epoch (30 s) after its deadline.
    dealDelayMs: 52_000,
    configure: (role, config) =>
      role === 'aggregator'
        ? { ...config, limits: { paddedBytes: 2 ** 20, minPaddedBytes: 0, maxWaitSeconds: 1 } }
        : role === 'dealer'
          ? { ...config, dealWaitSeconds: 20 }
          : config,
  })

  test('D5: it fails when the time is over, and all its pieces are retried', async () => {
    const { at } = system
    const content = await randomContent(5_000)
    await upload(system.local, content)
    const offered = await offer(at('storefront'), content)
    const submitted = await awaitReceipt(at('storefront'), submitOf(offered))
    const queued = await awaitReceipt(at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
    const first = await followPiece(system, queued)
    const failed = await awaitReceipt(at('dealer'), `${effectOf(first.dealt.fx.join).cid}`)
    const { aggregate } = first.success
    expect(failed.out).toEqual({
      error: { name: 'DealNotFound', message: expect.any(String), piece: aggregate },
    })
    expect(failed.fx.fork).toHaveLength(1)
    const again = await awaitReceipt(at('aggregator'), `${effectOf(failed.fx.fork[0]).cid}`)
    const second = await followPiece(system, again)
    // The same single piece makes the same aggregate, in a separate offer.
    expect(`${second.success.aggregate}`).toBe(`${aggregate}`)
    expect(`${second.aggregateOffer.cid}`).not.toBe(`${first.aggregateOffer.cid}`)
    const accepted = await awaitReceipt(at('storefront'), acceptOf(offered))
    expect(accepted.out.ok).toMatchObject({ piece: content.piece, aggregate })
  })
})

describe('content that is missing or invalid', () => {
  const system = useSystem({
    storefronts: ['refusing', 'impatient'],
    configure: (role, config) =>
      role === 'refusing'
        ? { ...config, missingContent: 'refuse' }
        : role === 'impatient'
          ? { ...config, contentWaitSeconds: 8 }
          : role === 'aggregator'
            ? { ...config, limits: { paddedBytes: 2 ** 20, minPaddedBytes: 0, maxWaitSeconds: 3 } }
            : config,
  })

  test.concurrent('S4: a storefront that does not wait refuses the offer of missing content', async () => {
    const at = system.at('refusing')
    const content = await randomContent(7_000)
    const refused = await offer(at, content)
    expect(refused.out).toEqual({
      error: { name: 'ContentNotFound', message: expect.any(String), content: content.content },
    })
    expect(refused.fx).toEqual({ fork: [] })
    await upload(system.local, content, 'refusing')
    const taken = await offer(at, content)
    expect(taken.out).toEqual({ ok: { piece: content.piece } })
    expect((await awaitReceipt(at, submitOf(taken))).out).toEqual({ ok: { piece: content.piece } })
  })

  test.concurrent('S4, S9: content that never arrives ends both tasks with an error', async () => {
    const at = system.at('impatient')
    const { content, piece } = await randomContent(8_000)
    const offered = await offer(at, { content, piece })
    await vi.waitFor(
      async () =>
        expect(await workflow(system, piece, 'impatient')).toMatchObject({
          stage: 'offered',
          waitsFor: expect.stringContaining('The content must be read'),
          trouble: { message: `There is no content ${content}` },
        }),
      PATIENCE,
    )
    const error = { name: 'ContentNotFound', message: expect.any(String), content }
    expect((await awaitReceipt(at, submitOf(offered))).out).toEqual({ error })
    expect((await awaitReceipt(at, acceptOf(offered))).out).toEqual({ error })
    expect(await workflow(system, piece, 'impatient')).toMatchObject({
      stage: 'failed',
      error: { name: error.name },
    })
  })

  test.concurrent('S8: an offer of content that arrived too late starts another attempt, whose tasks have other facts', async () => {
    const at = system.at('impatient')
    const content = await randomContent(6_000)
    const first = await offer(at, content)
    const ended = await awaitReceipt(at, acceptOf(first))
    expect(ended.out.error).toMatchObject({ name: 'ContentNotFound' })
    await upload(system.local, content, 'impatient')
    const second = await offer(at, content)
    expect(acceptOf(second)).not.toBe(acceptOf(first))
    expect([effectOf(second.fx.fork[0]).facts, effectOf(second.fx.join).facts]).toEqual([
      [{ attempt: 2 }],
      [{ attempt: 2 }],
    ])
    expect((await awaitReceipt(at, submitOf(second))).out).toEqual({ ok: { piece: content.piece } })
    expect((await awaitReceipt(at, acceptOf(second))).out.ok).toBeDefined()
    expect(`${(await fetchReceipt(at, acceptOf(first)))?.root.cid}`).toBe(`${ended.root.cid}`)
    expect(stagesOf(await workflow(system, content.piece, 'impatient')).slice(0, 3)).toEqual([
      'offered',
      'failed',
      'offered',
    ])
  })

  test.concurrent('S6, A7: a piece that is too large for the aggregator ends the offer', async () => {
    const at = system.at('storefront')
    const content: Content = await randomContent(2 ** 20)
    await upload(system.local, content)
    const offered = await offer(at, content)
    const submitted = await awaitReceipt(at, submitOf(offered))
    const accepted = await awaitReceipt(at, acceptOf(offered))
    expect(accepted.out).toEqual({
      error: { name: 'InvalidContentPiece', message: expect.any(String), content: content.content },
    })
    const refused = await fetchReceipt(system.at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
    expect(refused?.out.error).toMatchObject({ name: 'InvalidPieceCID', piece: content.piece })
  })

  test.concurrent('S9: filecoin/info returns the stage of a piece, its start, and the reason for the wait', async () => {
    const content = await randomContent(9_000)
    const offered = await offer(system.at('storefront'), content)
    const passes = (expected: object) =>
      vi.waitFor(
        async () => {
          const found = await workflow(system, content.piece)
          expect(found).toMatchObject({ content: content.content, group: 'local', ...expected })
          expect(found.since).toBe(found.history.at(-1)?.at)
          expect(Date.now() - Date.parse(found.since)).toBeLessThan(60_000)
          expect(`${found.accept}`).toBe(acceptOf(offered))
          return found
        },
        { ...PATIENCE, interval: 50 },
      )
    await passes({
      stage: 'offered',
      waitsFor: expect.stringMatching(/must be read and checked; abandoned on \d{4}-/),
      trouble: { message: `There is no content ${content.content}` },
    })
    await upload(system.local, content)
    const queued = await passes({
      stage: 'queued',
      waitsFor: expect.stringMatching(
        /^The next aggregate of its group is \d+ % full; sealed at the latest on \d{4}-/,
      ),
      next: { capacity: expect.any(Number), sealedBy: expect.any(String) },
    })
    expect(queued.trouble).toBeUndefined()
    await passes({
      stage: 'aggregated',
      waitsFor: expect.stringMatching(/^The aggregate bafkzci\w+ must (?:be offered|be stored on Filecoin)/),
    })
    const end = await passes({ stage: 'accepted' })
    expect(end.waitsFor).toBeUndefined()
    expect(stagesOf(end)).toEqual(['offered', 'submitted', 'queued', 'aggregated', 'accepted'])

    // An offer with a nonce is another workflow: both are returned, with the aggregates of both.
    await follow(system, await offer(system.at('storefront'), content, { nonce: 'again' }))
    await vi.waitFor(async () => {
      const { workflows, aggregates, deals } = await info(system, content.piece)
      expect(workflows.map(({ nonce }) => nonce).sort()).toEqual(['again', undefined])
      expect(workflows.map(({ stage }) => stage)).toEqual(['accepted', 'accepted'])
      expect(aggregates.length).toBeGreaterThan(0)
      expect(deals.length).toBeGreaterThanOrEqual(aggregates.length)
    }, PATIENCE)
  })

  test('S9: filecoin/info of a piece that was not offered fails with RecordNotFound', async () => {
    const { piece } = await randomContent(100)
    const { out } = await invoke(system.at('storefront'), {
      ...(await createAgent()),
      can: 'filecoin/info',
      nb: { piece },
    })
    expect(out.error).toMatchObject({ name: 'RecordNotFound', piece })
  })
})
