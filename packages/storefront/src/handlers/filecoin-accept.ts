import { filecoinAccept } from '@w3filecoin/capabilities'
import { type Handler, promisedTask, unpackTask } from '@w3filecoin/runtime'
import { pieceId } from '../domain/piece.ts'
import type { Stores } from '../stores.ts'

/** `filecoin/accept`: returns the receipt that ends the workflow of a piece, once it exists. */
export const filecoinAcceptHandler = ({ piece, receipts }: Stores): Handler =>
  promisedTask(filecoinAccept, receipts, async ({ capability: { nb }, invocation: { nonce } }) => {
    const record = await piece.get({
      id: pieceId({ content: `${nb.content}`, piece: `${nb.piece}`, nonce }),
    })
    return record && `${(await unpackTask(record.acceptTask)).cid}`
  })
