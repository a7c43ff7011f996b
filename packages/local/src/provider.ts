import { type AnyLink, parsePiece, pieceOf, recompute } from '@w3filecoin/piece'
import pLimit from 'p-limit'

/** An aggregate that a storage provider is asked to store. */
export interface Order {
  /** Piece CID of the aggregate. */
  aggregate: string
  /** Piece CIDs of its pieces, in their order. */
  pieces: readonly string[]
  /** URL at which each piece can be fetched, with `{piece}` in place of its CID. */
  source: string
}

/**
 * The result of fetching the pieces of an order:
 *
 * - `right`: the bytes of all pieces make the aggregate
 * - `wrong`: some pieces are not what the order says, each with the reason; or none is, and the aggregate is another one
 * - `later`: a piece cannot be fetched now
 */
export type Delivery =
  | { is: 'right' }
  | { is: 'wrong'; message: string; invalid: { piece: string; message: string }[] }
  | { is: 'later'; reason: string }

/** Pieces that are fetched at the same time. */
const MAX_FETCHES = 4
/** A piece whose next bytes take longer is fetched again later. */
const MAX_PAUSE_MS = 30_000

/** Answers that storage providers do not take as final: "not now", and a service that is down. */
const isTemporary = (status: number): boolean => status === 429 || (status >= 500 && status !== 503)

/**
 * Fetches every piece of an order, computes its piece CID, and recomputes the aggregate from these, as a storage provider does
 * before it seals a sector.
 */
export const fetchAll = async (
  { aggregate, pieces, source }: Order,
  signal: AbortSignal,
): Promise<Delivery> => {
  const limit = pLimit(MAX_FETCHES)
  const fetched = await Promise.all(
    pieces.map(piece => limit(() => fetchPiece(source.replace('{piece}', piece), signal))),
  )
  const later = fetched.find(({ failed }) => failed?.isTemporary)?.failed
  if (later) return { is: 'later', reason: later.message }
  const invalid = fetched.flatMap((result, n) => {
    const piece = pieces[n]!
    if (result.failed) return [{ piece, message: result.failed.message }]
    return `${result.link}` === piece
      ? []
      : [{ piece, message: `Its bytes have the piece CID ${result.link}` }]
  })
  if (invalid.length > 0)
    return { is: 'wrong', message: `${invalid.length} of ${pieces.length} pieces cannot be stored`, invalid }
  const links = fetched.flatMap(({ link }) => link ?? [])
  const { ok, error } = recompute(links, parsePiece(aggregate).ok!.link)
  if (`${ok}` === aggregate) return { is: 'right' }
  const message = error?.message ?? `The bytes of its pieces make the aggregate ${ok}`
  return { is: 'wrong', message, invalid: [] }
}

type Fetched =
  | { link: AnyLink; failed?: undefined }
  | { link?: undefined; failed: { message: string; isTemporary: boolean } }

const fetchPiece = async (url: string, signal: AbortSignal): Promise<Fetched> => {
  const silence = new AbortController()
  const timer = setTimeout(() => silence.abort(), MAX_PAUSE_MS)
  try {
    const response = await fetch(url, { signal: AbortSignal.any([signal, silence.signal]) })
    if (!response.ok) {
      await response.body?.cancel()
      const message = `${new URL(url).origin} answered ${response.status}`
      return { failed: { message, isTemporary: isTemporary(response.status) } }
    }
    async function* receive() {
      for await (const chunk of response.body ?? []) {
        timer.refresh()
        yield chunk
      }
    }
    return { link: (await pieceOf(receive())).link }
  } catch (cause) {
    signal.throwIfAborted()
    const message = `${new URL(url).origin} cannot be reached: ${(cause as Error).message}`
    return { failed: { message, isTemporary: true } }
  } finally {
    clearTimeout(timer)
  }
}
