import { filecoinAccept } from '@w3filecoin/capabilities'
import { type Handler, ownTask, unpackTask } from '@w3filecoin/runtime'
import { pieceId } from '../domain/piece.ts'
import type { Stores } from '../stores.ts'

/** `filecoin/accept`: the end of a piece's workflow. */
export const filecoinAcceptHandler = ({ pieces, receipts }: Stores): Handler =>
  ownTask(filecoinAccept, receipts, async ({ capability: { nb }, invocation: { nonce } }) => {
    const record = await pieces.get({
      id: pieceId({ content: `${nb.content}`, piece: `${nb.piece}`, nonce }),
    })
    return record && `${(await unpackTask(record.accept)).cid}`
  })
