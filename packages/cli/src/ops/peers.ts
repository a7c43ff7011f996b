import { lookup as systemLookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import {
  tables as aggregatorTables,
  checkDelegation,
  peerLists as listsOfAggregator,
} from '@w3filecoin/aggregator'
import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { type Bound, bind, isPublicAddress, openTables } from '@w3filecoin/aws'
import { peerLists as listsOfTracker, tables as trackerTables } from '@w3filecoin/deal-tracker'
import { resources as tracker } from '@w3filecoin/deal-tracker/resources'
import { tables as dealerTables, peerLists as listsOfDealer } from '@w3filecoin/dealer'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import {
  openStores,
  type PeerCheck,
  type PeerLists,
  type PeerRecord,
  type Row,
  readPeer,
  type Table,
} from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import type { Context } from '../context.ts'
import { CommandError, type Outcome, usageError } from '../outcome.ts'
import { count, table } from '../text.ts'
import { describeError, isEnvironmental } from './describe-error.ts'
import { openTarget, type TargetOptions } from './open-target.ts'
import { requireTables } from './target.ts'

/** The services with a table `peer`. */
const SERVICES = {
  aggregator: { resources: aggregator, formats: aggregatorTables, lists: listsOfAggregator },
  dealer: { resources: dealer, formats: dealerTables, lists: listsOfDealer },
  'deal-tracker': { resources: tracker, formats: trackerTables, lists: listsOfTracker },
} as const

/** Names a list of peers of a service. */
export interface ListName {
  service: keyof typeof SERVICES
  /** The name of its setting. @example 'storefronts' */
  list: string
}

export interface PeerOptions extends TargetOptions {
  url?: string
  key?: string[]
  tenant?: string[]
  piecesPerDay?: number
  /** File with a delegation of `aggregate/offer` to the aggregator. */
  delegation?: string
  /** Whether an entry with other settings is replaced. */
  replace?: boolean
  limit?: number
}

/** Resolves the name of a host to all its addresses. */
type Lookup = (host: string) => Promise<readonly string[]>

const lookupAll: Lookup = async host =>
  (await systemLookup(host, { all: true })).map(({ address }) => address)

/** Functions read the table at most this long after a change. `PEER_CACHE` and the longest delivery of receipts are shorter. */
const IN_FORCE_SECONDS = 60

/** A list of peers in the table of a service. */
interface OpenList extends ListName {
  schema: PeerLists[string]
  table: Table<PeerRecord>
  /** Yields the rows of all lists of the service, some at a time. */
  scan: () => AsyncIterable<Row[]>
  decode: (row: Row) => PeerRecord
  check: PeerCheck
}

/** Opens a list, and has `work` use it. */
const withList = async (
  { service, list }: ListName,
  options: TargetOptions,
  { env, now }: Context,
  work: (open: OpenList) => Promise<Outcome>,
): Promise<Outcome> => {
  try {
    const target = openTarget(options, env)
    const { resources, formats, lists } = SERVICES[service]
    const places = await target.placesOf(service)
    requireTables(service, places, ['peer'])
    const aws: Bound<Resources> = bind(resources as Resources, places, await openTables(target.env))
    const { peer } = openStores(aws, formats as typeof trackerTables, { now })
    const id = { did: () => places.SERVICE_DID as `did:${string}:${string}` }
    return await work({
      service,
      list,
      schema: (lists as PeerLists)[list] as PeerLists[string],
      table: peer,
      scan: () => aws.scan('peer'),
      decode: row => formats.peer.decode(row),
      check: async entry => (service === 'aggregator' ? checkDelegation(entry, id) : undefined),
    })
  } catch (cause) {
    if (cause instanceof CommandError || !isEnvironmental(cause)) throw cause
    throw new CommandError('Failed', describeError(cause))
  }
}

/** Adds a peer to a list. An entry with the same settings stays as it is; one with others is replaced only with `--replace`. */
export const addPeer = async (
  name: ListName,
  did: string,
  options: PeerOptions,
  context: Context,
  lookup: Lookup = lookupAll,
): Promise<Outcome> => {
  if (options.stage !== undefined && options.url !== undefined) await requirePublicUrl(options.url, lookup)
  return withList(name, options, context, async ({ service, list, schema, table, check }) => {
    const entry = await readEntry(did, options, context)
    const record = { ...entry, list, addedAt: context.now() } as PeerRecord
    const { problem } = await readPeer(schema, record, check)
    if (problem)
      throw usageError(`The peer is not valid: ${problem}`, `See w3fil --help and docs/configuration.md.`)
    const inserted = await table.insert(record)
    const known = inserted.error?.record
    const outcome = (change: 'added' | 'replaced' | 'none', line: string): Outcome => ({
      result: { service, list, change, peer: entry },
      lines: [line],
    })
    const where = `in ${list} of the ${service}`
    const force = `It is in force within ${IN_FORCE_SECONDS} s.`
    if (known === undefined) return outcome('added', `${did} is now ${where}. ${force}`)
    if (isDeepStrictEqual(settingsOf(known), entry))
      return outcome('none', `${did} was ${where} already, with the same settings: nothing changed.`)
    if (!options.replace)
      throw new CommandError(
        'AlreadyListed',
        `${did} is ${where} already, with other settings: ${JSON.stringify(settingsOf(known))}`,
        {
          hint: 'Pass --replace to replace them by those of this command.',
        },
      )
    const replaced = await table.replace({ ...record, revision: known.revision })
    if (replaced.error)
      throw new CommandError('Failed', `Another command changed ${did} ${where} at the same time`, {
        hint: 'Repeat the command.',
        retryable: true,
      })
    return outcome('replaced', `The settings of ${did} ${where} were replaced. ${force}`)
  })
}

/** Removes a peer from a list. */
export const removePeer = (
  name: ListName,
  did: string,
  options: TargetOptions,
  context: Context,
): Promise<Outcome> =>
  withList(name, options, context, async ({ service, list, table }) => {
    const key = { did, list }
    const where = `${list} of the ${service}`
    if ((await table.get(key)) === undefined)
      throw new CommandError('NotFound', `${did} is not in the table of ${where}`, {
        hint: `An entry in the configuration is removed from its setting ${list}, with a deploy.`,
      })
    await table.removeMany([key])
    const line = `${did} was removed from ${where}. It is refused within ${IN_FORCE_SECONDS} s, unless the configuration lists it too.`
    return { result: { service, list, did, removed: true }, lines: [line] }
  })

/** Shows the peers of a list, up to a limit, with the problem of each entry that the service does not accept. */
export const listPeers = (name: ListName, options: PeerOptions, context: Context): Promise<Outcome> =>
  withList(name, options, context, async ({ service, list, schema, scan, decode, check }) => {
    const { limit = 100 } = options
    const peers: (Record<string, unknown> & { did: string; addedAt?: number; problem?: string })[] = []
    let more = false
    for await (const rows of scan()) {
      for (const row of rows) {
        if (row.list !== list) continue
        more = peers.length >= limit
        if (more) break
        peers.push(await describePeer(row))
      }
      if (more) break
    }
    peers.sort((a, b) => (a.did < b.did ? -1 : 1))

    async function describePeer(row: Row): Promise<(typeof peers)[number]> {
      try {
        const record = decode(row)
        const { problem } = await readPeer(schema, record, check)
        return {
          ...settingsOf(record),
          did: record.did,
          addedAt: record.addedAt,
          ...(problem && { problem }),
        }
      } catch (cause) {
        return { did: `${row.did}`, problem: (cause as Error).message }
      }
    }

    const shown = peers.map(
      ({ did, addedAt, problem, url = '', keys, tenants, piecesPerDay, delegation }) => [
        did,
        addedAt === undefined ? '' : new Date(addedAt).toISOString().slice(0, 10),
        `${url}`,
        [
          keys && `${(keys as string[]).length} keys`,
          tenants && `tenants: ${[tenants].flat().join(' ')}`,
          piecesPerDay && `${count(piecesPerDay as number)} pieces a day`,
          delegation && 'delegation',
          problem && `NOT ACCEPTED: ${problem}`,
        ]
          .filter(Boolean)
          .join(', '),
      ],
    )
    return {
      result: { service, list, peers, more },
      lines: [
        ...(peers.length === 0
          ? [`The table of the ${service} has no ${list}.`]
          : table(['DID', 'SINCE', 'URL', 'SETTINGS'], shown)),
        ...(more ? [`There are more: pass a greater --limit than ${limit}.`] : []),
        `Entries of the setting ${list} in the configuration count too, and win. They are not shown.`,
      ],
    }
  })

/** The settings of a row: its entry in the list. */
const settingsOf = ({ list, addedAt, revision, ...settings }: PeerRecord & { revision?: number }) => settings

/** Returns the entry that the options describe. */
const readEntry = async (
  did: string,
  { url, key, tenant, piecesPerDay, delegation }: PeerOptions,
  { cwd }: Context,
): Promise<Record<string, unknown>> => ({
  did,
  ...(url !== undefined && { url }),
  ...(key && { keys: key }),
  ...(tenant && { tenants: tenant.includes('all') ? 'all' : tenant }),
  ...(piecesPerDay !== undefined && { piecesPerDay }),
  ...(delegation !== undefined && { delegation: await readDelegation(resolve(cwd, delegation)) }),
})

/** Reads a delegation as text in base 64: from a CAR, or from a file with that text. */
const readDelegation = async (path: string): Promise<string> => {
  try {
    const bytes = await readFile(path)
    const text = bytes.toString('latin1').trim()
    return /^[\w+/=-]+$/.test(text) ? text : bytes.toString('base64')
  } catch (cause) {
    throw usageError(`Cannot read ${path}: ${(cause as Error).message}`, 'Pass the file with the delegation.')
  }
}

/** Requires a URL that a stage may call: https, and a host with public addresses only. */
const requirePublicUrl = async (url: string, lookup: Lookup): Promise<void> => {
  // The schema rejects other texts.
  if (!URL.canParse(url)) return
  const { protocol, hostname } = new URL(url)
  const refuse = (reason: string) =>
    usageError(
      `The URL ${url} ${reason}`,
      'A stage sends receipts to https addresses on the public internet only.',
    )
  if (protocol !== 'https:') throw refuse('is not https')
  const literal = hostname.replace(/^\[(.*)\]$/, '$1')
  const addresses = isIP(literal)
    ? [literal]
    : await lookup(hostname).catch((cause: Error) => {
        throw refuse(`cannot be resolved: ${cause.message}`)
      })
  if (addresses.length === 0 || !addresses.every(isPublicAddress)) throw refuse('has no public address')
}
