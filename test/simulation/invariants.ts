import { decode } from '@ipld/dag-cbor'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { type PieceLink, placeIn, Tasks, toPlaceKey } from '@w3filecoin/capabilities'
import { capacityOf, decodePiece, type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { type Clock, isTask } from '@w3filecoin/runtime'
import { type Addresses, DELIVERY_ATTEMPTS } from './addresses.ts'
import type { Acknowledged } from './agents.ts'
import { checkChain, checkTranslations } from './dialects.ts'
import { attemptIn, decodeReceipt, receiptOf, receiptsOf } from './receipts.ts'
import { isOfFlood, type Scenario } from './scenario.ts'
import { SETTINGS, type Simulated, type System } from './services.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** The invariants that must hold in spite of all faults. docs/reliability.md explains each. */
export const INVARIANTS = [
  'an acknowledged offer ends in a final receipt',
  'the end is the one that the content deserves',
  'a piece is in one aggregate for each attempt',
  'proofs verify',
  'effects are tasks that were run',
  'a task has one receipt',
  'no dead letters',
  'unfinished records have a time to look again',
  'aggregates keep their limits and groups',
  'no piece is passed over twice in a row',
  'no record waits longer than its longest interval',
  'everything ends soon after the last disturbance',
  'every offer of an aggregate has its own document and task',
  'a deal proves the offer that it was made for',
  'a deal proves one offer',
  'a copy has at most one order in flight',
  'an order is recorded before its provider is asked',
  'an order makes one copy',
  'an order is refused only if its provider makes no copy',
  'a place is credited to one order',
  'a place in a receipt is on chain',
  'a place in an answer is on chain',
  'copies of an aggregate are at different providers',
  'a pause by an operator stays',
  'a payload is there while an order needs it',
  'a payload that no order needs is removed',
  'no order is lost while the chain is unknown',
  'no order is lost while its copy is known to be live',
  'a copy is ordered again before its end',
  'no aggregate fails while a copy is known to be live',
  'no aggregate fails without the word of an operator',
  'an aggregate is accepted with as many copies as its policy wants',
  'an aggregate with a live copy is accepted',
  'no aggregate fails while its deal is unknown',
  'a piece is in the group of its space',
  'a repeated offer gets the same promise',
  'slow content of a space does not delay other spaces',
  'an agent sees the workflow of its offer',
  'a promise in a dialect has one receipt, which agrees with the protocol',
  'every link of a chain in a dialect leads to a receipt',
  'an address in an offer gets the receipt',
] as const
export type Invariant = (typeof INVARIANTS)[number]

export interface Violation {
  invariant: Invariant
  what: string
}

/** The number of checks by invariant, and the violations. */
export class Findings {
  readonly checked = new Map<Invariant, number>()
  readonly violations: Violation[] = []

  check(invariant: Invariant, holds: boolean, what: () => string): void {
    this.checked.set(invariant, (this.checked.get(invariant) ?? 0) + 1)
    if (!holds) this.violations.push({ invariant, what: what() })
  }
}

type Item = Record<string, unknown>
/** Receipts, by service and task. */
export type Logs = ReadonlyMap<string, ReadonlyMap<string, Receipt>>

/** Whether a record is finished, by service and table. Records of other tables never need a check. */
const FINISHED: Record<string, (item: Item) => boolean> = {
  'storefront.piece': ({ stage }) => stage === 'accepted' || stage === 'failed',
  'storefront.aggregate': ({ stage }) => stage !== 'offered',
  // From `pending` on, the group monitors it.
  'aggregator.piece': ({ stage }) => stage !== 'offered',
  // A group that is idle may be forgotten.
  'aggregator.group': ({ idleSince }) => idleSince !== undefined,
  'aggregator.aggregate': ({ stage, openRanges }) => isEnded(stage) && isEmpty(openRanges),
  'dealer.aggregate': ({ stage, openRanges = [] }) => isEnded(stage) && isEmpty(openRanges),
  // A live copy is checked until it ends.
  'dealer.order': ({ stage }) => !['planned', 'asked', 'storing'].includes(stage as string),
  'dealer.whole': ({ stage }) => stage !== 'filling' && stage !== 'removing',
  // Its row is removed when it has the receipt, or after the last attempt.
  'storefront.listener': () => false,
  'storefront.translation': ({ stage }) => stage === 'done',
  'aggregator.translation': ({ stage }) => stage === 'done',
  'dealer.translation': ({ stage }) => stage === 'done',
}
const isEnded = (stage: unknown) => stage === 'accepted' || stage === 'failed'
const isEmpty = (list: unknown) => (list as unknown[]).length === 0

const isFinished = ({ resources }: Simulated, table: string, item: Item): boolean =>
  FINISHED[`${resources.service}.${table}`]?.(item) ?? true

/** Whether a run must not end before a record does. Groups have no end, and pieces of a flood may wait for ever. */
export const isWaiting = (service: Simulated, table: string, item: Item): boolean => {
  if (isOfFlood(item.nonce)) return false
  if (service.resources.service !== 'aggregator') return !isFinished(service, table, item)
  // A piece whose offer was never answered is offered again, so none is left out of the lists.
  if (table === 'piece') return item.stage !== 'included'
  if (table === 'pending')
    return !isOfFlood(service.tables.piece!.items.get(JSON.stringify([item.id]))?.nonce)
  return table !== 'group' && !isFinished(service, table, item)
}

/** Checks every write, and every answer, while the world runs. */
export class Watch {
  readonly #now: Clock
  readonly #findings: Findings
  /** When the receipt of each task was written first, in milliseconds since 1970. */
  readonly #issuedAt = new Map<string, number>()
  /** Receipts by task. All services must have the same one. */
  readonly #receipts = new Map<string, string>()
  /** The pieces of each group that the last aggregate passed over. */
  readonly #passedOver = new Map<string, ReadonlySet<string>>()
  readonly #sequences = new Map<string, number>()
  /** Receipts with effects, by the service that returned them, and by task. */
  readonly #promises = new Map<string, Map<string, Receipt>>()
  /** The attempts to deliver the receipt of a task to the address of an agent. */
  readonly #attempts = new Map<string, number>()

  constructor(now: Clock, findings: Findings) {
    this.#now = now
    this.#findings = findings
  }

  /** Takes the records that are there as the state from which to watch. */
  resume({ services }: System): void {
    for (const { name, resources, tables } of services.values())
      if (resources.service === 'aggregator')
        for (const { id, sequence } of tables.group!.items.values())
          this.#sequences.set(`${name} ${id}`, sequence as number)
    for (const { tables } of services.values())
      for (const { task, receipt } of tables.receipt?.items.values() ?? [])
        this.#receipts.set(task as string, receipt as string)
  }

  wrote(system: System, name: string, table: string, item: Item): void {
    const service = system.services.get(name) as Simulated
    if (table === 'receipt') this.#receipt(service, item)
    if (table === 'listener') this.#attempts.set(`${item.audience} ${item.task}`, item.attempts as number)
    if (service.resources.service === 'aggregator' && table === 'group') this.#sealed(service, item)
    checkLookedAfter(this.#findings, service, table, item)
  }

  /** Returns when the receipt of a task was written; `Infinity` if it was not. */
  issuedAt(task: string): number {
    return this.#issuedAt.get(task) ?? Infinity
  }

  /** Returns how often a storefront tried to deliver the receipt of a task to the address of an agent. */
  attempts(agent: string, task: string): number {
    return this.#attempts.get(`${agent} ${task}`) ?? 0
  }

  /**
   * Records a receipt with effects. The service must store it, because the caller may fetch it later. The receipt of an
   * offer changes only when the offer starts another attempt.
   */
  answered(service: string, receipt: Receipt): void {
    if (receipt.fx.fork.length === 0 && receipt.fx.join === undefined) return
    // An address for an upload ends within minutes: the receipt describes the present moment, like that of `filecoin/info`.
    if ((receipt.ran as Invocation).capabilities?.[0].can === 'space/blob/add') return
    const promises = this.#promises.get(service) ?? new Map<string, Receipt>()
    const task = `${receipt.ran.link()}`
    const before = promises.get(task) ?? receipt
    this.#findings.check(
      'a task has one receipt',
      cidOf(before) === cidOf(receipt) || attemptIn(before) !== attemptIn(receipt),
      () => `${service} answered ${task} with ${cidOf(before)} and ${cidOf(receipt)}`,
    )
    if (attemptIn(before) <= attemptIn(receipt)) promises.set(task, receipt)
    this.#promises.set(service, promises)
  }

  /** Checks that these receipts are stored. `logs` are all receipts at the end, by service and task. */
  checkPromises(logs: Logs): void {
    for (const [name, promises] of this.#promises)
      for (const [task, receipt] of promises) {
        const filed = logs.get(name)?.get(task)?.root.cid
        this.#findings.check(
          'a task has one receipt',
          `${filed}` === cidOf(receipt),
          () => `${name} answered ${task} with ${cidOf(receipt)}, and has ${filed}`,
        )
      }
  }

  #receipt(service: Simulated, item: Item): void {
    const { task, receipt } = item
    const known = this.#receipts.get(task as string)
    this.#findings.check(
      'a task has one receipt',
      known === undefined || known === receipt || attemptIn(decodeReceipt(service, item) as Receipt) > 1,
      () => `${task} has ${known} and ${receipt}`,
    )
    this.#receipts.set(task as string, receipt as string)
    if (known === undefined) this.#issuedAt.set(task as string, this.#now())
  }

  /**
   * Checks a new aggregate. It passes over a piece if the piece would fit after the older ones in it, but is not in it. Once
   * is allowed: the piece may have been listed after the sealer read the list.
   */
  #sealed({ name, tables, blocks }: Simulated, { id, sequence, open }: Item): void {
    const group = id as string
    const key = `${name} ${group}`
    if (sequence === (this.#sequences.get(key) ?? 0)) return
    this.#sequences.set(key, sequence as number)
    const seals = open as ({ sequence: number } & Members)[]
    const sealed = new Set(seals.flatMap(seal => membersOf(blocks, seal)))
    const members = new Set(membersOf(blocks, seals.find(seal => seal.sequence === sequence)!))
    const list = [...tables.pending!.items.values()]
      .filter(row => row.group === group)
      .map(row => row as unknown as { id: string; order: string; piece: string; size: number })
      .sort((a, b) => (a.order < b.order ? -1 : 1))
    const { paddedBytes: size, maxPieces } = SETTINGS.limits
    const passed = new Set<string>()
    // An aggregate contains a piece once: the same piece of another offer must wait.
    const held = new Set(list.filter(({ id }) => members.has(id)).map(({ piece }) => piece))
    let [pieces, bytes] = [0, 0]
    for (const row of list) {
      if (members.has(row.id)) {
        pieces += 1
        bytes += row.size
      } else if (
        pieces < members.size &&
        pieces < maxPieces &&
        bytes + row.size <= capacityOf(size) &&
        !held.has(row.piece) &&
        !sealed.has(row.id) &&
        tables.piece!.items.get(JSON.stringify([row.id]))?.stage === 'pending'
      )
        passed.add(row.id)
    }
    const before = this.#passedOver.get(key) ?? new Set()
    for (const { id: piece } of list)
      this.#findings.check(
        'no piece is passed over twice in a row',
        !(passed.has(piece) && before.has(piece)),
        () => `${piece} by aggregate ${sequence} of ${group}`,
      )
    this.#passedOver.set(key, passed)
  }
}

interface Members {
  memberShards?: string
  /** In seals of earlier code. */
  members?: string
}

/** Returns the record ids of the pieces in a seal or an aggregate. */
const membersOf = ({ blocks }: Simulated['blocks'], { memberShards, members }: Members): string[] => {
  const read = <T>(cid: string): T => decode<T>(blocks.get(cid) as never)
  if (memberShards === undefined) return read(members as string)
  return read<string[]>(memberShards).flatMap(shard =>
    read<[piece: string, id: string][]>(shard).map(([, id]) => id),
  )
}

const cidOf = ({ root }: Receipt): string => `${root.cid}`

const checkLookedAfter = (findings: Findings, service: Simulated, table: string, item: Item): void => {
  if (isFinished(service, table, item)) return
  const keeper = keeperOf(service, table, item)
  findings.check(
    'unfinished records have a time to look again',
    item.checkAt !== undefined || keeper?.checkAt !== undefined,
    () =>
      `${service.name}.${table} ${item.id} at ${item.stage} has none${keeper ? `, nor has ${keeper.id}` : ''}`,
  )
}

/** Returns the record whose checks cover a piece of the storefront that waits. */
const keeperOf = ({ resources, tables }: Simulated, table: string, item: Item): Item | undefined => {
  if (resources.service !== 'storefront' || table !== 'piece') return undefined
  const { stage, group, queuedIn, aggregateId, memberOf } = item
  if (stage === 'queued' && queuedIn !== undefined) return tables.group!.items.get(JSON.stringify([group]))
  if (stage === 'aggregated' && memberOf !== undefined)
    return tables.aggregate!.items.get(JSON.stringify([aggregateId]))
  return undefined
}

/** Maximum time until the next check of a record, in milliseconds. */
const LONGEST_INTERVAL = 3 * SETTINGS.timing.pollMs

/** Checks that no record waits for a time that a wrong clock wrote, a day after all clocks are correct. */
export const checkWaits = (findings: Findings, now: Clock, { services }: System): void => {
  for (const { name, tables } of services.values())
    for (const [table, { items }] of Object.entries(tables))
      for (const { id, stage, checkAt, emptyAt } of items.values())
        if (checkAt !== undefined && emptyAt === undefined)
          findings.check(
            'no record waits longer than its longest interval',
            (checkAt as number) <= now() + LONGEST_INTERVAL,
            () =>
              `${name}.${table} ${id} at ${stage} waits for ${Math.round(((checkAt as number) - now()) / HOUR)} hours`,
          )
}

/** Checks the state at the end. */
export const checkEnd = async (
  findings: Findings,
  watch: Watch,
  system: System,
  { storefronts, minPaddedBytes }: Scenario,
  acknowledged: readonly Acknowledged[],
): Promise<void> => {
  const logs: Logs = new Map([...system.services].map(([name, service]) => [name, receiptsOf(service)]))
  watch.checkPromises(logs)
  for (const answered of acknowledged) {
    await checkOffer(findings, watch, system, answered, logs)
    const aggregator = storefronts.get(answered.offer.storefront) as string
    await checkChain(findings, system, answered, aggregator, logs)
  }
  await checkTranslations(findings, system, logs)
  for (const log of logs.values()) checkReceipts(findings, log, logs)
  for (const service of system.services.values()) {
    const { name, queues, tables } = service
    for (const [queue, { dead }] of Object.entries(queues))
      findings.check(
        'no dead letters',
        dead.length === 0,
        () => `${name}.${queue}: ${dead.map(({ body }) => body).join(', ')}`,
      )
    for (const [table, { items }] of Object.entries(tables))
      for (const item of items.values()) checkLookedAfter(findings, service, table, item)
  }
  for (const service of aggregatorsOf(system)) checkAggregates(findings, service, minPaddedBytes)
  checkDeals(findings, system, acknowledged, logs)
}

/** Checks that each address that an offer named has the receipt, unless all attempts to deliver it were made. */
export const checkDeliveries = (
  findings: Findings,
  watch: Watch,
  { services }: System,
  addresses: Addresses,
  acknowledged: readonly Acknowledged[],
): void => {
  for (const { offer, addressed } of acknowledged)
    for (const { agent, task } of addressed) {
      const arrived = addresses.find(agent, task)
      const receipt = receiptOf(services.get(offer.storefront) as Simulated, task)
      const attempts = watch.attempts(agent, task)
      findings.check(
        'an address in an offer gets the receipt',
        arrived === undefined ? attempts === DELIVERY_ATTEMPTS : arrived === `${receipt?.root.cid}`,
        () =>
          `${agent} got ${arrived ?? 'nothing'} after ${attempts} attempts, not ${receipt?.root.cid} of ${task}`,
      )
    }
}

const aggregatorsOf = ({ services }: System): Simulated[] =>
  [...services.values()].filter(({ resources }) => resources.service === 'aggregator')

/** Checks the final receipts of an offer that was answered `ok`. */
const checkOffer = async (
  findings: Findings,
  watch: Watch,
  system: System,
  { offer, at, accepts, groups, problems }: Acknowledged,
  logs: Logs,
): Promise<void> => {
  const { id } = system.services.get(offer.storefront) as Simulated
  for (const [n, accept] of accepts.entries()) {
    const receipt = logs.get(offer.storefront)?.get(accept)
    findings.check(
      'an acknowledged offer ends in a final receipt',
      receipt !== undefined,
      () => `${offer.piece} has none (${accept})`,
    )
    if (receipt === undefined) continue
    const isLast = n === accepts.length - 1
    const outcome = receipt.out.ok ? 'accepted' : (receipt.out.error as { name: string }).name
    const isExpected = isLast
      ? outcome === offer.expected || (outcome === 'ContentNotFound' && offer.mayBeMissing)
      : outcome === 'ContentNotFound'
    findings.check(
      'the end is the one that the content deserves',
      isExpected === true,
      () => `${offer.piece}: ${outcome}, not ${isLast ? offer.expected : 'ContentNotFound'}`,
    )
    const signature = await receipt.verifySignature(Verifier.parse(id.did()) as never)
    findings.check('proofs verify', !signature.error, () => `${accept} is not signed by ${id.did()}`)
    if (receipt.out.ok) {
      const claim = { ...(receipt.out.ok as Proof), piece: offer.piece }
      checkInclusion(findings, claim)
      checkAggregateOf(findings, system, id, claim, groups)
    }
  }
  findings.check('a repeated offer gets the same promise', problems.length === 0, () => problems.join(', '))
  if (offer.submittedWithin === undefined) return
  const { cid } = await Tasks.filecoinSubmit(id, { ...offer, content: offer.content.content })
  const delay = watch.issuedAt(`${cid}`) - at
  findings.check(
    'slow content of a space does not delay other spaces',
    delay <= offer.submittedWithin,
    () => `${offer.content.content} was submitted after ${Math.round(delay / MINUTE)} minutes`,
  )
}

/**
 * Checks that the aggregate in a proof has the pieces of the storefront in a group that the space of the offer had, and that
 * its deal is the one in the receipt that the aggregator waited for.
 */
const checkAggregateOf = (
  findings: Findings,
  system: System,
  storefront: Signer,
  { piece, aggregate, aux }: Proof,
  groups: ReadonlySet<string>,
): void => {
  const found = aggregatorsOf(system).flatMap(service =>
    [...service.tables.aggregate!.items.values()]
      .filter(item => item.aggregate === `${aggregate}` && item.storefront === storefront.did())
      .map(item => ({ group: item.group as string, receipt: receiptOf(service, item.accept as string) })),
  )
  findings.check(
    'a piece is in the group of its space',
    found.some(({ group }) => groups.has(group)),
    () => `${piece} is in ${found.map(({ group }) => group)}, not in ${[...groups]}`,
  )
  const keys = found.map(({ receipt }) => keyIn(receipt?.out.ok))
  const key = keyIn(aux)
  findings.check(
    'a deal proves the offer that it was made for',
    key !== undefined && keys.includes(key),
    () => `${piece} has the place ${key}, and its aggregate ${aggregate} has ${keys}`,
  )
}

/** Returns the key of the place in the result of a receipt. */
const keyIn = (metadata: unknown): string | undefined => {
  const place = placeIn(metadata)
  return place && toPlaceKey(place)
}

interface Inclusion {
  piece: PieceLink
  aggregate: PieceLink
  inclusion: EncodedInclusion
}

/** The result of `filecoin/accept`. */
interface Proof extends Inclusion {
  aux: unknown
}

const checkInclusion = (findings: Findings, claim: Inclusion): void => {
  const { error } = verifyInclusion(claim)
  findings.check('proofs verify', !error, () => `${claim.piece} in ${claim.aggregate}: ${error?.message}`)
}

/** Checks the effects and the proofs in the receipts of a service. */
const checkReceipts = (findings: Findings, log: ReadonlyMap<string, Receipt>, logs: Logs): void => {
  for (const [task, { fx, out }] of log) {
    for (const effect of [...fx.fork, ...(fx.join ? [fx.join] : [])])
      if (!(isTask(effect) && isOfFlood(effect.nonce)))
        findings.check(
          'effects are tasks that were run',
          [...logs.values()].some(log => log.has(`${effect.link()}`)),
          () => `${effect.link()}, an effect of ${canOf(log, task)} ${task}`,
        )
    const claim = (out.ok ?? {}) as Partial<Inclusion>
    if (claim.aggregate && claim.piece && claim.inclusion) checkInclusion(findings, claim as Inclusion)
  }
}

const canOf = (log: ReadonlyMap<string, Receipt>, task: string): string =>
  (log.get(task)?.ran as Invocation | undefined)?.capabilities?.[0]?.can ?? 'a task'

/** Checks that a piece is in one aggregate with a deal for each task that proves it. */
const checkDeals = (
  findings: Findings,
  system: System,
  acknowledged: readonly Acknowledged[],
  logs: Logs,
): void => {
  const keyOf = (storefront: string, piece: unknown) => `${storefront} ${piece}`
  const held = new Map<string, number>()
  for (const { tables, blocks } of aggregatorsOf(system))
    for (const { stage, storefront, pieces } of tables.aggregate!.items.values())
      if (stage === 'accepted')
        for (const piece of decode<PieceLink[]>(blocks.blocks.get(pieces as string) as never)) {
          const key = keyOf(storefront as string, piece)
          held.set(key, (held.get(key) ?? 0) + 1)
        }
  const proven = new Map<string, Set<string>>()
  for (const { offer, accepts } of acknowledged)
    for (const accept of accepts) {
      if (!logs.get(offer.storefront)?.get(accept)?.out.ok) continue
      const key = keyOf((system.services.get(offer.storefront) as Simulated).id.did(), offer.piece)
      proven.set(key, (proven.get(key) ?? new Set()).add(accept))
    }
  for (const [key, tasks] of proven)
    findings.check(
      'a piece is in one aggregate for each attempt',
      held.get(key) === tasks.size,
      () => `${key} is in ${held.get(key)} aggregates with a deal, and has ${tasks.size} proofs`,
    )
}

const checkAggregates = (findings: Findings, { tables, blocks }: Simulated, minPaddedBytes: number): void => {
  const { paddedBytes: size, maxPieces } = SETTINGS.limits
  /** The aggregate of each piece. */
  const holders = new Map<string, string>()
  for (const item of tables.aggregate!.items.values()) {
    const { id, pieces, storefront, group, aggregate } = item as unknown as Record<string, string>
    const ids = membersOf(blocks, item as Members)
    const links = decode<PieceLink[]>(blocks.blocks.get(pieces!) as never)
    const bytes = links.reduce((sum, link) => sum + (decodePiece(link).ok?.size ?? Infinity), 0)
    findings.check(
      'aggregates keep their limits and groups',
      bytes <= capacityOf(size) &&
        bytes >= (group === SETTINGS.defaultGroup ? minPaddedBytes : 0) &&
        ids.length <= maxPieces &&
        ids.length === links.length,
      () => `${aggregate} has ${ids.length} pieces, ${bytes} bytes`,
    )
    for (const member of ids) {
      const record = tables.piece!.items.get(JSON.stringify([member]))
      findings.check(
        'aggregates keep their limits and groups',
        record?.storefront === storefront && record?.group === group,
        () => `${member} is of another group than ${aggregate}`,
      )
      findings.check(
        'a piece is in one aggregate for each attempt',
        !holders.has(member),
        () => `${member} is in ${id} and ${holders.get(member)}`,
      )
      holders.set(member, id!)
    }
  }
  for (const { id, aggregateId, stage } of tables.piece!.items.values())
    if (stage === 'included')
      findings.check(
        'a piece is in one aggregate for each attempt',
        holders.get(id as string) === aggregateId,
        () => `${id} says ${aggregateId}, is in ${holders.get(id as string)}`,
      )
}
