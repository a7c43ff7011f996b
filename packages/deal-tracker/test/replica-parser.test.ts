import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { ReplicaParser } from '../src/sources/replica-parser.ts'
import { replica } from './replica.ts'

const read = (records: unknown[], stateEpoch: unknown = 10) => {
  const replicas = new ReplicaParser()
  for (const record of records) replicas.add(record)
  replicas.setEpoch(stateEpoch)
  return replicas.finish()
}

const good = replica(somePiece('good', 30), [1, 500])
const [contract] = good.contracts

describe('a file of active replicas', () => {
  it('becomes a report', () => {
    const piece = `${toV1(somePiece('good', 30)).ok?.root}/35`
    expect(read([good])).toEqual({
      stateEpoch: 10,
      deals: new Map([[1, { id: 1, piece, provider: 1001, endEpoch: 500 }]]),
      malformed: 0,
      unreadable: new Set(),
    })
  })

  it.each([undefined, null, '10', -1, 1.5, 2e9])('is refused without a valid state_epoch: %s', epoch => {
    expect(() => {
      const replicas = new ReplicaParser()
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
    ['a contract without an id', { ...good, contracts: [{ ...contract, legacy_market_id: null }] }, []],
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

  it('may list a deal twice; a contradicting record is skipped and counted', () => {
    expect(read([good, good])).toMatchObject({ malformed: 0 })
    const report = read([good, replica(somePiece('other'), [1, 500])])
    expect(report.malformed).toBe(1)
    expect(report.deals).toEqual(read([good]).deals)
  })
})
