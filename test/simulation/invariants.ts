import { decode } from '@ipld/dag-cbor'
import type { Invocation, Receipt } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { type FilecoinAcceptSuccess, type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { capacityOf, decodePiece, type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { readReceipt } from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import type { Offer } from './scenario.ts'
import { SETTINGS, type Simulated, type System } from './services.ts'

/** What must hold, whatever went wrong. Each is named in docs/reliability.md. */
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

type Item = Record<string, unknown>

/** Whether a record is finished, by service and table. Those that are not named here never have to be looked at. */
const FINISHED: Record<string, (item: Item) => boolean> = {
  'storefront.piece': ({ stage }) => stage === 'accepted' || stage === 'failed',
  'storefront.aggregate': ({ stage }) => stage !== 'offered',
  // From `pending` on the group looks after it.
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

/** Looks at everything that is written while the world runs. */
export class Watch {
  readonly violations: Violation[] = []
  /** Receipts by task, in all services: the same one wherever it is. */
  readonly #receipts = new Map<string, string>()
  /** Pieces of a group that the last aggregate passed over. */
  readonly #passedOver = new Map<string, ReadonlySet<string>>()
  readonly #sequences = new Map<string, number>()
  checks = 0

  wrote(system: System, service: string, table: string, item: Item): void {
    this.checks += 1
    if (table === 'receipt') this.#receipt(item)
    if (service === 'aggregator' && table === 'group') this.#sealed(system, item)
    if (!isFinished(roleOf(service), table, item) && item.checkAt === undefined)
      this.#violated(
        'unfinished records have a time to look again',
        `${service}.${table} ${item.id} at ${item.stage} has none`,
      )
  }

  #receipt({ task, receipt }: Item): void {
    const known = this.#receipts.get(task as string)
    if (known !== undefined && known !== receipt)
      this.#violated('a task has one receipt', `${task} has ${known} and ${receipt}`)
    this.#receipts.set(task as string, receipt as string)
  }

  /**
   * An aggregate was decided. A piece was passed over unfairly if it is not in it, though it would fit behind the older
   * ones that are. Once is no fault: the piece may have been listed after the list was read.
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
    const { size, maxPieces } = SETTINGS.limits
    const passed = new Set<string>()
    // An aggregate holds a piece once: the same one of another offer has to wait.
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
    for (const piece of passed)
      if (before.has(piece))
        this.#violated(
          'no piece is passed over twice in a row',
          `${piece} by aggregate ${sequence} of ${group}`,
        )
    this.#passedOver.set(group, passed)
  }

  #violated(invariant: Invariant, what: string): void {
    this.violations.push({ invariant, what })
  }
}

/** All receipts of a service, by task. */
export const receiptsOf = ({ tables, blocks }: Simulated): Map<string, Receipt> =>
  new Map(
    [...tables.receipt!.items.values()].map(item => {
      const { task, car, block } = item as unknown as { task: string; car?: Uint8Array; block?: string }
      return [task, readReceipt(task, car ?? (blocks.blocks.get(block as string) as Uint8Array)) as Receipt]
    }),
  )

/** Looks at what there is in the end. `acknowledged` are the offers that were answered `ok`. */
export const checkEnd = async (system: System, acknowledged: readonly Offer[]): Promise<Violation[]> => {
  const violations: Violation[] = []
  const violated = (invariant: Invariant, what: string) => void violations.push({ invariant, what })
  const logs = new Map([...system.services].map(([name, service]) => [name, receiptsOf(service)]))
  const run = new Set([...logs.values()].flatMap(log => [...log.keys()]))

  for (const offer of acknowledged) {
    const { id } = system.services.get(offer.storefront) as Simulated
    const { cid } = await Tasks.filecoinAccept(id, { ...offer, content: offer.content.content })
    const receipt = logs.get(offer.storefront)?.get(`${cid}`)
    if (receipt === undefined) {
      violated('an acknowledged offer ends in a final receipt', `${offer.piece} has none (${cid})`)
      continue
    }
    const outcome = receipt.out.ok ? 'accepted' : (receipt.out.error as { name: string }).name
    if (outcome !== offer.expected)
      violated(
        'the end is the one that the content deserves',
        `${offer.piece}: ${outcome}, not ${offer.expected}`,
      )
    if ((await receipt.verifySignature(Verifier.parse(id.did()) as never)).error)
      violated('proofs verify', `${cid} is not signed by ${id.did()}`)
    if (receipt.out.ok) {
      const { aggregate, inclusion } = receipt.out.ok as FilecoinAcceptSuccess
      const proof = verifyInclusion({
        piece: offer.piece,
        aggregate,
        inclusion: inclusion as EncodedInclusion,
      })
      if (proof.error) violated('proofs verify', `${offer.piece} in ${aggregate}: ${proof.error.message}`)
    }
  }

  for (const log of logs.values())
    for (const [task, { fx, out }] of log) {
      for (const effect of [...fx.fork, ...(fx.join ? [fx.join] : [])])
        if (!run.has(`${effect.link()}`))
          violated(
            'effects are tasks that were run',
            `${effect.link()}, an effect of ${canOf(log, task)} ${task}`,
          )
      const success = out.ok as { aggregate?: PieceLink; piece?: PieceLink; inclusion?: EncodedInclusion }
      const { aggregate, piece, inclusion } = success ?? {}
      if (aggregate && piece && inclusion && verifyInclusion({ piece, aggregate, inclusion }).error)
        violated('proofs verify', `${piece} in ${aggregate}`)
    }

  for (const { name, queues, tables } of system.services.values()) {
    for (const [queue, { dead }] of Object.entries(queues))
      for (const { body } of dead) violated('no dead letters', `${name}.${queue}: ${body}`)
    for (const [table, { items }] of Object.entries(tables))
      for (const item of items.values())
        if (!isFinished(roleOf(name), table, item) && item.checkAt === undefined)
          violated('unfinished records have a time to look again', `${name}.${table} ${item.id}`)
  }
  checkAggregates(system.services.get('aggregator') as Simulated, violated)
  return violations
}

const canOf = (log: ReadonlyMap<string, Receipt>, task: string): string =>
  (log.get(task)?.ran as Invocation | undefined)?.capabilities?.[0]?.can ?? 'a task'

const checkAggregates = (
  { tables, blocks }: Simulated,
  violated: (invariant: Invariant, what: string) => void,
): void => {
  const { size, maxPieces } = SETTINGS.limits
  const in_ = new Map<string, string>()
  for (const item of tables.aggregate!.items.values()) {
    const { id, members, pieces, storefront, group, aggregate } = item as unknown as Record<string, string>
    const ids = decode<string[]>(blocks.blocks.get(members!) as never)
    const links = decode<PieceLink[]>(blocks.blocks.get(pieces!) as never)
    const bytes = links.reduce((sum, link) => sum + (decodePiece(link).ok?.size ?? Infinity), 0)
    if (bytes > capacityOf(size) || ids.length > maxPieces || ids.length !== links.length)
      violated(
        'aggregates keep their limits and groups',
        `${aggregate} has ${ids.length} pieces, ${bytes} bytes`,
      )
    for (const member of ids) {
      const record = tables.piece!.items.get(JSON.stringify([member]))
      if (record?.storefront !== storefront || record?.group !== group)
        violated('aggregates keep their limits and groups', `${member} is of another group than ${aggregate}`)
      if (in_.has(member))
        violated(
          'a piece is in one aggregate for each attempt',
          `${member} is in ${id} and ${in_.get(member)}`,
        )
      in_.set(member, id!)
    }
  }
  for (const { id, aggregateId, stage } of tables.piece!.items.values())
    if (stage === 'included' && in_.get(id as string) !== aggregateId)
      violated(
        'a piece is in one aggregate for each attempt',
        `${id} says ${aggregateId}, is in ${in_.get(id as string)}`,
      )
}

export const link = (text: string) => parseLink(text) as unknown as PieceLink
