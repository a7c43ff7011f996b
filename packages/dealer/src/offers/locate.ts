import { signPermit } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord, Timing } from '../domain/aggregate.ts'

/** A permit for deal making ends after this multiple of the wait for a deal: the dealer waits longer if the deal tracker is blind. */
const PERMIT_WAITS = 2

/** Returns the end of a permit for deal making, in milliseconds since 1970. */
export const permitEndMs = (startMs: number, { dealWaitMs }: Pick<Timing, 'dealWaitMs'>): number =>
  startMs + PERMIT_WAITS * dealWaitMs

/** Returns the URL template of the pieces of an aggregate, with a permit if the storefront expects one. */
export const locatePieces = async (
  { id, pieceSources }: Pick<Dependencies, 'id' | 'pieceSources'>,
  { storefront, aggregate }: Pick<AggregateRecord, 'storefront' | 'aggregate'>,
  endMs: number,
): Promise<string | undefined> => {
  const template = pieceSources.get(storefront)
  if (!template?.includes('{permit}')) return template
  const expires = Math.ceil(endMs / 1000)
  return template.replace('{permit}', await signPermit(id, { storefront, aggregate, expires }))
}

/** Returns the URL of the payload of a whole aggregate, with a permit. See `addWholeDoor`. */
export const locateWhole = async (
  { id, door }: Pick<Dependencies, 'id'> & { door: string },
  aggregate: string,
  endMs: number,
): Promise<string> => {
  const expires = Math.ceil(endMs / 1000)
  const permit = await signPermit(id, { storefront: id.did(), aggregate, expires })
  return `${door}/${permit}/piece/${aggregate}`
}
