import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { ActiveReplicas } from '../src/domain/report.ts'
import { replica } from './replicas.ts'

const read = (records: unknown[], stateEpoch: unknown = 10) => {
  const replicas = new ActiveReplicas()
  for (const record of records) replicas.add(record)
  replicas.setEpoch(stateEpoch)
  return replicas.finish()
}

const good = replica(somePiece('good', 30), [1, 500])
const [contract] = good.contracts

describe('a file of active replicas', () => {
  it('is read', () => {
    const piece = `${toV1(somePiece('good', 30)).ok?.root}/35`
    expect(read([good])).toEqual({
      stateEpoch: 10,
      deals: new Map([[1, { id: 1, piece, provider: 1001, endEpoch: 500 }]]),
      malformed: 0,
      unreadable: new Set(),
    })
  })

  it.each([undefined, null, '10', -1, 1.5, 2e9])('is refused without an epoch: %s', epoch => {
    expect(() => {
      const replicas = new ActiveReplicas()
      replicas.setEpoch(epoch)
      replicas.finish()
    }).toThrow('no state_epoch')
  })

  it.each([
    ['null', null, []],
    ['a number', 3, []],
    ['a list', [], []],
    ['nothing', {}, []],
    ['a piece that is no CID', { ...good, piece_cid: 'baga' }, [1]],
    ['a piece CID v2', { ...good, piece_cid: `${somePiece('good', 30)}` }, [1]],
    ['a piece that is no text', { ...good, piece_cid: 3 }, [1]],
    ['an impossible size', { ...good, piece_log2_size: 3 }, [1]],
    ['contracts that are no list', { ...good, contracts: { 0: contract } }, []],
    ['a contract that is null', { ...good, contracts: [null] }, []],
    ['no id', { ...good, contracts: [{ ...contract, legacy_market_id: null }] }, []],
    ['an id beyond exact numbers', { ...good, contracts: [{ ...contract, legacy_market_id: 2 ** 53 }] }, []],
    ['a provider that is text', { ...good, contracts: [{ ...contract, provider_id: 'f01001' }] }, [1]],
    ['no end', { ...good, contracts: [{ provider_id: 1, legacy_market_id: 1 }] }, [1]],
    ['an end in no time', { ...good, contracts: [{ ...contract, legacy_market_end_epoch: 1e12 }] }, [1]],
  ])('may have a record with %s, which is skipped', (_, record, unreadable) => {
    const other = replica(somePiece('other'), [2, 600])
    const report = read([record, other])
    expect([...report.deals.keys()]).toEqual([2])
    expect(report.malformed).toBe(1)
    expect([...report.unreadable]).toEqual(unreadable)
  })

  it('may list a deal twice, but not as two', () => {
    expect(read([good, good])).toMatchObject({ malformed: 0 })
    const report = read([good, replica(somePiece('other'), [1, 500])])
    expect(report.malformed).toBe(1)
    expect(report.deals).toEqual(read([good]).deals)
  })
})
