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
 * - `faulty`: the bytes of a piece do not have its CID. It is filled again only from another storefront that offers the aggregate later.
 * - `removing`: no order seems to need its object. No order is sent meanwhile, and the object is removed if none needs it.
 * - `gone`: it has no object. It is filled again if another copy is needed.
 */
export type WholeStage = 'filling' | 'ready' | 'faulty' | 'removing' | 'gone'

const { canBecome } = stageRules<WholeStage>({
  filling: ['ready', 'faulty', 'gone'],
  ready: ['removing'],
  faulty: ['filling'],
  removing: ['gone', 'ready'],
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
  /** The storefront that serves the pieces. If several offer the aggregate, it changes while one does not serve them. */
  storefront: string
  /** Storefronts that served wrong bytes of a piece. */
  suspects?: string[] | undefined
  stage: WholeStage
  /** When it reached its stage, in milliseconds since 1970. */
  stageAt: number
  /** Id of the multipart upload of S3 that is being written, or was written last. */
  upload: string
  /** The piece whose bytes are wrong. Present if `faulty`. */
  fault?: { piece: string; message: string } | undefined
  /** The last problem of filling a part, since the last one whose contents were served. */
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

/** The storefront that serves the pieces, and its list of them: others may name the same bytes by another CID, with another padding. */
export type PieceSource = Pick<WholeRecord, 'storefront' | 'piecesCid'>

type Filling = PieceSource & Pick<WholeRecord, 'id' | 'upload'>

export const newWhole = (whole: Filling, now: number, retryMs: number): WholeRecord => ({
  ...whole,
  stage: 'filling',
  stageAt: now,
  ...dueAt(whole.id, now + retryMs),
})

/**
 * Fills a whole again that was removed, or whose upload does not exist any more: unless it has changed since `before`.
 *
 * @param restart.source the source of the pieces from now on, if the storefront before served wrong bytes; default: no change
 */
export const refill = (
  record: Stored<WholeRecord>,
  { upload, before, source }: { upload: string; before: WholeRecord; source?: PieceSource | undefined },
  now: number,
  retryMs: number,
): Stored<WholeRecord> | undefined => {
  const isFilling = record.stage === 'filling'
  if (record.upload !== before.upload || record.stage !== before.stage) return undefined
  if (!isFilling && !canBecome(record, 'filling')) return undefined
  return {
    ...record,
    ...(source && { ...source, suspects: [...(record.suspects ?? []), before.storefront] }),
    stage: 'filling',
    stageAt: isFilling ? record.stageAt : now,
    fault: undefined,
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
  const due = stage === 'ready' ? dueAt(record.id, now + READY_CHECK_MS, 'waiting') : notDue
  return { ...record, stage, stageAt: now, fault, trouble: undefined, ...due }
}

/** Records that an order needs a whole after all. */
export const markKept = (record: Stored<WholeRecord>, now: number): Stored<WholeRecord> | undefined =>
  canBecome(record, 'ready') && record.stage === 'removing'
    ? { ...record, stage: 'ready', stageAt: now, ...dueAt(record.id, now + READY_CHECK_MS, 'waiting') }
    : undefined

/**
 * Records that no order seems to need a whole. From then on no order is sent to a target, so the orders that are read after this write
 * decide whether the object is removed.
 */
export const markRemoving = (
  record: Stored<WholeRecord>,
  now: number,
  retryMs: number,
): Stored<WholeRecord> | undefined =>
  canBecome(record, 'removing')
    ? { ...record, stage: 'removing', stageAt: now, ...dueAt(record.id, now + retryMs) }
    : undefined

/** Records that the object of a whole is removed, or that it is not filled any more. */
export const markGone = (record: Stored<WholeRecord>, now: number): Stored<WholeRecord> | undefined =>
  canBecome(record, 'gone')
    ? { ...record, stage: 'gone', stageAt: now, trouble: undefined, ...notDue }
    : undefined

/** Whether the whole is being filled or removed. */
export const isChanging = ({ stage }: Pick<WholeRecord, 'stage'>): boolean =>
  stage === 'filling' || stage === 'removing'

/** Whether the whole waits until no order needs it. */
export const isKept = ({ stage }: Pick<WholeRecord, 'stage'>): boolean => stage === 'ready'

/** Interval at which a whole that is ready is checked. */
export const READY_CHECK_MS = 24 * 60 * 60 * 1000

/** Records why a part cannot be filled now, and the source that is asked next. The sweep sends it again. */
export const recordFillProblem = (
  record: Stored<WholeRecord>,
  { message, source }: { message: string; source: PieceSource | undefined },
  now: number,
  retryMs: number,
): Stored<WholeRecord> | undefined =>
  record.stage === 'filling'
    ? {
        ...record,
        ...source,
        trouble: addTrouble(record.trouble, message, now),
        ...dueAt(record.id, now + nextFillMs(record, now, retryMs)),
      }
    : undefined

/** After so many problems in a row, the storefront does not serve the pieces now. */
const MAX_PROBLEMS = 5

const isServed = ({ trouble }: Pick<WholeRecord, 'trouble'>): boolean => (trouble?.times ?? 0) < MAX_PROBLEMS

/**
 * Whether the parts of a whole wait for the next check after the last problem, because the storefront does not serve the pieces now: a
 * slow one would keep the runs from the aggregates of others.
 */
export const isHeld = (
  record: Pick<WholeRecord, 'stageAt' | 'trouble'>,
  now: number,
  retryMs: number,
): boolean => {
  const { stageAt, trouble } = record
  if (trouble === undefined || isServed(record)) return false
  return trouble.at <= now && now < trouble.at + backoffMs(trouble.at - stageAt, retryMs)
}

/**
 * Returns the parts whose contents are asked for at a check: those that are missing, or one of them, another one each time, while the
 * storefront does not serve the pieces.
 */
export const partsToAskFor = (missing: readonly number[], record: Pick<WholeRecord, 'trouble'>): number[] => {
  if (isServed(record)) return [...missing]
  const next = (record.trouble?.times ?? 0) % missing.length
  return missing.slice(next, next + 1)
}

/** Records that a part with contents was written: the storefront serves the pieces. The parts that were held are sent at the next check, at once. */
export const endFillProblem = (
  record: Stored<WholeRecord>,
  upload: string,
  now: number,
): Stored<WholeRecord> | undefined =>
  record.stage === 'filling' && record.trouble !== undefined && record.upload === upload
    ? { ...record, trouble: undefined, ...(!isServed(record) && dueAt(record.id, now)) }
    : undefined

/**
 * Returns the milliseconds until the next check of a whole. Missing parts are sent again after as long as it has been filled, up to 6
 * hours.
 */
export const nextFillMs = (
  whole: Pick<WholeRecord, 'stage' | 'stageAt'>,
  now: number,
  retryMs: number,
): number => (isKept(whole) ? READY_CHECK_MS : backoffMs(now - whole.stageAt, retryMs))
