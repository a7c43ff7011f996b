import { isDelegation } from '@ucanto/core/delegation'
import { failure, type Result, type Task } from '@w3filecoin/capabilities'
import type { UnibaseDecoder } from 'multiformats'
import { bases } from 'multiformats/basics'
import { CID } from 'multiformats/cid'

/** Whether the blocks of a task are there, so that it can be read. */
export const isTask = (task: unknown): task is Task => isDelegation(task as never)

/** Returns the bytes of a block that is attached to an invocation; `undefined` if it is not. */
export const attachedBlock = (invocation: Task, cid: { toString(): string }): Uint8Array | undefined =>
  [...invocation.iterateIPLDBlocks()].find(block => `${block.cid}` === `${cid}`)?.bytes

/** The codecs of a UCAN's CID: DAG-CBOR, and raw for a UCAN in the format of a JWT. */
const DAG_CBOR = 0x71
const RAW = 0x55
const SHA2_256 = 0x12
const DIGEST_BYTES = 32

/** Whether a CID may be that of a task: version 1, the codec of a UCAN, and a SHA-256 hash. */
export const isTaskCid = ({ version, code, multihash }: CID): boolean =>
  version === 1 &&
  (code === DAG_CBOR || code === RAW) &&
  multihash.code === SHA2_256 &&
  multihash.digest.byteLength === DIGEST_BYTES

/** Maximum length of a task's CID as text: 36 bytes in base 2, the longest of the multibase encodings. */
const MAX_TASK_CHARACTERS = 289

/** The decoders of all multibase encodings, by their prefix. */
const DECODERS = Object.values(bases).map(({ decoder }) => decoder as UnibaseDecoder<string>)

/**
 * Parses the CID of a task in any multibase encoding. A CIDv0 stands for the task with this hash. Returns the form under
 * which receipts are stored: CIDv1 in base 32.
 *
 * Fails with `InvalidCID` if the text is not a CID, and with `InvalidTask` if no task has such a CID.
 *
 * @example parseTaskCid('zdpuB…') // { ok: 'bafyrei…' }
 * @example parseTaskCid('Qm…') // { ok: 'bafyrei…' }
 */
export const parseTaskCid = (text: string): Result<string> => {
  const isTooLong = text.length > MAX_TASK_CHARACTERS
  const cid = isTooLong ? undefined : parseCid(text)
  if (cid === undefined && !isTooLong)
    return { error: failure('InvalidCID', `${text.slice(0, 100)} is not a CID`) }
  // Create it anew: a parsed CID keeps its text, e.g. with padding.
  const task = cid && CID.createV1(cid.version === 0 ? DAG_CBOR : cid.code, cid.multihash)
  return task && isTaskCid(task)
    ? { ok: `${task}` }
    : {
        error: failure(
          'InvalidTask',
          'No task has this CID: the CID of a task is a CIDv1 with codec dag-cbor or raw and a SHA-256 hash',
        ),
      }
}

const parseCid = (text: string): CID | undefined => {
  try {
    return CID.parse(
      text,
      DECODERS.find(({ prefix }) => text.startsWith(prefix)),
    )
  } catch {
    return undefined
  }
}
