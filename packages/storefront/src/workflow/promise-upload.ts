import type { DID, Link, Receipt } from '@ucanto/interface'
import {
  type Blob,
  type BlobAllocateSuccess,
  failure,
  type Result,
  type Task,
  Tasks,
} from '@w3filecoin/capabilities'
import { deriveSigner, issueReceipt, type Outcome, packTask, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { Space } from '../domain/quota.ts'
import { contentOf, isLive, type UploadedContent, uploadExpiry } from '../domain/upload.ts'
import { admitUpload } from './admit-upload.ts'

export type UploadDependencies = Pick<Dependencies, 'id' | 'stores' | 'admission' | 'now'> & {
  uploads: NonNullable<Dependencies['uploads']>
}

/** Lifetime of a receipt of `blob/accept`, which the agent fetches after the upload. A repeated upload gets another one. */
const ACCEPT_RECEIPT_SECONDS = 24 * 3600

interface RequestedUpload {
  blob: Blob
  /** The resource of the invocation. */
  resource: DID
  /** The space that the upload counts for. */
  space: Space
  /** CID of the invocation. */
  cause: Link
}

/**
 * Promises the tasks of an upload: `blob/allocate`, which is done at once, `http/put` and `blob/accept`. The address is in the
 * receipt of `blob/allocate`. If the content is stored, there is no address, and all three tasks are done. Receipts of tasks
 * that are done are effects too: each is in a `ucan/conclude`, as published clients expect.
 *
 * A repeated invocation gets the same tasks with a new address, and is counted once.
 *
 * Fails with `UnsupportedHash`, `BlobSizeOutsideOfSupportedRange`, `SpaceNotListed` or `TooManyUploads`. Then nothing is
 * recorded.
 */
export const promiseUpload = async (
  dependencies: UploadDependencies,
  { blob, resource, space, cause }: RequestedUpload,
): Promise<Result<{ acceptTask: Task; effects: Task[] }>> => {
  const { id, uploads } = dependencies
  const { ok: content, error } = contentOf(blob, uploads.maxBytes)
  if (error) return { error }
  const allocateTask = await Tasks.blobAllocate(id, { blob, space: resource, cause })
  const uploader = await deriveSigner(content.sha256)
  const putTask = await Tasks.httpPut(
    uploader.signer,
    { blob, allocate: allocateTask.cid },
    uploader.archive as never,
  )
  const acceptTask = await Tasks.blobAccept(id, { blob, space: resource, put: putTask.cid })
  const conclude = async (receipt: Receipt) =>
    Tasks.conclude(id, id, { root: receipt.root, blocks: receipt.iterateIPLDBlocks() })
  const promise = async (allocated: BlobAllocateSuccess, ...done: Receipt[]) => {
    const allocation = await issueReceipt(id, allocateTask, { out: { ok: allocated } })
    const conclusions = await Promise.all([allocation, ...done].map(conclude))
    return { ok: { acceptTask, effects: [allocateTask, ...conclusions, putTask, acceptTask] } }
  }

  const url = await uploads.store.find(content.content)
  if (url !== undefined)
    return promise(
      { size: 0 },
      await issueReceipt(uploader.signer, putTask, { out: { ok: {} } }),
      await issueReceipt(id, acceptTask, await acceptOutcome(id, acceptTask, url)),
    )
  const recorded = await recordUpload(dependencies, space, content, putTask, acceptTask)
  if (recorded.error) return recorded
  const { sha256, bytes } = content
  return promise({ size: bytes, address: await uploads.store.presign(content.content, { sha256, bytes }) })
}

/** Counts and records an upload, unless an earlier run of the same invocation did. */
const recordUpload = async (
  dependencies: UploadDependencies,
  space: Space,
  { content, bytes }: UploadedContent,
  putTask: Task,
  acceptTask: Task,
): Promise<Result<object>> => {
  const { stores, now } = dependencies
  const task = `${putTask.cid}`
  if (isLive(await stores.upload.get({ task }), now())) return { ok: {} }
  const admitted = await admitUpload(dependencies, space, bytes)
  if (admitted.error) return admitted
  await stores.upload.putMany([
    { task, content, bytes, acceptTask: await packTask(acceptTask), expiresAt: uploadExpiry(now()) },
  ])
  return { ok: {} }
}

/**
 * Ends an upload when the agent says that its `http/put` is done: issues the receipt of `blob/accept`, if the content is there.
 * The receipt of the agent proves nothing, because everyone with the content has its key. Returns `undefined` if
 * no upload promised the task.
 *
 * Fails with `AllocatedMemoryHadNotBeenWrittenTo`. Then nothing is recorded, and the agent may upload the content and say so
 * again.
 */
export const acceptUpload = async (
  { id, stores, uploads, now }: UploadDependencies,
  task: string,
): Promise<Result<object> | undefined> => {
  const record = await stores.upload.get({ task })
  if (!isLive(record, now())) return undefined
  const url = await uploads.store.find(record.content)
  if (url === undefined)
    return {
      error: failure(
        'AllocatedMemoryHadNotBeenWrittenTo',
        `There is no content ${record.content}. Send it to the address in the receipt of blob/allocate, and conclude http/put again.`,
      ),
    }
  const acceptTask = await unpackTask(record.acceptTask)
  await stores.receipts.put(await issueReceipt(id, acceptTask, await acceptOutcome(id, acceptTask, url)), {
    lifetimeSeconds: ACCEPT_RECEIPT_SECONDS,
  })
  return { ok: {} }
}

/** Returns the outcome of a `blob/accept`: the storefront names the location of the blob to the space. */
const acceptOutcome = async (
  id: UploadDependencies['id'],
  acceptTask: Task,
  url: string,
): Promise<Outcome> => {
  const { blob, space } = acceptTask.capabilities[0].nb as { blob: Blob; space: Uint8Array }
  const site = await Tasks.assertLocation(id, { digest: blob.digest, space, url })
  return { out: { ok: { site: site.cid } }, fx: { fork: [site] } }
}
