import { epochToMs } from '@w3filecoin/capabilities'
import type { FilecoinNode } from '@w3filecoin/local/filecoin-node'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { toPieceKey } from '../src/domain/deal.ts'
import { NOTHING_WATCHED } from '../src/domain/watch.ts'
import { openSource } from '../src/sources/open-source.ts'
import { configOf, startNode, startReading, statesOf } from './filecoin.ts'

const DAY = 2_880
const END = 600_000
const NOT_A_PIECE = 'bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4'
const link = somePiece('f05', 35)
const deal = { link, client: 'f01131298', provider: 'f020378', endEpoch: END }

let node: FilecoinNode
let reading: ReturnType<typeof startReading>
beforeEach(() => {
  node = startNode()
  reading = startReading({ kind: 'f05' })
})
afterEach(() => reading.close())

const states = (epoch = 0) => statesOf(reading.snapshot.deals.values(), epochToMs(epoch))
const watched = (...dealIDs: number[]) => ({ watched: { dealIDs, refused: 0 } })
const countCalls = () => node.chain.calls.filter(name => name === 'Filecoin.StateMarketStorageDeal').length
/** Has a deal published, and live by the end of a run. */
const startDeal = async (rpc: readonly string[], id: number): Promise<void> => {
  node.publishDeal(id, deal)
  node.startDeal(id)
  node.chain.advance(10)
  await reading.read(rpc, watched(id))
}

describe('the source f05', () => {
  it('reports a deal at a final epoch, from its publication to its end', async () => {
    const rpc = [await reading.listen(node)]
    node.publishDeal(123, { ...deal, label: 'bafkzci…/kD3wbPzc….json' })
    node.publishDeal(124, deal)
    await reading.read(rpc, watched(123))
    expect(states(), 'not final').toEqual([])

    node.chain.advance(10)
    const { report } = await reading.read(rpc, watched(123))
    expect(report).toMatchObject({ stateEpoch: 10_004, malformed: 0, refused: 0 })
    expect([...report.deals]).toEqual([
      [
        123,
        {
          place: { type: 'market', dealID: 123 },
          piece: toPieceKey(toV1(link).ok!),
          provider: 'f020378',
          client: 'f01131298',
          label: 'bafkzci…/kD3wbPzc….json',
          endEpoch: END,
          condition: 'pending',
        },
      ],
    ])
    expect(states()).toEqual(['123 Pending'])

    node.startDeal(123)
    node.chain.advance(10)
    // The snapshot has it by now.
    await reading.read(rpc)
    expect(states()).toEqual(['123 Active'])
    expect([...reading.snapshot.deals.values()][0]).toMatchObject({ activationEpoch: 10_010 })

    node.chain.advance(END - node.chain.head + 10)
    await reading.read(rpc)
    expect(states(END + 5)).toEqual(['123 Expired'])
    node.removeDeal(123)
    node.chain.advance(10)
    const { changes } = await reading.read(rpc)
    expect([changes, states()], 'its record stays as it is').toEqual([[], []])
  })

  it('reports a live deal as terminated that is slashed, or that the chain has no more', async () => {
    const rpc = [await reading.listen(node)]
    await startDeal(rpc, 123)
    await startDeal(rpc, 124)
    node.slashDeal(123)
    node.removeDeal(124)
    node.chain.advance(DAY)
    const { changes } = await reading.read(rpc)
    expect(statesOf(changes)).toEqual(['123 Terminated', '124 Terminated'])
    expect(changes).toMatchObject([
      { reason: expect.stringMatching(/^The deal was slashed at epoch \d+$/) },
      { reason: expect.stringMatching(/^The chain does not have the deal any more/) },
    ])
    // Nothing asks for it again, and it does not change any more.
    const calls = countCalls()
    node.chain.advance(DAY)
    expect((await reading.read(rpc)).changes).toEqual([])
    expect(countCalls()).toBe(calls)
  })

  it('knows nothing of a deal that the chain never had, and finds it later', async () => {
    const rpc = [await reading.listen(node)]
    expect((await reading.read(rpc, watched(123))).changes).toEqual([])
    await startDeal(rpc, 123)
    expect(states()).toEqual(['123 Active'])
  })

  it('reports a deal as terminated that does not begin in time', async () => {
    const rpc = [await reading.listen(node)]
    node.publishDeal(123, deal)
    node.chain.advance(10)
    await reading.read(rpc, watched(123))
    node.removeDeal(123)
    node.chain.advance(10)
    await reading.read(rpc, watched(123))
    expect(states()).toEqual(['123 Terminated'])
  })

  it('asks for a live deal once a day, and for a pending one in each run', async () => {
    const rpc = [await reading.listen(node)]
    await startDeal(rpc, 123)
    node.publishDeal(124, deal)
    node.chain.advance(10)
    await reading.read(rpc, watched(123, 124))
    const calls = countCalls()
    for (let n = 0; n < DAY / 30; n++) {
      node.chain.advance(30)
      await reading.read(rpc, watched(123, 124))
    }
    expect(countCalls() - calls).toBe(1 + DAY / 30)
  })

  it('does not report deals of a reorganized tipset', async () => {
    const rpc = [await reading.listen(node)]
    const undo = node.chain.fork()
    node.publishDeal(123, deal)
    node.chain.advance(3)
    await reading.read(rpc, watched(123))
    undo()
    node.chain.advance(20)
    await reading.read(rpc, watched(123))
    expect(states()).toEqual([])
  })

  it('drops a label that is empty or too long', async () => {
    const rpc = [await reading.listen(node)]
    node.publishDeal(123, deal)
    node.publishDeal(124, { ...deal, label: 'x'.repeat(201) })
    node.chain.advance(10)
    const { report } = await reading.read(rpc, watched(123, 124))
    expect([...report.deals.values()].map(({ label }) => label)).toEqual([undefined, undefined])
  })

  it('says that its report is incomplete if it does not search all deals', async () => {
    const rpc = [await reading.listen(node)]
    const { report } = await reading.read(rpc, { watched: { dealIDs: [123], refused: 1 } })
    expect(report).toMatchObject({ refused: 1 })
  })
})

it.each([
  ['f05', { kind: 'sector', miners: ['f01000'] }],
  ['sector', { kind: 'f05' }],
])(
  'a source that was of kind %s in its last run fails, and none of its deals count as gone',
  async (kind, other) => {
    const rpc = [await reading.listen(node)]
    await startDeal(rpc, 123)
    const sectors = startReading({ kind: 'sector', miners: ['f01000'], fromEpoch: 9_000 })
    node.activate('f01000', 77, [link], END)
    node.chain.advance(10)
    await sectors.read(rpc)
    const { snapshot } = kind === 'f05' ? reading : sectors
    expect(snapshot.deals.size).toBe(1)
    const source = openSource(configOf({ ...other, rpc }), { fetch })
    await expect(source.read(snapshot, NOTHING_WATCHED)).rejects.toMatchObject({ name: 'KindChanged' })
  },
)

describe('the nodes of the source f05', () => {
  it('must agree', async () => {
    const other = startNode()
    const rpc = [await reading.listen(node), await reading.listen(other)]
    node.publishDeal(123, deal)
    for (const one of [node, other]) one.chain.advance(10)
    await expect(reading.read(rpc, watched(123))).rejects.toMatchObject({ name: 'SourcesDisagree' })
    other.chain.head -= 10
    other.publishDeal(123, deal)
    other.chain.advance(10)
    await reading.read(rpc, watched(123))
    expect(states()).toEqual(['123 Pending'])
  })

  it('report nothing while they refuse a call for another reason than that they do not find the deal', async () => {
    const other = startNode()
    const rpc = [await reading.listen(node)]
    await startDeal(rpc, 123)
    node.chain.advance(DAY)
    const before = reading.snapshot
    for (const faults of [{ status: 429 }, { status: 503, only: 'StateMarketStorageDeal' }]) {
      node.chain.faults = faults
      await expect(reading.read(rpc)).rejects.toThrow()
    }
    node.chain.faults = {}
    node.filecoinFaults = { network: 'mainnet' }
    await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'WrongChain' })
    // A tipset of another chain: 'loading tipset …: not found'.
    other.chain.fork()()
    other.chain.advance(DAY + 10)
    const tipset = other.methods['Filecoin.ChainGetFinalizedTipSet']!([])
    node.filecoinFaults = {
      answers: {
        'Filecoin.ChainGetFinalizedTipSet': tipset,
        'Filecoin.ChainGetTipSetByHeight': tipset,
      },
    }
    await expect(reading.read(rpc)).rejects.toThrow('loading tipset')
    expect(reading.snapshot).toBe(before)
  })

  it.each<[string, { Proposal?: object; State?: object }]>([
    ['no state', { State: {} }],
    ['a size that is not a power of two', { Proposal: { PieceSize: 1_000 } }],
    ['no size', { Proposal: { PieceSize: 0 } }],
    ['a CID that is not of a piece', { Proposal: { PieceCID: { '/': NOT_A_PIECE } } }],
    ['no provider', { Proposal: { Provider: 'f2abc' } }],
    ['no end', { Proposal: { EndEpoch: null } }],
  ])('that answer with %s report nothing', async (_, { Proposal, State }) => {
    const rpc = [await reading.listen(node)]
    node.publishDeal(123, deal)
    node.chain.advance(10)
    const { Cids } = node.methods['Filecoin.ChainGetFinalizedTipSet']!([]) as { Cids: object }
    const method = 'Filecoin.StateMarketStorageDeal'
    const answer = node.methods[method]!([123, Cids]) as { Proposal: object; State: object }
    const wrong = { Proposal: { ...answer.Proposal, ...Proposal }, State: State ?? answer.State }
    node.filecoinFaults = { answers: { [method]: wrong } }
    await expect(reading.read(rpc, watched(123))).rejects.toMatchObject({ name: 'UnknownAnswer' })
  })
})
