import type { Failure, Place, Result } from '@w3filecoin/capabilities'
import type { PieceLink } from '@w3filecoin/piece'

/** An order as its maker needs it: have one copy of an aggregate stored by one target. */
export interface MakerOrder {
  /** Record id, 43 characters of base64url of a SHA-256. Nonces and remote ids are derived from it. */
  id: string
  /** Piece CID v2. */
  aggregate: PieceLink
  group: string
  /** In milliseconds since 1970. */
  createdAt: number
  /** The value that the maker returned at its last step, opaque to the dealer, e.g. the path of the status of a transaction. */
  remote?: string | undefined
}

/**
 * The state of an order at its target.
 *
 * - `asked`: the target did not accept the order, or it is not known whether it did. `retryAfterMs` is the pause that the target
 *   demands, in milliseconds.
 * - `storing`: the target has the bytes, or promised them or a transaction. `place` is where the chain names the aggregate at a final
 *   block; it need not be live yet.
 * - `refused`: permanent for this order, and an honest target makes no copy of it any more. It blames the `target` if other orders
 *   would be refused too, e.g. because the credentials expired or the service is off: then hold the target.
 *
 * The dealer stores `remote` before the next step. If it is absent, the order has none.
 *
 * @example { state: 'storing', message: 'The transaction is pending', remote: '/pdp/data-sets/12/pieces/added/0x2406…' }
 */
export type Progress =
  | { state: 'asked'; message: string; remote?: string; retryAfterMs?: number }
  | { state: 'storing'; message: string; remote?: string; place?: Place }
  | { state: 'refused'; error: Failure; blames: 'order' | 'target' }

/** Has orders stored by targets of one kind. */
export interface Maker {
  /**
   * Makes the next request for an order, or asks how it stands. Repeating it is harmless: it can never store twice.
   *
   * @param sourceUrl URL at which the target can fetch the bytes of the aggregate. Without it, the copy is not wanted any more: the maker
   *   only asks how the order stands, and sends nothing from which a copy could arise.
   */
  advance(order: MakerOrder, sourceUrl: string | undefined): Promise<Progress>
  /** Checks whether the target can store orders now, and in the next weeks. It changes nothing. The texts are for operators. */
  check(): Promise<Result<{ message: string }>>
}
