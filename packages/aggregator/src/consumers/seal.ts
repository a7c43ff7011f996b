import { capacityOf } from '@w3filecoin/piece'
import { type Consumer, DONE, each, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import {
  addSeal,
  closeSeals,
  type GroupRecord,
  MAX_OPEN_SEALS,
  mustCount,
  nextCheckAt,
  recordCount,
  scheduleCheck,
} from '../domain/group.ts'
import { type Backlog, type Fill, isRipe } from '../domain/limits.ts'
import { type SealMessage, sealMessage } from '../queues.ts'
import { choosePieces } from '../sealing/choose-pieces.ts'
import { completeSeal } from '../sealing/complete-seal.ts'
import { computeSeal } from '../sealing/compute-seal.ts'

type SealerDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'dealer' | 'delegationOf' | 'limitsOf' | 'timing' | 'batching' | 'now'
>

/**
 * On `seal`, make an aggregate of a group's pending pieces if they are enough. The decision is one conditional write on
 * the group's record, which adds a seal. This run carries the seal out, or the next run of the group does.
 */
export const onSeal = (dependencies: SealerDependencies): Consumer<SealMessage> => {
  const { stores, queues, limitsOf, timing, now } = dependencies

  return each(
    sealMessage,
    async message => {
      const found = await stores.group.get({ id: message.group })
      if (found === undefined) return DONE
      const done = await completeOpenSeals(dependencies, found)
      const group = closeSeals(found, done)
      const limits = {
        ...limitsOf(group.group),
        ...(message.belowMinimum && { minPaddedBytes: 0, maxWaitMs: 0 }),
      }
      if (group.openSeals.length >= MAX_OPEN_SEALS) {
        await stores.group.replace(scheduleCheck(group, now() + timing.retryMs))
        return DONE
      }
      // Read before the list: pieces that are added in between are then counted twice, which the next reading corrects.
      const tally = (await stores.tally.get({ id: group.id })) ?? { pieces: 0, bytes: 0 }
      if (!message.belowMinimum && !mustCount(group, tally, limits, now(), timing.pollMs)) {
        const checkAt = nextCheckAt(group, limits, now(), timing.pollMs)
        await stores.group.replace(scheduleCheck(group, checkAt))
        return DONE
      }
      const { chosen, fill, backlog, isEmpty } = await choosePieces(dependencies, group, limits)

      if (!isRipe(backlog, fill, limits, now())) {
        await correctTally(dependencies, group.id, tally, backlog)
        const count = { at: now(), oldestAt: backlog.oldestAt, capacity: capacityOf(limits.paddedBytes) }
        // On a conflict nothing is written: the concurrent change has set the next check.
        const checkAt = nextCheckAt({ count }, limits, now(), timing.pollMs)
        await stores.group.replace(recordCount(group, { ...count, isEmpty }, checkAt))
        return DONE
      }

      const seal = await computeSeal(dependencies, group, chosen, limits)
      // A concurrent change of the next check does not prevent the seal; a concurrent seal does.
      const { record, changed } = await update(
        stores.group,
        { id: group.id },
        current =>
          current.sequence === group.sequence
            ? addSeal(closeSeals(current, done), seal, now() + timing.retryMs)
            : undefined,
        { known: found },
      )
      if (!changed || record === undefined)
        return { error: new Error(`Another sealer sealed group ${group.id} first. This message is retried`) }
      await completeSeal(dependencies, record, seal)
      // The remaining pieces may be enough for another aggregate.
      await queues.seal.send([{ group: group.id, id: `after-${seal.sequence}` }])
      return DONE
    },
    { concurrency: 1 },
  )
}

/**
 * Completes seals that an interrupted run left. Returns the sequence numbers of those whose pieces all have receipts.
 */
const completeOpenSeals = async (
  dependencies: SealerDependencies,
  group: GroupRecord,
): Promise<Set<number>> => {
  const done = new Set<number>()
  for (const seal of group.openSeals) {
    const record = await completeSeal(dependencies, group, seal)
    if (record.rangesToInclude.length === 0) done.add(seal.sequence)
  }
  return done
}

/** Sets the counters to the backlog that was read: interrupted runs do not count every piece. */
const correctTally = async (
  { stores }: Pick<Dependencies, 'stores'>,
  id: string,
  tally: Fill,
  backlog: Backlog,
): Promise<void> => {
  const pieces = backlog.pieces - tally.pieces
  const bytes = backlog.bytes - tally.bytes
  if (pieces !== 0 || bytes !== 0) await stores.tally.add({ id }, { pieces, bytes })
}
