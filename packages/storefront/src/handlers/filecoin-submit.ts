import { filecoinSubmit } from '@w3filecoin/capabilities'
import { type Handler, promisedTask, unpackTask } from '@w3filecoin/runtime'
import { pieceId } from '../domain/piece.ts'
import type { Stores } from '../stores.ts'

/** `filecoin/submit`: returns the receipt that says whether the content hashes to the piece, once it exists. */
export const filecoinSubmitHandler = ({ piece, receipts }: Stores): Handler =>
  promisedTask(filecoinSubmit, receipts, async ({ capability: { nb }, invocation: { nonce } }) => {
    const record = await piece.get({
      id: pieceId({ content: `${nb.content}`, piece: `${nb.piece}`, nonce }),
    })
    return record && `${(await unpackTask(record.submitTask)).cid}`
  })
