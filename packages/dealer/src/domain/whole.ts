import {
  addTrouble,
  backoffMs,
  type Due,
  dueAt,
  type Entered,
  notDue,
  type Stored,
  stageRules,
  type Trouble,
} from '@w3filecoin/runtime'

/**
 * The stage of a whole:
 *
 * - `filling`: its parts are being written
 * - `ready`: storage providers may fetch it
 * - `faulty`: the bytes of a piece do not have its CID; this stage is final
 * - `removing`: its copies are live, so its object is not needed any more
 * - `gone`: its object is removed. It is filled again if another copy is needed.
 */
export type WholeStage = 'filling' | 'ready' | 'faulty' | 'removing' | 'gone'

const { canBecome } = stageRules<WholeStage>({
  filling: ['ready', 'faulty'],
  ready: ['removing'],
  faulty: [],
  removing: ['gone'],
  gone: ['filling'],
})

/**
 * The payload of an aggregate as one object, from which storage providers fetch it.
 *
 * @example { id: 'bafkzci…', storefront: 'did:web:store.example', piecesCid: 'bafyrei…', upload: 'VXBsb2Fk…', stage: 'filling', … }
 */
export interface WholeRecord extends Due, Entered {
  /** Piece CID of the aggregate. */
  id: string
  /** CID of the DAG-CBOR list of the pieces. */
  piecesCid: string
  /** The storefront that serves the pieces. */
  storefront: string
  stage: WholeStage
  /** When it reached its stage, in milliseconds since 1970. */
  stageAt: number
  /** Id of the multipart upload of S3 that is being written, or was written last. */
  upload: string
  /** The piece whose bytes are wrong. Present if `faulty`. */
  fault?: { piece: string; message: string } | undefined
  /** The last problem of filling a part. */
  trouble?: Trouble | undefined
}

/** A part that is written: its number counts from 0, in five digits. */
export interface PartRecord {
  /** Id of the upload. */
  upload: string
  part: string
  /** The tag that S3 returned for it. */
  etag: string
  /** Piece CID of its bytes. */
  piece: string
  /** In seconds since 1970. DynamoDB removes the row then. */
  expiresAt: number
}

/** Time for which the rows of parts are kept. S3 keeps unfinished uploads for a shorter time. */
export const PART_DAYS = 30

/** Returns the number of parts of a payload. */
export const countParts = (payloadBytes: number, partBytes: number): number =>
  Math.ceil(payloadBytes / partBytes)

/** @example partKey(7) // '00007' */
export const partKey = (part: number): string => `${part}`.padStart(5, '0')

type Filling = Pick<WholeRecord, 'id' | 'piecesCid' | 'storefront' | 'upload'>

export const newWhole = (whole: Filling, now: number, retryMs: number): WholeRecord => ({
  ...whole,
  stage: 'filling',
  stageAt: now,
  ...dueAt(whole.id, now + retryMs),
})

/** Fills a whole again that was removed, or whose upload does not exist any more. */
export const refill = (
  record: Stored<WholeRecord>,
  { upload, before }: { upload: string; before: string },
  now: number,
  retryMs: number,
): Stored<WholeRecord> | undefined => {
  const isFilling = record.stage === 'filling'
  if (record.upload !== before || !(isFilling || canBecome(record, 'filling'))) return undefined
  return {
    ...record,
    stage: 'filling',
    stageAt: isFilling ? record.stageAt : now,
    upload,
    ...dueAt(record.id, now + retryMs),
  }
}

/** Ends the filling of an upload: all parts are written, or a piece is wrong. */
export const endFilling = (
  record: Stored<WholeRecord>,
  { upload, fault }: { upload: string; fault?: WholeRecord['fault'] },
  now: number,
): Stored<WholeRecord> | undefined => {
  const stage = fault ? 'faulty' : 'ready'
  if (record.upload !== upload || !canBecome(record, stage)) return undefined
  return { ...record, stage, stageAt: now, fault, trouble: undefined, ...notDue }
}

/** Records that a whole is not needed any more. The object is removed after this write, so that it is not offered meanwhile. */
export const markRemoving = (
  record: Stored<WholeRecord>,
  now: number,
  retryMs: number,
): Stored<WholeRecord> | undefined =>
  canBecome(record, 'removing')
    ? { ...record, stage: 'removing', stageAt: now, ...dueAt(record.id, now + retryMs) }
    : undefined

export const markGone = (record: Stored<WholeRecord>, now: number): Stored<WholeRecord> | undefined =>
  canBecome(record, 'gone') ? { ...record, stage: 'gone', stageAt: now, ...notDue } : undefined

/** Whether work is left for the whole: it is filled or removed. */
export const isUnfinished = ({ stage }: Pick<WholeRecord, 'stage'>): boolean =>
  stage === 'filling' || stage === 'removing'

/** Records why a part cannot be filled now. The sweep sends it again. */
export const recordFillProblem = (
  record: Stored<WholeRecord>,
  message: string,
  now: number,
  retryMs: number,
): Stored<WholeRecord> | undefined =>
  record.stage === 'filling'
    ? {
        ...record,
        trouble: addTrouble(record.trouble, message, now),
        ...dueAt(record.id, now + nextFillMs(record, now, retryMs)),
      }
    : undefined

/** Returns the milliseconds until missing parts are sent again: after as long as it has been filled, up to 6 hours. */
export const nextFillMs = ({ stageAt }: Pick<WholeRecord, 'stageAt'>, now: number, retryMs: number): number =>
  backoffMs(now - stageAt, retryMs)
