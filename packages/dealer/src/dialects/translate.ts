import type { Receipt } from '@ucanto/interface'
import type { AggregateAcceptSuccess, Failure } from '@w3filecoin/capabilities'
import { outcomeOf, type Stored, type Translation, type TranslationRecord } from '@w3filecoin/runtime'
import { WORDS } from './words.ts'

/** Translates the receipt of `aggregate/accept` into the words of a dialect. */
export const translateAccept = async (
  { dialect }: Stored<TranslationRecord>,
  receipt: Receipt,
): Promise<Translation> => {
  const [words] = WORDS[dialect]
  const { out, fx } = outcomeOf(receipt)
  if (out.error) {
    const error = words.fail(out.error as Failure)
    return { outcome: { out: { error }, ...(words.hasRetries && fx && { fx }) } }
  }
  return { outcome: { out: { ok: words.succeed(out.ok as AggregateAcceptSuccess) } } }
}
