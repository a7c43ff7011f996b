import { type Failure, failure } from '@w3filecoin/capabilities'

/** The reason why an offer is refused. `final` is set if a later attempt cannot succeed: the receipt is then stored. */
export interface Refusal extends Failure {
  final?: boolean
}

export const refuse = (
  name: string,
  message: string,
  fields: { final?: boolean; [name: string]: unknown } = {},
): { error: Refusal } => ({ error: failure(name, message, fields) })
