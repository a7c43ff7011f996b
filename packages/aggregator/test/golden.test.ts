import { hash } from 'node:crypto'
import { delegate } from '@ucanto/core'
import type { Delegation, Invocation, Signer } from '@ucanto/interface'
import { type Task, Tasks } from '@w3filecoin/capabilities'
import { encodeMessage, issueReceipt, principal } from '@w3filecoin/runtime'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { aggregator, dealer, EIGHTH, HALF, offer, one, service, settle, stranger, two } from './setup.ts'

/*
 * The bytes of messages and answers are part of the protocol: a task is named by the hash of its bytes, and peers store
 * receipts. The hashes were recorded with the builders and codecs of `@ucanto/core` 10.4.6, before this code had its own.
 * Never record them again to make this test pass.
 */

/** Sends a message, and returns the hashes of its bytes and of the answer's. */
const hashesOf = async (...invocations: Task[]): Promise<string> => {
  const body = await encodeMessage({ invocations: invocations as Invocation[] })
  const answer = await service.api.request('/', {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body,
  })
  return `${shortHash(body)} ${answer.status} ${shortHash(new Uint8Array(await answer.arrayBuffer()))}`
}

const shortHash = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex').slice(0, 16)

const servedHash = async (task: Task): Promise<string> => {
  const answer = await service.api.request(`/receipt/${task.cid}`)
  return `${answer.status} ${shortHash(new Uint8Array(await answer.arrayBuffer()))}`
}

const delegationTo = async (audience: Signer, more: object = {}): Promise<Delegation> =>
  (await delegate({
    issuer: aggregator,
    audience,
    capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
    expiration: Infinity,
    ...more,
  } as never)) as unknown as Delegation

const delegated = async (issuer: Signer, piece: string, proofs: Delegation[]): Promise<Task> =>
  Tasks.pieceOffer(
    issuer,
    aggregator,
    { piece: somePiece(piece), group: 'golden' },
    { with: aggregator.did(), proofs },
  )

describe('the bytes of messages and answers', () => {
  it('are the same as with the published library, for self-issued offers', async () => {
    expect([
      await hashesOf(await offer(somePiece('golden'), 'golden')),
      // Repeated, with a nonce, and with text that JSON and CBOR encode in several bytes.
      await hashesOf(await offer(somePiece('golden'), 'golden')),
      await hashesOf(await offer(somePiece('golden'), 'golden', { nonce: 'n' })),
      await hashesOf(await offer(somePiece('golden'), 'grüße 🗄 "\\\u0007\u2028', { nonce: 'grüße\n' })),
      await hashesOf(
        ...(await Promise.all(
          Array.from({ length: 30 }, (_, n) => offer(somePiece(`golden ${n}`), 'golden')),
        )),
      ),
    ]).toMatchInlineSnapshot(`
      [
        "2dbdb35d00cc6cdc 200 00a8579f862b0b42",
        "2dbdb35d00cc6cdc 200 00a8579f862b0b42",
        "a021770f4cb48c3b 200 813b25fccac14192",
        "c3b902d4bfbbec5b 200 264c01f9a3eec425",
        "f4cbfeb58a3af0e9 200 1d5b33400dbb536b",
      ]
    `)
  })

  it('are the same as with the published library, for delegated offers', async () => {
    const [first, ...others] = [
      await delegationTo(one),
      await delegationTo(two, {
        facts: [{ why: 'x', link: somePiece('x'), n: 1.5 }],
        nonce: 'n',
        notBefore: 1,
      }),
    ]
    const chain = await delegationTo(two, {
      issuer: one,
      capabilities: [{ can: 'piece/*', with: aggregator.did(), nb: { group: 'golden' } }],
      proofs: [first],
    })
    expect([
      await hashesOf(await delegated(one, 'delegated', [first!])),
      await hashesOf(await delegated(two, 'delegated', others)),
      await hashesOf(await delegated(two, 'chain', [chain])),
      await hashesOf(
        ...(await Promise.all(Array.from({ length: 30 }, (_, n) => delegated(one, `${n}`, [first!])))),
      ),
    ]).toMatchInlineSnapshot(`
      [
        "14d6866314346c6e 200 6f05b4d79d7c33f9",
        "6f16dfb647685706 200 c95455547f2d54e9",
        "01f07a36000376fe 200 323e251660a39946",
        "10008b843356e9b8 200 418095742fef88df",
      ]
    `)
  })

  it('are the same as with the published library, for refusals', async () => {
    const expired = await delegationTo(stranger, { expiration: 1 })
    const nb = { piece: somePiece('refused'), group: 'golden' }
    expect([
      await hashesOf(await offer(somePiece('refused'), 'golden', { issuer: stranger })),
      await hashesOf(await offer(somePiece('refused'), 'g'.repeat(200))),
      await hashesOf(await offer(somePiece('refused', 60), 'golden')),
      await hashesOf(await delegated(stranger, 'refused', [expired])),
      await hashesOf(await Tasks.pieceAccept(aggregator, { ...nb, nonce: 'never offered' })),
      await hashesOf(await Tasks.dealInfo(one, principal(aggregator.did()), { piece: nb.piece, nonce: 'n' })),
      await hashesOf(await Tasks.pieceOffer(one, dealer, nb)),
    ]).toMatchInlineSnapshot(`
      [
        "5fdf8d571e2460f0 200 5955b23018b28a6f",
        "44d149e5bf21a4a7 200 2717006f06bfce4d",
        "9e65bef271351021 200 0b0636a70afb1b96",
        "8bc83ac6a545f31b 200 cc86aa1d985222f7",
        "43c3da30d66e5cf3 200 4d84b4fa578066fb",
        "6ee73f3bbb0bf0ab 200 f48ffb112dd0a7d8",
        "015bd8c12b1c31fa 200 096a4454d43c318b",
      ]
    `)
  })

  it('are the same as with the published library, for outcomes and their delivery', async () => {
    const pieces = [somePiece('outcome 1', HALF), somePiece('outcome 2', EIGHTH)]
    for (const piece of pieces) await hashesOf(await offer(piece, 'outcomes'))
    const accepts = await Promise.all(
      pieces.map(piece => Tasks.pieceAccept(aggregator, { piece, group: 'outcomes' })),
    )
    const receipt = await issueReceipt(dealer, accepts[0]!, {
      out: {
        ok: {
          empty: {},
          list: [],
          none: null,
          yes: true,
          bytes: new Uint8Array([1]),
          big: 2 ** 40,
          less: -5,
        },
      },
      fx: { fork: [accepts[1]!], join: accepts[0]! },
      meta: { note: 'x' },
    })
    const delivery = await Tasks.conclude(dealer, aggregator, {
      root: receipt.root,
      blocks: receipt.iterateIPLDBlocks(),
    } as never)
    await settle()
    expect([
      await hashesOf(delivery),
      await Promise.all(accepts.map(servedHash)),
      await hashesOf(...accepts),
      await hashesOf(await Tasks.pieceInfo(one, aggregator, { piece: pieces[0]!, group: 'outcomes' })),
    ]).toMatchInlineSnapshot(`
      [
        "96418169fea04673 200 e6ce6b2e685ada80",
        [
          "404 338495372215c727",
          "404 96536c750458e46d",
        ],
        "955f470d7b87099b 200 c890157053bfcfcf",
        "a6c3a2c103adfca8 200 93568306ef7886a3",
      ]
    `)
  })
})
