import type { Signer } from '@ucanto/interface'
import {
  type Distinction,
  type PieceLink,
  parsePieceLink,
  type Task,
  Tasks,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { packTask, unpackTask } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { distinctGroup, type Offered, type PieceRecord, type Promises, pieceId } from '../domain/piece.ts'
import type { TaskRecord } from '../domain/task.ts'

/**
 * Builds the tasks that an attempt of a workflow promises, and records which workflow promised them. Call it before the
 * workflow is recorded: rows of tasks that no offer got do no harm.
 */
export const preparePromises = async (
  { id, stores }: Pick<Dependencies, 'id' | 'stores'>,
  offered: Offered,
  distinction: Distinction,
): Promise<Promises> => {
  const nb = {
    content: parseLink(offered.content) as UnknownLink,
    piece: parsePieceLink(offered.piece),
    nonce: offered.nonce,
  }
  const submit = await Tasks.filecoinSubmit(id, nb, distinction)
  const accept = await Tasks.filecoinAccept(id, nb, distinction)
  const { group, attempt } = distinction
  await stores.task.putMany(
    [submit, accept].map(({ cid }) => ({ task: `${cid}`, id: pieceId(offered, group), attempt })),
  )
  return {
    submitTask: await packTask(submit),
    acceptTask: await packTask(accept),
    acceptCid: `${accept.cid}`,
  }
}

/** Returns the rows of the tasks that a record of version 0.1.0 promised: that version wrote none. */
export const taskRowsOf = async ({ id, submitTask, acceptTask }: PieceRecord): Promise<TaskRecord[]> =>
  Promise.all(
    [submitTask, acceptTask].map(async packed => ({ task: `${(await unpackTask(packed)).cid}`, id })),
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
  if (attempt === latest)
    return `${(await unpackTask(kind === 'submit' ? record.submitTask : record.acceptTask)).cid}`
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
