import type { Receipt } from '@ucanto/interface'
import { type Failure, type PieceAcceptSuccess, parsePieceLink, type Task } from '@w3filecoin/capabilities'
import {
  isExpectedTask,
  isTask,
  type Stored,
  type Translation,
  type TranslationRecord,
  unpackTask,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, aggregateId } from '../domain/aggregate.ts'
import { WORDS } from './words.ts'

/**
 * Translates the receipt of `piece/accept` into the words of a dialect. `undefined` if the receipt must link to the dealer's
 * task, and the dealer has not answered the offer of the aggregate yet.
 */
export const translateAccept = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'dealer'>,
  { dialect, subject }: Stored<TranslationRecord>,
  { out, fx }: Receipt,
): Promise<Translation | undefined> => {
  const { stores } = dependencies
  const words = WORDS[dialect]
  const record = await stores.piece.get({ id: subject })
  if (record === undefined) throw new Error(`The record ${subject} of a piece is missing`)
  if (out.error)
    return { outcome: { out: { error: words.fail(out.error as Failure, parsePieceLink(record.piece)) } } }
  const ok = words.succeed(out.ok as PieceAcceptSuccess)
  switch (words.join) {
    case 'none':
      return { outcome: { out: { ok } } }
    case 'offer':
      return { outcome: { out: { ok }, fx: { join: fx.join as Task } } }
    case 'deal': {
      // Not from the record of the piece: it names its aggregate after the receipt is stored.
      const offer = fx.join as Task
      const { aggregate: cid } = out.ok as PieceAcceptSuccess
      const aggregate = await stores.aggregate.get({
        id: aggregateId({ aggregate: `${cid}`, nonce: offer.nonce }),
      })
      const join = aggregate && (await findDealerTask(dependencies, aggregate))
      return join && { outcome: { out: { ok }, fx: { join } } }
    }
  }
}

/**
 * Returns the task that the dealer promised for an aggregate: `offer/arrange` if the dealer takes draft 1, else
 * `aggregate/accept`. If the dealer refused the aggregate, the refused offer: its receipt says why.
 */
const findDealerTask = async (
  { id, stores, dealer }: Pick<Dependencies, 'id' | 'stores' | 'dealer'>,
  { aggregate, offerTask }: AggregateRecord,
): Promise<Task | undefined> => {
  const offer = await unpackTask(offerTask)
  const answer = await stores.receipts.get(`${offer.cid}`)
  if (answer === undefined) return undefined
  const { join, fork } = answer.fx
  const expected = {
    can: 'offer/arrange',
    issuer: dealer.did,
    audience: id.did(),
    nb: { piece: aggregate },
  }
  const arrange = fork.find(task => isExpectedTask(task, expected))
  if (arrange) return arrange as Task
  return isTask(join) ? join : offer
}
