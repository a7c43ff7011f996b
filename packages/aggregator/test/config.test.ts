import { capacityOf } from '@w3filecoin/piece'
import { readConfig } from '@w3filecoin/runtime'
import { describe, expect, it } from 'vitest'
import { configSchema, limitsOfGroup } from '../src/config.ts'

const dealer = { did: 'did:web:dealer.example', url: 'https://dealer.example' }
const read = (limits: object, groups: object = {}) =>
  readConfig(configSchema, { CONFIG: JSON.stringify({ storefronts: [], dealer, limits, groups }) })

describe('limits', () => {
  it('of a group are those of all groups, except where it has its own', () => {
    const config = read({ maxPieces: 10 }, { free: { maxWaitSeconds: 5 } })
    const half = 2 ** 34 - 2 ** 24
    const general = { paddedBytes: 2 ** 35, minPaddedBytes: half, maxPieces: 10, maxWaitSeconds: 21_600 }
    expect(limitsOfGroup(config, 'free')).toEqual({ ...general, maxWaitSeconds: 5 })
    for (const group of ['other', 'constructor', '__proto__'])
      expect(limitsOfGroup(config, group)).toEqual(general)
  })

  it('ask for half an aggregate less its index, unless the configuration says otherwise', () => {
    // The configuration of version 0.1.0 has no minimum.
    expect(limitsOfGroup(read({}), 'any').minPaddedBytes).toBe(capacityOf(2 ** 35) - 2 ** 34)
    const groups = { small: { paddedBytes: 2 ** 20 }, none: { minPaddedBytes: 0 } }
    expect(limitsOfGroup(read({}, groups), 'small').minPaddedBytes).toBe(capacityOf(2 ** 20) - 2 ** 19)
    expect(limitsOfGroup(read({}, groups), 'none').minPaddedBytes).toBe(0)
    expect(limitsOfGroup(read({ minPaddedBytes: 7 }, groups), 'small').minPaddedBytes).toBe(7)
  })

  it('may ask for an aggregate without a free byte', () => {
    expect(read({ minPaddedBytes: capacityOf(2 ** 35) }).limits.minPaddedBytes).toBe(34_342_961_152)
  })

  const holds = (paddedBytes: number) =>
    `but an aggregate of ${paddedBytes} padded bytes holds at most ${capacityOf(paddedBytes)}`

  it.each<[string, object, object, string]>([
    [
      'for all groups',
      { minPaddedBytes: 40_000_000_000 },
      {},
      'CONFIG: limits.minPaddedBytes is 40000000000, but an aggregate of 34359738368 padded bytes holds at most 34342961152',
    ],
    [
      'one byte more than the aggregate holds',
      { paddedBytes: 2 ** 20, minPaddedBytes: capacityOf(2 ** 20) + 1 },
      {},
      `CONFIG: limits.minPaddedBytes is ${capacityOf(2 ** 20) + 1}, ${holds(2 ** 20)}`,
    ],
    [
      'for one group',
      {},
      { free: { minPaddedBytes: 2 ** 35 } },
      `CONFIG: groups.free.minPaddedBytes is ${2 ** 35}, ${holds(2 ** 35)}`,
    ],
    [
      'for all groups, in a group with smaller aggregates',
      { minPaddedBytes: 2 ** 30 },
      { 'did:web:free.example': { paddedBytes: 2 ** 20 } },
      `CONFIG: groups["did:web:free.example"].minPaddedBytes is ${2 ** 30}, ${holds(2 ** 20)}`,
    ],
  ])('cannot ask for more bytes than an aggregate holds: %s', (_, limits, groups, problem) => {
    expect(() => read(limits, groups)).toThrow(expect.objectContaining({ message: problem }))
  })

  it.each([
    [
      'is not a power of two',
      { paddedBytes: 1000 },
      'limits.paddedBytes is 1000, but expected a power of two',
    ],
    [
      'is too large',
      { paddedBytes: 2 ** 53 },
      'limits.paddedBytes is 9007199254740992, but expected int to be <=9007199254740991',
    ],
    ['is too small', { paddedBytes: 256 }, 'limits.paddedBytes is 256, but expected number to be >=512'],
    [
      'is more than the dealer accepts',
      { maxPieces: 95_001 },
      'limits.maxPieces is 95001, but expected number to be <=95000',
    ],
  ])('are rejected where one %s', (_, limits, problem) => {
    expect(() => read(limits)).toThrow(`CONFIG: ${problem}`)
  })
})
