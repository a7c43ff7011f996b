import { type GroupRecord, MAX_OPEN_SEALS, messages, tables } from '@w3filecoin/aggregator'
import { resources } from '@w3filecoin/aggregator/resources'
import { bind, type Tables } from '@w3filecoin/aws'
import { type Clock, openQueues, openStores } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { Target } from './target.ts'

interface SealOptions {
  target: Target
  /** The engine for tables, if it is not DynamoDB. */
  tables: Tables | undefined
  /** Name of the group. */
  group: string
  /** Its storefront. Required if several storefronts have a group of this name. */
  storefront: string | undefined
  now: Clock
}

/** A seal that was requested, with the tally of the group. */
export interface SealRequest {
  group: string
  storefront: string
  pieces: number
  /** Padded bytes. */
  bytes: number
}

/** Groups that an error lists. */
const MAX_LISTED = 20

/**
 * Has the aggregator seal a group with the pieces that it has, also below its minimum and before its pieces have waited.
 *
 * @throws UserError if there is no such group, if it has no pieces, or if it cannot be sealed now
 */
export const sealGroup = async ({
  target,
  tables: engine,
  group,
  storefront,
  now,
}: SealOptions): Promise<SealRequest> => {
  const places = await target.placesOf(resources.service)
  const aws = bind(resources, places, engine)
  const stores = openStores(aws, tables, { now })
  const known: GroupRecord[] = []
  for await (const rows of aws.scan('group'))
    known.push(...rows.map(row => tables.group.decode(row as never)))

  const { id, openSeals, ...found } = choose(known, group, storefront)
  const where = `Group ${group} of ${found.storefront}`
  if (openSeals.length >= MAX_OPEN_SEALS)
    throw new UserError(
      `${where} has ${openSeals.length} aggregates whose pieces have no receipts yet. Try again when one of them is complete.`,
    )
  if ((await stores.pending.list(id, { limit: 1 })).items.length === 0)
    throw new UserError(`${where} has no piece that waits for an aggregate: there is nothing to seal.`)
  await openQueues(aws, messages).seal.send([{ group: id, id: `ops-${now()}`, belowMinimum: true }])
  const { pieces = 0, bytes = 0 } = (await stores.tally.get({ id })) ?? {}
  return { group, storefront: found.storefront, pieces: Math.max(pieces, 0), bytes: Math.max(bytes, 0) }
}

/** Returns the only group of this name and storefront. */
const choose = (
  known: readonly GroupRecord[],
  group: string,
  storefront: string | undefined,
): GroupRecord => {
  const found = known.filter(
    record => record.group === group && (storefront === undefined || record.storefront === storefront),
  )
  if (found.length > 1)
    throw new UserError(
      `${found.length} storefronts have a group ${group}: ${listed(found.map(({ storefront }) => storefront))}. Choose one with --storefront.`,
    )
  if (found[0] !== undefined) return found[0]
  const whose = storefront === undefined ? '' : ` of ${storefront}`
  throw new UserError(
    known.length === 0
      ? `There is no group ${group}${whose}: no piece was offered yet.`
      : `There is no group ${group}${whose}. The groups are ${listed(known.map(record => `${record.group} (${record.storefront})`))}.`,
  )
}

const listed = (names: readonly string[]): string => {
  const more = names.length - MAX_LISTED
  return `${names.toSorted().slice(0, MAX_LISTED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
