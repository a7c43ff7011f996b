import * as storacha from '@storacha/filecoin-client'
import { CAR, CBOR, Delegation, Message, Receipt } from '@ucanto/core'
import type { Block, IssuedInvocation } from '@ucanto/interface'
import { bytesOf, linkOf, signersOf, somePiece } from '@w3filecoin/testing'
import * as web3Storage from '@web3-storage/filecoin-client'
import { describe, expect, it } from 'vitest'
import { type Task, Tasks } from '../src/index.ts'

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

/** Builders of the tasks that are promised as effects, by ability. */
const promised: Record<string, (nonce?: string) => Promise<Task>> = {
  'filecoin/submit': nonce => Tasks.filecoinSubmit(storefront, { content, piece, nonce }),
  'filecoin/accept': nonce => Tasks.filecoinAccept(storefront, { content, piece, nonce }),
  'piece/offer': nonce => Tasks.pieceOffer(storefront, aggregator, { piece, group, nonce }),
  'piece/accept': nonce => Tasks.pieceAccept(aggregator, { piece, group, nonce }),
  'aggregate/offer': nonce => Tasks.aggregateOffer(aggregator, dealer, { aggregate, pieces, tenant, nonce }),
  'aggregate/accept': nonce => Tasks.aggregateAccept(dealer, { aggregate, pieces, nonce }),
}

describe.each(Object.entries(promised))('%s', (can, build) => {
  it('has the same bytes each time it is built', async () => {
    const [one, two] = [await build(), await build()]
    expect(`${one.cid}`).toBe(`${two.cid}`)
    expect(one.asCID).toEqual(two.asCID)
    expect(one.root.bytes).toEqual(two.root.bytes)
  })

  it('is a different task with each nonce', async () => {
    const cids = await Promise.all(
      [undefined, 'a', 'b', ''].map(async nonce => `${(await build(nonce)).cid}`),
    )
    expect(new Set(cids).size).toBe(4)
    expect((await build('a')).nonce).toBe('a')
    expect((await build()).nonce).toBeUndefined()
  })

  it('never expires, and has its issuer as the resource', async () => {
    const task = await build()
    expect(task.expiration).toBe(Infinity)
    expect(task.notBefore).toBeUndefined()
    expect(task.capabilities).toMatchObject([{ can, with: task.issuer.did() }])
  })
})

it('aggregate/accept of a later offer names its tenant, and its aggregator if another one was first', async () => {
  const { storefront, group } = tenant
  const facts = [undefined, { storefront, group }, { storefront, group, aggregator: aggregator.did() }]
  const tasks = await Promise.all(
    facts.map(laterOffer => Tasks.aggregateAccept(dealer, { aggregate, pieces, laterOffer })),
  )
  expect(tasks.map(task => task.facts)).toEqual(facts.map(fact => (fact ? [fact] : [])))
  expect(new Set(tasks.map(({ cid }) => `${cid}`)).size).toBe(3)
})

describe('tasks have the same bytes as those of published clients', () => {
  /** Returns the invocation that a client sends to its connection. */
  const captureSent = async (send: (options: object) => Promise<unknown>) => {
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
      'filecoin/submit': await captureSent(options =>
        Storefront.filecoinSubmit(own(storefront), content, piece, options),
      ),
      'filecoin/accept': await captureSent(options =>
        Storefront.filecoinAccept(own(storefront), content, piece, options),
      ),
      'piece/offer': await captureSent(options =>
        Aggregator.pieceOffer(
          { issuer: storefront, audience: aggregator, with: storefront.did() },
          piece,
          group,
          options,
        ),
      ),
      'piece/accept': await captureSent(options =>
        Aggregator.pieceAccept(own(aggregator), piece, group, options),
      ),
      'aggregate/accept': await captureSent(options =>
        Dealer.aggregateAccept(own(dealer), aggregate, pieces, options),
      ),
    }
    for (const [can, invocation] of Object.entries(sent)) {
      const task = await promised[can]!()
      expect(task.root.bytes, can).toEqual(invocation.root.bytes)
      expect(`${task.cid}`).toBe(`${invocation.cid}`)
    }
  })
})

describe('a task', () => {
  it('carries the authority that it is invoked with', async () => {
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

  it('piece/accept names the storefront only if it is given', async () => {
    const plain = await Tasks.pieceAccept(aggregator, { piece, group })
    const named = await Tasks.pieceAccept(aggregator, { piece, group, storefront: storefront.did() })
    expect(plain.facts).toEqual([])
    expect(named.facts).toEqual([{ storefront: storefront.did() }])
    expect(`${named.cid}`).not.toBe(`${plain.cid}`)
  })

  it('aggregate/offer names the tenant, and has the same CID with and without the block of pieces', async () => {
    const shown = await Tasks.aggregateOffer(aggregator, dealer, { aggregate, pieces, tenant })
    const sent = await Tasks.aggregateOffer(aggregator, dealer, { aggregate, pieces, tenant, block })
    expect(sent.facts).toEqual([tenant])
    expect(`${sent.cid}`).toBe(`${shown.cid}`)
    const links = (task: typeof sent) => [...task.iterateIPLDBlocks()].map(({ cid }) => `${cid}`)
    expect(links(sent)).toContain(`${pieces}`)
    expect(links(shown)).not.toContain(`${pieces}`)
  })

  it('deal/info differs by its nonce', async () => {
    const ask = (nonce: string) => Tasks.dealInfo(storefront, tracker, { piece: aggregate, nonce })
    expect(`${(await ask('1')).cid}`).not.toBe(`${(await ask('2')).cid}`)
  })
})

describe('a retry nonce', () => {
  it.each<[string, { nonce?: string }]>([
    ['an aggregate', {}],
    ['an aggregate with a nonce', { nonce: 'group-2' }],
    ['an aggregate with spaces in its nonce', { nonce: ' a  b ' }],
    ['an aggregate with an empty nonce', { nonce: '' }],
  ])('names the failed aggregate: %s', (_, { nonce }) => {
    const retry = Tasks.retryNonce({ aggregate, nonce })
    expect(Tasks.parseRetryNonce(retry)).toEqual({ aggregate: `${aggregate}`, nonce })
  })

  it('is the CID of the aggregate if its offer had no nonce', () => {
    expect(Tasks.retryNonce({ aggregate })).toBe(`${aggregate}`)
  })

  it.each(['', ' ', 'n', '{}'])('parses from any text: %j', nonce => {
    expect(() => Tasks.parseRetryNonce(nonce)).not.toThrow()
    expect(Tasks.parseRetryNonce(nonce).aggregate).not.toBe(`${aggregate}`)
  })
})

describe('conclude', () => {
  it('carries a receipt with all blocks of its task and effects through a message', async () => {
    const ran = await promised['piece/accept']!()
    const join = await promised['aggregate/offer']!()
    const fork = await promised['piece/offer']!()
    const receipt = await Receipt.issue({
      issuer: aggregator,
      ran: ran,
      result: { ok: { piece } },
      fx: { fork: [fork], join },
    })
    const task = await Tasks.conclude(aggregator, storefront, {
      root: receipt.root as Block,
      blocks: receipt.iterateIPLDBlocks() as Iterable<Block>,
    })
    expect(task.capabilities).toMatchObject([
      { can: 'ucan/conclude', with: aggregator.did(), nb: { receipt: receipt.root.cid } },
    ])

    const message = await Message.build({ invocations: [task] })
    const car = CAR.encode({
      roots: [message.root],
      blocks: new Map([...message.iterateIPLDBlocks()].map(found => [`${found.cid}`, found])),
    })
    const { blocks } = CAR.decode(car)
    const handed = Receipt.view({ root: receipt.root.cid, blocks: blocks })
    expect(handed.ran).toMatchObject({ capabilities: [{ can: 'piece/accept' }] })
    expect(handed.fx.join).toMatchObject({ capabilities: [{ can: 'aggregate/offer' }] })
    expect(handed.fx.fork).toMatchObject([{ capabilities: [{ can: 'piece/offer' }] }])
    expect(await handed.verifySignature(aggregator.verifier)).toMatchObject({ ok: {} })
    for (const { cid } of receipt.iterateIPLDBlocks()) expect([...blocks.keys()]).toContain(`${cid}`)
  })
})
