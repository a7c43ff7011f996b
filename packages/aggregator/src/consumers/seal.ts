import { type Consumer, DONE, each, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { addSeal, closeSeals, type GroupRecord, scheduleCheck } from '../domain/group.ts'
import { type Backlog, isRipe, type Limits } from '../domain/limits.ts'
import { type SealMessage, sealMessage } from '../queues.ts'
import { choosePieces } from '../sealing/choose-pieces.ts'
import { completeSeal } from '../sealing/complete-seal.ts'
import { computeSeal } from '../sealing/compute-seal.ts'

type SealerDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'queues' | 'dealer' | 'limitsOf' | 'timing' | 'batching' | 'now'
>

/** Maximum open seals of a group. At this bound, the sealer adds none until the pieces of one have their receipts. */
const MAX_OPEN_SEALS = 4

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
      const limits = limitsOf(group.group)
      if (group.openSeals.length >= MAX_OPEN_SEALS) {
        await stores.group.replace(scheduleCheck(group, now() + timing.retryMs))
        return DONE
      }
      const { chosen, backlog, bytes } = await choosePieces(dependencies, group, limits)

      if (!isRipe(backlog, bytes, limits, now())) {
        await correctTally(dependencies, group.id, backlog)
        // On a conflict nothing is written: the concurrent change has set the next check.
        const checkAt = findNextCheck(backlog, limits, timing.pollMs, now())
        await stores.group.replace(scheduleCheck(group, checkAt))
        return DONE
      }

      const seal = await computeSeal(dependencies, group, chosen, limits)
      // A concurrent change of the next check does not prevent the seal; a concurrent seal does.
      const { record, changed } = await update(stores.group, { id: group.id }, current =>
        current.sequence === group.sequence
          ? addSeal(closeSeals(current, done), seal, now() + timing.retryMs)
          : undefined,
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
  backlog: Backlog,
): Promise<void> => {
  const tally = (await stores.tally.get({ id })) ?? { pieces: 0, bytes: 0 }
  const pieces = backlog.pieces - tally.pieces
  const bytes = backlog.bytes - tally.bytes
  if (pieces !== 0 || bytes !== 0) await stores.tally.add({ id }, { pieces, bytes })
}

/** Returns the time when the group becomes ripe without new pieces; if that time has passed, `pollMs` from now. */
const findNextCheck = ({ oldestAt }: Backlog, { maxWaitMs }: Limits, pollMs: number, now: number): number => {
  const ripeAt = (oldestAt ?? now) + maxWaitMs
  return ripeAt > now ? ripeAt : now + pollMs
}
