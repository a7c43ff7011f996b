import { type Dialect, Draft2, Draft3 } from '@w3filecoin/capabilities'

/** The abilities by which the dialects ask for the deals of a piece. The capability section has `deal/info`, as the protocol. */
export const QUESTIONS = {
  'draft-1': [],
  'draft-2': [Draft2.chainTrackerInfo, Draft2.chainInfo],
  'draft-3': [Draft3.dealtrackerInfo, Draft2.chainTrackerInfo],
  'capability-section': [],
} satisfies Record<Dialect, readonly object[]>

export type DialectQuestion = (typeof QUESTIONS)[Dialect][number]

/** Returns the abilities of some dialects, each once. */
export const questionsIn = (dialects: readonly Dialect[]): DialectQuestion[] => [
  ...new Set(dialects.flatMap((dialect): readonly DialectQuestion[] => QUESTIONS[dialect])),
]
