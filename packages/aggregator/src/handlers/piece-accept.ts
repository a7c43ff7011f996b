import type { DID, Fact } from '@ucanto/interface'
import { pieceAccept } from '@w3filecoin/capabilities'
import { type Handler, promisedTask, unpackTask } from '@w3filecoin/runtime'
import { pieceId } from '../domain/piece.ts'
import type { Stores } from '../stores.ts'

/** `piece/accept`: returns the receipt that proves in which aggregate a piece is. */
export const pieceAcceptHandler = ({ piece, receipts }: Stores): Handler =>
  promisedTask(pieceAccept, receipts, async ({ capability: { nb }, invocation: { nonce, facts } }) => {
    const owner = facts.map((fact: Fact) => fact.storefront as DID | undefined).find(did => did !== undefined)
    const record = await piece.get({ id: pieceId({ group: nb.group, piece: `${nb.piece}`, nonce }, owner) })
    return record && `${(await unpackTask(record.acceptTask)).cid}`
  })
