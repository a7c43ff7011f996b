import { Delegation, isDelegation } from '@ucanto/core'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import {
  dealInfo,
  type Failure,
  failure,
  filecoinInfo,
  filecoinOffer,
  type PieceLink,
  pieceOffer,
  type Task,
  Tasks,
} from '@w3filecoin/capabilities'
import { buildAggregate, verifyInclusion } from '@w3filecoin/piece'
import { Authority, issueReceipt, Peer, provide, ReceiptLog } from '@w3filecoin/service'
import {
  ask,
  type Content,
  call,
  effectsOf,
  networkOf,
  type Provided,
  type StandIn,
  served,
  signerOf,
  signersOf,
  someContent,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { pieceId } from '../src/domain/piece.ts'
import { createStorefront, type Dependencies } from '../src/index.ts'
import { resources } from '../src/resources.ts'

const { storefront, aggregator, dealer, tracker, agent, space, stranger } = await signersOf(
  'storefront',
  'aggregator',
  'dealer',
  'tracker',
  'agent',
  'space',
  'stranger',
)

let world: World
let aws: Provided<typeof resources>
let parts: Dependencies
let service: ReturnType<typeof createStorefront>
let theAggregator: StandIn
let theTracker: StandIn

const clock = { now: 1_700_000_000_000 }
const timing = { retry: 60_000, poll: 900_000 }
/** What is there to be read. */
const contents = new Map<string, Uint8Array>()
/** What reached the aggregator, and what it says. */
const offers: Invocation[] = []
let state: { refusal?: Failure; down?: boolean } = {}

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  const authority = new Authority([])
  const network = networkOf(() => [theAggregator, theTracker])
  theAggregator = await standIn(world, {
    name: 'the-aggregator',
    id: aggregator,
    authority,
    handlers: [
      provide(
        pieceOffer,
        async ({ capability: { nb }, invocation }) => {
          offers.push(invocation)
          if (state.refusal) return { out: { error: state.refusal } }
          const grouped = { piece: nb.piece as PieceLink, group: nb.group, nonce: invocation.nonce }
          return {
            out: { ok: { piece: nb.piece } },
            fx: { join: await Tasks.pieceAccept(aggregator, grouped) },
          }
        },
        { keep: true },
      ),
    ],
  })
  const deal = { provider: 'f01', storageProvider: 'f01', status: 'Active' }
  theTracker = await standIn(world, {
    name: 'the-tracker',
    id: tracker,
    authority,
    handlers: [provide(dealInfo, async () => ({ out: { ok: { deals: { 42: deal } } } }))],
  })
  const peer = (to: StandIn) =>
    new Peer(to, {
      authority,
      fetch: async (url, init) => {
        if (state.down) throw new TypeError('fetch failed')
        return network(url, init)
      },
    })
  parts = {
    id: storefront,
    stores: {
      pieces: aws.table('piece'),
      aggregates: aws.table('aggregate'),
      spaces: aws.table('space'),
      receipts: new ReceiptLog({
        table: aws.table('receipt'),
        blocks: aws.blocks('blocks'),
        now: () => clock.now,
      }),
    },
    queues: {
      submit: aws.queue('submit'),
      pieceOffer: aws.queue('pieceOffer'),
      accept: aws.queue('accept'),
    },
    content: {
      open: async content => {
        const bytes = contents.get(content)
        return (
          bytes &&
          (async function* () {
            yield bytes
          })()
        )
      },
    },
    aggregator: peer(theAggregator),
    dealer: dealer.did(),
    dealTracker: peer(theTracker),
    authority,
    defaultGroup: 'did:web:default',
    timing,
    now: () => clock.now,
    random: () => crypto.randomUUID(),
    log: () => {},
  }
  service = createStorefront(parts)
})
afterAll(() => world.stop())
beforeEach(async () => {
  for (const queue of ['submit', 'pieceOffer', 'accept'] as const) await aws.drain(queue)
  offers.splice(0)
  state = {}
})

const offer = async (
  { content, piece }: Pick<Content, 'content' | 'piece'>,
  { issuer = agent, from = space, nonce }: { issuer?: Signer; from?: Signer; nonce?: string } = {},
) =>
  filecoinOffer.invoke({
    issuer,
    audience: storefront,
    with: from.did(),
    nb: { content: content as never, piece },
    proofs: [
      await Delegation.delegate({
        issuer: from,
        audience: issuer,
        capabilities: [{ can: 'filecoin/*', with: from.did() }],
        expiration: Infinity,
      }),
    ],
    expiration: Infinity,
    ...(nonce === undefined ? {} : { nonce }),
  })

const recordOf = ({ content, piece }: Pick<Content, 'content' | 'piece'>, nonce?: string) =>
  parts.stores.pieces.get({ id: pieceId({ content: `${content}`, piece: `${piece}`, nonce }) })
const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined
const settle = () => aws.settle(service.consumers)
const sweepAfter = async (milliseconds: number) => {
  clock.now += milliseconds
  await service.schedules.sweep!()
  await settle()
}
/** Content that is there. */
const uploaded = async (seed: string, length?: number): Promise<Content> => {
  const content = await someContent(seed, length)
  contents.set(`${content.content}`, content.bytes)
  return content
}

/** What the aggregator and the dealer say of pieces that are in one aggregate. */
const aggregateOf = async (pieces: readonly PieceLink[], nonce?: string) => {
  const built = buildAggregate({ pieces: [...pieces], size: 2 ** 20 }).ok!
  const { link } = built
  const order = built.pieces.map(piece => `${piece}`)
  const list = (await someContent(`list ${pieces}`)).content as never
  const tenant = { storefront: storefront.did(), group: 'did:web:default', label: 'x' }
  const aggregateOffer = await Tasks.aggregateOffer(aggregator, dealer, {
    aggregate: link,
    pieces: list,
    nonce,
    tenant,
  })
  const aggregateAccept = await Tasks.aggregateAccept(dealer, { aggregate: link, pieces: list, nonce })
  const pieceAccepted = async (piece: PieceLink) =>
    issueReceipt(aggregator, await Tasks.pieceAccept(aggregator, { piece, group: 'did:web:default' }), {
      out: { ok: { piece, aggregate: link, inclusion: built.proof(order.indexOf(`${piece}`)) } },
      fx: { join: aggregateOffer },
    })
  const inDeal = (dealID = 7) =>
    issueReceipt(dealer, aggregateAccept, {
      out: { ok: { aggregate: link, dataType: 0, dataSource: { dealID } } },
    })
  return { link, aggregateOffer, aggregateAccept, pieceAccepted, inDeal }
}
const conclude = async (receipt: Receipt, issuer: Signer = aggregator) =>
  ask(
    service.api,
    await Tasks.conclude(issuer, storefront, { root: receipt.root, blocks: receipt.iterateIPLDBlocks() }),
  )

describe('filecoin/offer', () => {
  it('promises to submit the piece, and to end its workflow', async () => {
    const content = await someContent('offered')
    const receipt = await ask(service.api, await offer(content))
    expect(receipt.out).toEqual({ ok: { piece: content.piece } })
    const submit = await Tasks.filecoinSubmit(storefront, content)
    const accept = await Tasks.filecoinAccept(storefront, content)
    expect(effectsOf(receipt)).toEqual({ fork: [`${submit.cid}`], join: `${accept.cid}` })
    expect([...receipt.fx.fork, receipt.fx.join].every(task => isDelegation(task as never))).toBe(true)
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered', group: 'did:web:default', revision: 1 })
    expect(await aws.drain('submit')).toHaveLength(1)
  })

  it('made again is the same, whoever makes it', async () => {
    const content = await someContent('again')
    const one = await offer(content)
    const other = await offer(content, { issuer: stranger, from: await signerOf('other space') })
    const [first, same, another] = await call(service.api, one, one, other)
    const late = await ask(service.api, one)
    expect([same, late].map(receipt => `${receipt!.root.cid}`)).toEqual(Array(2).fill(`${first!.root.cid}`))
    expect(`${another!.root.cid}`).not.toBe(`${first!.root.cid}`)
    expect(another!.out).toEqual(first!.out)
    expect(effectsOf(another!)).toEqual(effectsOf(first!))
    expect(await recordOf(content)).toMatchObject({ revision: 1 })
  })

  it('made by many at the same time is one workflow', async () => {
    const content = await someContent('many')
    const agents = await Promise.all(Array.from({ length: 12 }, (_, n) => signerOf(`agent ${n}`)))
    const invocations = await Promise.all(agents.map(issuer => offer(content, { issuer })))
    const receipts = await call(service.api, ...invocations)
    expect(new Set(receipts.map(receipt => JSON.stringify(effectsOf(receipt)))).size).toBe(1)
    expect(await recordOf(content)).toMatchObject({ revision: 1 })
  })

  it('of the same piece for other content, or with a nonce, is its own workflow', async () => {
    const [content, other] = [await someContent('one'), await someContent('two')]
    const receipts = await call(
      service.api,
      await offer(content),
      await offer({ content: other.content, piece: content.piece }),
      await offer(content, { nonce: 'n' }),
      await offer(content, { nonce: 'm' }),
    )
    const tasks = receipts.flatMap(receipt => [effectsOf(receipt).join, ...effectsOf(receipt).fork])
    expect(new Set(tasks).size).toBe(8)
    expect(receipts[2]!.fx.join).toMatchObject({ nonce: 'n' })
    expect(receipts[2]!.fx.fork[0]).toMatchObject({ nonce: 'n' })
  })

  it('is grouped by the provider of its space', async () => {
    await parts.stores.spaces.insert({ space: space.did(), provider: 'did:web:provider' })
    const content = await someContent('grouped')
    await ask(service.api, await offer(content))
    expect(await recordOf(content)).toMatchObject({ group: 'did:web:provider' })
    await aws.table('space').removeMany([{ space: space.did() }])
  })

  it('without the authority of the space is refused, and noted nowhere', async () => {
    const content = await someContent('unauthorised')
    const receipt = await ask(
      service.api,
      filecoinOffer.invoke({
        issuer: agent,
        audience: storefront,
        with: space.did(),
        nb: { content: content.content as never, piece: content.piece },
      }),
    )
    expect(errorOf(receipt)?.name).toBe('Unauthorized')
    expect(await recordOf(content)).toBeUndefined()
  })
})

describe('on submit', () => {
  it.each([
    ['small', 10],
    ['larger', 300_000],
  ])('content that hashes to its piece is offered to the aggregator: %s', async (name, length) => {
    const content = await uploaded(name, length)
    const { fx } = await ask(service.api, await offer(content))
    await settle()
    const receipt = await served(service.api, fx.fork[0]!.link())
    expect(receipt?.out).toEqual({ ok: { piece: content.piece } })
    expect(offers.map(({ cid }) => `${cid}`)).toEqual([`${receipt!.fx.join!.link()}`])
    expect(isDelegation(receipt!.fx.join as never)).toBe(true)
    expect(offers[0]).toMatchObject({
      capabilities: [{ can: 'piece/offer', with: storefront.did(), nb: { group: 'did:web:default' } }],
    })
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect(await served(service.api, fx.join!.link()), 'not the end').toBeUndefined()
  })

  it('content that does not match ends the workflow, and nothing reaches the aggregator', async () => {
    const [content, other] = [await uploaded('what it is'), await someContent('what it is said to be')]
    const wrong = { content: content.content, piece: other.piece }
    const { fx } = await ask(service.api, await offer(wrong))
    await settle()
    const [submit, accept] = [
      await served(service.api, fx.fork[0]!.link()),
      await served(service.api, fx.join!.link()),
    ]
    expect(submit?.out.error).toMatchObject({ name: 'InvalidPieceCID', piece: other.piece })
    expect(accept?.out.error).toMatchObject({ name: 'InvalidContentPiece' })
    expect(`${(accept!.out.error as { content?: unknown }).content}`).toBe(`${content.content}`)
    expect(effectsOf(submit!)).toEqual({ fork: [], join: undefined })
    expect(offers).toEqual([])
    expect(await recordOf(wrong)).toMatchObject({ stage: 'failed' })
    expect((await recordOf(wrong))?.checkAt).toBeUndefined()
    // The same offer is told the same promises, which have ended.
    const again = await ask(service.api, await offer(wrong))
    expect(effectsOf(again)).toEqual({ fork: [`${fx.fork[0]!.link()}`], join: `${fx.join!.link()}` })
  })

  it('content that is not there yet is waited for', async () => {
    const content = await someContent('late')
    const { fx } = await ask(service.api, await offer(content))
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
    expect(await served(service.api, fx.fork[0]!.link())).toBeUndefined()
    contents.set(`${content.content}`, content.bytes)
    await sweepAfter(timing.retry)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })

  it('the same message twice, and a message about nothing, do no harm', async () => {
    const content = await uploaded('twice')
    await ask(service.api, await offer(content))
    const { id } = (await recordOf(content))!
    await parts.queues.submit.send([{ id }, { id }, { id: 'nothing' }])
    await settle()
    expect(new Set(offers.map(({ cid }) => `${cid}`)).size).toBe(1)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })
})

describe('on pieceOffer', () => {
  const submittedPiece = async (seed: string) => {
    const content = await uploaded(seed)
    await ask(service.api, await offer(content))
    await aws.deliver('submit', service.consumers.submit as never)
    expect(await recordOf(content)).toMatchObject({ stage: 'submitted' })
    return content
  }

  it('an aggregator that refuses is not asked again at once', async () => {
    const content = await submittedPiece('refuses')
    state = { refusal: failure('UnknownStorefront', 'not you') }
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'submitted', checkAt: expect.any(Number) })
  })

  it.each<[string, typeof state]>([
    ['can not be reached', { down: true }],
    ['could not run it', { refusal: failure('HandlerExecutionError', 'not now') }],
  ])('an aggregator that %s is asked again', async (how, trouble) => {
    const content = await submittedPiece(how)
    state = trouble
    const { failed } = await aws.deliver('pieceOffer', service.consumers.pieceOffer as never)
    expect(failed).toHaveLength(1)
    expect(await recordOf(content)).toMatchObject({ stage: 'submitted' })
    state = {}
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })

  it('offers all pieces of a batch at once, and keeps what was promised', async () => {
    const pieces = [await submittedPiece('batch 1'), await submittedPiece('batch 2')]
    await settle()
    expect(offers).toHaveLength(2)
    for (const content of pieces) {
      const accept = await Tasks.pieceAccept(aggregator, { piece: content.piece, group: 'did:web:default' })
      expect(await recordOf(content)).toMatchObject({ stage: 'queued', waitsFor: `${accept.cid}` })
    }
  })
})

describe('the end', () => {
  const queuedPieces = async (...seeds: string[]) => {
    const pieces = await Promise.all(seeds.map(seed => uploaded(seed)))
    const receipts = await call(service.api, ...(await Promise.all(pieces.map(content => offer(content)))))
    await settle()
    return pieces.map((content, n) => ({ ...content, accept: receipts[n]!.fx.join as unknown as Task }))
  }

  it('is a receipt of filecoin/accept with a proof that holds, and the deal', async () => {
    const pieces = await queuedPieces('end 1', 'end 2', 'end 3')
    const { link, pieceAccepted, inDeal } = await aggregateOf(pieces.map(({ piece }) => piece))
    for (const { piece } of pieces) expect((await conclude(await pieceAccepted(piece))).out.ok).toBeDefined()
    expect(await recordOf(pieces[0]!)).toMatchObject({ stage: 'aggregated', aggregate: `${link}` })
    expect(await served(service.api, pieces[0]!.accept.cid)).toBeUndefined()
    expect(errorOf(await ask(service.api, pieces[0]!.accept))?.name).toBe('OutcomePending')

    expect((await conclude(await inDeal())).out.ok).toBeDefined()
    await settle()
    for (const { content, piece, accept } of pieces) {
      const receipt = await served(service.api, accept.cid)
      expect(receipt?.out.ok).toMatchObject({
        piece,
        aggregate: link,
        aux: { dataType: 0, dataSource: { dealID: 7 } },
      })
      const { inclusion } = receipt!.out.ok as { inclusion: never }
      expect(verifyInclusion({ piece, aggregate: link, inclusion } as never)).toMatchObject({ ok: {} })
      expect(effectsOf(receipt!)).toEqual({ fork: [], join: undefined })
      expect(await recordOf({ content, piece })).toMatchObject({ stage: 'accepted' })
    }
    const asked = await ask(service.api, pieces[0]!.accept)
    expect(`${asked.root.cid}`).toBe(`${(await served(service.api, pieces[0]!.accept.cid))?.root.cid}`)
  })

  it('comes also when the deal is told before the piece is', async () => {
    const [first, second] = (await queuedPieces('early', 'late one')) as [
      Content & { accept: Task },
      Content & { accept: Task },
    ]
    const { pieceAccepted, inDeal } = await aggregateOf([first.piece, second.piece])
    await conclude(await pieceAccepted(first.piece))
    await conclude(await inDeal())
    await settle()
    expect(await recordOf(second)).toMatchObject({ stage: 'queued' })
    await conclude(await pieceAccepted(second.piece))
    await settle()
    expect(await recordOf(second)).toMatchObject({ stage: 'accepted' })
    expect((await served(service.api, second.accept.cid))?.out.ok).toBeDefined()
  })

  it('is one receipt, however often it is told, and whatever is told later', async () => {
    const [only] = (await queuedPieces('once')) as [Content & { accept: Task }]
    const { pieceAccepted, inDeal } = await aggregateOf([only.piece])
    for (let n = 0; n < 2; n++) {
      await conclude(await pieceAccepted(only.piece))
      await conclude(await inDeal())
      await settle()
    }
    const receipt = await served(service.api, only.accept.cid)
    await conclude(await inDeal(8))
    await settle()
    expect(`${(await served(service.api, only.accept.cid))?.root.cid}`).toBe(`${receipt!.root.cid}`)
  })

  it('comes also when nothing is told: it is asked for', async () => {
    const [only] = (await queuedPieces('untold')) as [Content & { accept: Task }]
    const { aggregateOffer, aggregateAccept, pieceAccepted, inDeal } = await aggregateOf([only.piece])
    await theAggregator.receipts.put(await pieceAccepted(only.piece))
    await sweepAfter(timing.poll)
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })

    await sweepAfter(timing.poll)
    expect(await recordOf(only), 'no deal yet').toMatchObject({ stage: 'aggregated' })
    const promised = { out: { ok: {} }, fx: { join: aggregateAccept } }
    const offered = await issueReceipt(dealer, aggregateOffer, promised)
    await theAggregator.receipts.put(offered)
    await theAggregator.receipts.put(await inDeal())
    await sweepAfter(timing.poll)
    expect(await recordOf(only)).toMatchObject({ stage: 'accepted' })
  })

  it.each<[string, (piece: PieceLink) => Promise<Receipt>]>([
    [
      'a piece, by a stranger who ran a task of his own',
      async piece => {
        const { pieceAccepted } = await aggregateOf([piece])
        const { out, fx } = await pieceAccepted(piece)
        const task = await Tasks.pieceAccept(stranger, { piece, group: 'did:web:default' })
        return issueReceipt(stranger, task, { out, fx } as never)
      },
    ],
    [
      'a piece that nobody waits for',
      async () => {
        const piece = somePiece('nobody')
        return (await aggregateOf([piece])).pieceAccepted(piece)
      },
    ],
    [
      'an aggregate, by another dealer',
      async piece => {
        const { link, pieceAccepted } = await aggregateOf([piece])
        await conclude(await pieceAccepted(piece))
        const pieces = (await someContent('list')).content as never
        return issueReceipt(stranger, await Tasks.aggregateAccept(stranger, { aggregate: link, pieces }), {
          out: { ok: { aggregate: link, dataType: 0, dataSource: { dealID: 1 } } },
        })
      },
    ],
    ['an aggregate that nothing is in', async () => (await aggregateOf([somePiece('nothing')])).inDeal()],
  ])('does not come from a receipt of %s', async (how, make) => {
    const [only] = (await queuedPieces(how)) as [Content & { accept: Task }]
    const { out } = await conclude(await make(only.piece))
    expect((out.error as Error).name).toBe('UnknownTask')
    await settle()
    expect(await served(service.api, only.accept.cid)).toBeUndefined()
  })
})

describe('filecoin/info', () => {
  const info = (piece: PieceLink) =>
    ask(
      service.api,
      filecoinInfo.invoke({ issuer: agent, audience: storefront, with: agent.did(), nb: { piece } }),
    )

  it('knows only pieces that were offered', async () => {
    const piece = somePiece('unknown')
    expect((await info(piece)).out.error).toMatchObject({ name: 'PieceNotFound', piece })
  })

  it('tells the aggregates of a piece, and their deals as the tracker knows them', async () => {
    const content = await uploaded('informed')
    await ask(service.api, await offer(content))
    await settle()
    const { piece } = content
    expect((await info(piece)).out.ok).toEqual({ piece, aggregates: [], deals: [] })

    const { link, pieceAccepted } = await aggregateOf([piece])
    await conclude(await pieceAccepted(piece))
    expect((await info(piece)).out.ok).toMatchObject({
      piece,
      aggregates: [{ aggregate: link, inclusion: {} }],
      deals: [{ aggregate: link, provider: 'f01', aux: { dataType: 0, dataSource: { dealID: 42 } } }],
    })
  })
})

describe('the storefront’s own tasks', () => {
  it('are for the storefront alone', async () => {
    const nb = await someContent('own')
    const tasks = [await Tasks.filecoinSubmit(agent, nb), await Tasks.filecoinAccept(agent, nb)]
    for (const receipt of await call(service.api, ...(tasks as Invocation[])))
      expect(['UnsupportedCapability', 'InvalidAudience']).toContain(errorOf(receipt)?.name)
  })

  it('that nobody asked for are pending', async () => {
    const nb = await someContent('never offered')
    const tasks = [await Tasks.filecoinSubmit(storefront, nb), await Tasks.filecoinAccept(storefront, nb)]
    for (const receipt of await call(service.api, ...(tasks as Invocation[])))
      expect(errorOf(receipt)?.name).toBe('OutcomePending')
  })
})
