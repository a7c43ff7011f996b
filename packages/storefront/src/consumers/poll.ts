import type { Receipt } from '@ucanto/interface'
import { type Consumer, DONE, each, type Key, reach, type Stored, update } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { hasNews, isWalkDue, markAsked, markIdle, mayBeIdle } from '../domain/group.ts'
import { queuedShard, SHARDS } from '../domain/member-shards.ts'
import { type PieceRecord, stageReachedAt } from '../domain/piece.ts'
import { type PollMessage, pollMessage } from '../queues.ts'
import type { JoinAggregate } from '../workflow/join-aggregate.ts'
import { recordAggregation } from '../workflow/piece-accept.ts'
import { enrollQueued } from '../workflow/queue-piece.ts'

/** The oldest pieces of each shard that one question about a group is about: 48 in all. */
const OLDEST_PER_SHARD = 3

/** Maximum pieces in one run. An aggregator that answers about one task at a time is asked about ten at once. */
const MAX_PIECES = 50

type ShardMessage = Extract<PollMessage, { shard: unknown }>

/**
 * On `poll`, ask the aggregator for the receipts of queued pieces, in case their delivery was lost:
 *
 * - of a group: about its oldest pieces. After news, and once a day, about each shard instead
 * - of a shard: page by page from the oldest piece on, while a page brings news; once a day, all pages
 * - of single pieces: about these
 *
 * An unreachable aggregator is no reason to retry the message: the record of the group schedules the next question.
 */
export const onPoll = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'batching' | 'now' | 'log' | 'metrics'
  > & { join: JoinAggregate },
): Consumer<PollMessage> => {
  const { stores, queues, aggregator, timing, batching, now, log, metrics } = dependencies

  /** Asks about pieces. Returns whether a piece got into an aggregate, and the problem if the aggregator cannot be reached. */
  const ask = async (records: readonly Stored<PieceRecord>[]) => {
    const queued = records.filter(({ stage }) => stage === 'queued')
    if (queued.length === 0) return { isNews: false, problem: undefined }
    const tasks = queued.map(({ waitsFor }) => waitsFor as string)
    const { ok: receipts, error } = await reach(aggregator, () => aggregator.receipts(tasks), log)
    const answered = queued.filter(({ waitsFor }) => receipts?.has(waitsFor as string))
    await pMap(
      answered,
      record =>
        recordAggregation(dependencies, record, receipts?.get(record.waitsFor as string) as Receipt, queued),
      { concurrency: 10 },
    )
    return { isNews: answered.length > 0, problem: error?.message }
  }

  const readPieces = async (keys: readonly Key[]): Promise<Stored<PieceRecord>[]> =>
    (await stores.piece.getMany(keys)).filter(record => record !== undefined)

  /** The sweep sees a queued piece once a week only. */
  const measureOldest = (records: readonly PieceRecord[], at: number): void => {
    const since = Math.min(...records.filter(({ stage }) => stage === 'queued').map(stageReachedAt))
    if (since <= at) metrics({ OldestSeconds: (at - since) / 1000 }, { record: 'piece', stage: 'queued' })
  }

  const askAboutGroup = async (id: string): Promise<void> => {
    const startedAt = now()
    const group = await stores.group.get({ id })
    if (group === undefined || group.stage === 'idle') return
    const pages = await pMap(
      SHARDS,
      shard => stores.piece.find('queuedIn', queuedShard(id, shard), { limit: OLDEST_PER_SHARD }),
      { concurrency: 4 },
    )
    const oldest = pages.flatMap(({ items }) => items)
    if (oldest.length === 0 && mayBeIdle(group, startedAt)) {
      // A conflict is ignored: a piece was queued in the meantime.
      await stores.group.replace(markIdle(group))
      return
    }
    const isWalk = isWalkDue(group, startedAt)
    let problem: string | undefined
    if (isWalk || hasNews(group))
      await queues.poll.send(SHARDS.map(shard => ({ group: id, shard, ...(isWalk && { all: true }) })))
    else {
      const records = await readPieces(oldest)
      measureOldest(records, startedAt)
      const answer = await ask(records)
      problem = answer.problem
    }
    await update(stores.group, { id }, current =>
      current.stage === 'idle'
        ? undefined
        : markAsked(current, { isWalk, startedAt, problem }, now(), timing),
    )
  }

  const askAboutShard = async ({ group, shard, after, all }: ShardMessage): Promise<void> => {
    const limit = Math.min(batching.pageRecords, MAX_PIECES)
    const page = await stores.piece.find('queuedIn', queuedShard(group, shard), { limit, after })
    const { isNews, problem } = await ask(await readPieces(page.items))
    if (page.next !== undefined && problem === undefined && (all || isNews))
      await queues.poll.send([{ group, shard, after: page.next, ...(all && { all }) }])
  }

  const askAboutPieces = async (ids: readonly string[]): Promise<void> => {
    const records = await readPieces(ids.map(id => ({ id })))
    for (const record of records) await enrollQueued(dependencies, record)
    await ask(records)
  }

  return each(
    pollMessage,
    async message => {
      if ('pieces' in message) await askAboutPieces(message.pieces)
      else if ('shard' in message) await askAboutShard(message)
      else await askAboutGroup(message.group)
      return DONE
    },
    { concurrency: 1 },
  )
}
