import { decode } from '@ipld/dag-cbor'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { capacityOf, decodePiece, type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { readReceipt } from '@w3filecoin/runtime'
import type { Offer } from './scenario.ts'
import { SETTINGS, type Simulated, type System } from './services.ts'

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
type Logs = ReadonlyMap<string, ReadonlyMap<string, Receipt>>

/** Whether a record is finished, by service and table. Records of other tables never need a check. */
const FINISHED: Record<string, (item: Item) => boolean> = {
  'storefront.piece': ({ stage }) => stage === 'accepted' || stage === 'failed',
  'storefront.aggregate': ({ stage }) => stage !== 'offered',
  // From `pending` on, the group monitors it.
  'aggregator.piece': ({ stage }) => stage !== 'offered',
  'aggregator.group': () => false,
  'aggregator.aggregate': ({ stage, openRanges }) => isEnded(stage) && isEmpty(openRanges),
  'dealer.aggregate': ({ stage, openRanges = [] }) => isEnded(stage) && isEmpty(openRanges),
}
const isEnded = (stage: unknown) => stage === 'accepted' || stage === 'failed'
const isEmpty = (list: unknown) => (list as unknown[]).length === 0

export const isFinished = (role: string, table: string, item: Item): boolean =>
  FINISHED[`${role}.${table}`]?.(item) ?? true

export const roleOf = (name: string): string => (name === 'other' ? 'storefront' : name)

/** Checks every write, and every answer, while the world runs. */
export class Watch {
  readonly #findings: Findings
  /** Receipts by task. All services must have the same one. */
  readonly #receipts = new Map<string, string>()
  /** The pieces of each group that the last aggregate passed over. */
  readonly #passedOver = new Map<string, ReadonlySet<string>>()
  readonly #sequences = new Map<string, number>()
  /** Receipts with effects, by the service that returned them, and by task. */
  readonly #promises = new Map<string, Map<string, string>>()

  constructor(findings: Findings) {
    this.#findings = findings
  }

  /** Takes the records that are there as the state from which to watch. */
  resume({ services }: System): void {
    for (const { id, sequence } of services.get('aggregator')?.tables.group?.items.values() ?? [])
      this.#sequences.set(id as string, sequence as number)
    for (const { tables } of services.values())
      for (const { task, receipt } of tables.receipt?.items.values() ?? [])
        this.#receipts.set(task as string, receipt as string)
  }

  wrote(system: System, service: string, table: string, item: Item): void {
    if (table === 'receipt') this.#receipt(item)
    if (service === 'aggregator' && table === 'group') this.#sealed(system, item)
    checkLookedAfter(this.#findings, service, table, item)
  }

  /** Records a receipt with effects. The service must store it, because the caller may fetch it later. */
  answered(service: string, { ran, root, fx }: Receipt): void {
    if (fx.fork.length === 0 && fx.join === undefined) return
    const promises = this.#promises.get(service) ?? new Map<string, string>()
    const [task, receipt] = [`${ran.link()}`, `${root.cid}`]
    const before = promises.get(task) ?? receipt
    this.#findings.check(
      'a task has one receipt',
      before === receipt,
      () => `${service} answered ${task} with ${before} and ${receipt}`,
    )
    this.#promises.set(service, promises.set(task, receipt))
  }

  /** Checks that these receipts are stored. `logs` are all receipts at the end, by service and task. */
  checkPromises(logs: Logs): void {
    for (const [name, promises] of this.#promises)
      for (const [task, receipt] of promises) {
        const filed = logs.get(name)?.get(task)?.root.cid
        this.#findings.check(
          'a task has one receipt',
          `${filed}` === receipt,
          () => `${name} answered ${task} with ${receipt}, and has ${filed}`,
        )
      }
  }

  #receipt({ task, receipt }: Item): void {
    const known = this.#receipts.get(task as string)
    this.#findings.check(
      'a task has one receipt',
      known === undefined || known === receipt,
      () => `${task} has ${known} and ${receipt}`,
    )
    this.#receipts.set(task as string, receipt as string)
  }

  /**
   * Checks a new aggregate. It passes over a piece if the piece would fit after the older ones in it, but is not in it. Once
   * is allowed: the piece may have been listed after the sealer read the list.
   */
  #sealed(system: System, { id, sequence, open }: Item): void {
    const group = id as string
    if (sequence === (this.#sequences.get(group) ?? 0)) return
    this.#sequences.set(group, sequence as number)
    const { tables, blocks } = system.services.get('aggregator') as Simulated
    const seals = open as { sequence: number; members: string }[]
    const membersOf = (seal: { members: string }) =>
      decode<string[]>(blocks.blocks.get(seal.members) as never)
    const sealed = new Set(seals.flatMap(membersOf))
    const members = new Set(membersOf(seals.find(seal => seal.sequence === sequence)!))
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
    const before = this.#passedOver.get(group) ?? new Set()
    for (const { id: piece } of list)
      this.#findings.check(
        'no piece is passed over twice in a row',
        !(passed.has(piece) && before.has(piece)),
        () => `${piece} by aggregate ${sequence} of ${group}`,
      )
    this.#passedOver.set(group, passed)
  }
}

const checkLookedAfter = (findings: Findings, service: string, table: string, item: Item): void => {
  if (isFinished(roleOf(service), table, item)) return
  findings.check(
    'unfinished records have a time to look again',
    item.checkAt !== undefined,
    () => `${service}.${table} ${item.id} at ${item.stage} has none`,
  )
}

/** Returns all receipts of a service, by task. */
export const receiptsOf = ({ tables, blocks }: Simulated): Map<string, Receipt> =>
  new Map(
    [...tables.receipt!.items.values()].map(item => {
      const { task, car, block } = item as unknown as { task: string; car?: Uint8Array; block?: string }
      return [task, readReceipt(task, car ?? (blocks.blocks.get(block as string) as Uint8Array)) as Receipt]
    }),
  )

/** Checks the state at the end. `acknowledged` are the offers that were answered `ok`. */
export const checkEnd = async (
  findings: Findings,
  watch: Watch,
  system: System,
  acknowledged: readonly Offer[],
): Promise<void> => {
  const logs: Logs = new Map([...system.services].map(([name, service]) => [name, receiptsOf(service)]))
  watch.checkPromises(logs)
  for (const offer of acknowledged) {
    const { id } = system.services.get(offer.storefront) as Simulated
    await checkOffer(findings, id, offer, logs.get(offer.storefront))
  }
  for (const log of logs.values()) checkReceipts(findings, log, logs)
  for (const { name, queues, tables } of system.services.values()) {
    for (const [queue, { dead }] of Object.entries(queues))
      findings.check(
        'no dead letters',
        dead.length === 0,
        () => `${name}.${queue}: ${dead.map(({ body }) => body).join(', ')}`,
      )
    for (const [table, { items }] of Object.entries(tables))
      for (const item of items.values()) checkLookedAfter(findings, name, table, item)
  }
  checkAggregates(findings, system.services.get('aggregator') as Simulated)
  checkDeals(findings, system.services.get('dealer') as Simulated, system, acknowledged)
}

/** Checks the final receipt of an offer that was answered `ok`. */
const checkOffer = async (
  findings: Findings,
  storefront: Signer,
  offer: Offer,
  receipts: ReadonlyMap<string, Receipt> | undefined,
): Promise<void> => {
  const { cid } = await Tasks.filecoinAccept(storefront, { ...offer, content: offer.content.content })
  const receipt = receipts?.get(`${cid}`)
  findings.check(
    'an acknowledged offer ends in a final receipt',
    receipt !== undefined,
    () => `${offer.piece} has none (${cid})`,
  )
  if (receipt === undefined) return
  const outcome = receipt.out.ok ? 'accepted' : (receipt.out.error as { name: string }).name
  findings.check(
    'the end is the one that the content deserves',
    outcome === offer.expected,
    () => `${offer.piece}: ${outcome}, not ${offer.expected}`,
  )
  const signature = await receipt.verifySignature(Verifier.parse(storefront.did()) as never)
  findings.check('proofs verify', !signature.error, () => `${cid} is not signed by ${storefront.did()}`)
  if (receipt.out.ok) checkInclusion(findings, { ...(receipt.out.ok as Inclusion), piece: offer.piece })
}

interface Inclusion {
  piece: PieceLink
  aggregate: PieceLink
  inclusion: EncodedInclusion
}

const checkInclusion = (findings: Findings, claim: Inclusion): void => {
  const { error } = verifyInclusion(claim)
  findings.check('proofs verify', !error, () => `${claim.piece} in ${claim.aggregate}: ${error?.message}`)
}

/** Checks the effects and the proofs in the receipts of a service. */
const checkReceipts = (findings: Findings, log: ReadonlyMap<string, Receipt>, logs: Logs): void => {
  for (const [task, { fx, out }] of log) {
    for (const effect of [...fx.fork, ...(fx.join ? [fx.join] : [])])
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

/** Checks that a piece is in as many aggregates with a deal as there were offers of it. */
const checkDeals = (
  findings: Findings,
  { tables, blocks }: Simulated,
  { services }: System,
  acknowledged: readonly Offer[],
): void => {
  const keyOf = (storefront: string, piece: unknown) => `${storefront} ${piece}`
  const held = new Map<string, number>()
  for (const { stage, storefront, pieces } of tables.aggregate!.items.values())
    if (stage === 'accepted')
      for (const piece of decode<PieceLink[]>(blocks.blocks.get(pieces as string) as never)) {
        const key = keyOf(storefront as string, piece)
        held.set(key, (held.get(key) ?? 0) + 1)
      }
  const offered = new Map<string, Set<string | undefined>>()
  for (const { storefront, piece, nonce, expected } of acknowledged) {
    if (expected !== 'accepted') continue
    const key = keyOf((services.get(storefront) as Simulated).id.did(), piece)
    offered.set(key, (offered.get(key) ?? new Set()).add(nonce))
  }
  for (const [key, offers] of offered)
    findings.check(
      'a piece is in one aggregate for each attempt',
      held.get(key) === offers.size,
      () => `${key} is in ${held.get(key)} aggregates with a deal, and was offered ${offers.size} times`,
    )
}

const checkAggregates = (findings: Findings, { tables, blocks }: Simulated): void => {
  const { paddedBytes: size, maxPieces } = SETTINGS.limits
  /** The aggregate of each piece. */
  const holders = new Map<string, string>()
  for (const item of tables.aggregate!.items.values()) {
    const { id, members, pieces, storefront, group, aggregate } = item as unknown as Record<string, string>
    const ids = decode<string[]>(blocks.blocks.get(members!) as never)
    const links = decode<PieceLink[]>(blocks.blocks.get(pieces!) as never)
    const bytes = links.reduce((sum, link) => sum + (decodePiece(link).ok?.size ?? Infinity), 0)
    findings.check(
      'aggregates keep their limits and groups',
      bytes <= capacityOf(size) && ids.length <= maxPieces && ids.length === links.length,
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
