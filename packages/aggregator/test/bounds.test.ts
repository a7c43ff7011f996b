import { Delegation } from '@ucanto/core'
import { configuredPeers, type Peers, packTask } from '@w3filecoin/runtime'
import { ask, somePiece } from '@w3filecoin/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import type { StorefrontConfig } from '../src/config.ts'
import { checkDelegation, createAggregator, delegationsOf } from '../src/index.ts'
import { aggregator, aws, clock, dependencies, errorOf, freshGroup, offer, one, two } from './setup.ts'

const DAY = 24 * 60 * 60 * 1000

/** The bounds of the storefront `one`; undefined: it is not counted. */
let piecesPerDay: number | undefined
const bounds: Peers<StorefrontConfig> = {
  find: async did => (did === one.did() ? { did: one.did(), piecesPerDay } : undefined),
}
let bounded: ReturnType<typeof createAggregator>
beforeAll(() => {
  bounded = aws.host(createAggregator({ ...dependencies, bounds }))
})

let pieces = 0
const offerNew = async (issuer = one, piece = somePiece(`bounded ${pieces++}`), group = 'bounded') =>
  errorOf(await ask(bounded.api, await offer(piece, group, { issuer })))?.name
const startDay = () => {
  clock.now = (Math.floor(clock.now / DAY) + 1) * DAY
}

describe('the pieces of a storefront with a bound', () => {
  it('are refused beyond it until the next day in UTC, and a refused one is not counted', async () => {
    startDay()
    piecesPerDay = 2
    const names = [await offerNew(), await offerNew(), await offerNew(), await offerNew()]
    expect(names).toEqual([undefined, undefined, 'TooManyPieces', 'TooManyPieces'])
    clock.now += DAY - 1
    const key = { storefront: one.did(), day: new Date(clock.now).toISOString().slice(0, 10) }
    expect(await dependencies.stores.quota.get(key)).toMatchObject({
      pieces: 2,
      expiresAt: (clock.now + 1 + DAY) / 1000,
    })
    expect(await offerNew()).toBe('TooManyPieces')
    clock.now += 1
    expect(await offerNew()).toBeUndefined()
  })

  it('count once, however often they are offered, and again in another group', async () => {
    startDay()
    piecesPerDay = 2
    const piece = somePiece('often')
    const groups = [freshGroup('bounded'), freshGroup('bounded'), freshGroup('bounded')] as const
    for (const group of [groups[0], groups[0], groups[1], groups[0], groups[1]])
      expect(await offerNew(one, piece, group)).toBeUndefined()
    expect(await offerNew(one, piece, groups[2])).toBe('TooManyPieces')
  })

  it('count for this storefront alone, also if another one offered the same piece first', async () => {
    startDay()
    piecesPerDay = 1
    const piece = somePiece('shared')
    const group = freshGroup('bounded')
    expect(await offerNew(two, piece, group)).toBeUndefined()
    expect(await offerNew(one, piece, group)).toBeUndefined()
    expect(await offerNew(one, piece, group)).toBeUndefined()
    expect(await offerNew(one)).toBe('TooManyPieces')
    expect(await offerNew(two)).toBeUndefined()
  })

  it('are accepted again under a greater bound, and are not counted without one', async () => {
    startDay()
    piecesPerDay = 1
    expect([await offerNew(), await offerNew()]).toEqual([undefined, 'TooManyPieces'])
    piecesPerDay = 2
    expect([await offerNew(), await offerNew()]).toEqual([undefined, 'TooManyPieces'])
    piecesPerDay = undefined
    expect([await offerNew(), await offerNew()]).toEqual([undefined, undefined])
  })
})

describe('the delegation in a row of the table', () => {
  const delegate = (audience = aggregator) =>
    Delegation.delegate({
      issuer: one,
      audience,
      capabilities: [{ can: 'aggregate/offer', with: one.did() }],
      expiration: Infinity,
    })
  const textOf = async (delegation: Awaited<ReturnType<typeof delegate>>) =>
    Buffer.from(await packTask(delegation as never)).toString('base64')

  it('is found for its storefront, and that in the configuration wins', async () => {
    const [listed, configured] = [await delegate(), await delegate()]
    const storefronts = configuredPeers<StorefrontConfig>([
      { did: one.did(), delegation: await textOf(listed) },
      { did: two.did() },
    ])
    const find = delegationsOf(new Map(), storefronts)
    expect(`${(await find(one.did()))?.cid}`).toBe(`${listed.cid}`)
    expect(await find(two.did())).toBeUndefined()
    const both = delegationsOf(new Map([[one.did() as string, configured as never]]), storefronts)
    expect(await both(one.did())).toBe(configured)
  })

  it('is checked: a row with one for another aggregator is not valid', async () => {
    const check = async (delegation: string) => checkDelegation({ did: one.did(), delegation }, aggregator)
    expect(await check(await textOf(await delegate()))).toBeUndefined()
    expect(await check(await textOf(await delegate(two)))).toBe(
      `delegation is for ${two.did()}, but this aggregator is ${aggregator.did()}`,
    )
    expect(await check('no delegation')).toBe('delegation is not a CAR with a delegation in base 64')
  })
})
