import { cut } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { groupId } from '../src/domain/piece.ts'
import { createAggregator, type Dependencies } from '../src/index.ts'

import {
  acceptOf,
  aws,
  clock,
  deliveredOf,
  dependencies,
  EIGHTH,
  freshGroup,
  HALF,
  HOUR,
  listed,
  offerAll,
  offeredPieces,
  one,
  outcomeOf,
  QUARTER,
  SMALL,
  service,
  settle,
  sweepAfter,
  texts,
} from './setup.ts'

describe('a seal that is interrupted', () => {
  type Cut = (whole: Dependencies) => Partial<Dependencies>
  const cuts: [string, Cut][] = [
    [
      'before it is added to its group',
      ({ stores }) => ({ stores: { ...stores, group: cut(stores.group, 'replace') } }),
    ],
    [
      'before the list of pieces is stored',
      ({ stores }) => ({ stores: { ...stores, blocks: cut(stores.blocks, 'put') } }),
    ],
    [
      'before the aggregate has a record',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'insert') } }),
    ],
    ['before the offer is sent', ({ queues }) => ({ queues: { ...queues, deal: cut(queues.deal, 'send') } })],
    [
      'before the pieces are included',
      ({ queues }) => ({ queues: { ...queues, include: cut(queues.include, 'send') } }),
    ],
    [
      'before the next seal is requested',
      ({ queues }) => ({ queues: { ...queues, seal: cut(queues.seal, 'send') } }),
    ],
  ]

  it.each(cuts)('%s, is completed, and every piece is in one aggregate', async (how, cutting) => {
    const group = freshGroup(how)
    const pieces = await offerAll([HALF, QUARTER, EIGHTH], group)
    await settle()
    const id = groupId({ storefront: one.did(), group })
    clock.now += HOUR
    const { consumers } = createAggregator({ ...dependencies, ...cutting(dependencies) })
    const [taken] = await consumers.seal!.handle([{ group: id, id: 'cut' }])
    expect(taken?.error?.message).toBe('Cut by the test')
    // Another piece is offered meanwhile; then SQS delivers the message again.
    const more = await offerAll([SMALL], group)
    await settle()
    expect((await service.consumers.seal!.handle([{ group: id, id: 'cut' }]))[0]?.ok).toBeDefined()
    await settle()
    for (let n = 0; n < 3; n++) await sweepAfter(HOUR)
    const all = offeredPieces(group)
    expect(new Set(all.map(aggregate => aggregate.join())).size, 'no aggregate was offered twice').toBe(
      all.length,
    )
    expect(all.flat().toSorted()).toEqual(texts([...pieces, ...more]))
    for (const piece of [...pieces, ...more]) expect((await outcomeOf(piece, group))?.ok).toBeDefined()
    expect(await listed(group)).toEqual([])
  })

  it.each<[string, Cut]>([
    [
      'before receipts are stored',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'putMany') } }),
    ],
    [
      'before pieces are marked',
      ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } }),
    ],
    [
      'before their rows leave the list',
      ({ stores }) => ({ stores: { ...stores, pending: cut(stores.pending, 'removeMany') } }),
    ],
    [
      'before the receipts are sent',
      ({ queues }) => ({ queues: { ...queues, conclude: cut(queues.conclude, 'send') } }),
    ],
    [
      'before the range is closed',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'replace') } }),
    ],
  ])('while its pieces are included, %s, includes them again', async (how, cutting) => {
    const group = freshGroup(how)
    const pieces = await offerAll([HALF, QUARTER], group)
    clock.now += HOUR
    await service.consumers.seal!.handle([{ group: groupId({ storefront: one.did(), group }), id: 'x' }])
    const { consumers } = createAggregator({ ...dependencies, ...cutting(dependencies) })
    const { failed } = await aws.deliver('include', consumers.include as never)
    expect(failed).toMatchObject([{ message: 'Cut by the test' }])
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces)])
    for (const piece of pieces) expect((await outcomeOf(piece, group))?.ok).toBeDefined()
    const tasks = await Promise.all(pieces.map(async piece => `${(await acceptOf(piece, group)).cid}`))
    expect(new Set(deliveredOf(tasks).map(({ task }) => task)).size).toBe(2)
    expect(await listed(group)).toEqual([])
  })
})
