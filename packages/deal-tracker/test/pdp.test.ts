import { Chain, CONTRACTS } from '@w3filecoin/local/chain'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SourceConfig } from '../src/config.ts'
import { configSchema } from '../src/config.ts'
import { type KnownDeal, toPieceKey, toStatus } from '../src/domain/deal.ts'
import { diffSnapshot, EMPTY_SNAPSHOT, type Snapshot } from '../src/domain/snapshot.ts'
import { NOTHING_WATCHED } from '../src/domain/watch.ts'
import { openSource } from '../src/sources/open-source.ts'

const PAYER = `0x${'01'.repeat(20)}` as const
const STRANGER = `0x${'09'.repeat(20)}` as const
const DAY = 2_880
const SET = 7

let chain: Chain
const open: { url: string; close: () => Promise<void> }[] = []
/** The snapshot of the last run. */
let snapshot: Snapshot

beforeEach(() => {
  chain = new Chain()
  snapshot = EMPTY_SNAPSHOT
})
afterEach(() => Promise.all(open.splice(0).map(({ close }) => close())))

const listen = async (node = chain): Promise<string> => {
  const server = await node.listen()
  open.push(server)
  return server.url
}

const configOf = (rpc: string[], more: object = {}) =>
  configSchema.parse({
    sources: [
      {
        name: 'onchain-cloud',
        kind: 'pdp',
        rpc,
        chain: 31_415_926,
        verifier: CONTRACTS.verifier.replaceAll('a', 'A'),
        service: CONTRACTS.service,
        payers: [PAYER],
        ...more,
      },
    ],
  }).sources[0] as SourceConfig<'pdp'>

/** Reads the source, and accepts its report as the tracker does. */
const read = async (rpc: string[], more?: object) => {
  const report = await openSource(configOf(rpc, more), { fetch }).read(snapshot, NOTHING_WATCHED)
  const { changes, deals } = diffSnapshot(snapshot, report, 1)
  snapshot = { stateEpoch: report.stateEpoch, deals }
  return { report, changes }
}
const states = (deals: Iterable<KnownDeal> = snapshot.deals.values()): string[] =>
  [...deals].map(
    ({ place, ...deal }) =>
      `${place.type === 'pdp' ? place.piece : ''} ${toStatus({ ...deal }, 0)}${deal.condition === 'faulty' ? ', faulty' : ''}`,
  )

const links = [1, 2, 3].map(n => somePiece(`pdp ${n}`, 25))

describe('the source pdp', () => {
  it('reports the pieces of a payer at a finalized block, from their addition to their end', async () => {
    const rpc = [await listen()]
    expect((await read(rpc)).report).toMatchObject({ stateEpoch: 9_995, malformed: 0, refused: 0 })
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.createDataSet(8, { payer: STRANGER, providerId: 4 })
    chain.addPieces(SET, links)
    chain.addPieces(8, links)
    await read(rpc)
    expect(states(), 'not final').toEqual([])

    chain.advance(10)
    const { report } = await read(rpc)
    expect([...report.deals.values()][1]).toEqual({
      place: { type: 'pdp', chain: 31_415_926, verifier: CONTRACTS.verifier, dataSet: SET, piece: 1 },
      piece: toPieceKey(toV1(links[1]!).ok!),
      provider: 'pdp:3',
      condition: 'pending',
    })
    expect(states()).toEqual(['0 Pending', '1 Pending', '2 Pending'])

    // A proof of the period before does not cover them.
    chain.prove(SET)
    chain.beginPeriod(SET)
    chain.advance(10)
    await read(rpc)
    expect(states()).toEqual(['0 Pending', '1 Pending', '2 Pending'])
    chain.advance(DAY - 100)
    chain.prove(SET)
    chain.advance(10)
    await read(rpc)
    expect(states()).toEqual(['0 Active', '1 Active', '2 Active'])
    const [first] = snapshot.deals.values()
    expect(first).toMatchObject({ activationEpoch: 10_015, provenEpoch: 10_020 + DAY - 100 })

    chain.advance(3 * DAY)
    await read(rpc)
    expect(states()).toEqual(['0 Active, faulty', '1 Active, faulty', '2 Active, faulty'])
    chain.beginPeriod(SET)
    chain.prove(SET)
    chain.scheduleRemoval(SET, 1)
    chain.advance(10)
    await read(rpc)
    expect(states()).toEqual(['0 Active', '1 Leaving', '2 Active'])
    chain.remove(SET, 1)
    chain.terminate(SET, 90_000)
    chain.advance(10)
    const { changes } = await read(rpc)
    expect(states(changes)).toEqual(['1 Terminated', '0 Active', '2 Active'])
    expect(changes[0]).toMatchObject({ reason: 'The piece was removed from data set 7' })
    expect([...snapshot.deals.values()][0]).toMatchObject({ endEpoch: 90_000 })
    chain.deleteDataSet(SET)
    chain.advance(10)
    const deleted = (await read(rpc)).changes
    expect(states(deleted)).toEqual(['0 Terminated', '2 Terminated'])
    expect(new Set(deleted.map(({ reason }) => reason))).toEqual(
      new Set(['The data set 7 is not live any more']),
    )
  })

  it('loses any share of its places if the contract says that they are gone, and only then', async () => {
    const rpc = [await listen()]
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.addPieces(SET, links)
    chain.advance(10)
    await read(rpc)
    for (const piece of [0, 1]) chain.remove(SET, piece)
    chain.advance(10)
    const { report } = await read(rpc)
    expect(report).toMatchObject({ hasSeenEnds: true })
    // The pieces are still there, but not listed for the payers of the settings.
    expect((await read(rpc, { payers: [`0x${'99'.repeat(20)}`] })).report).not.toHaveProperty('hasSeenEnds')
  })

  it('takes a piece out after so many days without a proof', async () => {
    const rpc = [await listen()]
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.addPieces(SET, links.slice(0, 1))
    chain.beginPeriod(SET)
    chain.advance(10)
    await read(rpc)
    chain.prove(SET)
    chain.advance(10)
    await read(rpc)
    chain.advance(11 * DAY)
    await read(rpc, { graceDays: 12 })
    expect(states()).toEqual(['0 Active'])
    chain.advance(5 * DAY)
    const { changes } = await read(rpc)
    expect(states(changes)).toEqual(['0 Terminated'])
    expect(changes[0]).toMatchObject({
      reason: 'The proofs of data set 7 are missing for more than 14 days',
    })
  })

  it('writes a later proof down once a week: a proof each day would cost a write for each piece', async () => {
    const rpc = [await listen()]
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.addPieces(SET, links)
    const changes: number[] = []
    for (let day = 0; day < 16; day++) {
      chain.beginPeriod(SET)
      chain.advance(DAY)
      chain.prove(SET)
      chain.advance(10)
      changes.push((await read(rpc)).changes.length)
    }
    expect(changes).toEqual([3, 3, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 3])
  })

  it('reads data sets and pieces page by page', async () => {
    const rpc = [await listen()]
    const many = Array.from({ length: 250 }, (_, n) => somePiece(`many ${n}`, 25))
    for (let id = 1; id <= 120; id++) chain.createDataSet(id, { payer: PAYER, providerId: 3 })
    chain.addPieces(120, many)
    chain.advance(10)
    const { report } = await read(rpc)
    expect(report.deals.size).toBe(250)
  })

  it('counts pieces as malformed whose CID is not that of a piece', async () => {
    const rpc = [await listen()]
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.addPieces(SET, [
      links[0]!,
      CID.parse('bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4'),
    ])
    chain.advance(10)
    expect((await read(rpc)).report).toMatchObject({
      malformed: 1,
      deals: expect.objectContaining({ size: 1 }),
    })
  })

  it('knows nothing, which is no bad news, while a node fails, limits the rate, or has no state', async () => {
    const url = await listen()
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.addPieces(SET, links)
    chain.beginPeriod(SET)
    chain.advance(10)
    await read([url])
    chain.advance(1)
    const nullRound = { nullRounds: new Set([chain.head - chain.lag]) }
    // The selector of pieceChallengable: these calls alone are refused.
    for (const faults of [{ status: 429 }, { status: 503 }, { status: 429, only: 'dc635266' }, nullRound]) {
      chain.faults = faults
      const source = openSource(configOf([url]), { fetch })
      await expect(source.read(EMPTY_SNAPSHOT, NOTHING_WATCHED), JSON.stringify(faults)).rejects.toThrow()
    }
    chain.faults = {}
    // An internal error in answer to these calls alone.
    const failing: typeof fetch = async (input, init) => {
      const response = await fetch(input, init)
      if (!`${init?.body}`.includes('dc635266')) return response
      const answers = (await response.json()) as { id: number }[]
      return Response.json(
        answers.map(({ id }) => ({ id, error: { code: -32_603, message: 'out of memory' } })),
      )
    }
    await expect(
      openSource(configOf([url]), { fetch: failing }).read(EMPTY_SNAPSHOT, NOTHING_WATCHED),
    ).rejects.toThrow('out of memory')
    chain.faults = { chainId: 314 }
    await expect(read([url])).rejects.toMatchObject({ name: 'WrongChain' })
    chain.faults = {}
    // An upgrade moves the getters.
    chain.view = `0x${'f7'.repeat(20)}`
    await read([url])
    expect(snapshot.deals.size).toBe(3)
  })

  it('does not report pieces of a reorganized block', async () => {
    const rpc = [await listen()]
    chain.createDataSet(SET, { payer: PAYER, providerId: 3 })
    chain.advance(10)
    const undo = chain.fork()
    chain.addPieces(SET, links)
    await read(rpc)
    undo()
    chain.advance(20)
    await read(rpc)
    expect(snapshot.deals.size).toBe(0)
  })

  it('with two nodes needs both, at a block that both have, and does not accept a report on which they differ', async () => {
    const liar = new Chain()
    for (const one of [chain, liar]) {
      one.createDataSet(SET, { payer: PAYER, providerId: 3 })
      one.addPieces(SET, links)
      one.advance(10)
    }
    const rpc = [await listen(), await listen(liar)]
    chain.advance(7)
    expect((await read(rpc)).report).toMatchObject({ stateEpoch: 10_005 })
    liar.addPieces(SET, [somePiece('pdp 4', 25)])
    chain.advance(10)
    liar.advance(10)
    await expect(read(rpc)).rejects.toMatchObject({ name: 'SourcesDisagree' })
    await open[1]!.close()
    await expect(read(rpc)).rejects.toThrow()
  })

  it('ends when its time is over', async () => {
    const hanging = openSource(configOf([await listen()]), {
      fetch: (_, init) =>
        new Promise((_, reject) =>
          init?.signal?.addEventListener('abort', () => reject(init.signal?.reason)),
        ),
      maxReadMs: 20,
    })
    await expect(hanging.read(EMPTY_SNAPSHOT, NOTHING_WATCHED)).rejects.toThrow()
  })
})

it.each([
  ['verifier', '0x12'],
  ['payers', []],
  ['rpc', []],
  ['rpc', ['ftp://a.example']],
  ['chain', 0],
])('the source pdp refuses the setting %s: %j', (name, value) => {
  expect(() => configOf(['https://node.example'], { [name]: value })).toThrow()
})
