import type { Invocation, Receipt } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { type EncodedInclusion, type PieceLink, verifyInclusion } from '@w3filecoin/piece'
import { readReceipt } from '@w3filecoin/runtime'
import { expect, test, vi } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { followPiece } from './follow.ts'
import { createAgent, invoke } from './invoke.ts'
import { effectOf, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

/** Journeys of pieces in the older vocabularies, over HTTP, from the first ability to the last receipt. */
const system = useSystem()
const { at } = system

type Nb = Record<string, unknown>

/** Waits for a receipt that an agent asks its storefront for, wherever it is issued, and checks the signature of its issuer. */
const awaitAtStorefront = (task: { toString(): string }, role = 'storefront'): Promise<Receipt> =>
  vi.waitFor(async () => {
    const response = await fetch(`${at(role).url}/receipt/${task}`)
    if (response.status === 404) throw new Error(`There is no receipt of ${task}`)
    expect(response.status).toBe(200)
    const receipt = readReceipt(`${task}`, new Uint8Array(await response.arrayBuffer())) as Receipt
    const issuer = Object.values(system.local.services).find(({ did }) => did === receipt.issuer?.did())
    await expect(receipt.verifySignature(Verifier.parse(issuer!.did) as never)).resolves.toEqual({ ok: {} })
    return receipt
  }, PATIENCE)

const capabilityOf = (task: Invocation) => {
  const [{ can, nb }] = task.capabilities
  return { can, nb: nb as Nb }
}

/** Offers content in the words of a dialect, as an agent with a space. */
const offerAs = async (can: `${string}/${string}`, nb: Nb) =>
  invoke(at('storefront'), { ...(await createAgent(undefined, can)), can, nb })

const uploaded = async (size = 20_000): Promise<Content> => {
  const content = await randomContent(size)
  await upload(system.local, content)
  return content
}

/** Content with the piece of another one. */
const mismatched = async (): Promise<Content> => {
  const content = { ...(await randomContent(5_000)), piece: (await randomContent(5_000)).piece }
  await upload(system.local, content)
  return content
}

const proves = (piece: PieceLink, ok: unknown) => {
  const { aggregate, inclusion } = ok as { aggregate: PieceLink; inclusion: EncodedInclusion }
  expect(verifyInclusion({ piece, aggregate, inclusion })).toEqual({ ok: {} })
  return aggregate
}

test('L1, L7: a piece from piece/add to offer/arrange, each receipt served by the storefront', async () => {
  const { content, piece } = await uploaded()
  const added = await offerAs('piece/add', { link: content, piece })
  expect(added.out).toEqual({ ok: { status: 'queued-for-verification' } })
  expect(added.fx.fork).toEqual([])
  expect(capabilityOf(effectOf(added.fx.join))).toEqual({
    can: 'piece/verify',
    nb: { link: content, piece },
  })

  const verified = await awaitAtStorefront(effectOf(added.fx.join).cid)
  expect(verified.out).toEqual({ ok: { piece, status: 'queued-for-offer' } })
  const { can, nb } = capabilityOf(effectOf(verified.fx.join))
  expect({ can, nb }).toEqual({ can: 'piece/offer', nb: { piece, provider: 'local' } })

  const offered = await awaitAtStorefront(effectOf(verified.fx.join).cid)
  expect(offered.out).toEqual({ ok: { status: 'queued-for-aggregate' } })
  expect(capabilityOf(effectOf(offered.fx.join))).toEqual({ can: 'aggregate/arrange', nb: { piece } })

  const arranged = await awaitAtStorefront(effectOf(offered.fx.join).cid)
  const aggregate = proves(piece, arranged.out.ok)
  expect(capabilityOf(effectOf(arranged.fx.join))).toEqual({
    can: 'offer/arrange',
    nb: { piece: aggregate },
  })
  const dealt = await awaitAtStorefront(effectOf(arranged.fx.join).cid)
  expect(dealt.out).toMatchObject({ ok: { piece: aggregate } })
  expect(dealt.fx).toMatchObject({ fork: [] })
  expect(dealt.fx.join).toBeUndefined()
})

test('L1: content with another piece ends with its reason', async () => {
  const { content, piece } = await mismatched()
  const added = await offerAs('piece/add', { link: content, piece })
  const verified = await awaitAtStorefront(effectOf(added.fx.join).cid)
  expect(verified.out).toMatchObject({ error: { piece, reason: 'InvalidPieceCID' } })
  expect(verified.fx.join).toBeUndefined()
})

/** Offers a piece in draft 2 or 3, and follows the links until its proof. */
const followAdd = async (
  first: 'filecoin/add' | 'filecoin/queue',
  second: 'aggregate/add' | 'aggregate/queue',
) => {
  const { content, piece } = await uploaded()
  const offered = await offerAs(first, { content, piece })
  expect(offered.out).toEqual({ ok: { piece } })
  expect(capabilityOf(effectOf(offered.fx.join))).toEqual({ can: 'filecoin/add', nb: { content, piece } })

  const added = await awaitAtStorefront(effectOf(offered.fx.join).cid)
  expect(added.out).toEqual({ ok: { piece } })
  expect(capabilityOf(effectOf(added.fx.join)).can).toBe(second)

  const queued = await awaitAtStorefront(effectOf(added.fx.join).cid)
  expect(queued.out).toEqual({ ok: { piece } })
  expect(capabilityOf(effectOf(queued.fx.join))).toEqual({
    can: 'aggregate/add',
    nb: { piece, storefront: at('storefront').did, group: 'local' },
  })

  const included = await awaitAtStorefront(effectOf(queued.fx.join).cid)
  proves(piece, included.out.ok)
  expect(included.out.ok).toMatchObject({ piece, path: expect.stringMatching(/^u/) })
  expect(included.fx).toMatchObject({ fork: [] })
  expect(included.fx.join).toBeUndefined()
}

/** Offers content with the piece of another one in draft 2 or 3. */
const refuseAdd = async (first: 'filecoin/add' | 'filecoin/queue') => {
  const { content, piece } = await mismatched()
  const offered = await offerAs(first, { content, piece })
  const added = await awaitAtStorefront(effectOf(offered.fx.join).cid)
  expect(added.out.error).toMatchObject({ name: 'InvalidPieceCID' })
  expect(added.fx.join).toBeUndefined()
}

test('L2, L7: a piece from filecoin/add to aggregate/add, each receipt served by the storefront', () =>
  followAdd('filecoin/add', 'aggregate/add'))
test('L2: content of filecoin/add with another piece ends with InvalidPieceCID', () =>
  refuseAdd('filecoin/add'))
test('L3, L7: a piece from filecoin/queue to aggregate/add, each receipt served by the storefront', () =>
  followAdd('filecoin/queue', 'aggregate/queue'))
test('L3: content of filecoin/queue with another piece ends with InvalidPieceCID', () =>
  refuseAdd('filecoin/queue'))

test('L5: three agents offer one content in three drafts: one place in one aggregate, three final receipts', async () => {
  const { content, piece } = await uploaded()
  const [inProtocol, inDraft1, inDraft2] = await Promise.all([
    offerAs('filecoin/offer', { content, piece }),
    offerAs('piece/add', { link: content, piece }),
    offerAs('filecoin/add', { content, piece }),
  ])
  const follow = async ({ fx }: Receipt) => awaitAtStorefront(effectOf(fx.join).cid)
  const accepted = await follow(inProtocol)
  const arranged = await follow(await follow(await follow(inDraft1)))
  const added = await follow(await follow(await follow(inDraft2)))
  const dealt = await follow(arranged)
  const aggregates = [accepted, arranged, added].map(({ out }) => `${proves(piece, out.ok)}`)
  expect(new Set(aggregates).size).toBe(1)
  expect(`${(dealt.out.ok as { piece: unknown }).piece}`).toBe(aggregates[0])
  const submitted = await awaitAtStorefront(effectOf(inProtocol.fx.fork[0]).cid)
  const { pieces } = await followPiece(system, await follow(submitted))
  expect(pieces.filter(other => `${other}` === `${piece}`)).toHaveLength(1)
})

test('L7: the storefront answers 404 for its own task that has no receipt, and redirects for tasks of the next services', async () => {
  const look = async (task: unknown) => {
    const response = await fetch(`${at('storefront').url}/receipt/${task}`, { redirect: 'manual' })
    return [response.status, response.headers.get('location')]
  }
  const followOwn = async (can: `${string}/${string}`, name: string) => {
    const content = await randomContent(3_000)
    const offered = await offerAs(can, { [name]: content.content, piece: content.piece })
    expect(offered.out.error, can).toBeUndefined()
    const own = effectOf(offered.fx.join).cid
    // The content has not arrived, so the task has no outcome.
    expect(await look(own), can).toEqual([404, null])
    await upload(system.local, content)
    const checked = await awaitAtStorefront(own)
    expect(checked.out.error, can).toBeUndefined()
    const next = effectOf(checked.fx.join).cid
    expect(await look(next), can).toEqual([307, `${at('aggregator').url}/receipt/${next}?chain`])
  }
  await Promise.all([
    followOwn('piece/add', 'link'),
    followOwn('filecoin/add', 'content'),
    followOwn('filecoin/queue', 'content'),
  ])
  // The aggregator redirects only requests that follow the chain, and the dealer redirects none.
  const { content, piece } = await uploaded()
  const task = effectOf((await offerAs('filecoin/offer', { content, piece })).fx.join).cid
  const { status } = await fetch(`${at('aggregator').url}/receipt/${task}`, { redirect: 'manual' })
  expect(status).toBe(404)
  const followed = await fetch(`${at('aggregator').url}/receipt/${task}?chain`, { redirect: 'manual' })
  expect(followed.headers.get('location')).toBe(`${at('dealer').url}/receipt/${task}?chain`)
  expect((await fetch(`${at('dealer').url}/receipt/${task}?chain`, { redirect: 'manual' })).status).toBe(404)
})
