import type { Signer } from '@ucanto/interface'
import {
  type Distinction,
  type PieceLink,
  parsePieceLink,
  type Task,
  Tasks,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { cidOf, packTask, unpackTask } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { distinctGroup, type Offered, type PieceRecord, type Promises, pieceId } from '../domain/piece.ts'
import type { TaskRecord } from '../domain/task.ts'

/** The tasks that an attempt of a workflow promises. */
export interface PromisedTasks {
  submit: Task
  accept: Task
}

/**
 * Builds the tasks that an attempt of a workflow promises, and records which workflow promised them. Call it before the
 * workflow is recorded: rows of tasks that no offer got do no harm.
 */
export const preparePromises = async (
  { id, stores }: Pick<Dependencies, 'id' | 'stores'>,
  offered: Offered,
  distinction: Distinction,
): Promise<PromisedTasks> => {
  const nb = {
    content: parseLink(offered.content) as UnknownLink,
    piece: parsePieceLink(offered.piece),
    nonce: offered.nonce,
  }
  const submit = await Tasks.filecoinSubmit(id, nb, distinction)
  const accept = await Tasks.filecoinAccept(id, nb, distinction)
  const { group, attempt } = distinction
  const rows = [submit, accept].map(
    async (task): Promise<TaskRecord> => ({
      task: `${task.cid}`,
      id: pieceId(offered, group),
      attempt,
      promise: await packTask(task),
    }),
  )
  await stores.task.putMany(await Promise.all(rows))
  return { submit, accept }
}

/** The CIDs of promised tasks, as the record of a piece has them. */
export const cidsOf = ({ submit, accept }: PromisedTasks): Promises => ({
  submitCid: `${submit.cid}`,
  acceptCid: `${accept.cid}`,
})

/** Returns the CID of a task that the present attempt of a workflow promised. */
export const promisedCid = async (
  { submitCid, acceptCid, submitTask, acceptTask }: PieceRecord,
  kind: keyof PromisedTasks,
): Promise<string> =>
  (kind === 'submit' ? submitCid : acceptCid) ??
  cidOf((kind === 'submit' ? submitTask : acceptTask) as Uint8Array)

/** Reads the tasks that the present attempts of workflows promised, in the order of the records. */
export const readPromises = async (
  { task }: Pick<Dependencies['stores'], 'task'>,
  records: readonly PieceRecord[],
  kind: keyof PromisedTasks,
): Promise<Task[]> => {
  const inRecord = (record: PieceRecord) => (kind === 'submit' ? record.submitTask : record.acceptTask)
  const cidIn = (record: PieceRecord) => (kind === 'submit' ? record.submitCid : record.acceptCid) as string
  const rows = (
    await task.getMany(
      records.filter(record => inRecord(record) === undefined).map(record => ({ task: cidIn(record) })),
    )
  ).values()
  return Promise.all(
    records.map(record => {
      const packed = inRecord(record) ?? rows.next().value?.promise
      if (packed === undefined) throw new Error(`The row of the task ${cidIn(record)} is missing`)
      return unpackTask(packed)
    }),
  )
}

/** Returns the rows of the tasks that a record of version 0.1.0 promised: that version wrote none. */
export const taskRowsOf = async (record: PieceRecord): Promise<TaskRecord[]> =>
  Promise.all(
    (['submit', 'accept'] as const).map(async kind => ({
      task: await promisedCid(record, kind),
      id: record.id,
    })),
  )

/** Returns the distinction in the facts of a task that the service issued to itself. */
const distinctionOf = ({ facts }: Pick<Task, 'facts'>): Distinction => {
  const [fact = {}] = facts as { group?: unknown; attempt?: unknown }[]
  return {
    ...(typeof fact.group === 'string' && { group: fact.group }),
    ...(typeof fact.attempt === 'number' && { attempt: fact.attempt }),
  }
}

/**
 * Returns the CID of the promised `filecoin/submit` or `filecoin/accept` that an invocation by the service itself refers to;
 * `undefined` if no offer promised it. Invocations of old clients expire, so they are not the promised task itself.
 */
export const findPromise = async (
  { id, stores }: { id: Signer; stores: Pick<Dependencies['stores'], 'piece'> },
  kind: 'submit' | 'accept',
  { content, piece }: { content: unknown; piece: PieceLink },
  invocation: Task,
): Promise<string | undefined> => {
  const { nonce } = invocation
  const distinction = distinctionOf(invocation)
  const { group, attempt = 1 } = distinction
  const record = await stores.piece.get({
    id: pieceId({ content: `${content}`, piece: `${piece}`, nonce }, group),
  })
  const latest = record?.attempt ?? 1
  if (record === undefined || attempt > latest) return undefined
  if (attempt === latest) return promisedCid(record, kind)
  const build = kind === 'submit' ? Tasks.filecoinSubmit : Tasks.filecoinAccept
  const task = await build(
    id,
    { content: content as UnknownLink, piece, nonce },
    { group: distinctGroup(record), attempt: distinction.attempt },
  )
  return `${task.cid}`
}

/**
 * Removes the receipt of an offer if it promises an earlier attempt. Published clients repeat the same invocation, which has
 * the same task CID, and must learn about the attempt that their offer started.
 *
 * @param offer CID of the offer
 * @param joined the task that the offer promises now
 */
export const removeEarlierReceipt = async (
  { stores: { receipt, receipts } }: Pick<Dependencies, 'stores'>,
  offer: string,
  joined: Task,
): Promise<void> => {
  const stored = await receipts.get(offer)
  if (stored && `${stored.fx.join?.link()}` !== `${joined.cid}`) await receipt.removeMany([{ task: offer }])
}
