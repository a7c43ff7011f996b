import {
  type Failure,
  type FilecoinInfoSuccess,
  failure,
  filecoinInfo,
  type PieceInfoSuccess,
  type PieceLink,
  type Result,
  Tasks,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { type Handler, listAll, provide, reach, type Stored, trackerQuestion } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import {
  aggregatesOf,
  type DealAnswer,
  isAtAggregator,
  reportDeals,
  taskStateOf,
  workflowOf,
} from '../domain/info.ts'
import { offerOwner } from '../domain/offer.ts'
import { isFinal, type PieceRecord, pieceId } from '../domain/piece.ts'
import { checkPiece } from '../domain/piece-link.ts'
import type { TaskRecord } from '../domain/task.ts'
import { resources } from '../resources.ts'
import { findActingSpace } from '../workflow/acting-space.ts'
import { findByPiece } from '../workflow/find-by-piece.ts'
import { readMemberships } from '../workflow/memberships.ts'
import { promisedCid, taskRowsOf } from '../workflow/promises.ts'

/** Maximum aggregates in one answer. The deal tracker is asked about each. */
const MAX_AGGREGATES = 10
/** Maximum workflows in one answer. The aggregator is asked about each, in one message. */
const MAX_WORKFLOWS = 25
/** Maximum records of version 0.1.0 that are read to find a task or the aggregates of a piece. */
const MAX_EARLIER_RECORDS = 10

type InfoDependencies = Pick<
  Dependencies,
  'id' | 'stores' | 'authority' | 'aggregator' | 'dealTracker' | 'timing' | 'random' | 'log'
>

/** Maximum number of invocations in one message: each asks two other services. */
const MAX_PER_MESSAGE = 10

/**
 * `filecoin/info`: returns the aggregates of a piece with their current deals, to any agent; and its workflows, to the space
 * that offered them. With the CID of a promised task it returns the state of that task, to any agent.
 */
export const filecoinInfoHandler = (dependencies: InfoDependencies): Handler => {
  const { id, stores, timing } = dependencies

  /** Asks the deal tracker about the aggregates of a piece, and at the same time the aggregator about its workflows. */
  const askOthers = async (
    piece: PieceLink,
    memberships: Parameters<typeof aggregatesOf>[0],
    records: readonly Stored<PieceRecord>[],
  ) => {
    const all = aggregatesOf(memberships)
    const aggregates = all.slice(0, MAX_AGGREGATES)
    const [deals, answers] = await Promise.all([
      fetchDeals(dependencies, aggregates),
      askAggregator(dependencies, records, piece),
    ])
    const moreAggregates = all.length > aggregates.length && { moreAggregates: true as const }
    return { described: { piece, aggregates, ...moreAggregates, ...deals }, answers }
  }

  const describePiece = async (
    piece: PieceLink,
    space: string,
    after: string | undefined,
  ): Promise<Result<FilecoinInfoSuccess>> => {
    const [offers, inclusions, earlier] = await Promise.all([
      stores.offer.list(offerOwner(space, `${piece}`), { limit: MAX_WORKFLOWS, after: after || undefined }),
      // One more than is returned, because DynamoDB may promise a page that is empty.
      stores.inclusion.list(`${piece}`, { limit: MAX_AGGREGATES + 1 }),
      findEarlier(stores, piece),
    ])
    if (offers.items.length + inclusions.items.length === 0 && !earlier.isOffered)
      return {
        error: failure('RecordNotFound', `The piece ${piece} was never offered to ${id.did()}`, { piece }),
      }
    const records = await readWorkflows(stores, offers.items)
    const memberships = [...inclusions.items, ...(await readMemberships(stores, earlier.records)).flat()]
    const [{ described, answers }, health] = await Promise.all([
      askOthers(piece, memberships, records),
      records.every(isFinal) ? [] : listAll(stores.health, resources.service),
    ])
    return {
      ok: {
        ...described,
        workflows: await Promise.all(
          records.map(async record => {
            const cid = parseLink(await promisedCid(record, 'accept'))
            return workflowOf(record, cid as UnknownLink, answers.get(record.id), timing, health)
          }),
        ),
        ...(offers.next !== undefined && { next: offers.next }),
      },
    }
  }

  const describeTask = async (piece: PieceLink, task: UnknownLink): Promise<Result<FilecoinInfoSuccess>> => {
    const row = (await stores.task.get({ task: `${task}` })) ?? (await findEarlierTask(stores, piece, task))
    const record = row && (await stores.piece.get({ id: row.id }))
    if (record?.piece !== `${piece}`)
      return { error: failure('TaskNotFound', `No offer of ${piece} promised ${task}`, { task }) }
    const [memberships = []] = await readMemberships(stores, [record])
    const [{ described, answers }, submit, accept] = await Promise.all([
      askOthers(piece, memberships, [record]),
      promisedCid(record, 'submit'),
      promisedCid(record, 'accept'),
    ])
    const promises = { submit: parseLink(submit) as UnknownLink, accept: parseLink(accept) as UnknownLink }
    return {
      ok: {
        ...described,
        workflows: [],
        task: taskStateOf(record, { task, attempt: row?.attempt, promises }, answers.get(record.id), timing),
      },
    }
  }

  return provide(
    filecoinInfo,
    async ({ capability, ...input }) => {
      const { piece, task, after } = capability.nb
      const invalid = checkPiece(piece)
      if (invalid.error) return { out: invalid }
      if (task) return { out: await describeTask(piece, task as UnknownLink) }
      const space = await findActingSpace(dependencies, filecoinInfo, input)
      return { out: await describePiece(piece, space.did, after) }
    },
    { maxPerMessage: MAX_PER_MESSAGE },
  )
}

type Stores = Dependencies['stores']

/** Returns the records of a space's offers, in the order of the offers. */
const readWorkflows = async (
  { piece }: Stores,
  offers: readonly { workflow: string; group: string }[],
): Promise<Stored<PieceRecord>[]> => {
  const firsts = await piece.getMany(offers.map(({ workflow }) => ({ id: workflow })))
  const others = offers.flatMap(({ group }, n) => {
    const first = firsts[n]
    return first && first.group !== group ? [{ id: pieceId(first, group) }] : []
  })
  const distinct = new Map((await piece.getMany(others)).map(record => [record?.id, record]))
  return offers.flatMap(({ group }, n) => {
    const first = firsts[n]
    const record = first && (first.group === group ? first : distinct.get(pieceId(first, group)))
    return record ? [record] : []
  })
}

/**
 * Finds records of a piece by the index, and returns those of version 0.1.0: it wrote no rows of tasks and aggregates. The
 * index lags behind, and other agents' offers may hide records behind it. An offer that is repeated completes the rows.
 */
const findEarlier = async (
  stores: Stores,
  piece: PieceLink,
): Promise<{ isOffered: boolean; records: Stored<PieceRecord>[] }> => {
  const { records } = await findByPiece(stores, { piece: `${piece}` }, MAX_EARLIER_RECORDS)
  return {
    isOffered: records.length > 0,
    records: records.filter(({ acceptCid }) => acceptCid === undefined),
  }
}

const findEarlierTask = async (
  stores: Stores,
  piece: PieceLink,
  task: UnknownLink,
): Promise<TaskRecord | undefined> => {
  const { records } = await findEarlier(stores, piece)
  const rows = await Promise.all(records.map(taskRowsOf))
  return rows.flat().find(row => row.task === `${task}`)
}

/** Asks the deal tracker about the deals of aggregates, in one message. Throws if it does not answer. */
const fetchDeals = async (
  { id, dealTracker, random }: InfoDependencies,
  aggregates: FilecoinInfoSuccess['aggregates'],
): Promise<ReturnType<typeof reportDeals>> => {
  const links = aggregates.map(({ aggregate }) => aggregate)
  const questions = links.map(piece => trackerQuestion(id, dealTracker, { piece, nonce: random() }))
  const answers = links.length === 0 ? [] : await dealTracker.execute(await Promise.all(questions))
  return reportDeals(
    links,
    answers.map(({ ok: receipt, error }) => {
      if (error) throw new Error(error.message)
      const refusal = receipt.out.error as (Failure & DealAnswer) | undefined
      if (refusal && refusal.name !== 'DealNotFound') throw new Error(refusal.message)
      return refusal ?? (receipt.out.ok as DealAnswer)
    }),
  )
}

/** Asks the aggregator about the pieces that it has. Returns its answers by record key: none if it cannot be reached. */
const askAggregator = async (
  { id, aggregator, log }: InfoDependencies,
  records: readonly Stored<PieceRecord>[],
  piece: PieceLink,
): Promise<Map<string, PieceInfoSuccess>> => {
  const asked = records.filter(isAtAggregator)
  if (asked.length === 0) return new Map()
  const questions = asked.map(({ group, offerNonce }) =>
    Tasks.pieceInfo(id, aggregator.principal, { piece, group, nonce: offerNonce }),
  )
  const answers = await reach(aggregator, async () => aggregator.execute(await Promise.all(questions)), log)
  return new Map(
    asked.flatMap((record, n) => {
      const info = answers.ok?.[n]?.ok?.out.ok
      return info ? [[record.id, info as PieceInfoSuccess]] : []
    }),
  )
}
