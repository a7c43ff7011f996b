import * as storacha from '@storacha/filecoin-client'
import { CAR, CBOR, Delegation, Message, Receipt } from '@ucanto/core'
import type { Block, IssuedInvocation } from '@ucanto/interface'
import { bytesOf, linkOf, signersOf, somePiece } from '@w3filecoin/testing'
import * as web3Storage from '@web3-storage/filecoin-client'
import { describe, expect, it } from 'vitest'
import { Tasks } from '../src/index.ts'

const { storefront, aggregator, dealer, tracker } = await signersOf(
  'storefront',
  'aggregator',
  'dealer',
  'tracker',
)
const piece = somePiece('piece')
const aggregate = somePiece('aggregate', 10)
const content = linkOf(bytesOf('content', 10))
const group = 'did:web:provider.example'
const block = (await CBOR.write([piece, somePiece('other')])) as Block
const pieces = block.cid as ReturnType<typeof linkOf>
const tenant = { storefront: storefront.did(), group, label: 'one' }

/** Every task that is promised as an effect, with a nonce or without. */
const promised: Record<string, (nonce?: string) => Promise<Tasks_>> = {
  'filecoin/submit': nonce => Tasks.filecoinSubmit(storefront, { content, piece, nonce }),
  'filecoin/accept': nonce => Tasks.filecoinAccept(storefront, { content, piece, nonce }),
  'piece/offer': nonce => Tasks.pieceOffer(storefront, aggregator, { piece, group, nonce }),
  'piece/accept': nonce => Tasks.pieceAccept(aggregator, { piece, group, nonce }),
  'aggregate/offer': nonce => Tasks.aggregateOffer(aggregator, dealer, { aggregate, pieces, tenant, nonce }),
  'aggregate/accept': nonce => Tasks.aggregateAccept(dealer, { aggregate, pieces, nonce }),
}
type Tasks_ = Awaited<ReturnType<typeof Tasks.filecoinSubmit>>

describe.each(Object.entries(promised))('%s', (can, build) => {
  it('is the same bytes whenever it is built', async () => {
    const [one, two] = [await build(), await build()]
    expect(`${one.cid}`).toBe(`${two.cid}`)
    expect(one.asCID).toEqual(two.asCID)
    expect(one.root.bytes).toEqual(two.root.bytes)
  })

  it('is another task with each nonce', async () => {
    const cids = await Promise.all(
      [undefined, 'a', 'b', ''].map(async nonce => `${(await build(nonce)).cid}`),
    )
    expect(new Set(cids).size).toBe(4)
    expect((await build('a')).nonce).toBe('a')
    expect((await build()).nonce).toBeUndefined()
  })

  it('never expires, and is of the one who promises it', async () => {
    const task = await build()
    expect(task.expiration).toBe(Infinity)
    expect(task.notBefore).toBeUndefined()
    expect(task.capabilities).toMatchObject([{ can, with: task.issuer.did() }])
  })
})

describe('tasks are what published clients send', () => {
  /** The invocation that a client sends to a connection. */
  const sentBy = async (send: (options: object) => Promise<unknown>) => {
    let sent: IssuedInvocation | undefined
    await send({
      connection: {
        execute: async (invocation: IssuedInvocation) => {
          sent = invocation
          return [{}]
        },
      },
    })
    return sent!.buildIPLDView()
  }
  const own = (issuer: typeof storefront) => ({ issuer, audience: issuer, with: issuer.did() })

  const clients = { storacha, 'web3.storage': web3Storage }

  it.each(Object.entries(clients) as [string, typeof storacha][])('%s', async (_, client) => {
    const { Storefront, Aggregator, Dealer } = client
    const sent = {
      'filecoin/submit': await sentBy(options =>
        Storefront.filecoinSubmit(own(storefront), content, piece, options),
      ),
      'filecoin/accept': await sentBy(options =>
        Storefront.filecoinAccept(own(storefront), content, piece, options),
      ),
      'piece/offer': await sentBy(options =>
        Aggregator.pieceOffer(
          { issuer: storefront, audience: aggregator, with: storefront.did() },
          piece,
          group,
          options,
        ),
      ),
      'piece/accept': await sentBy(options => Aggregator.pieceAccept(own(aggregator), piece, group, options)),
      'aggregate/accept': await sentBy(options =>
        Dealer.aggregateAccept(own(dealer), aggregate, pieces as never, options),
      ),
    }
    for (const [can, invocation] of Object.entries(sent)) {
      const task = await promised[can]!()
      expect(task.root.bytes, can).toEqual(invocation.root.bytes)
      expect(`${task.cid}`).toBe(`${invocation.cid}`)
    }
  })
})

describe('a task says', () => {
  it('whose authority it is done with', async () => {
    const delegation = await Delegation.delegate({
      issuer: aggregator,
      audience: storefront,
      capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
      expiration: Infinity,
    })
    const task = await Tasks.pieceOffer(
      storefront,
      aggregator,
      { piece, group },
      { with: aggregator.did(), proofs: [delegation] },
    )
    expect(task.capabilities[0].with).toBe(aggregator.did())
    expect(task.proofs.map(proof => `${proof.link()}`)).toEqual([`${delegation.cid}`])
  })

  it('whose piece it is about, only where it must', async () => {
    const plain = await Tasks.pieceAccept(aggregator, { piece, group })
    const named = await Tasks.pieceAccept(aggregator, { piece, group, storefront: storefront.did() })
    expect(plain.facts).toEqual([])
    expect(named.facts).toEqual([{ storefront: storefront.did() }])
    expect(`${named.cid}`).not.toBe(`${plain.cid}`)
  })

  it('for whom an aggregate is, and carries the list of its pieces without being another task', async () => {
    const shown = await Tasks.aggregateOffer(aggregator, dealer, { aggregate, pieces, tenant })
    const sent = await Tasks.aggregateOffer(aggregator, dealer, { aggregate, pieces, tenant, block })
    expect(sent.facts).toEqual([tenant])
    expect(`${sent.cid}`).toBe(`${shown.cid}`)
    const links = (task: typeof sent) => [...task.iterateIPLDBlocks()].map(({ cid }) => `${cid}`)
    expect(links(sent)).toContain(`${pieces}`)
    expect(links(shown)).not.toContain(`${pieces}`)
  })

  it('which question it is: deal/info has a nonce always', async () => {
    const ask = (nonce: string) => Tasks.dealInfo(storefront, tracker, { piece: aggregate, nonce })
    expect(`${(await ask('1')).cid}`).not.toBe(`${(await ask('2')).cid}`)
  })
})

describe('the nonce of what is tried again', () => {
  it.each<[string, { nonce?: string }]>([
    ['an aggregate', {}],
    ['one sealed again', { nonce: 'group-2' }],
    ['one with spaces in its nonce', { nonce: ' a  b ' }],
    ['one with an empty nonce', { nonce: '' }],
  ])('names the failed aggregate: %s', (_, { nonce }) => {
    const retry = Tasks.retryNonce({ aggregate, nonce })
    expect(Tasks.retriedFrom(retry)).toEqual({ aggregate: `${aggregate}`, nonce })
  })

  it('is the CID of the aggregate where its offer had none', () => {
    expect(Tasks.retryNonce({ aggregate })).toBe(`${aggregate}`)
  })

  it.each(['', ' ', 'n', '{}'])('may be anything: %j', nonce => {
    expect(() => Tasks.retriedFrom(nonce)).not.toThrow()
    expect(Tasks.retriedFrom(nonce).aggregate).not.toBe(`${aggregate}`)
  })
})

describe('conclude', () => {
  it('carries the receipt with all blocks of its task and effects, through a message', async () => {
    const ran = await promised['piece/accept']!()
    const join = await promised['aggregate/offer']!()
    const fork = await promised['piece/offer']!()
    const receipt = await Receipt.issue({
      issuer: aggregator,
      ran: ran as never,
      result: { ok: { piece } },
      fx: { fork: [fork], join } as never,
    })
    const task = await Tasks.conclude(aggregator, storefront, {
      root: receipt.root as Block,
      blocks: receipt.iterateIPLDBlocks() as Iterable<Block>,
    })
    expect(task.capabilities).toMatchObject([
      { can: 'ucan/conclude', with: aggregator.did(), nb: { receipt: receipt.root.cid } },
    ])

    const message = await Message.build({ invocations: [task as never] })
    const car = CAR.encode({
      roots: [message.root],
      blocks: new Map([...message.iterateIPLDBlocks()].map(found => [`${found.cid}`, found])),
    } as never)
    const { blocks } = CAR.decode(car)
    const handed = Receipt.view({ root: receipt.root.cid as never, blocks: blocks as never })
    expect(handed.ran).toMatchObject({ capabilities: [{ can: 'piece/accept' }] })
    expect(handed.fx.join).toMatchObject({ capabilities: [{ can: 'aggregate/offer' }] })
    expect(handed.fx.fork).toMatchObject([{ capabilities: [{ can: 'piece/offer' }] }])
    expect(await handed.verifySignature(aggregator.verifier as never)).toMatchObject({ ok: {} })
    for (const { cid } of receipt.iterateIPLDBlocks()) expect([...blocks.keys()]).toContain(`${cid}`)
  })
})
