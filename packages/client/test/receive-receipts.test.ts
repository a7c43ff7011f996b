import type { Invocation, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { Tasks } from '@w3filecoin/capabilities'
import { encodeMessage, issueReceipt, readReceipt } from '@w3filecoin/runtime'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { type Receipt, receiveReceipts } from '../src/index.ts'
import { createWorld } from './world.ts'

const TYPE = 'application/vnd.ipld.car'

describe('receiveReceipts', () => {
  let storefront: Signer
  let aggregator: Signer
  let dealer: Signer
  let stranger: Signer
  let receipt: Awaited<ReturnType<typeof issueReceipt>>
  let task: Invocation
  const onReceipt = vi.fn<(receipt: Receipt, task: Invocation) => unknown>()

  beforeEach(async () => {
    onReceipt.mockReset()
    const keys = await Promise.all([1, 2, 3, 4].map(() => ed25519.generate()))
    ;[storefront, aggregator, dealer, stranger] = keys as Signer[] as [Signer, Signer, Signer, Signer]
    const { offered } = await createWorld()
    task = await Tasks.pieceAccept(aggregator, { piece: offered.piece, group: 'g' })
    receipt = await issueReceipt(aggregator, task, { out: { ok: { piece: offered.piece } } })
  })

  const deliver = async (...invocations: Invocation[]) => {
    const handle = receiveReceipts({
      signer: storefront,
      senders: [aggregator.did(), dealer.did()],
      onReceipt,
    })
    const body = await encodeMessage({ invocations })
    const response = await handle(
      new Request('https://storefront.example', { method: 'POST', headers: { 'content-type': TYPE }, body }),
    )
    expect(response.status).toBe(200)
    const bytes = new Uint8Array(await response.arrayBuffer())
    const answers = invocations.map(({ cid }) => readReceipt(`${cid}`, bytes)!)
    for (const answer of answers)
      expect(await answer.verifySignature((storefront as unknown as { verifier: never }).verifier)).toEqual({
        ok: {},
      })
    return answers.map(({ out }) => out)
  }
  const conclude = (issuer: Signer, audience = storefront, delivered = receipt) =>
    Tasks.conclude(issuer, audience, { root: delivered.root, blocks: delivered.iterateIPLDBlocks() } as never)

  it('passes a receipt on with its task, and answers with a signed receipt', async () => {
    const [out] = await deliver(await conclude(aggregator))
    expect(out).toEqual({ ok: { time: expect.any(Number) } })
    expect(onReceipt).toHaveBeenCalledOnce()
    const [passed, ran] = onReceipt.mock.calls[0]!
    expect(`${passed.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(`${ran.cid}`).toBe(`${task.cid}`)
  })

  it('accepts the receipt of one listed service from another', async () => {
    expect(await deliver(await conclude(dealer))).toEqual([{ ok: { time: expect.any(Number) } }])
  })

  it('refuses senders, audiences, signatures and receipts that are not expected, each by itself', async () => {
    const { offered } = await createWorld()
    const foreignTask = await Tasks.pieceAccept(stranger, { piece: offered.piece, group: 'g' })
    const posing = stranger.withDID(aggregator.did() as never) as Signer
    const outs = await deliver(
      await conclude(stranger),
      await conclude(aggregator, stranger),
      await conclude(posing),
      await conclude(aggregator, storefront, await issueReceipt(stranger, task, { out: { ok: {} } })),
      await conclude(aggregator, storefront, await issueReceipt(stranger, foreignTask, { out: { ok: {} } })),
      await Tasks.conclude(aggregator, storefront, { root: receipt.root, blocks: [] } as never),
      await Tasks.pieceOffer(aggregator, storefront, { piece: offered.piece, group: 'g' }),
      await conclude(dealer),
    )
    expect(
      outs.map(({ ok, error }) => (error as { name: string } | undefined)?.name ?? Object.keys(ok!)),
    ).toEqual([
      'UnknownSender',
      'InvalidAudience',
      'Unauthorized',
      'InvalidReceipt',
      'InvalidReceipt',
      'ReceiptNotFound',
      'HandlerNotFound',
      ['time'],
    ])
    expect(onReceipt).toHaveBeenCalledOnce()
  })

  it('answers HandlerExecutionError if the receiver throws', async () => {
    onReceipt.mockRejectedValue(new Error('the disk is full'))
    expect(await deliver(await conclude(aggregator))).toEqual([
      { error: { name: 'HandlerExecutionError', message: 'the disk is full' } },
    ])
  })

  it('refuses requests that are not messages', async () => {
    const handle = receiveReceipts({ signer: storefront, senders: [], onReceipt })
    const post = (body: string | Uint8Array<ArrayBuffer>, type = TYPE) =>
      handle(
        new Request('https://storefront.example', {
          method: 'POST',
          headers: { 'content-type': type },
          body,
        }),
      )
    expect((await handle(new Request('https://storefront.example'))).status).toBe(405)
    expect((await post('{}', 'application/json')).status).toBe(415)
    expect((await post('not a CAR')).status).toBe(400)
    expect((await post(new Uint8Array(4_400_001))).status).toBe(413)
    const body = await encodeMessage({ invocations: [await conclude(aggregator)] })
    // A block that does not hash to its CID.
    body[body.length - 5]! ^= 1
    expect((await post(body)).status).toBe(400)
    expect(onReceipt).not.toHaveBeenCalled()
  })
})
