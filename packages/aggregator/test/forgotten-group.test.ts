import { decodePiece } from '@w3filecoin/piece'
import { Authority, Peer, type Stored } from '@w3filecoin/runtime'
import { signersOf, somePiece } from '@w3filecoin/testing'
import {
  Choices,
  DeterministicBlocks,
  DeterministicTable,
  DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import { expect, it } from 'vitest'
import { onSeal } from '../src/consumers/seal.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { FORGET_MS, type GroupRecord, newGroup } from '../src/domain/group.ts'
import type { Limits } from '../src/domain/limits.ts'
import { groupId, type PendingRecord, type PieceRecord } from '../src/domain/piece.ts'
import { listByMessage } from '../src/offers/list-pieces.ts'
import { resources } from '../src/resources.ts'

const { aggregator, dealer, one } = await signersOf('aggregator', 'dealer', 'one')
const [MINUTE, HOUR] = [60_000, 3_600_000]
const limits: Limits = { paddedBytes: 2 ** 15, minPaddedBytes: 0, maxPieces: 4, maxWaitMs: HOUR }
const tenant = { storefront: one.did(), group: 'group' }
const id = groupId(tenant)
const piece = somePiece('added', 8)

/** A group whose list is empty for so long that the next sealer forgets it, and a piece that was offered. */
const idleGroup = (seed: number, marked: boolean) => {
  const world = new DeterministicWorld({ choices: new Choices(seed) })
  const table = <R extends object>(name: keyof typeof resources.tables) =>
    new DeterministicTable<R>({ name, spec: resources.tables[name], world, lag: 0 })
  const groups = table<GroupRecord>('group')
  const pending = table<PendingRecord>('pending')
  const pieces = table<PieceRecord>('piece')
  const idleSince = world.now() - 2 * FORGET_MS
  groups.seed({
    ...newGroup(tenant, world.now()),
    count: { at: world.now() - FORGET_MS },
    ...(marked && { idleSince }),
    revision: 1,
  })
  const record: Stored<PieceRecord> = {
    ...tenant,
    id: 'added',
    piece: `${piece}`,
    size: decodePiece(piece).ok!.size,
    stage: 'pending',
    offeredAt: world.now(),
    acceptTask: new Uint8Array(),
    revision: 1,
  }
  pieces.seed(record)
  const queue = { send: async () => {} }
  const dependencies = {
    id: aggregator,
    stores: {
      piece: pieces,
      pending,
      group: groups,
      blocks: new DeterministicBlocks({ name: 'blocks', world }),
      tally: table('tally'),
      aggregate: table('aggregate'),
    } as never,
    queues: { seal: queue, include: queue, deal: queue } as never,
    dealer: new Peer({ did: dealer.did() }, { authority: new Authority(), fetch }),
    delegationOf: async () => undefined,
    limitsOf: () => limits,
    timing: { retryMs: MINUTE, pollMs: 15 * MINUTE },
    batching: BATCHING,
    now: world.now,
  }
  const list = listByMessage(dependencies)
  const run = async (...runs: (() => Promise<unknown>)[]) => {
    let ended = false
    const all = Promise.all(runs.map(run => run())).finally(() => {
      ended = true
    })
    await world.timeline.run(() => ended)
    return all
  }
  return {
    world,
    run,
    groups,
    pending,
    seal: () => onSeal(dependencies).handle([{ group: id, id: 'look' }]),
    add: () => list({}, { record, isNew: true }),
  }
}

it('a group is forgotten when it has been idle for a day', async () => {
  const { groups, run, seal } = idleGroup(1, true)
  await run(seal)
  const forgotten = await run(() => groups.get({ id }))
  expect(forgotten[0]).not.toHaveProperty('checkAt')
})

it('a piece that is added while its group is forgotten, or marked as idle, is in the sweep in any order of the calls', async () => {
  const ends = new Set<string>()
  for (let seed = 1; seed <= 300; seed++) {
    const marked = seed % 2 === 0
    const { world, groups, pending, run, seal, add } = idleGroup(seed, marked)
    const [early, late] = world.choices.chance(0.5) ? [seal, add] : [add, seal]
    const pause = world.choices.between(0, 80)
    await run(early, async () => {
      await new Promise<void>(resolve => world.timeline.after(pause, resolve))
      await late()
    })
    expect((await run(() => pending.list(id, { limit: 10 })))[0]).toMatchObject({ items: [{ id: 'added' }] })
    const [group] = (await run(() => groups.get({ id }))) as [GroupRecord]
    ends.add(`${marked} ${group.idleSince === undefined ? 'active' : 'idle'}`)
    expect(group.checkAt, `seed ${seed}`).toBeTypeOf('number')
    // Marked as idle while the piece was added: the next sealers see its row.
    for (let n = 0; n < 3; n++) {
      world.timeline.now += FORGET_MS
      await run(seal)
    }
    const [sealed] = (await run(() => groups.get({ id }))) as [GroupRecord]
    expect(sealed.sequence, `seed ${seed}`).toBe(1)
  }
  // The hardest order happened too: the group was marked as idle after the row was written and the group was read.
  expect(ends).toContain('false idle')
})
