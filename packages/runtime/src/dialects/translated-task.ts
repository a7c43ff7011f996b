import type { Capability, CapabilityParser, Match, ParsedCapability, Signer } from '@ucanto/interface'
import type { Table } from '../ports.ts'
import type { Outcome } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import type { CapabilityOf, Filed, Handler, Input } from '../ucan/handler.ts'
import { promisedTask } from '../ucan/promised-task.ts'
import { type TranslationRecord, translationId } from './translation.ts'

/**
 * Returns the handler of a task that the service promises in a dialect: it answers with its receipt, once it exists.
 *
 * @param otherForm returns the arguments that the promised task may have instead of those of the invocation
 * @param offer runs the task as an offer that the service makes to itself, if no offer promised it. In drafts 2 and 3 offer
 * and promised task have the same ability.
 */
export const translatedTask = <C extends CapabilityParser<Match<ParsedCapability>>>(
  capability: C,
  {
    id,
    stores: { translation, receipts },
  }: { id: Signer; stores: { translation: Table<TranslationRecord>; receipts: ReceiptLog } },
  {
    offer,
    otherForm,
    matches,
  }: {
    offer?: ((input: Input<CapabilityOf<C>>) => Promise<Outcome | Filed>) | undefined
    otherForm?: ((nb: never) => object) | undefined
    matches?: Handler['matches']
  } = {},
): Handler =>
  promisedTask(
    capability,
    receipts,
    async ({ capability, invocation }) => {
      const { can, nb = {} } = capability as unknown as Capability
      const { nonce, facts, audience } = invocation
      const forms = [nb as object, ...(otherForm ? [otherForm(nb as never)] : [])]
      const audiences = audience.did() === id.did() ? [undefined] : [undefined, audience.did()]
      const ids = forms.flatMap(nb =>
        audiences.map(audience => ({ id: translationId({ can, nb, nonce, facts, audience }) })),
      )
      return (await translation.getMany(ids)).find(record => record !== undefined)?.task
    },
    { otherwise: offer, matches },
  )
