import type { Receipt } from '@ucanto/interface'
import { failure, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import { issueReceipt } from '@w3filecoin/runtime'
import { ask, served } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { createAggregator } from '../src/index.ts'
import {
  aggregator,
  aws,
  clock,
  dealer,
  deliveredOf,
  dependencies,
  EIGHTH,
  errorOf,
  freshGroup,
  HOUR,
  offerAll,
  offersOf,
  QUARTER,
  recordOf,
  service,
  settle,
  stranger,
  sweepAfter,
} from './setup.ts'

/** Seals an aggregate, and loses the message that offers it. */
const sealOnly = async (seed: string) => {
  const group = freshGroup(seed)
  const [piece] = (await offerAll([QUARTER, EIGHTH], group)) as [PieceLink]
  await settle()
  clock.now += HOUR
  await service.schedules.sweep!()
  await aws.deliver('seal', service.consumers.seal as never)
  await aws.drain('deal')
  await settle()
  return { group, piece }
}

const aggregateOf = async (piece: PieceLink, group: string) => {
  const { aggregateId: id } = (await recordOf(piece, group))!
  return (await dependencies.stores.aggregate.get({ id: id! }))!
}

const deliver = async (receipt: Receipt) =>
  ask(
    service.api,
    await Tasks.conclude(dealer, aggregator, { root: receipt.root, blocks: receipt.iterateIPLDBlocks() }),
  )

/** Seals and offers an aggregate, and returns the `aggregate/accept` that the dealer promised. */
const offered = async (seed: string) => {
  const group = freshGroup(seed)
  const [piece] = (await offerAll([QUARTER, EIGHTH], group)) as [PieceLink]
  await settle()
  await sweepAfter(HOUR)
  const [offer] = offersOf(group)
  const nb = offer!.capabilities[0]!.nb as { aggregate: PieceLink; pieces: never }
  const accept = await Tasks.aggregateAccept(dealer, { ...nb, nonce: offer!.nonce })
  return { group, piece, offer: offer!, accept, ...nb, record: () => aggregateOf(piece, group) }
}

describe('the dealer’s receipt of aggregate/accept', () => {
  it.each(['UnsupportedCapability', 'HandlerExecutionError'])(
    'with the error %s, which may pass, changes nothing and is not stored',
    async name => {
      const { accept, aggregate, record } = await offered(`error ${name}`)
      const answer = await deliver(
        await issueReceipt(dealer, accept, { out: { error: failure(name, 'not now') } }),
      )
      expect(errorOf(answer)?.name).toBe('InvalidReceipt')
      expect(await record()).toMatchObject({ stage: 'offered' })
      expect(await served(service.api, accept.cid)).toBeUndefined()
      const out = { ok: { aggregate, dataType: 0, dataSource: { dealID: 7 } } }
      await deliver(await issueReceipt(dealer, accept, { out }))
      expect(await record()).toMatchObject({ stage: 'accepted' })
    },
  )

  it('with the error DealNotFound ends the aggregate', async () => {
    const { accept, record } = await offered('no deal')
    await deliver(await issueReceipt(dealer, accept, { out: { error: failure('DealNotFound', 'none') } }))
    expect(await record()).toMatchObject({ stage: 'failed' })
  })
})

describe('the dealer’s answer to aggregate/offer', () => {
  it('is passed on to the storefront, with the promised task and without the list of pieces', async () => {
    const { offer, accept, pieces } = await offered('passed on')
    const [passed] = deliveredOf([`${offer.cid}`])
    expect(`${passed?.receipt.fx.join?.link()}`).toBe(`${accept.cid}`)
    const blocks = [...passed!.receipt.iterateIPLDBlocks()].map(({ cid }) => `${cid}`)
    expect(blocks).toContain(`${offer.cid}`)
    expect(blocks).not.toContain(`${pieces}`)
  })

  it.each<[string, (aggregate: PieceLink, pieces: never) => Promise<Task>]>([
    ['of a stranger', (aggregate, pieces) => Tasks.aggregateAccept(stranger, { aggregate, pieces })],
    ['for a piece', (piece, _) => Tasks.pieceAccept(dealer, { piece, group: 'g' })],
  ])('is no promise if it names a task %s', async (what, build) => {
    const { group, piece } = await sealOnly(`promise ${what}`)
    const record = await aggregateOf(piece, group)
    const logged: string[] = []
    const execute = (tasks: Task[]) =>
      Promise.all(
        tasks.map(async task => {
          const { aggregate, pieces } = task.capabilities[0]!.nb as { aggregate: PieceLink; pieces: never }
          const fx = { join: await build(aggregate, pieces) }
          return { ok: await issueReceipt(dealer, task, { out: { ok: { aggregate } }, fx }) }
        }),
      )
    const { consumers } = createAggregator({
      ...dependencies,
      dealer: Object.create(dependencies.dealer, { execute: { value: execute } }),
      log: (_, event) => logged.push(event),
    })
    await consumers.deal!.handle([{ aggregate: record.id }])
    expect(logged).toEqual(['aggregate refused'])
    expect(await aggregateOf(piece, group)).toMatchObject({ stage: 'sealed' })
  })

  it('decides by the stored receipt: a refusal after a promise leaves the aggregate offered', async () => {
    const { group, piece } = await sealOnly('refused after a promise')
    const record = await aggregateOf(piece, group)
    const answers = [true, false].map(isPromise => async (tasks: Task[]) => {
      const [task] = tasks as [Task]
      const { aggregate, pieces } = task.capabilities[0]!.nb as { aggregate: PieceLink; pieces: never }
      const join = await Tasks.aggregateAccept(dealer, { aggregate, pieces })
      const cause = [failure('InvalidPieceCID', 'All zeros', { piece })]
      const outcome = isPromise
        ? { out: { ok: { aggregate } }, fx: { join } }
        : { out: { error: failure('InvalidPiece', 'One is invalid', { cause }) } }
      return [{ ok: await issueReceipt(dealer, task, outcome) }]
    })
    for (const execute of answers) {
      const { consumers } = createAggregator({
        ...dependencies,
        dealer: Object.create(dependencies.dealer, { execute: { value: execute } }),
        stores: {
          ...dependencies.stores,
          // The first run is killed after it stored the receipt.
          aggregate:
            execute === answers[0]
              ? Object.create(dependencies.stores.aggregate, {
                  replace: { value: () => Promise.reject(new Error('killed')) },
                })
              : dependencies.stores.aggregate,
        },
      })
      await consumers.deal!.handle([{ aggregate: record.id }])
    }
    expect(await aggregateOf(piece, group)).toMatchObject({ stage: 'offered' })
  })
})
