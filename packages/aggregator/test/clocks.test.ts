import { type PieceInfoSuccess, type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { ask } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { groupId } from '../src/domain/piece.ts'
import { sealMessage } from '../src/queues.ts'
import {
  aggregator,
  aws,
  clock,
  dependencies,
  freshGroup,
  HOUR,
  measured,
  offer,
  offerAll,
  offeredPieces,
  one,
  QUARTER,
  SMALL,
  service,
  settle,
  sweepAfter,
  texts,
  timing,
} from './setup.ts'

const TEN_DAYS = 240 * HOUR

/** Runs something while the clocks are ten days ahead. */
const tenDaysAhead = async (run: () => Promise<unknown>) => {
  clock.now += TEN_DAYS
  await run()
  clock.now -= TEN_DAYS
}

describe('after one run with a clock that was ten days ahead', () => {
  it('a group is sealed when its pieces have waited, and not ten days later', async () => {
    const group = freshGroup('minimum')
    const [small] = await offerAll([SMALL], group)
    await settle()
    await sweepAfter(HOUR)
    // The sealer finds too few pieces, and schedules its next check.
    await tenDaysAhead(() => sweepAfter(0))
    const [large] = await offerAll([QUARTER], group)
    await settle()
    await sweepAfter(timing.pollMs)
    expect(offeredPieces(group)).toEqual([texts([small, large] as PieceLink[])])
  })

  it('pieces that were offered in it are sealed: they count as having waited', async () => {
    const group = freshGroup()
    let pieces: PieceLink[] = []
    await tenDaysAhead(async () => {
      pieces = await offerAll([QUARTER], group)
      await settle()
    })
    await sweepAfter(timing.pollMs)
    expect(offeredPieces(group)).toEqual([texts(pieces)])
  })

  it('a lost message is sent again by the next sweep', async () => {
    const group = freshGroup()
    const pieces = await offerAll([QUARTER], group)
    await tenDaysAhead(() => service.schedules.sweep!())
    await aws.drain('seal')
    const { checkAt } = (await dependencies.stores.group.get({
      id: groupId({ storefront: one.did(), group }),
    }))!
    expect(checkAt).toBeGreaterThan(clock.now + TEN_DAYS)
    await sweepAfter(HOUR)
    expect(offeredPieces(group)).toEqual([texts(pieces)])
  })
})

it('piece/info says since when a piece waits only because its group is below the minimum', async () => {
  const group = freshGroup('minimum')
  const [piece] = (await offerAll([SMALL], group)) as [PieceLink]
  const sealedBy = new Date(clock.now + HOUR).toISOString()
  await settle()
  const info = async () => {
    const task = await Tasks.pieceInfo(one, aggregator, { piece, group, nonce: undefined })
    return ((await ask(service.api, task)).out.ok as PieceInfoSuccess).next
  }
  expect(await info()).not.toHaveProperty('belowMinimumSince')
  clock.now += 2 * HOUR
  expect(await info()).toMatchObject({ minimum: 2 ** 18, sealedBy, belowMinimumSince: sealedBy })
})

it('the sweep counts groups below their minimum, and measures their oldest piece', async () => {
  const group = freshGroup('minimum')
  await offerAll([SMALL], group)
  await settle()
  const sweepAt = async (milliseconds: number) => {
    measured.length = 0
    await sweepAfter(milliseconds)
    return measured
  }
  // Other tests leave groups behind.
  await sweepAt(HOUR / 2)
  const before = sum(await sweepAt(timing.pollMs), 'GroupsBelowMinimum')
  // The list is read after the hour, and the next sweep sees the result.
  await sweepAt(HOUR)
  const after = await sweepAt(timing.pollMs)
  expect(sum(after, 'GroupsBelowMinimum')).toBe(before + 1)
  expect(after).toContainEqual({
    record: 'piece',
    stage: 'pending',
    OldestSeconds: expect.any(Number),
  })
})

const sum = (values: readonly object[], metric: string): number =>
  values.reduce((total, value) => total + ((value as Record<string, number>)[metric] ?? 0), 0)

describe('a seal by hand', () => {
  it('needs no other message than the one of version 0.1.0, which has no flag', () => {
    const message = { group: 'kD3', id: 'full-4' }
    expect(sealMessage.decode(message)).toEqual(message)
    expect(sealMessage.decode({ ...message, v: 1, belowMinimum: true })).toEqual({
      ...message,
      belowMinimum: true,
    })
  })

  const sealByHand = (group: string) =>
    service.consumers.seal!.handle([
      { group: groupId({ storefront: one.did(), group }), id: `${clock.now}`, belowMinimum: true },
    ])

  it('makes an aggregate of pieces that are below the minimum, and have not waited', async () => {
    const group = freshGroup('minimum')
    const pieces = await offerAll([SMALL, SMALL], group)
    await settle()
    await sealByHand(group)
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces)])
    // It holds once: a later piece waits for the minimum again.
    await offerAll([SMALL], group, { nonce: 'later' })
    await settle()
    await sweepAfter(100 * HOUR)
    expect(offeredPieces(group)).toHaveLength(1)
  })

  it('never makes an empty aggregate', async () => {
    const group = freshGroup('minimum')
    const [piece] = await offerAll([SMALL], group)
    await settle()
    await sealByHand(group)
    await settle()
    await sealByHand(group)
    await settle()
    expect(offeredPieces(group)).toEqual([texts([piece as PieceLink])])
  })
})

it('a group that stays empty leaves the sweep index, and a new piece of it is sealed in time', async () => {
  const group = freshGroup()
  const id = groupId({ storefront: one.did(), group })
  const [first] = (await offerAll([QUARTER], group)) as [PieceLink]
  await settle()
  await sweepAfter(HOUR)
  await sweepAfter(HOUR)
  await sweepAfter(25 * HOUR)
  const forgotten = await dependencies.stores.group.get({ id })
  expect(forgotten).toMatchObject({ sequence: 1, idleSince: expect.any(Number) })
  expect(forgotten).not.toHaveProperty('checkAt')

  await ask(service.api, await offer(first, group, { nonce: 'again' }))
  await settle()
  expect(await dependencies.stores.group.get({ id })).toMatchObject({
    sequence: 1,
    checkAt: clock.now + timing.pollMs,
  })
  await sweepAfter(HOUR)
  expect(offeredPieces(group)).toEqual([texts([first]), texts([first])])
})
