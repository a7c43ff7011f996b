import type * as z from 'zod'
import { describeIssue } from '../config.ts'
import type { Clock, Log, Stored, Table } from '../ports.ts'
import { principal } from './authority.ts'
import { configuredPeers, type PeerConfig, type Peers } from './peers.ts'
import { principals } from './principal.ts'

/**
 * A peer in the table `peer` of a service: an entry of a list in the service's configuration, with the list and the time. Its
 * other attributes are those of the entry, and the same schema checks both.
 *
 * @example { did: 'did:web:storefront.example', list: 'storefronts', addedAt: 1767225600000, url: 'https://storefront.example' }
 */
export type PeerRecord = {
  did: string
  /** The setting whose entry this is. @example 'storefronts' */
  list: string
  /** When an operator added or last replaced it, in milliseconds since 1970. */
  addedAt: number
} & { [setting: string]: unknown }

/** The schema of an entry of each list of peers that an operator may extend in the table, by the name of its setting. */
export type PeerLists = Readonly<Record<string, z.ZodType<PeerConfig>>>

/** The entries of a list, as its schema returns them. */
export type PeerIn<L extends PeerLists, N extends keyof L> = z.infer<L[N]>

/** Returns the problem of a valid entry that its schema cannot see; `undefined` if there is none. */
export type PeerCheck = (peer: PeerConfig) => Promise<string | undefined>

/**
 * Reads a row of the table `peer` as an entry of its list.
 *
 * @returns the entry, or the problems of the row as one text
 */
export const readPeer = async <S extends z.ZodType<PeerConfig>>(
  schema: S,
  { list, addedAt, revision, ...entry }: PeerRecord & { revision?: number },
  check: PeerCheck = async () => undefined,
): Promise<{ ok: z.infer<S>; problem?: undefined } | { ok?: undefined; problem: string }> => {
  const { data, error } = schema.safeParse(entry, { reportInput: true })
  if (error) return { problem: error.issues.map(describeIssue).join('; ') }
  const unreadable = [data.did, ...(data.keys ?? [])].find(did => !isPrincipal(did))
  if (unreadable)
    return { problem: `${unreadable} is not a DID that can be read, e.g. because a letter is missing` }
  const problem = await check(data)
  return problem === undefined ? { ok: data } : { problem }
}

/** Whether a DID can be parsed; that of a key also as an Ed25519, RSA or P-256 key. */
const isPrincipal = (did: string): boolean => {
  try {
    principal(did)
    if (did.startsWith('did:key:')) principals.parse(did as `did:key:${string}`)
    return true
  } catch {
    return false
  }
}

/** How long a read of the table counts, and how many reads are kept. */
export interface PeerCacheLimits {
  milliseconds: number
  entries: number
}

/**
 * A removal must be in force within a minute, while a run that found the peer may still deliver receipts to it for 25 s. An
 * entry of the cache has a few KB at most, the delegation of a storefront included.
 */
export const PEER_CACHE: PeerCacheLimits = { milliseconds: 30_000, entries: 1_000 }

/** Rows that are read for one DID: at most one for each list. */
const MAX_ROWS = 10

interface ListedPeersOptions<L extends PeerLists> {
  lists: L
  /** The entries of each list in the configuration. They win over rows with the same DID. */
  configured: { [N in keyof L]: readonly PeerIn<L, N>[] }
  /** Peers in the configuration that are in no list, e.g. the dealer of an aggregator. */
  services?: readonly PeerConfig[]
  table: Pick<Table<PeerRecord>, 'list'>
  check?: PeerCheck
  now: Clock
  log: Log
  limits?: PeerCacheLimits
}

/**
 * The peers of a service: those in its configuration, and those that operators listed in its table `peer`. The table is read
 * when a DID is asked for that the configuration does not have, and never as a whole.
 *
 * An answer of the table counts for {@link PEER_CACHE}.milliseconds from the start of the read, also the answer that it does not
 * have the DID. Concurrent questions for one DID share a read. A failed read is not kept, and throws. A row that its schema
 * rejects is logged, and counts as absent.
 */
export class ListedPeers<L extends PeerLists> implements Peers {
  readonly #lists: L
  /** By list, the entries in the configuration. */
  readonly #configured: ReadonlyMap<string, Peers>
  /** Every entry in the configuration. */
  readonly #all: Peers
  readonly #table: ListedPeersOptions<L>['table']
  readonly #check: PeerCheck | undefined
  readonly #now: Clock
  readonly #log: Log
  readonly #limits: PeerCacheLimits
  /** By DID, its rows by list; the one read first comes first. */
  readonly #cache = new Map<string, { rows: Promise<Map<string, PeerConfig>>; startedAt: number }>()

  constructor({
    lists,
    configured,
    services = [],
    table,
    check,
    now,
    log,
    limits = PEER_CACHE,
  }: ListedPeersOptions<L>) {
    this.#lists = lists
    const names = Object.keys(lists)
    this.#configured = new Map(names.map(name => [name, configuredPeers(configured[name] ?? [])]))
    this.#all = configuredPeers([...names.flatMap(name => configured[name] ?? []), ...services])
    this.#table = table
    this.#check = check
    this.#now = now
    this.#log = log
    this.#limits = limits
  }

  /** Finds a peer of any list: its keys count, whichever list it is in. */
  async find(did: string): Promise<PeerConfig | undefined> {
    const configured = await this.#all.find(did)
    if (configured) return configured
    const rows = await this.#rowsOf(did)
    return Object.keys(this.#lists)
      .map(name => rows.get(name))
      .findLast(peer => peer !== undefined)
  }

  /** Returns the peers of one list. */
  in<N extends keyof L & string>(list: N): Peers<PeerIn<L, N>> {
    const configured = this.#configured.get(list) as Peers
    return {
      find: async did =>
        ((await configured.find(did)) ?? (await this.#rowsOf(did)).get(list)) as PeerIn<L, N> | undefined,
    }
  }

  #rowsOf(did: string): Promise<Map<string, PeerConfig>> {
    const now = this.#now()
    const cached = this.#cache.get(did)
    // A start in the future was read from a wrong clock. Without this check, a removed peer would stay until that time.
    if (cached && cached.startedAt <= now && now < cached.startedAt + this.#limits.milliseconds)
      return cached.rows
    // Deleted first, so that the new entry is the last one.
    this.#cache.delete(did)
    const entry = { rows: this.#read(did), startedAt: now }
    this.#cache.set(did, entry)
    const [oldest] = this.#cache.keys()
    if (this.#cache.size > this.#limits.entries && oldest !== undefined) this.#cache.delete(oldest)
    entry.rows.catch(() => {
      if (this.#cache.get(did) === entry) this.#cache.delete(did)
    })
    return entry.rows
  }

  async #read(did: string): Promise<Map<string, PeerConfig>> {
    const { items } = await this.#table.list(did, { limit: MAX_ROWS })
    const rows = new Map<string, PeerConfig>()
    for (const record of items as Stored<PeerRecord>[]) {
      const { list } = record
      // A list of a later version of the service.
      if (!Object.hasOwn(this.#lists, list)) continue
      const { ok, problem } = await readPeer(this.#lists[list]!, record, this.#check)
      if (ok) rows.set(list, ok)
      else this.#log('error', 'peer not valid', { peer: did, list, problem })
    }
    return rows
  }
}

/** Returns the peers in another form, e.g. to call them. */
export const mapPeers = <P extends { did: PeerConfig['did'] }, Q extends { did: PeerConfig['did'] }>(
  peers: Peers<P>,
  map: (peer: P) => Q,
): Peers<Q> => ({
  find: async did => {
    const peer = await peers.find(did)
    return peer && map(peer)
  },
})
