import type { Receipt } from '@ucanto/interface'
import { type Failure, parsePieceLink, type Task } from '@w3filecoin/capabilities'
import type { Stored, Translation, TranslationRecord } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { aggregatorWords } from './aggregator-words.ts'
import { type StorefrontDialect, WORDS } from './words.ts'

/**
 * Translates the receipt of `filecoin/submit` into the words of a dialect. It links to the offer of the piece in that dialect,
 * if the aggregator understands it, else to the offer that the storefront makes anyway.
 */
export const translateSubmit = async (
  { id, stores, aggregator }: Pick<Dependencies, 'id' | 'stores' | 'aggregator'>,
  { dialect, subject }: Stored<TranslationRecord>,
  { out, fx }: Receipt,
): Promise<Translation> => {
  const words = WORDS[dialect as StorefrontDialect]
  const record = await stores.piece.get({ id: subject })
  if (record === undefined) throw new Error(`The record ${subject} of a piece is missing`)
  const piece = parsePieceLink(record.piece)
  if (out.error) return { outcome: { out: { error: words.fail(out.error as Failure, piece) } } }
  const { group, nonce } = record
  const offer =
    aggregator.vocabulary !== dialect && aggregator.speaks.includes(dialect)
      ? await aggregatorWords(id, aggregator, dialect).offer({ piece, group, nonce })
      : undefined
  const join = offer ?? (fx.join as Task)
  return { outcome: { out: { ok: words.succeed(piece) }, fx: { join } }, offer }
}
