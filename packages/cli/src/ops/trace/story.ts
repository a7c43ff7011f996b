import {
  type AggregateRecord,
  aggregateId as aggregatorKey,
  findMember,
  groupId as groupKey,
  type PieceRecord as OfferedPiece,
  pieceId,
} from '@w3filecoin/aggregator'
import { describePlaceKey, epochToMs, parsePieceLink, Tasks } from '@w3filecoin/capabilities'
import { keyOf, sourceOf, toPieceKey, toStatus } from '@w3filecoin/deal-tracker'
import {
  type AggregateRecord as DealerAggregate,
  aggregateId as dealerKey,
  isSameOwner,
} from '@w3filecoin/dealer'
import { toV1 } from '@w3filecoin/piece'
import { type Due, type Stored, type TranslationRecord, unpackTask } from '@w3filecoin/runtime'
import {
  keeperOf,
  type PieceRecord,
  promisedCid,
  readPromises,
  aggregateId as storefrontKey,
} from '@w3filecoin/storefront'
import { bytes as formatBytes } from '../../text.ts'
import { type AnyRecord, findCheckAt, findServices } from '../services.ts'
import { type Filed, findReceipt, findRetry, type ReceiptStep } from './receipts.ts'
import type { ServiceName, Services } from './services.ts'

/** A record entered a stage. */
export interface StageStep {
  kind: 'stage'
  /** In milliseconds since 1970. */
  at: number
  service: string
  /** The table of the record, e.g. `piece`, and its key. */
  record: string
  key: string
  stage: string
  /** Time that the record spent in the stage, until now if it is still there; absent for a final stage. */
  lastedMs?: number
  /** Number of the aggregate in the story, from 1. */
  aggregate?: number | undefined
  /** Of an order: the number of the copy, and the target. */
  copy?: number
  target?: string
  note?: string | undefined
}

/** The deal tracker saw a deal of an aggregate. */
export interface DealStep {
  kind: 'deal'
  at: number
  service: string
  /** Key of the place: of a deal, its id; of a provider without a place, its address. */
  deal: string
  provider: string
  status: string
  source: string
  aggregate: number
  /** Whether this is the end of the place, and why it ended, if the deal tracker knows. */
  isEnd?: true
  reason?: string | undefined
}

export type Step = StageStep | ReceiptStep | DealStep

/** A record with unfinished work. */
export interface OpenWork {
  service: string
  table: string
  key: string
  stage: string | undefined
  since: number | undefined
  /** The next step, for operators. */
  next: string
  /** The last problem, with its number. `at` is the time of the last one. */
  trouble: { message: string; at?: number | undefined; times: number } | undefined
  /** When it is tried again, in milliseconds since 1970. Absent if no sweep checks the record. */
  checkAt: number | undefined
  /** Whether the time of the next try is over: its message is in a queue, or a sweep is late. */
  isOverdue: boolean
  aggregate?: number | undefined
  note?: string | undefined
}

/** An aggregate that the piece is or was in. */
export interface AggregateOfStory {
  aggregate: string
  nonce: string | undefined
  group: string
  stage: string
  /** Key of its place on chain, once it is accepted: of a deal, its id. */
  deal?: string | undefined
}

/** A workflow of one piece, or an aggregate: everything that the four services store about it. */
export interface Story {
  piece?: string
  content?: string | undefined
  nonce?: string | undefined
  group: string
  space?: string | undefined
  storefront?: string | undefined
  stage: string
  since: number | undefined
  /** Why it failed. */
  reason?: { name: string; message: string } | undefined
  /** Attempts to read its content: more than one if the content arrived late. */
  contentAttempts?: number | undefined
  /** Numbered from 1 in the steps. */
  aggregates: AggregateOfStory[]
  steps: Step[]
  open: OpenWork[]
  /** CIDs of the tasks, each under its name in the steps. */
  tasks: { name: string; task: string }[]
  /** Keys of the records of storefront, aggregator and dealer that the story has. */
  keys: string[]
}

/** Where a story begins: at the storefront, or at the aggregator if no storefront of this system has the piece. */
export type Origin =
  | { workflow: Stored<PieceRecord>; offered?: undefined }
  | { workflow?: undefined; offered: Stored<OfferedPiece> }

/** Attempts of a piece that are read. The aggregator makes at most ten. */
const MAX_ATTEMPTS = 20
/** Deals of an aggregate, and sources of the deal tracker, that are read. */
const MAX_DEALS = 100
/** Orders of an aggregate that are read. */
const MAX_ORDERS = 100
/** A sweep runs each minute. */
const SWEEP_MS = 60_000
/** Stages in which nothing happens to a record. */
const FINAL: ReadonlySet<string> = new Set([
  'accepted',
  'failed',
  'included',
  'done',
  'refused',
  'lost',
  'ended',
])

/** One attempt to get a piece into a deal: its record at the aggregator, and the aggregate that it is in. */
interface Attempt {
  piece: Stored<OfferedPiece>
  aggregate: Stored<AggregateRecord> | undefined
}

/** Collects the steps of one story. */
class Draft {
  readonly steps: Step[] = []
  readonly open: OpenWork[] = []
  readonly tasks: { name: string; task: string }[] = []
  readonly aggregates: AggregateOfStory[] = []
  readonly keys: string[] = []
  readonly services: Services
  readonly now: number

  constructor(services: Services, now: number) {
    this.services = services
    this.now = now
  }

  stage(step: Omit<StageStep, 'kind' | 'at'> & { at: number | undefined }): void {
    const { at } = step
    if (at !== undefined) this.steps.push({ kind: 'stage', ...step, at })
  }

  /** Adds the receipt of a task, if there is one, and the task under its name. */
  async receipt(name: string, task: string, services: readonly ServiceName[]): Promise<Filed | undefined> {
    this.tasks.push({ name, task })
    const filed = await findReceipt(this.services, task, services)
    if (filed) this.steps.push({ ...filed.step, name })
    return filed
  }

  /** Adds a record to the open work, unless it is finished. */
  work(
    service: string,
    table: string,
    record: Stored<object & Due>,
    more: Partial<Pick<OpenWork, 'aggregate' | 'note' | 'since' | 'trouble' | 'checkAt'>> = {},
  ): void {
    const rules = findServices(service)[0]!.unfinished[table]!
    const row = record as Stored<AnyRecord> & { trouble?: OpenWork['trouble'] }
    if (!rules.isUnfinished(row)) return
    const checkAt = more.checkAt ?? findCheckAt(rules, row)
    this.open.push({
      service,
      table,
      key: row.id ?? `${row.name}`,
      stage: row.stage,
      since: rules.stageSince(row),
      next: rules.describeNext(row),
      trouble: row.trouble,
      checkAt,
      isOverdue: checkAt !== undefined && checkAt < this.now - SWEEP_MS,
      ...more,
    })
  }

  /** Returns the steps in the order of time, each stage with the time that the record spent in it. */
  finish(): Step[] {
    const sorted = this.steps.sort((a, b) => a.at - b.at)
    const stages = sorted.filter(step => step.kind === 'stage')
    for (const [n, step] of stages.entries()) {
      const next = stages
        .slice(n + 1)
        .find(
          ({ service, record, key }) =>
            `${service} ${record} ${key}` === `${step.service} ${step.record} ${step.key}`,
        )
      if (next) step.lastedMs = next.at - step.at
      else if (!FINAL.has(step.stage)) step.lastedMs = Math.max(0, this.now - step.at)
    }
    return sorted
  }
}

/** Follows a piece through the services: every record and every receipt of its workflow. */
export const traceWorkflow = async (services: Services, origin: Origin, now: number): Promise<Story> => {
  const draft = new Draft(services, now)
  const { workflow, offered } = origin
  const [submit] = workflow ? await readPromises(services.storefront, [workflow], 'submit') : []
  const storefront = submit?.issuer.did() ?? offered?.storefront
  if (workflow && submit)
    await addWorkflow(draft, workflow, `${submit.cid}`, await promisedCid(workflow, 'accept'))

  // The open work is in the order of the services: each record waits for the next one.
  if (workflow)
    draft.work('storefront', 'piece', workflow, {
      ...postponement(workflow),
      ...(await checkOfKeeper(services, workflow)),
    })
  if (workflow?.stage === 'queued') {
    const group = await services.storefront.group.get({ id: workflow.group })
    if (group) draft.work('storefront', 'group', group, { since: group.newsAt })
  }

  const first = workflow ?? (await findFirst(services, offered!))
  const attempts = await readAttempts(services, first, storefront)
  if (attempts.length === 0 && workflow?.aggregateId !== undefined) {
    const aggregate = await services.storefront.aggregate.get({ id: workflow.aggregateId })
    if (aggregate) draft.work('storefront', 'aggregate', aggregate, { since: aggregate.offeredAt })
  }
  let retryTask: string | undefined
  for (const [n, attempt] of attempts.entries())
    retryTask = await addAttempt(draft, attempt, n + 1, retryTask)
  if (retryTask !== undefined && attempts.at(-1)?.aggregate)
    await draft.receipt(`piece/offer ${attempts.length + 1}`, retryTask, ['aggregator'])

  const last = attempts.at(-1)?.piece
  const steps = draft.finish()
  return {
    piece: first.piece,
    content: workflow?.content,
    nonce: first.nonce,
    group: first.group,
    space: workflow?.space,
    storefront,
    stage: workflow?.stage ?? draft.aggregates.at(-1)?.stage ?? `${last?.stage}`,
    since: workflow ? workflow.history.at(-1)?.at : steps.at(-1)?.at,
    reason: workflow?.reason,
    contentAttempts: workflow?.attempt,
    aggregates: draft.aggregates,
    steps,
    open: draft.open,
    tasks: draft.tasks,
    keys: [...draft.keys, ...(workflow ? [workflow.id] : [])],
  }
}

/** Follows an aggregate, without its pieces. */
export const traceAggregate = async (
  services: Services,
  {
    sealed,
    offered,
  }: { sealed?: Stored<AggregateRecord> | undefined; offered?: Stored<DealerAggregate> | undefined },
  now: number,
): Promise<Story> => {
  const draft = new Draft(services, now)
  if (sealed) await addAggregate(draft, sealed, 1)
  else if (offered) {
    await addOffer(draft, offered, 1)
    await addDealWork(draft, offered, 1)
  }
  const { group, storefront, nonce } = (sealed ?? offered)!
  const steps = draft.finish()
  const { stage } = draft.aggregates[0]!
  return {
    group,
    storefront,
    nonce,
    stage,
    since: steps.findLast(step => step.kind === 'stage')?.at,
    aggregates: draft.aggregates,
    steps,
    open: draft.open,
    tasks: draft.tasks,
    keys: draft.keys,
  }
}

/** The record at the storefront, with its history and the receipts that its agent waits for. */
const addWorkflow = async (
  draft: Draft,
  { id, history, translations = [], former = [], aggregate, ...record }: Stored<PieceRecord>,
  submitCid: string,
  acceptCid: string,
): Promise<void> => {
  let entered = 0
  for (const { stage, at } of history)
    draft.stage({
      at,
      service: 'storefront',
      record: 'piece',
      key: id,
      stage,
      aggregate: stage === 'aggregated' ? ++entered : stage === 'retried' ? entered : undefined,
    })
  const submitted = await draft.receipt('filecoin/submit', submitCid, ['storefront'])
  await draft.receipt('filecoin/accept', acceptCid, ['storefront'])
  const { join } = submitted?.receipt?.fx ?? {}
  if (join) await draft.receipt('piece/offer', `${join.link()}`, ['aggregator'])
  await addTranslations(draft, 'storefront', translations)
  // Without the records of the aggregator, the storefront knows the aggregates alone.
  const known = [...former.map(({ aggregate }) => aggregate), ...(aggregate === undefined ? [] : [aggregate])]
  for (const [n, aggregate] of known.entries())
    draft.aggregates[n] = {
      aggregate,
      nonce: undefined,
      group: record.group,
      stage: n < former.length ? 'failed' : record.stage === 'aggregated' ? 'offered' : record.stage,
    }
}

/** Says why content is not read yet, although there is no problem with it. */
const postponement = ({ stage, postponed, trouble }: PieceRecord): Partial<OpenWork> =>
  stage === 'offered' && postponed && trouble === undefined
    ? {
        trouble: {
          message: 'other contents of its owner are read now: it waits for its turn',
          times: postponed.times,
        },
      }
    : {}

/** Returns the next check of the record that covers the piece, if one does. */
const checkOfKeeper = async (
  { storefront }: Services,
  workflow: Stored<PieceRecord>,
): Promise<Pick<OpenWork, 'checkAt'> | undefined> => {
  const keeper = workflow.due === undefined ? keeperOf(workflow) : undefined
  if (keeper === undefined) return undefined
  const table = keeper.table === 'group' ? storefront.group : storefront.aggregate
  return { checkAt: (await table.get({ id: keeper.id }))?.checkAt }
}

/** Returns the first attempt of a piece: each later one names the aggregate before it in its nonce. */
const findFirst = async (
  { aggregator }: Services,
  record: Stored<OfferedPiece>,
): Promise<Stored<OfferedPiece>> => {
  let first = record
  for (let n = 0; n < MAX_ATTEMPTS && (first.attempt ?? 1) > 1; n++) {
    const { aggregate, nonce } = Tasks.parseRetryNonce(first.nonce ?? '')
    const sealed = await aggregator.aggregate.get({ id: aggregatorKey({ aggregate, nonce }) })
    const member = sealed && (await findMember(aggregator, sealed, record.piece))
    const before = member && (await aggregator.piece.get({ id: member }))
    if (!before) break
    first = before
  }
  return first
}

/** Reads the attempts of a piece at the aggregator, from the first one on. */
const readAttempts = async (
  { aggregator }: Services,
  { piece, group, nonce: firstNonce }: Pick<OfferedPiece, 'piece' | 'group' | 'nonce'>,
  storefront: string | undefined,
): Promise<Attempt[]> => {
  const attempts: Attempt[] = []
  let nonce = firstNonce
  while (attempts.length < MAX_ATTEMPTS) {
    const plain = await aggregator.piece.get({ id: pieceId({ piece, group, nonce }) })
    const own =
      plain === undefined || plain.storefront === storefront
        ? plain
        : await aggregator.piece.get({
            id: pieceId({ piece, group, nonce }, storefront as OfferedPiece['storefront']),
          })
    if (own === undefined) break
    const aggregate =
      own.aggregateId === undefined ? undefined : await aggregator.aggregate.get({ id: own.aggregateId })
    attempts.push({ piece: own, aggregate })
    if (aggregate === undefined) break
    nonce = Tasks.retryNonce({ aggregate: parsePieceLink(aggregate.aggregate), nonce: aggregate.nonce })
  }
  return attempts
}

/**
 * Adds an attempt: the piece at the aggregator, its aggregate, and the outcome.
 *
 * @param retryTask the `piece/offer` by which the dealer started the attempt
 * @returns the one by which the dealer starts the next attempt
 */
const addAttempt = async (
  draft: Draft,
  { piece, aggregate }: Attempt,
  number: number,
  retryTask: string | undefined,
): Promise<string | undefined> => {
  const { aggregator } = draft.services
  const place = { service: 'aggregator', record: 'piece', key: piece.id }
  draft.keys.push(piece.id)
  if (retryTask !== undefined)
    await draft.receipt(`piece/offer${suffixOf(number)}`, retryTask, ['aggregator'])
  draft.stage({ at: piece.offeredAt, ...place, stage: 'offered' })
  const accept = `${(await unpackTask(piece.acceptTask)).cid}`
  const included = await draft.receipt(`piece/accept${suffixOf(number)}`, accept, ['aggregator'])
  if (piece.stage === 'included')
    draft.stage({ at: included?.step.at, ...place, stage: 'included', aggregate: number })
  await addTranslations(draft, 'aggregator', piece.translations, number)
  draft.work('aggregator', 'piece', piece)
  if (piece.stage === 'pending') {
    const id = groupKey(piece)
    const group = await aggregator.group.get({ id })
    const tally = await aggregator.tally.get({ id })
    if (group)
      draft.work('aggregator', 'group', group, {
        since: piece.offeredAt,
        note: `${tally?.pieces ?? 0} pieces of the group wait, ${formatBytes(tally?.bytes ?? 0)}`,
      })
  }
  if (aggregate === undefined) return undefined
  const outcome = await addAggregate(draft, aggregate, number)
  return findRetry(outcome?.receipt, piece.piece)
}

/** Adds an aggregate: its records at aggregator, dealer and storefront, its receipts and deals. Returns the receipt of the outcome. */
const addAggregate = async (
  draft: Draft,
  record: Stored<AggregateRecord>,
  number: number,
): Promise<Filed | undefined> => {
  const { services } = draft
  const { id, aggregate, nonce, group, stage } = record
  const place = { service: 'aggregator', record: 'aggregate', key: id, aggregate: number }
  draft.keys.push(id)
  draft.stage({ at: record.sealedAt, ...place, stage: 'sealed' })
  const offer = await unpackTask(record.offerTask)
  const answer = await draft.receipt(`aggregate/offer${suffixOf(number)}`, `${offer.cid}`, [
    'dealer',
    'aggregator',
  ])
  const answeredAt = await storedAt(services.aggregator, `${offer.cid}`)
  if (record.acceptCid !== undefined) draft.stage({ at: answeredAt, ...place, stage: 'offered' })

  const offered = await findOffer(services, record, offer.issuer.did())
  const outcome =
    (await addOffer(draft, offered, number, record.acceptCid)) ?? (answer?.step.error ? answer : undefined)
  const endedAt =
    (record.acceptCid === undefined ? undefined : await storedAt(services.aggregator, record.acceptCid)) ??
    (answer?.step.error ? answeredAt : undefined)
  if (FINAL.has(stage)) draft.stage({ at: endedAt, ...place, stage })
  draft.aggregates[number - 1] = {
    aggregate,
    nonce,
    group,
    stage: offered?.stage ?? stage,
    deal: offered?.place,
  }

  const known = await services.storefront.aggregate.get({ id: storefrontKey({ aggregate, nonce }) })
  if (known)
    draft.work('storefront', 'aggregate', known, {
      aggregate: number,
      since: known.offeredAt ?? record.sealedAt,
    })
  draft.work('aggregator', 'aggregate', record, { aggregate: number })
  if (offered) await addDealWork(draft, offered, number)
  return outcome
}

/** Adds an aggregate as the dealer has it. Returns the receipt of the outcome. */
const addOffer = async (
  draft: Draft,
  record: Stored<DealerAggregate> | undefined,
  number: number,
  acceptCid?: string,
): Promise<Filed | undefined> => {
  if (record) {
    const { id, aggregate, nonce, group, stage, offeredAt, endedAt, place: onChain } = record
    const place = { service: 'dealer', record: 'aggregate', key: id, aggregate: number }
    draft.keys.push(id)
    draft.stage({ at: offeredAt, ...place, stage: 'offered' })
    draft.stage({ at: endedAt, ...place, stage, note: onChain && describePlaceKey(onChain) })
    draft.aggregates[number - 1] ??= { aggregate, nonce, group, stage, deal: onChain }
    await addTranslations(draft, 'dealer', record.translations, number)
    await addDeals(draft, record, number)
  }
  const accept = acceptCid ?? (record?.acceptTask && `${(await unpackTask(record.acceptTask)).cid}`)
  return accept === undefined
    ? undefined
    : draft.receipt(`aggregate/accept${suffixOf(number)}`, accept, ['dealer', 'aggregator'])
}

/** Finds the record of the dealer for an aggregate of the aggregator, by its keys, then by the index of its offers. */
const findOffer = async (
  { dealer }: Services,
  { aggregate, pieces: piecesCid, nonce, storefront, group }: AggregateRecord,
  aggregator: string,
): Promise<Stored<DealerAggregate> | undefined> => {
  const offer = {
    aggregate,
    piecesCid,
    nonce,
    aggregator: aggregator as DealerAggregate['aggregator'],
    storefront,
    group,
  }
  const [plain, own] = await dealer.aggregate.getMany([
    { id: dealerKey(offer) },
    { id: dealerKey(offer, offer) },
  ])
  const found = [plain, own].find(record => record && isSameOwner(record, offer))
  if (found) return found
  // A dealer in other words knows the tenant under another name.
  const others = await readOffers(dealer, aggregate)
  return others.find(
    record => record.aggregator === aggregator && record.piecesCid === piecesCid && record.nonce === nonce,
  )
}

/** Reads the records of the dealer for an aggregate, the newest first. */
export const readOffers = async (
  { aggregate: table }: Services['dealer'],
  aggregate: string,
): Promise<Stored<DealerAggregate>[]> => {
  const { items } = await table.find('aggregate', aggregate, { limit: MAX_DEALS })
  return (await table.getMany(items)).filter(record => record !== undefined)
}

/** Adds the deals of an aggregate that the deal tracker has seen. */
const addDeals = async (draft: Draft, { aggregate }: DealerAggregate, number: number): Promise<void> => {
  const { ok: chain } = toV1(parsePieceLink(aggregate))
  if (chain === undefined) return
  const { items } = await draft.services.tracker.deal.list(toPieceKey(chain), { limit: MAX_DEALS })
  for (const record of items) {
    const { place, provider, created, updated, endEpoch, reason } = record
    const status = toStatus(record, draft.now)
    const step: DealStep = {
      kind: 'deal',
      at: created,
      service: 'deal-tracker',
      deal: keyOf(place),
      provider,
      status,
      source: sourceOf(record),
      aggregate: number,
    }
    draft.steps.push(step)
    if (status === 'Terminated') draft.steps.push({ ...step, at: updated, isEnd: true, reason })
    if (status === 'Expired' && endEpoch !== undefined)
      draft.steps.push({ ...step, at: epochToMs(endEpoch), isEnd: true })
  }
}

/** Adds the orders of an offer: each with its stages, and the open ones as work. A live one is only checked until it ends. */
const addOrders = async (
  draft: Draft,
  { id, aggregate }: Stored<DealerAggregate>,
  number: number,
): Promise<void> => {
  const { order: table, whole: wholes } = draft.services.dealer
  const { items: orders } = await table.list(id, { limit: MAX_ORDERS })
  for (const order of orders) {
    const { copy, target, place, reason, stage, stageAt, createdAt } = order
    const key = `${order.offer} ${order.order}`
    const planned = { stage: 'planned', at: createdAt }
    // Earlier code recorded the last stage only.
    const history = order.history ?? (stage === 'planned' ? [planned] : [planned, { stage, at: stageAt }])
    for (const step of history)
      draft.stage({
        ...step,
        service: 'dealer',
        record: 'order',
        key,
        aggregate: number,
        copy,
        target,
        note:
          step.stage === 'live'
            ? place && describePlaceKey(place)
            : step.stage === stage && reason
              ? `${reason.name}: ${reason.message}`
              : undefined,
      })
    if (stage !== 'live')
      draft.work('dealer', 'order', order, { aggregate: number, note: `copy ${copy} at ${target}` })
  }
  const whole = orders.length > 0 ? await wholes.get({ id: aggregate }) : undefined
  if (whole) draft.work('dealer', 'whole', whole, { aggregate: number })
}

/** Adds the open work of the dealer. While it waits for a deal, the last good runs of the deal tracker's sources belong to it. */
const addDealWork = async (draft: Draft, record: Stored<DealerAggregate>, number: number): Promise<void> => {
  const { tracker } = draft.services
  const sources: string[] = []
  if (record.stage === 'offered')
    for await (const rows of tracker.aws.scan('source'))
      for (const { name, good } of rows as { name?: string; good?: { at: number; epoch: number } }[])
        sources.push(
          good
            ? `source ${name}: last good run ${new Date(good.at).toISOString()}, epoch ${good.epoch}`
            : `source ${name}: no good run yet`,
        )
  draft.work('dealer', 'aggregate', record, {
    aggregate: number,
    note:
      record.stage === 'offered'
        ? sources.join('; ') || 'the deal tracker has read no source yet'
        : undefined,
  })
  await addOrders(draft, record, number)
}

/** Adds the tasks that a service promised in dialects for an attempt, and their receipts. */
const addTranslations = async (
  draft: Draft,
  name: 'storefront' | 'aggregator' | 'dealer',
  ids: readonly string[] = [],
  number = 1,
): Promise<void> => {
  const { translation, service } = draft.services[name]
  const found = await translation.getMany(ids.map(id => ({ id })))
  for (const record of found) {
    if (record === undefined) continue
    const task = await unpackTask(record.promisedTask)
    await draft.receipt(`${task.capabilities[0]?.can}${suffixOf(number)}`, record.task, [name])
    draft.work(service, 'translation', record as Stored<TranslationRecord>, { note: record.dialect })
  }
}

/** When a service stored the receipt of a task, in milliseconds since 1970. */
const storedAt = async ({ receipt }: Services['aggregator'], task: string): Promise<number | undefined> =>
  (await receipt.get({ task }))?.issuedAt

/** Distinguishes the tasks of several attempts. */
const suffixOf = (number: number): string => (number === 1 ? '' : ` ${number}`)
