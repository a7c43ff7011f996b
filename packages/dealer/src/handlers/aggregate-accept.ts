import { aggregateAccept } from '@w3filecoin/capabilities'
import { type Handler, promisedTask, unpackTask } from '@w3filecoin/runtime'
import { aggregateId } from '../domain/aggregate.ts'
import type { Stores } from '../stores.ts'

/** `aggregate/accept`: returns the receipt that names the deal of an aggregate. */
export const aggregateAcceptHandler = ({ aggregate, receipts }: Stores): Handler =>
  promisedTask(aggregateAccept, receipts, async ({ capability: { nb }, invocation: { nonce } }) => {
    const record = await aggregate.get({
      id: aggregateId({ aggregate: `${nb.aggregate}`, piecesCid: `${nb.pieces}`, nonce }),
    })
    return record?.acceptTask && `${(await unpackTask(record.acceptTask)).cid}`
  })
