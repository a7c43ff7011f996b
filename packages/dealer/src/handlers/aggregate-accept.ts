import { aggregateAccept } from '@w3filecoin/capabilities'
import { type Handler, ownTask, unpackTask } from '@w3filecoin/runtime'
import { aggregateId } from '../domain/aggregate.ts'
import type { Stores } from '../stores.ts'

/** `aggregate/accept`: the deal that an aggregate is in. */
export const aggregateAcceptHandler = ({ aggregates, receipts }: Stores): Handler =>
  ownTask(aggregateAccept, receipts, async ({ capability: { nb }, invocation: { nonce } }) => {
    const record = await aggregates.get({
      id: aggregateId({ aggregate: `${nb.aggregate}`, pieces: `${nb.pieces}`, nonce }),
    })
    return record?.accept && `${(await unpackTask(record.accept)).cid}`
  })
