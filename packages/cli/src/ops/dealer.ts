import { bind, openTables, type Tables } from '@w3filecoin/aws'
import {
  type AggregateRecord,
  messages,
  type Queues,
  type Stores,
  type TargetRecord,
  tables,
} from '@w3filecoin/dealer'
import { resources } from '@w3filecoin/dealer/resources'
import {
  type Clock,
  type HealthRecord,
  listAll,
  openQueues,
  openStores,
  type Stored,
} from '@w3filecoin/runtime'
import { readCid } from '../cid-argument.ts'
import type { Context } from '../context.ts'
import { CommandError, type Outcome } from '../outcome.ts'
import { describeError, isEnvironmental } from './describe-error.ts'
import { openTarget, type TargetOptions } from './open-target.ts'
import { requireTables, type Target } from './target.ts'

/** The tables and queues of a dealer. */
export interface Dealer {
  stores: Stores
  queues: Queues
  /** Reads the rows of the table `target`, up to a limit. */
  scanTargets: (limit: number) => Promise<TargetRecord[]>
  now: Clock
}

/**
 * Opens the dealer of a system.
 *
 * @param engine the engine for tables, if it is not DynamoDB
 */
export const openDealer = async (target: Target, engine: Tables | undefined, now: Clock): Promise<Dealer> => {
  const places = await target.placesOf(resources.service)
  requireTables(resources.service, places, Object.keys(resources.tables))
  const aws = bind(resources, places, engine)
  return {
    stores: openStores(aws, tables, { now }),
    queues: openQueues(aws, messages),
    scanTargets: async limit => {
      const rows: TargetRecord[] = []
      for await (const some of aws.scan('target')) {
        rows.push(...some.map(row => tables.target.decode(row as never)))
        if (rows.length >= limit) break
      }
      return rows.slice(0, limit)
    },
    now,
  }
}

/** Opens the dealer that the options of a command name, and has `work` use it. */
export const withDealer = async (
  options: TargetOptions,
  { env, now }: Pick<Context, 'env' | 'now'>,
  work: (dealer: Dealer) => Promise<Outcome>,
): Promise<Outcome> => {
  try {
    const target = openTarget(options, env)
    return await work(await openDealer(target, await openTables(target.env), now))
  } catch (cause) {
    if (cause instanceof CommandError || !isEnvironmental(cause)) throw cause
    throw new CommandError('Failed', describeError(cause))
  }
}

/** The most offers of one aggregate that are read. */
const MAX_OFFERS = 100

/**
 * Finds the offers of an aggregate, or the one offer with a record id.
 *
 * @throws CommandError if there is none
 */
export const findOffers = async (
  { aggregate: table }: Stores,
  subject: string,
): Promise<Stored<AggregateRecord>[]> => {
  const isId = /^[\w-]{43}$/.test(subject)
  const hint = 'Pass the piece CID (v2) of an aggregate, or the id of an offer: see w3fil ops orders.'
  const aggregate = isId ? subject : readCid(subject, hint)
  const keys = isId
    ? [{ id: subject }]
    : (await table.find('aggregate', aggregate, { limit: MAX_OFFERS })).items
  const offers = (await table.getMany(keys)).filter(offer => offer !== undefined)
  if (offers.length === 0)
    throw new CommandError('NotFound', `The dealer has no offer of ${aggregate}`, { hint })
  return offers
}

/** Returns the results of the checks of the dealer's targets, by the names of the targets. */
export const readTargetChecks = async ({ health }: Stores): Promise<Stored<HealthRecord>[]> =>
  (await listAll(health, resources.service)).filter(({ check }) => check === 'target')
