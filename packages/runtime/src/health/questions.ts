import type { Signer } from '@ucanto/interface'
import { Tasks } from '@w3filecoin/capabilities'
import { trackerQuestion } from '../dialects/tracker-question.ts'
import type { Peer } from '../ucan/peer.ts'
import { EXAMPLE } from './example.ts'
import type { Checking, Question } from './peer-check.ts'

/**
 * Asks whether a peer accepts receipts from this service: it delivers a receipt whose blocks are missing. The peer answers
 * `ReceiptNotFound`, unless it does not know the sender.
 */
export const concludeQuestion = (id: Signer, peer: Peer): Question => ({
  ask: async () => [
    await Tasks.conclude(id, peer.principal, {
      root: { cid: EXAMPLE.block, bytes: new Uint8Array() } as never,
      blocks: [],
    }),
  ],
  refusals: ['UnknownSender'],
})

/** Asks a deal tracker for the deals of a piece that is never offered. It answers `DealNotFound`, unless it does not list the client. */
export const dealInfoQuestion = (
  { id, random }: Pick<Checking, 'id' | 'random'>,
  tracker: Peer,
): Question => ({
  ask: async () => [await trackerQuestion(id, tracker, { piece: EXAMPLE.piece, nonce: random() })],
  refusals: ['UnknownClient'],
})
