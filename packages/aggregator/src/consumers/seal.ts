import { Selection } from '@w3filecoin/piece'
import { type Consumer, DONE, each, getValue, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { addSeal, closeSeals, type GroupRecord, type Seal, scheduleCheck } from '../domain/group.ts'
import { type Backlog, isEnough, isFull, isRipe, type Limits } from '../domain/limits.ts'
import type { PendingRecord } from '../domain/piece.ts'
import { type SealMessage, sealMessage } from '../queues.ts'
import { type Candidate, completeSeal, makeAggregate } from '../sealing.ts'

type Parts = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'dealer' | 'limitsOf' | 'timing' | 'batching' | 'now'
>

/** Rows that are read at all, should too few of them go into one aggregate: so many are read in some two minutes. */
const MAX_READ = 1_000_000
/** Aggregates of a group whose pieces are still being told, before another one is sealed. */
const MAX_OPEN = 4

/**
 * On `seal`, make an aggregate of the pending pieces of a group if they are enough. The decision is one conditional
 * write on the group's record, which names the aggregate; what follows from it is completed here, or by the next
 * one who comes.
 */
export const onSeal = (parts: Parts): Consumer<SealMessage> => {
  const { stores, queues, limitsOf, timing, now } = parts

  return each(
    sealMessage,
    async message => {
      const found = await stores.group.get({ id: message.group })
      if (found === undefined) return DONE
      const done = await finishOpen(parts, found)
      const group = closeSeals(found, done)
      const limits = limitsOf(group.group)
      if (group.openSeals.length >= MAX_OPEN) {
        await stores.group.replace(scheduleCheck(group, now() + timing.retryMs))
        return DONE
      }
      const { chosen, backlog, bytes } = await choose(parts, group, limits)

      if (!isRipe(backlog, bytes, limits, now())) {
        await correctTally(parts, group.id, backlog)
        // A conflict means that somebody was here meanwhile, and has said when to look again.
        await stores.group.replace(scheduleCheck(group, nextLook(backlog, limits, timing.pollMs, now())))
        return DONE
      }

      const seal = await makeAggregate(parts, group, chosen, limits)
      // Whoever only changed the time to look again is not in the way; another sealing is.
      const { record, changed } = await update(stores.group, { id: group.id }, current =>
        current.sequence === group.sequence
          ? addSeal(closeSeals(current, done), seal, now() + timing.retryMs)
          : undefined,
      )
      if (!changed || record === undefined)
        return { error: new Error(`Group ${group.id} was sealed by somebody else meanwhile`) }
      await completeSeal(parts, record, seal)
      // There may be enough for another one.
      await queues.seal.send([{ group: group.id, id: `after-${seal.sequence}` }])
      return DONE
    },
    { concurrency: 1 },
  )
}

/** Completes what a cut left open; returns the aggregates whose pieces have all been told. */
const finishOpen = async (parts: Parts, group: GroupRecord): Promise<Set<number>> => {
  const done = new Set<number>()
  for (const seal of group.openSeals) {
    const record = await completeSeal(parts, group, seal)
    if (record.rangesToInclude.length === 0) done.add(seal.sequence)
  }
  return done
}

/**
 * Goes through the list of the group in its order, and takes what fits, until there is enough and little more to find. An
 * aggregate holds a piece once: of one that was offered with many nonces the first is taken, and the others are not in
 * the way of what stands behind them.
 */
const choose = async (
  { stores, batching }: Pick<Parts, 'stores' | 'batching'>,
  group: GroupRecord,
  limits: Limits,
): Promise<{ chosen: readonly Candidate[]; bytes: number; backlog: Backlog }> => {
  const sealedBefore = await membersOf(stores.blocks, group.openSeals)
  const selection = new Selection<Candidate>({ size: limits.paddedBytes, maxPieces: limits.maxPieces })
  const taken = new Set<string>()
  const backlog: Backlog = { pieces: 0, bytes: 0 }
  let { lookaheadRows } = batching
  let read = 0
  let after: string | undefined
  do {
    const page = await stores.pending.list(group.id, { limit: batching.pageRows, after })
    const rows = page.items.filter(({ id, piece }) => !sealedBefore.has(id) && !taken.has(piece))
    const records = await stores.piece.getMany(rows.map(({ id }) => ({ id })))
    const stale: PendingRecord[] = []
    for (const [n, row] of rows.entries()) {
      if (taken.has(row.piece)) continue
      const record = records[n]
      // A late duplicate of a message may have put a piece back that is in an aggregate.
      if (record === undefined || record.stage === 'included') {
        stale.push(row)
        continue
      }
      const fits = selection.offer({ piece: parseLink(row.piece) as unknown as Candidate['piece'], row })
      if (fits) taken.add(row.piece)
      backlog.pieces += 1
      backlog.bytes += row.size
      backlog.oldestAt = Math.min(backlog.oldestAt ?? row.offeredAt, row.offeredAt)
    }
    await stores.pending.removeMany(stale.map(row => ({ group: row.group, order: row.order })))
    if (isEnough(selection.bytes, limits) && isFull(backlog, limits)) lookaheadRows -= page.items.length
    read += page.items.length
    after = page.next
  } while (after !== undefined && !selection.full && lookaheadRows > 0 && read < MAX_READ)
  return { chosen: selection.chosen, bytes: selection.bytes, backlog }
}

/** Pieces of aggregates that are sealed, whose records may not say so yet. */
const membersOf = async (blocks: Parts['stores']['blocks'], seals: readonly Seal[]): Promise<Set<string>> => {
  const members = await pMap(seals, seal => getValue<string[]>(blocks, seal.members), { concurrency: 2 })
  return new Set(members.flat())
}

/** The list has been counted: corrects the counters, which miss what was cut short. */
const correctTally = async (
  { stores }: Pick<Parts, 'stores'>,
  id: string,
  backlog: Backlog,
): Promise<void> => {
  const tally = (await stores.tally.get({ id })) ?? { pieces: 0, bytes: 0 }
  const pieces = backlog.pieces - tally.pieces
  const bytes = backlog.bytes - tally.bytes
  if (pieces !== 0 || bytes !== 0) await stores.tally.add({ id }, { pieces, bytes })
}

/** When the group may be ripe without another piece coming in. */
const nextLook = ({ oldestAt }: Backlog, { maxWaitMs }: Limits, poll: number, now: number): number => {
  const ripe = (oldestAt ?? now) + maxWaitMs
  return ripe > now ? ripe : now + poll
}
