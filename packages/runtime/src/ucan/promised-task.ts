import type { CapabilityParser, Match, ParsedCapability } from '@ucanto/interface'
import { failure } from '@w3filecoin/capabilities'
import { outcomeOf } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import { type Handler, type Input, type Parsed, provide } from './handler.ts'

/**
 * The handler of a task that the service promises and ends itself (`filecoin/submit` and every `…/accept`): asked to run
 * it, it answers with the receipt when the outcome is final, and until then with an error that is no receipt.
 *
 * @param find the CID of the promised task that the invocation is about, if there is one
 */
export const promisedTask = <C extends CapabilityParser<Match<ParsedCapability>>>(
  capability: C,
  receipts: ReceiptLog,
  find: (input: Input<Parsed<C>>) => Promise<string | undefined>,
): Handler =>
  provide(
    capability,
    async input => {
      const task = await find(input)
      const receipt = task === undefined ? undefined : await receipts.get(task)
      if (receipt) return task === `${input.invocation.cid}` ? { filed: receipt } : outcomeOf(receipt)
      return {
        pending: failure(
          'OutcomePending',
          task === undefined
            ? `Nobody offered what ${input.capability.can} is asked for`
            : `${input.capability.can} has no outcome yet; its receipt will be at /receipt/${task}`,
        ),
      }
    },
    { own: true },
  )
