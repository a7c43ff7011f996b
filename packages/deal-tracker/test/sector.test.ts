import { epochToMs } from '@w3filecoin/capabilities'
import type { FilecoinNode } from '@w3filecoin/local/filecoin-node'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type KnownDeal, toPieceKey } from '../src/domain/deal.ts'
import { EMPTY_SNAPSHOT } from '../src/domain/snapshot.ts'
import { NOTHING_WATCHED } from '../src/domain/watch.ts'
import { openSource } from '../src/sources/open-source.ts'
import { MAX_SECTOR_PIECES } from '../src/sources/sector.ts'
import { configOf, startNode, startReading, statesOf } from './filecoin.ts'

const MINER = 'f01000'
const DAY = 2_880
const END = 600_000
const links = [1, 2, 3].map(n => somePiece(`sector ${n}`, 25))

let node: FilecoinNode
let reading: ReturnType<typeof startReading>
beforeEach(() => {
  node = startNode()
  reading = startReading({ kind: 'sector', miners: [MINER] })
})
afterEach(() => reading.close())

const states = () => statesOf(reading.snapshot.deals.values()).sort()
const endOf = (sector: number) =>
  [...reading.snapshot.deals.values()].find(({ place }) => place.type === 'sector' && place.sector === sector)
    ?.endEpoch
/** Runs the source each 15 minutes for a day. */
const readDay = async (rpc: readonly string[]): Promise<void> => {
  for (let n = 0; n < DAY / 30; n++) {
    node.chain.advance(30)
    await reading.read(rpc)
  }
}
const countCalls = (method: string) => node.chain.calls.filter(name => name === `Filecoin.${method}`).length

describe('the source sector', () => {
  it('reports the pieces in sectors at a final epoch, from their activation to their end', async () => {
    const rpc = [await reading.listen(node)]
    expect((await reading.read(rpc)).report).toMatchObject({ stateEpoch: 9_994, malformed: 0, refused: 0 })
    node.activate(MINER, 77, links.slice(0, 2), END)
    node.activate(MINER, 78, [], END)
    node.activate('f09999', 1, links, END)
    await reading.read(rpc)
    expect(states(), 'not final').toEqual([])

    node.chain.advance(10)
    const { report } = await reading.read(rpc)
    expect([...report.deals.values()]).toEqual(
      links.slice(0, 2).map(link => ({
        place: { type: 'sector', miner: MINER, sector: 77 },
        piece: toPieceKey(toV1(link).ok!),
        provider: MINER,
        endEpoch: END,
        activationEpoch: 10_000,
      })),
    )
    expect(states()).toEqual(['77 Active', '77 Active'])

    // A sector without pieces gets some.
    node.update(MINER, 78, links.slice(2))
    node.chain.advance(10)
    await reading.read(rpc)
    expect(states()).toEqual(['77 Active', '77 Active', '78 Active'])

    node.terminate(MINER, 77)
    node.chain.advance(10)
    const { changes } = await reading.read(rpc)
    expect(statesOf(changes)).toEqual(['77 Terminated', '77 Terminated'])
    expect(changes).toMatchObject([
      { reason: 'The sector was terminated' },
      { reason: 'The sector was terminated' },
    ])

    // Its last run before the end has it, and the one after the end has not.
    node.chain.advance(END - node.chain.head + 4)
    await reading.read(rpc)
    expect(states()).toContain('78 Active')
    node.chain.advance(2)
    await reading.read(rpc)
    expect(reading.snapshot.deals.size).toBe(0)
  })

  it('does not lose a sector whose activation is in the final tipset, whose state does not have it yet', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.activate(MINER, 77, links, END)
    node.chain.advance(node.chain.lag)
    expect(node.chain.finalized).toBe(10_000)
    await reading.read(rpc)
    expect(states()).toEqual([])
    node.chain.advance(1)
    await reading.read(rpc)
    expect(states()).toEqual(['77 Active', '77 Active', '77 Active'])
  })

  it.each(['Lotus', 'Forest'])(
    'sees within a day that a sector is faulty, recovers, is extended, or ends without an event, by %s',
    async name => {
      node.isForest = name === 'Forest'
      const rpc = [await reading.listen(node)]
      await reading.read(rpc)
      for (const sector of [1, 2, 3]) node.activate(MINER, sector, [links[sector - 1]!], END)
      node.chain.advance(10)
      await reading.read(rpc)
      node.changeSector(MINER, 1, { status: 'faulty' })
      node.extend(MINER, 2, 2 * END)
      // The entry of a terminated sector stays in the state.
      node.endByCron(MINER, 3)
      await readDay(rpc)
      expect(states()).toEqual(['1 Active, faulty', '2 Active', '3 Terminated'])
      expect(endOf(2)).toBe(2 * END)
      node.changeSector(MINER, 1, { status: 'active' })
      node.changeSector(MINER, 2, { isCompacted: true })
      await readDay(rpc)
      expect(states()).toEqual(['1 Active', '2 Terminated', '3 Terminated'])
    },
  )

  it('reads the state of a sector once when it is new, and then once a day', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    for (let sector = 0; sector < 60; sector++) node.activate(MINER, sector * 97, [links[0]!], END)
    node.chain.advance(10)
    await reading.read(rpc)
    expect([countCalls('StateSectorGetInfo'), countCalls('StateCall')]).toEqual([60, 0])
    await readDay(rpc)
    expect([countCalls('StateSectorGetInfo'), countCalls('StateCall')]).toEqual([120, 60])
  })

  it('asks actors for statuses from network version 28 on only', async () => {
    const rpc = [await reading.listen(node)]
    node.networkVersion = 27
    await reading.read(rpc)
    node.activate(MINER, 77, [links[0]!], END)
    node.chain.advance(10)
    await reading.read(rpc)
    await readDay(rpc)
    expect([countCalls('StateCall'), ...states()]).toEqual([0, '77 Active'])
    node.networkVersion = 28
    await readDay(rpc)
    expect([countCalls('StateCall'), ...states()]).toEqual([1, '77 Active'])
  })

  it('reads a sector that was extended before its end until the new end', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.activate(MINER, 77, [links[0]!], 10_100)
    node.chain.advance(10)
    await reading.read(rpc)
    node.chain.advance(80)
    node.extend(MINER, 77, END)
    node.chain.advance(100)
    await reading.read(rpc)
    expect(statesOf(reading.snapshot.deals.values(), epochToMs(10_150))).toEqual(['77 Active'])
  })

  it('does not report sectors of a reorganized tipset', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    const undo = node.chain.fork()
    node.activate(MINER, 77, links, END)
    node.chain.advance(3)
    await reading.read(rpc)
    undo()
    node.chain.advance(20)
    await reading.read(rpc)
    expect(reading.snapshot.deals.size).toBe(0)
  })
})

describe('the windows of the source sector', () => {
  it('cover each epoch once, with at most 2,880 epochs each', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    // One sector at each end of each window.
    const first = node.chain.finalized
    const edges = [0, DAY - 1, DAY, 2 * DAY - 1, 2 * DAY]
    for (const [n, edge] of edges.entries()) {
      node.chain.head = first + edge
      node.activate(MINER, n, [links[0]!], END)
    }
    node.chain.advance(node.chain.lag + 1)
    reading.ranges.length = 0
    await reading.read(rpc)
    expect(states()).toEqual(['0 Active', '1 Active', '2 Active', '3 Active', '4 Active'])
    expect(reading.ranges).toEqual([
      [first, first + DAY - 1],
      [first + DAY, first + 2 * DAY - 1],
      [first + 2 * DAY, first + 2 * DAY],
      // Whether the node still has the first epoch.
      [first, first],
    ])
    reading.ranges.length = 0
    await reading.read(rpc)
    expect(reading.ranges).toEqual([])
  })

  it.each([
    ['fewer epochs', { maxRange: 100 }],
    ['fewer events', { maxResults: 3 }],
  ])('are halved for a node that answers with %s', async (_, faults) => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    for (let n = 0; n < 20; n++) {
      node.activate(MINER, n, [links[0]!], END)
      node.chain.advance(37)
    }
    node.filecoinFaults = faults
    await reading.read(rpc)
    expect(reading.snapshot.deals.size).toBe(20)
  })

  it('begin at the epoch in the settings', async () => {
    node.activate(MINER, 77, [links[0]!], END)
    node.chain.advance(4 * DAY)
    const rpc = [await reading.listen(node)]
    await reading.read(rpc, { fromEpoch: 10_000 })
    expect(states()).toEqual(['77 Active'])
    expect(reading.ranges[0]).toEqual([10_000, 12_879])
  })

  it('end early if there are too many events, and the next run reads on', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    for (let n = 0; n < 20_000; n++) node.activate(MINER, n, [], END)
    node.chain.advance(DAY + 100)
    node.activate(MINER, 30_000, [links[0]!], END)
    node.chain.advance(10)
    expect((await reading.read(rpc)).report).toMatchObject({ stateEpoch: 9_994 + DAY, refused: 0 })
    expect(states()).toEqual([])
    await reading.read(rpc)
    expect(states()).toEqual(['30000 Active'])
  })
})

describe('the source sector, when a node does not keep its history', () => {
  it.each([
    ['has a part of the events since the last run', 11_000],
    ['has none of them', 11_900],
  ])('fails with HistoryMissing if the node %s', async (_, indexedFrom) => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.activate(MINER, 77, links, END)
    node.chain.advance(1_500)
    node.activate(MINER, 78, links, END)
    node.chain.advance(500)
    node.filecoinFaults = { indexedFrom }
    const before = reading.snapshot
    await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'HistoryMissing' })
    expect(reading.snapshot).toBe(before)
    node.filecoinFaults = { indexedFrom: 9_995 }
    await reading.read(rpc)
    expect(reading.snapshot.deals.size).toBe(6)
  })

  it('fails with HistoryMissing if the first epoch is a null round, and the node lost the ones before', async () => {
    const rpc = [await reading.listen(node)]
    node.activate(MINER, 77, links, END)
    node.chain.advance(50)
    node.chain.faults = { nullRounds: new Set([9_000, 9_001]) }
    node.filecoinFaults = { indexedFrom: 9_001 }
    await expect(reading.read(rpc, { fromEpoch: 9_000 })).rejects.toMatchObject({ name: 'HistoryMissing' })
  })

  it('fails with HistoryMissing at a gateway that does not look back so far', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.chain.advance(DAY + 100)
    node.filecoinFaults = { lookback: DAY }
    await expect(reading.read(rpc)).rejects.toMatchObject({
      name: 'HistoryMissing',
      message: expect.stringContaining('epoch 9995'),
    })
  })
})

describe('the nodes of the source sector', () => {
  it('may have null rounds', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.activate(MINER, 77, [links[0]!], END)
    node.chain.advance(10)
    node.chain.faults = { nullRounds: new Set([node.chain.finalized, node.chain.finalized - 1]) }
    expect((await reading.read(rpc)).report).toMatchObject({ stateEpoch: 10_002 })
    expect(states()).toEqual(['77 Active'])
  })

  it('must both be read, at a tipset that both have, and agree', async () => {
    const other = startNode()
    const rpc = [await reading.listen(node), await reading.listen(other)]
    await reading.read(rpc)
    for (const one of [node, other]) {
      one.activate(MINER, 77, [links[0]!], END)
      one.chain.advance(10)
    }
    node.chain.advance(7)
    expect((await reading.read(rpc)).report).toMatchObject({ stateEpoch: 10_004 })
    expect(states()).toEqual(['77 Active'])

    const before = reading.snapshot
    other.activate(MINER, 78, [links[1]!], END)
    for (const one of [node, other]) one.chain.advance(20)
    await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'SourcesDisagree' })
    node.chain.head -= 27
    node.activate(MINER, 78, [links[1]!], END)
    node.chain.advance(27)
    await reading.read(rpc)
    expect(reading.snapshot).not.toBe(before)

    // The other has another chain with the same events.
    const undo = other.chain.fork()
    undo()
    for (const one of [node, other]) one.chain.advance(30)
    await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'SourcesDisagree' })
  })

  it('must both answer', async () => {
    const other = startNode()
    other.chain.faults = { status: 503 }
    const rpc = [await reading.listen(node), await reading.listen(other)]
    await expect(reading.read(rpc)).rejects.toThrow()
  })

  it('must serve the network of the settings', async () => {
    node.filecoinFaults = { network: 'calibrationnet' }
    const rpc = [await reading.listen(node)]
    await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'WrongChain' })
  })

  it.each(['GetActorEventsRaw', 'StateSectorGetInfo', 'StateCall', 'ChainGetFinalizedTipSet'])(
    'report nothing while they limit the rate of %s',
    async method => {
      const rpc = [await reading.listen(node)]
      await reading.read(rpc)
      node.activate(MINER, 77, links, END)
      node.chain.advance(10)
      if (method === 'StateCall') await reading.read(rpc)
      node.activate(MINER, 78, links, END)
      node.chain.advance(DAY)
      node.chain.faults = { status: 429, only: method }
      const before = reading.snapshot
      await expect(reading.read(rpc)).rejects.toThrow()
      expect(reading.snapshot).toBe(before)
    },
  )

  const event = { entries: [], emitter: MINER, reverted: false, height: 10_000 }
  const text = (value: string) => ({ Flags: 3, Key: '$type', Codec: 81, Value: value })
  it.each([
    ['ChainGetFinalizedTipSet', { Height: 9_995 }],
    ['ChainGetFinalizedTipSet', { Cids: [{ '/': 'bafy' }], Height: -1 }],
    ['GetActorEventsRaw', 'none'],
    ['GetActorEventsRaw', [event]],
    ['GetActorEventsRaw', [{ ...event, entries: [text('c3NlY3Rvci10ZXJtaW5hdGVk')] }]],
    ['GetActorEventsRaw', [{ ...event, entries: [text('/w==')] }]],
    ['StateSectorGetInfo', { SectorNumber: 1, Expiration: END }],
    ['StateSectorGetInfo', { SectorNumber: 77, Expiration: 'never' }],
    ['StateNetworkVersion', 'v28'],
    ['StateCall', { MsgRct: { ExitCode: 22, Return: null } }],
    ['StateCall', { MsgRct: { ExitCode: 0, Return: 'AQ==' } }],
  ])('that answer %s with %j report nothing', async (method, answer) => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.activate(MINER, 77, links, END)
    node.chain.advance(10)
    await reading.read(rpc)
    node.chain.advance(DAY)
    node.filecoinFaults = { answers: { [`Filecoin.${method}`]: answer } }
    await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'UnknownAnswer' })
  })

  it('that return an event of another actor, or of another epoch, report nothing', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    node.activate('f01001', 77, links, END)
    node.chain.advance(10)
    const [foreign] = node.methods['Filecoin.GetActorEventsRaw']!([
      { addresses: ['f01001'], fromHeight: 10_000, toHeight: 10_000, fields: {} },
    ]) as object[]
    for (const wrong of [{}, { emitter: MINER, height: 9_000 }]) {
      node.filecoinFaults = { answers: { 'Filecoin.GetActorEventsRaw': [{ ...foreign, ...wrong }] } }
      await expect(reading.read(rpc)).rejects.toMatchObject({ name: 'UnknownAnswer' })
    }
    node.filecoinFaults = {
      answers: { 'Filecoin.GetActorEventsRaw': [{ ...foreign, emitter: MINER, reverted: true }] },
    }
    await reading.read(rpc)
    expect(reading.snapshot.deals.size).toBe(0)
  })

  it('end the run when its time is over', async () => {
    const config = configOf({ kind: 'sector', miners: [MINER], rpc: [await reading.listen(node)] })
    const hanging = openSource(config, {
      fetch: (_, init) =>
        new Promise((_, reject) =>
          init?.signal?.addEventListener('abort', () => reject(init.signal?.reason)),
        ),
      maxReadMs: 20,
    })
    await expect(hanging.read(EMPTY_SNAPSHOT, NOTHING_WATCHED)).rejects.toThrow()
  })
})

describe('a busy provider of the source sector', () => {
  it('has the pieces above the limit refused in every later report, because their events are not read again', async () => {
    const rpc = [await reading.listen(node)]
    await reading.read(rpc)
    const known = Array.from({ length: MAX_SECTOR_PIECES - 1 }, (_, n): [string, KnownDeal] => [
      `sector:${MINER}/500 piece ${n}`,
      {
        place: { type: 'sector', miner: MINER, sector: 500 },
        piece: `piece ${n}`,
        provider: MINER,
        endEpoch: END,
        created: 1,
        updated: 1,
      },
    ])
    reading.snapshot = { ...reading.snapshot, deals: new Map(known) }
    node.activate(MINER, 500, [], END)
    node.activate(MINER, 77, links, END)
    node.chain.advance(10)
    expect((await reading.read(rpc)).report).toMatchObject({ refused: 2 })
    expect(states().filter(state => state.startsWith('77'))).toEqual(['77 Active'])
    node.chain.advance(10)
    expect((await reading.read(rpc)).report).toMatchObject({ refused: 2 })

    // Room does not bring them back.
    node.terminate(MINER, 500)
    node.chain.advance(10)
    const { report } = await reading.read(rpc)
    expect([report.refused, report.deals.size]).toEqual([2, 1])
  })
})

it.each([
  ['miners', []],
  ['miners', ['1000']],
  ['miners', ['f2abcd']],
  ['rpc', []],
  ['rpc', ['https://a.example', 'https://b.example', 'https://c.example']],
  ['network', ''],
  ['fromEpoch', -1],
])('the source sector refuses the setting %s: %j', (name, value) => {
  expect(() =>
    configOf({ kind: 'sector', rpc: ['https://node.example'], miners: [MINER], [name]: value }),
  ).toThrow()
})
