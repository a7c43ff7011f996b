import { describe, expect, it } from 'vitest'
import { describePlaceKey, type Place, parsePlaceKey, placeIn, toMetadata, toPlaceKey } from '../src/index.ts'

const verifier = '0xbadd0b92c1c71d02e7d520f64c0876538fa2557f'
const market: Place = { type: 'market', dealID: 81_234_567 }
const sector: Place = { type: 'sector', miner: 'f020378', sector: 77 }
const pdp: Place = { type: 'pdp', chain: 314, verifier, dataSet: 12, piece: 0 }
const EPOCH = 6_543_210

describe('a place', () => {
  it.each([
    [market, '81234567', 'deal 81234567'],
    [{ ...market, dealID: 0 }, '0', 'deal 0'],
    [sector, 'sector:f020378/77', 'sector 77 of f020378'],
    [{ ...sector, miner: 't01000', sector: 0 }, 'sector:t01000/0', 'sector 0 of t01000'],
    [pdp, `pdp:314/${verifier}/12/0`, 'piece 0 of PDP data set 12 (eip155:314, 0xbadd…557f)'],
  ] satisfies [Place, string, string][])('%j has one key, and is named in receipts', (place, key, words) => {
    expect(toPlaceKey(place)).toBe(key)
    expect(parsePlaceKey(key)).toEqual(place)
    expect(describePlaceKey(key)).toBe(words)
    expect(placeIn(toMetadata(place, EPOCH))).toEqual(place)
  })

  it.each([
    '',
    'f020378',
    '-1',
    '1.5',
    '1e3',
    '007',
    '9007199254740992',
    'market:7',
    '7:8',
    'sector:',
    'sector:f020378',
    'sector:f020378/',
    'sector:f020378/077',
    'sector:f020378/77/1',
    'sector:f020378/77:1',
    'sector:f0020378/77',
    'sector:f1abc/77',
    'sector:020378/77',
    `pdp:314/${verifier}/12`,
    `pdp:314/${verifier}/12/0/1`,
    `pdp:314/${verifier}/12/0:1`,
    `pdp:0/${verifier}/12/0`,
    `pdp:0314/${verifier}/12/0`,
    `pdp:9007199254740993/${verifier}/12/0`,
    `pdp:314/${verifier.replace('badd', 'BADd')}/12/0`,
    `pdp:314/${verifier.slice(2)}/12/0`,
    `pdp:314/${verifier}/-1/0`,
  ])('is not read from the key %j', key => {
    expect(parsePlaceKey(key)).toBeUndefined()
    expect(describePlaceKey(key)).toBe('a place without a deal')
  })

  it.each<[string, Place, object]>([
    ['a deal without an id', market, { dealID: undefined }],
    ['a negative deal', market, { dealID: -1 }],
    ['half a deal', market, { dealID: 0.5 }],
    ['a deal as text', market, { dealID: '81234567' }],
    ['a deal beyond all numbers', market, { dealID: 2 ** 53 }],
    ['an infinite deal', market, { dealID: Infinity }],
    ['a sector without an epoch', sector, { epoch: undefined }],
    ['a sector at a negative epoch', sector, { epoch: -1 }],
    ['a sector as text', sector, { sector: '77' }],
    ['a sector of a miner with a leading zero', sector, { miner: 'f0020378' }],
    ['a sector of a miner by its key', sector, { miner: 'f1abjxfbp274xpdqcpuaykwkfb43omjotacm2p3za' }],
    ['a sector of a list of miners', sector, { miner: ['f020378'] }],
    ['a sector of another network than its miner', sector, { network: 'fil:t' }],
    ['a sector without a network', sector, { network: undefined }],
    ['a verifier with upper case', pdp, { verifier: verifier.replace('badd', 'BADd') }],
    ['a short verifier', pdp, { verifier: verifier.slice(0, -1) }],
    ['a list of verifiers', pdp, { verifier: [verifier] }],
    ['a list of chains', pdp, { network: ['eip155:314'] }],
    ['the chain 0', pdp, { network: 'eip155:0' }],
    ['a chain with a leading zero', pdp, { network: 'eip155:0314' }],
    ['a chain whose id a number does not hold', pdp, { network: 'eip155:9007199254740993' }],
    ['a Filecoin address as chain', pdp, { network: 'fil:f' }],
    ['half a data set', pdp, { dataSet: 12.5 }],
    ['a piece as text', pdp, { piece: '0' }],
    ['a data set without an epoch', pdp, { epoch: undefined }],
  ])('is not read from metadata with %s', (_, place, change) => {
    const { dataType, dataSource } = toMetadata(place, EPOCH)
    expect(placeIn({ dataType, dataSource })).toEqual(place)
    expect(placeIn({ dataType, dataSource: { ...dataSource, ...change } })).toBeUndefined()
  })

  it('is not read from the fields of another kind, nor from something else', () => {
    const all = [market, sector, pdp].map(place => toMetadata(place, EPOCH))
    for (const { dataType } of all)
      for (const { dataType: other, dataSource } of all)
        expect(placeIn({ dataType, dataSource }) === undefined, `${dataType} of ${other}`).toBe(
          dataType !== other,
        )
    for (const metadata of [
      undefined,
      null,
      7,
      'deal',
      [],
      {},
      { dataType: 0 },
      { dataType: '0', dataSource: { dealID: 1 } },
    ])
      expect(placeIn(metadata)).toBeUndefined()
  })
})
