import type { PieceLink } from '@w3filecoin/capabilities'
import { decodePiece } from '@w3filecoin/piece'
import { Authority, getValue, Peer } from '@w3filecoin/runtime'
import { signersOf, somePiece } from '@w3filecoin/testing'
import {
  Choices,
  DeterministicBlocks,
  DeterministicTable,
  DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import { describe, expect, it } from 'vitest'
import { onSeal } from '../src/consumers/seal.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { type GroupRecord, newGroup } from '../src/domain/group.ts'
import type { Limits } from '../src/domain/limits.ts'
import { groupId, newPendingRow, type PendingRecord, type PieceRecord } from '../src/domain/piece.ts'
import { resources } from '../src/resources.ts'

const { aggregator, dealer, one } = await signersOf('aggregator', 'dealer', 'one')
const [KIB, MINUTE, HOUR] = [2 ** 10, 60_000, 3_600_000]
/** Heights of pieces of 16, 8 and 4 KiB. */
const [HALF, QUARTER, EIGHTH] = [9, 8, 7]
const limits: Limits = { paddedBytes: 32 * KIB, minPaddedBytes: 16 * KIB, maxPieces: 4, maxWaitMs: HOUR }

/**
 * Seals a group with these pieces in its list, each offered a moment after the one before.
 *
 * @param options.waited milliseconds since the first piece was offered
 * @param options.times number of sealers that run at once
 * @param options.looks number of checks of the group, every 15 minutes
 */
const sealOf = async (
  listed: readonly PieceLink[],
  {
    waited = HOUR,
    times = 1,
    looks = 1,
    ...of
  }: Partial<Limits & Record<'waited' | 'times' | 'looks', number>>,
) => {
  const world = new DeterministicWorld({ choices: new Choices(1) })
  const table = <R extends object>(name: keyof typeof resources.tables) =>
    new DeterministicTable<R>({ name, spec: resources.tables[name], world, lag: 0 })
  const [pieces, pending, groups] = [
    table<PieceRecord>('piece'),
    table<PendingRecord>('pending'),
    table<GroupRecord>('group'),
  ]
  const blocks = new DeterministicBlocks({ name: 'blocks', world })
  const tenant = { storefront: one.did(), group: 'group' }
  for (const [n, piece] of listed.entries()) {
    const record: PieceRecord = {
      ...tenant,
      id: `${n}`,
      piece: `${piece}`,
      size: decodePiece(piece).ok!.size,
      nonce: `${n}`,
      stage: 'pending',
      offeredAt: world.now() - waited + n / listed.length,
      acceptTask: new Uint8Array(),
    }
    pieces.seed({ ...record, revision: 1 })
    pending.seed({ ...newPendingRow({ ...record, offeredAt: n }), offeredAt: record.offeredAt, revision: 1 })
  }
  groups.seed({ ...newGroup(tenant, 0), revision: 1 })
  let read = 0
  const counted = Object.assign(Object.create(pending), {
    list: async (...options: Parameters<typeof pending.list>) => {
      const page = await pending.list(...options)
      read += page.items.length
      return page
    },
    removeMany: (rows: never) => pending.removeMany(rows),
  })
  const queue = { send: async () => {} }
  const { handle } = onSeal({
    id: aggregator,
    stores: {
      piece: pieces,
      pending: counted,
      group: groups,
      blocks,
      tally: table('tally'),
      aggregate: table('aggregate'),
    } as never,
    queues: { seal: queue, include: queue, deal: queue } as never,
    dealer: new Peer({ did: dealer.did() }, { authority: new Authority(), fetch }),
    delegationOf: async () => undefined,
    limitsOf: () => ({ ...limits, ...of }),
    timing: { retryMs: MINUTE, pollMs: 15 * MINUTE },
    batching: BATCHING,
    now: world.now,
  })
  const id = groupId(tenant)
  let sealed: string[] | undefined
  let ended = false
  const reads: number[] = []
  const runSealers = async () => {
    const runs = Array.from({ length: times }, (_, n) => handle([{ group: id, id: `run ${n}` }]))
    const outcomes = (await Promise.all(runs)).flat()
    expect(
      outcomes.filter(({ ok }) => ok),
      'the other sealers report an error',
    ).toHaveLength(1)
    const [seal, ...others] = (await groups.get({ id }))?.openSeals ?? []
    expect(others).toEqual([])
    sealed = seal && (await getValue<unknown[]>(blocks, seal.pieces)).map(piece => `${piece}`)
  }
  for (let look = 0; look < looks; look++) {
    ended = false
    const running = runSealers().finally(() => {
      ended = true
    })
    await world.timeline.run(() => ended)
    await running
    reads.push(read)
    world.timeline.now += 15 * MINUTE
  }
  return { sealed, read, reads }
}

const many = 6_000
const some = (name: string, count: number, height: number) =>
  Array.from({ length: count }, (_, n) => somePiece(`${name} ${n}`, height))
const texts = (...pieces: readonly PieceLink[]) => pieces.map(piece => `${piece}`)

it('two sealers of a group at once make one aggregate', async () => {
  const pieces = some('at once', 3, QUARTER)
  expect(await sealOf(pieces, { times: 2 })).toMatchObject({ sealed: texts(...pieces) })
})

it('the list of a group below its minimum is read rarely: after as long as the group waits already', async () => {
  const { sealed, reads } = await sealOf(some('few', 3, EIGHTH), { looks: 16 })
  expect(sealed).toBeUndefined()
  const lists = reads.map(read => read / 3)
  // It waits for its minimum from the first look on.
  expect(lists).toEqual([1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5])
})

describe('a group whose list begins', () => {
  const behind = some('behind', 3, EIGHTH)

  it('with one piece under very many nonces is sealed with one of these and the pieces after them', async () => {
    const piece = somePiece('one', QUARTER)
    const { sealed } = await sealOf([...Array(many).fill(piece), ...behind], {})
    expect(sealed).toEqual(texts(piece, ...behind))
  })

  it('with very many pieces that do not fit beside the first is sealed with the pieces after them', async () => {
    const [first, ...others] = some('large', many, HALF) as [PieceLink, ...PieceLink[]]
    const { sealed } = await sealOf([first, ...others, ...behind], { minPaddedBytes: 20 * KIB })
    expect(sealed).toEqual(texts(first, ...behind))
  })

  it('with enough pieces is read only a little further', async () => {
    const large = some('large', 2 * many, HALF)
    const { sealed, read } = await sealOf([...large, ...behind], {})
    expect(sealed).toEqual(texts(large[0]!))
    expect(read).toBeLessThanOrEqual(5_500)
  })

  it('with one piece under many nonces is not full', async () => {
    const listed = Array(10).fill(somePiece('one', QUARTER))
    expect(await sealOf(listed, { minPaddedBytes: 0, waited: HOUR - MINUTE })).toMatchObject({
      sealed: undefined,
    })
    expect(await sealOf(listed, { minPaddedBytes: 0 })).toMatchObject({ sealed: texts(listed[0]) })
  })
})
