import type { Signer } from '@ucanto/interface'
import {
  CapabilitySection,
  Draft1,
  Draft2,
  Draft3,
  type PieceLink,
  type Task,
  Tasks,
  type Vocabulary,
} from '@w3filecoin/capabilities'
import type { Peer } from '../ucan/peer.ts'

/** The question for the deals of an aggregate in each vocabulary. In draft 1, dealers answer it. */
const QUESTIONS: Record<Vocabulary, typeof Tasks.dealInfo> = {
  protocol: Tasks.dealInfo,
  'draft-1': Draft1.infoTask,
  'draft-2': Draft2.infoTask,
  'draft-3': Draft3.infoTask,
  'capability-section': CapabilitySection.infoTask,
}

/**
 * Builds the question for the deals of an aggregate, as the deal tracker understands it. Answers in dialects may lack `places`
 * and `asOf`.
 */
export const trackerQuestion = (
  id: Signer,
  tracker: Peer,
  question: { piece: PieceLink; nonce: string },
): Promise<Task> => QUESTIONS[tracker.vocabulary](id, tracker.principal, question)
