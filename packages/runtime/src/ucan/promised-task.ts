import type { CapabilityParser, Match, ParsedCapability } from '@ucanto/interface'
import { failure } from '@w3filecoin/capabilities'
import { type Outcome, outcomeOf } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import { type CapabilityOf, type Filed, type Handler, type Input, provide } from './handler.ts'

/**
 * Returns the handler of a task that the service promises and runs itself (`filecoin/submit` and every `…/accept`). An
 * invocation of the task is answered with its receipt if the outcome is final, and with an error before that.
 *
 * @param find returns the CID of the promised task that the invocation refers to; `undefined` if there is none
 * @param otherwise runs an invocation that refers to no promised task. Default: it is answered with an error
 */
export const promisedTask = <C extends CapabilityParser<Match<ParsedCapability>>>(
  capability: C,
  receipts: ReceiptLog,
  find: (input: Input<CapabilityOf<C>>) => Promise<string | undefined>,
  {
    otherwise,
    matches,
  }: {
    otherwise?: ((input: Input<CapabilityOf<C>>) => Promise<Outcome | Filed>) | undefined
    matches?: Handler['matches']
  } = {},
): Handler =>
  provide(
    capability,
    async input => {
      const task = await find(input)
      if (task === undefined && otherwise) return otherwise(input)
      const receipt = task === undefined ? undefined : await receipts.get(task)
      if (receipt)
        return task === `${input.invocation.cid}`
          ? { filed: receipt }
          : { ...outcomeOf(receipt), isUnstored: true }
      return {
        pending: failure(
          'OutcomePending',
          task === undefined
            ? `No offer promised this ${input.capability.can}`
            : `${input.capability.can} has no outcome yet; its receipt will be at /receipt/${task}`,
        ),
      }
    },
    // The receipt of an offer is stored, because it promises a task.
    { own: true, keep: otherwise !== undefined, matches },
  )
