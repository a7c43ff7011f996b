import { isDeepStrictEqual } from 'node:util'
import { CAR, CBOR, Message as Messages, Receipt as Receipts } from '@ucanto/core'
import type { AgentMessage, Block, Invocation, Link, Receipt } from '@ucanto/interface'
import { Tasks } from '@w3filecoin/capabilities'
import { blockOf, encodeCbor } from '@w3filecoin/capabilities/codec'
import { bytesOf, linkOf, signersOf, somePiece } from '@w3filecoin/testing'
import { Choices } from '@w3filecoin/testing/deterministic'
import { describe, expect, it } from 'vitest'
import { encodeMessage, MESSAGE_LIMITS, principals, receiptIn, receiptsIn } from '../src/index.ts'
import { decodeMessage } from '../src/ucan/message.ts'
import { linksIn, signReceipt, unsignedReceipt, viewMessage, viewReceipt } from '../src/ucan/ucanto.ts'

/* The published library is the oracle: receipts and messages have the same bytes, and its views say the same about them. */

const { alice, bob } = await signersOf('alice', 'bob')
const taskOf = (n: number) =>
  Tasks.pieceAccept(alice, { piece: somePiece(n), group: 'g' }) as Promise<Invocation>
const tasks = await Promise.all([0, 1, 2, 3].map(taskOf))

const plain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)
const blocksOf = (view: { iterateIPLDBlocks(): Iterable<{ cid: unknown; bytes: Uint8Array }> }) =>
  [...view.iterateIPLDBlocks()].map(({ cid, bytes }) => [`${cid}`, plain(bytes)] as const)
const linkOfTask = (task: unknown) => `${(task as Invocation).link()}`

/** Everything that a view of a receipt says. */
const read = (receipt: Receipt) => ({
  cid: `${receipt.link()}`,
  root: `${receipt.root.cid}`,
  out: receipt.out,
  meta: receipt.meta,
  issuer: receipt.issuer?.did(),
  ran: linkOfTask(receipt.ran),
  fork: receipt.fx.fork.map(linkOfTask),
  join: receipt.fx.join && linkOfTask(receipt.fx.join),
  proofs: receipt.proofs.map(linkOfTask),
  signature: plain(receipt.signature),
  blocks: blocksOf(receipt),
})

const someOutcome = (seed: number) => {
  const choices = new Choices(Math.imul(seed + 1, 0x9e37_79b1))
  for (let n = 0; n < 10; n++) choices.fraction()
  const value = () =>
    choices.one<unknown>([
      null,
      true,
      choices.between(0, 2 ** 40),
      -1,
      1.5,
      'text',
      'grüße',
      bytesOf(seed, 20),
      somePiece(seed),
      linkOf(bytesOf(seed, 5)),
      [],
      {},
      undefined,
      { toJSON: () => ({ a: 1 }) },
    ])
  const object = () => ({ [choices.one(['a', 'piece', 'longer'])]: value(), b: value(), list: [value()] })
  const some = () => tasks.slice(0, choices.between(0, 3))
  return {
    ran: choices.chance(0.7) ? choices.one(tasks) : (choices.one(tasks).cid as Link),
    out: choices.chance(0.5) ? { ok: object() } : { error: { ...object(), name: 'X', message: 'y' } },
    fork: some(),
    join: choices.one([undefined, ...tasks]),
    meta: choices.one([{}, object()]),
  }
}

describe('a receipt', () => {
  it('is issued and viewed as by the published library', async () => {
    for (let seed = 0; seed < 500; seed++) {
      const { ran, out, fork, join, meta } = someOutcome(seed)
      const theirs = (await Receipts.issue({
        issuer: bob,
        ran: ran as never,
        result: out as never,
        fx: { fork, ...(join && { join }) } as never,
        meta,
      })) as unknown as Receipt
      const ours = await signReceipt(bob, ran, { out: out as never, fork, join, meta })
      const blocks = new Map(
        blocksOf(theirs).map(([cid, bytes], n) => [cid, { ...[...theirs.iterateIPLDBlocks()][n]!, bytes }]),
      )
      const viewed = viewReceipt(theirs.root.cid, blocks as never)
      const published = Receipts.view({
        root: theirs.root.cid,
        blocks: blocks as never,
      }) as unknown as Receipt
      // The result that was given may have other forms of a value than the result that is read.
      const { out: _, meta: __, ...issued } = read(ours)
      const { out: ___, meta: ____, ...expected } = read(theirs)
      if (!isDeepStrictEqual(issued, expected)) expect(issued).toEqual(expected)
      if (!isDeepStrictEqual(read(viewed), read(published))) expect(read(viewed)).toEqual(read(published))
      for (const receipt of [ours, viewed]) {
        expect((await receipt.verifySignature(principals.parse(bob.did()) as never)).ok).toBeDefined()
        expect((await receipt.verifySignature(principals.parse(alice.did()) as never)).error).toBeDefined()
      }
    }
  })

  it('without a signature is the same as by the published library', async () => {
    const error = { name: 'X', message: 'y' }
    const ours = await unsignedReceipt(bob, tasks[0]!, error)
    expect(ours.signature.raw).toHaveLength(0)
    expect((ours.signature as { algorithm?: string }).algorithm).toBe('')
    expect((await ours.verifySignature(principals.parse(bob.did()) as never)).error).toBeDefined()
  })

  it('throws where a part is malformed, when the part is read', async () => {
    const viewOf = async (data: object) => {
      const block = await blockOf(encodeCbor(data))
      return viewReceipt(block.cid, new Map([[`${block.cid}`, block]]))
    }
    for (const data of [
      {},
      { ocm: 1 },
      { ocm: { fx: 1 } },
      { ocm: { fx: { fork: 1 } } },
      { ocm: { ran: 1, fx: { fork: [] } } },
    ]) {
      const receipt = await viewOf(data)
      expect(() => [receipt.ran, ...receipt.iterateIPLDBlocks()]).toThrow()
    }
    expect(() => viewReceipt(tasks[0]!.cid as never, new Map())).toThrow('is missing')
  })
})

const receipts = await Promise.all(
  [0, 1, 2, 0].map((n, at) => signReceipt(bob, tasks[n]!, { out: { ok: { at } }, fork: [tasks[3]!] })),
)

describe('a message', () => {
  it.each<[string, { invocations?: Invocation[]; receipts?: Receipt[] }]>([
    ['nothing', {}],
    ['an invocation', { invocations: tasks.slice(0, 1) }],
    ['invocations, one of them twice', { invocations: [...tasks, tasks[1]!] }],
    ['a receipt', { receipts: receipts.slice(0, 1) }],
    ['receipts, two of them of one task', { receipts }],
    ['both', { invocations: tasks, receipts }],
  ])('with %s is encoded and viewed as by the published library', async (_, content) => {
    const message = (await Messages.build(content as never)) as AgentMessage
    const blocks = new Map<string, unknown>()
    for (const block of message.iterateIPLDBlocks()) blocks.set(`${block.cid}`, block)
    const theirs = plain(CAR.encode({ roots: [message.root], blocks } as never))
    expect(plain(await encodeMessage(content))).toEqual(theirs)
    const view = viewMessage(message.root.cid as never, blocks as never)
    expect(linksIn(view).invocations.map(String)).toEqual((message.invocationLinks ?? []).map(String))
    for (const task of tasks) {
      const expected = message.get(task.cid as never, null as never) as unknown as Receipt | null
      expect(receiptIn(view, `${task.cid}`)?.link().toString()).toBe(expected?.link().toString())
      expect(receiptIn(view, `${task.cid}`) && read(receiptIn(view, `${task.cid}`)!)).toEqual(
        expected ? read(expected) : undefined,
      )
    }
    const { ok } = decodeMessage(theirs, { ...MESSAGE_LIMITS, receipts: 10 })
    expect(receiptsIn(ok!.message)).toHaveLength(
      new Set(content.receipts?.map(({ ran }) => linkOfTask(ran))).size,
    )
  })

  it.each<[string, unknown]>([
    ['a list', []],
    ['nothing', {}],
    ['another version', { 'ucanto/message@8.0.0': {} }],
    ['two versions', { 'ucanto/message@7.0.0': {}, 'ucanto/message@8.0.0': {} }],
    ['a text', { 'ucanto/message@7.0.0': 'x' }],
    ['a list in it', { 'ucanto/message@7.0.0': [] }],
    ['a link in it', { 'ucanto/message@7.0.0': tasks[0]!.cid }],
    ['a text for the list', { 'ucanto/message@7.0.0': { execute: 'x' } }],
    ['a text for a link', { 'ucanto/message@7.0.0': { execute: ['x'] } }],
    ['null for a link', { 'ucanto/message@7.0.0': { execute: [null] } }],
    ['null for the list', { 'ucanto/message@7.0.0': { execute: null } }],
    ['delegations', { 'ucanto/message@7.0.0': { delegate: [] } }],
    ['wrong delegations', { 'ucanto/message@7.0.0': { delegate: 1 } }],
    ['another field', { 'ucanto/message@7.0.0': { execute: [], other: 1 } }],
    ['an empty list', { 'ucanto/message@7.0.0': { execute: [] } }],
  ])('whose root is %s is accepted or rejected as by the published library', async (_, data) => {
    const root = (await CBOR.write(data)) as Block
    const store = new Map([[`${root.cid}`, root]])
    const outcomeOf = (run: () => { root: { data?: unknown } }) => {
      try {
        return run().root.data
      } catch (cause) {
        return (cause as Error).message
      }
    }
    const theirs = outcomeOf(() => Messages.view({ root: root.cid, store } as never))
    expect(outcomeOf(() => viewMessage(root.cid as never, store))).toEqual(theirs)
  })
})
