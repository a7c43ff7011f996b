import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import { ReplicaParser } from '../src/sources/replica-parser.ts'
import { replica } from './replica.ts'

/** Reads records, when the deals 1 and 7 are known. */
const read = (records: unknown[], stateEpoch: unknown = 10, maxDeals?: number) => {
  const replicas = new ReplicaParser(new Map([1, 7].map(id => [id, {}])), maxDeals)
  for (const record of records) replicas.add(record)
  replicas.setEpoch(stateEpoch)
  return replicas.finish()
}

const good = replica(somePiece('good', 30), [1, 500])
const [contract] = good.contracts
/** The root of the piece, as a CID of the codec raw. */
const otherCodec = `${CID.createV1(0x55, CID.parse(good.piece_cid).multihash)}`

describe('a file of active replicas', () => {
  it('becomes a report', () => {
    const piece = `${toV1(somePiece('good', 30)).ok?.root}/35`
    expect(read([good])).toEqual({
      stateEpoch: 10,
      deals: new Map([
        [1, { place: { type: 'market', dealID: 1 }, piece, provider: 'f01001', endEpoch: 500 }],
      ]),
      malformed: 0,
      refused: 0,
      unreadable: new Set(),
    })
  })

  it.each([undefined, null, '10', -1, 1.5, 2e9])('is refused without a valid state_epoch: %s', epoch => {
    expect(() => {
      const replicas = new ReplicaParser(new Map())
      replicas.setEpoch(epoch)
      replicas.finish()
    }).toThrow('no state_epoch')
  })

  it.each([
    ['null', null, []],
    ['a number', 3, []],
    ['a list', [], []],
    ['an empty object', {}, []],
    ['a piece that is not a CID', { ...good, piece_cid: 'baga' }, [1]],
    ['a piece CID v2', { ...good, piece_cid: `${somePiece('good', 30)}` }, [1]],
    ['a piece that is not text', { ...good, piece_cid: 3 }, [1]],
    ['an impossible size', { ...good, piece_log2_size: 3 }, [1]],
    ['contracts that are not a list', { ...good, contracts: { 0: contract } }, []],
    ['a contract that is null', { ...good, contracts: [null] }, []],
    ['a contract whose id is text', { ...good, contracts: [{ ...contract, legacy_market_id: '1' }] }, []],
    ['a contract whose id is negative', { ...good, contracts: [{ ...contract, legacy_market_id: -1 }] }, []],
    ['an id that is not whole', { ...good, contracts: [{ ...contract, legacy_market_id: 1.5 }] }, []],
    ['a place without a provider', { ...good, contracts: [{ legacy_market_id: 0 }] }, []],
    ['a piece CID with another codec', { ...good, piece_cid: otherCodec }, [1]],
    ['a piece CID v0', { ...good, piece_cid: 'QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n' }, [1]],
    ['a list of contracts in a list', { ...good, contracts: [[contract]] }, []],
    ['a key that is the name of the prototype', JSON.parse('{"__proto__":{"piece_cid":"baga"}}'), []],
    ['an id above 2^53 - 1', { ...good, contracts: [{ ...contract, legacy_market_id: 2 ** 53 }] }, []],
    ['a provider that is text', { ...good, contracts: [{ ...contract, provider_id: 'f01001' }] }, [1]],
    ['a contract without an end', { ...good, contracts: [{ provider_id: 1, legacy_market_id: 1 }] }, [1]],
    [
      'an end after the last epoch',
      { ...good, contracts: [{ ...contract, legacy_market_end_epoch: 1e12 }] },
      [1],
    ],
  ])('skips and counts a record that is malformed: %s', (_, record, unreadable) => {
    const other = replica(somePiece('other'), [2, 600])
    const report = read([record, other])
    expect([...report.deals.keys()]).toEqual([2])
    expect(report.malformed).toBe(1)
    expect([...report.unreadable]).toEqual(unreadable)
  })

  it('keeps the ids of unreadable deals only if they are known, whatever the file lists', () => {
    const broken = Array.from({ length: 1000 }, (_, n) => ({
      ...contract,
      legacy_market_id: n,
      provider_id: 'x',
    }))
    const report = read([{ ...good, contracts: broken }])
    expect(report.malformed).toBe(1000)
    expect([...report.unreadable]).toEqual([1, 7])
  })

  it('A4: says the label and the client of a deal, if it has them', () => {
    const label = `bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq/${'k'.repeat(43)}.json`
    const [deal] = read([{ ...good, contracts: [{ ...contract, label, client_id: 1131298 }] }]).deals.values()
    expect(deal).toMatchObject({ place: { dealID: 1 }, label, client: 'f01131298' })
    const [other] = read([{ ...good, contracts: [{ ...contract, client_id: 'f1abc' }] }]).deals.values()
    expect(other).toMatchObject({ place: { dealID: 1 }, client: 'f1abc' })
  })

  it.each([3, null, {}, '', 'x'.repeat(201), '\ud800'])(
    'A4: drops a label that is not acceptable text, and keeps the deal: %j',
    label => {
      const report = read([{ ...good, contracts: [{ ...contract, label, client_id: label }] }])
      expect(report).toMatchObject({ malformed: 0 })
      expect(report.deals.get(1)).not.toHaveProperty('label')
      expect(report.deals.get(1)?.client).toBe(label === 3 ? 'f03' : undefined)
    },
  )

  it('K7: has the CID of the data and the activation of a deal, if it has them', () => {
    const root = 'bafybeia22rwl3x3kwyfe6k4hnh3wwzhyr4uulm4rqkxd6ydjm5ut5cqinu'
    const record = { ...good, optional_dag_root: root }
    expect(read([record]).deals.get(1)).toMatchObject({ place: { dealID: 1 }, dataCid: root })
    expect(read([record]).deals.get(1)).not.toHaveProperty('activationEpoch')
    const active = read([{ ...good, contracts: [{ ...contract, activation_epoch: 7 }] }]).deals.get(1)
    expect(active).toMatchObject({ place: { dealID: 1 }, activationEpoch: 7 })
    expect(active).not.toHaveProperty('dataCid')
    const version0 = 'QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n'
    expect(read([{ ...good, optional_dag_root: version0 }]).deals.get(1)?.dataCid).toBe(version0)
  })

  it.each([null, 3, {}, '', 'bafy', 'not a CID', `b${'a'.repeat(200)}`, '\ud800', ['bafy']])(
    'K7: drops a root that is not a CID, and keeps the deal: %j',
    root => {
      const { deals, malformed } = read([{ ...good, optional_dag_root: root }])
      expect(malformed).toBe(0)
      expect(deals.get(1)).toEqual(read([good]).deals.get(1))
    },
  )

  it.each([null, -1, 1.5, '7', {}, 2e9])(
    'K7: drops an activation that is not an epoch, and keeps the deal: %j',
    activation_epoch => {
      const { deals, malformed } = read([{ ...good, contracts: [{ ...contract, activation_epoch }] }])
      expect(malformed).toBe(0)
      expect(deals.get(1)).toEqual(read([good]).deals.get(1))
    },
  )

  it.each([
    ['0', { legacy_market_id: 0 }],
    ['null', { legacy_market_id: null }],
    ['absent', {}],
  ])('A4: becomes a place where the market id is %s', (_, id) => {
    const piece = read([good]).deals.get(1)!.piece
    const contracts = [
      { provider_id: 5, ...id },
      { provider_id: 6, ...id, legacy_market_end_epoch: 70 },
      { provider_id: 6, ...id, legacy_market_end_epoch: 90 },
      { provider_id: 6, ...id, legacy_market_end_epoch: 80 },
    ]
    const { deals, malformed } = read([{ ...good, contracts }])
    expect(malformed).toBe(0)
    expect(deals).toEqual(
      new Map([
        [`f05 ${piece}`, { place: { type: 'provider', provider: 'f05' }, piece, provider: 'f05' }],
        [
          `f06 ${piece}`,
          { place: { type: 'provider', provider: 'f06' }, piece, provider: 'f06', endEpoch: 90 },
        ],
      ]),
    )
  })

  it('B4: refuses new deals above the limit, and keeps known ones wherever they are in the file', () => {
    const many = [11, 12, 13, 7].map(id => replica(somePiece(`${id}`), [id, 600]))
    // Two deals are known, so there is room for one new deal.
    const report = read([...many, good], 10, 3)
    expect([...report.deals.keys()]).toEqual([11, 7, 1])
    expect(report).toMatchObject({ refused: 2, malformed: 0 })
  })

  it('may list a deal twice; a contradicting record is skipped and counted', () => {
    expect(read([good, good])).toMatchObject({ malformed: 0 })
    const report = read([good, replica(somePiece('other'), [1, 500])])
    expect(report.malformed).toBe(1)
    expect(report.deals).toEqual(read([good]).deals)
  })
})
