import type { PieceLink } from '@w3filecoin/capabilities'
import { layOut, type Piece, parsePiece, type Whole } from '@w3filecoin/piece'
import {
  type Arrival,
  type Consumer,
  DONE,
  each,
  enforceSpeed,
  getValue,
  type Handled,
  listAll,
  signPermit,
  TooSlow,
  update,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import {
  countParts,
  endFilling,
  endFillProblem,
  isHeld,
  markGone,
  markKept,
  markRemoving,
  PART_DAYS,
  type PartRecord,
  partKey,
  partsToAskFor,
  recordFillProblem,
  type WholeRecord,
} from '../domain/whole.ts'
import { type FillMessage, fillMessage } from '../queues.ts'
import { restartWhole } from '../wholes/begin-whole.ts'
import { checkParts } from '../wholes/check-parts.ts'
import { fillPart, hasContents, type Part, type WrongPiece } from '../wholes/fill-part.ts'
import { isNeeded } from '../wholes/is-needed.ts'
import { findOtherSources } from '../wholes/other-sources.ts'
import { readContent } from '../wholes/read-content.ts'

/** Time for the contents of a part. The run has as much again to hash and write it. */
const READ_MS = 300_000
const PERMIT_SECONDS = 3_600
/** Offers of one aggregate whose orders go on at once when it is ready. */
const MAX_OFFERS = 10

/**
 * On `fill`, write one part of the payload of an aggregate: the contents of its pieces, which the storefront serves, and its
 * index. The bytes of each piece are hashed, so a provider is never offered a payload that is not the aggregate. When all parts
 * are written, the whole is ready. A piece whose bytes are wrong ends it. A whole that no order needs any more is removed.
 */
export const onFill = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'stores'
    | 'queues'
    | 'wholes'
    | 'pieceSources'
    | 'fetchContent'
    | 'keepWholeMs'
    | 'batching'
    | 'timing'
    | 'now'
    | 'log'
  >,
): Consumer<FillMessage> => {
  const { id, stores, queues, wholes, pieceSources, fetchContent, batching, timing, now, log } = dependencies

  const postpone = async (record: WholeRecord, message: string): Promise<Handled> => {
    log('warn', 'part not filled', { aggregate: record.id, problem: message })
    const [source] = await findOtherSources(dependencies, record)
    await update(stores.whole, { id: record.id }, current =>
      recordFillProblem(current, { message, source }, now(), timing.retryMs),
    )
    return DONE
  }

  /** Ends the filling, unless another storefront serves the piece too. */
  const fail = async (record: WholeRecord, { piece, message }: WrongPiece): Promise<void> => {
    const { id: aggregate, upload, storefront } = record
    log('warn', 'piece is wrong', { aggregate, storefront, piece: `${piece}`, message })
    const [other] = await findOtherSources(dependencies, record)
    if (other) {
      await restartWhole(dependencies, record, other)
      return
    }
    await update(stores.whole, { id: aggregate }, current =>
      endFilling(current, { upload, fault: { piece: `${piece}`, message } }, now()),
    )
    await wholes.abort({ aggregate, upload })
  }

  /** Returns the URL of a piece, with a permit for it if the storefront expects one. */
  const urlsOf = async ({ id: aggregate, storefront }: WholeRecord) => {
    const template = pieceSources.get(storefront)
    if (template === undefined) return undefined
    const expires = Math.ceil(now() / 1000) + PERMIT_SECONDS
    const permit = await signPermit(id, { storefront, aggregate, expires })
    return (piece: PieceLink) => template.replace('{permit}', permit).replace('{piece}', `${piece}`)
  }

  const rangeOf = ({ length }: Whole, part: number): Part => {
    const from = part * batching.partBytes
    return { from, to: Math.min(from + batching.partBytes, length) }
  }

  /** Fills a part, unless its contents arrive too slowly. */
  const readPart = async (
    whole: Whole,
    range: Part,
    urlOf: (piece: PieceLink) => string,
  ): ReturnType<typeof fillPart> => {
    const stop = new AbortController()
    const arrival: Arrival = { bytes: 0, isDone: false }
    const filling = fillPart(whole, range, (piece, start, into, signal) =>
      readContent(urlOf(piece), start, into, {
        fetch: fetchContent,
        signal: AbortSignal.any([signal, stop.signal]),
        arrival,
      }),
    )
    try {
      // A source that hangs may ignore the signal, so do not wait for it.
      return await Promise.race([filling, enforceSpeed(arrival, READ_MS)])
    } catch (cause) {
      if (!(cause instanceof TooSlow)) throw cause
      return { error: { name: 'ContentUnreadable', message: `The contents cannot be read${cause.message}` } }
    } finally {
      arrival.isDone = true
      stop.abort()
    }
  }

  const writePart = async (record: WholeRecord, whole: Whole, part: number): Promise<Handled | undefined> => {
    const urlOf = await urlsOf(record)
    if (urlOf === undefined)
      return postpone(
        record,
        `The configuration has no address for the pieces of ${record.storefront}: add one to pieceSources`,
      )
    const range = rangeOf(whole, part)
    const filled = await readPart(whole, range, urlOf)
    if (filled.error?.name === 'WrongPiece') {
      await fail(record, filled.error)
      return DONE
    }
    if (filled.error) return postpone(record, filled.error.message)
    const { bytes, piece } = filled.ok
    const { id: aggregate, upload } = record
    const etag = await wholes.putPart({ aggregate, upload, part, bytes })
    if (etag === undefined) {
      // S3 removed the upload, because filling took days.
      await restartWhole(dependencies, record)
      return DONE
    }
    const expiresAt = Math.ceil(now() / 1000) + PART_DAYS * 86_400
    await stores.part.putMany([{ upload, part: partKey(part), etag, piece: `${piece}`, expiresAt }])
    if (record.trouble && hasContents(whole, range)) {
      await update(stores.whole, { id: aggregate }, current => endFillProblem(current, upload, now()))
    }
    return undefined
  }

  /** Makes the object of all parts, and checks it. */
  const finish = async (record: WholeRecord, whole: Whole, parts: readonly PartRecord[]): Promise<void> => {
    const { id: aggregate, upload } = record
    const wrong = checkParts(
      whole,
      parts.map(({ piece }) => (parsePiece(piece).ok as Piece).link),
      aggregate,
    )
    if (wrong) return fail(record, wrong)
    const etags = parts.map(({ etag }) => etag)
    if (!(await wholes.complete({ aggregate, upload, etags, bytes: whole.length }))) {
      // It may still exist: two runs wrote a part at once, and the tag of the earlier one was stored last.
      await wholes.abort({ aggregate, upload })
      await restartWhole(dependencies, record)
      return
    }
    await update(stores.whole, { id: aggregate }, current => endFilling(current, { upload }, now()))
    // Orders wait for it. The sweep sends those that the index does not have yet.
    const { items } = await stores.aggregate.find('aggregate', aggregate, { limit: MAX_OFFERS })
    await queues.order.send(items.map(({ id }) => ({ offer: id as string })))
  }

  /** Removes the object, unless an order needs it. */
  const removeUnneeded = async ({ id: aggregate, stage }: WholeRecord): Promise<void> => {
    if (stage === 'ready') {
      if (await isNeeded(dependencies, aggregate)) return
      const { changed } = await update(stores.whole, { id: aggregate }, current =>
        markRemoving(current, now(), timing.retryMs),
      )
      if (!changed) return
    }
    if (await isNeeded(dependencies, aggregate)) {
      await update(stores.whole, { id: aggregate }, current => markKept(current, now()))
      return
    }
    await wholes.remove(aggregate)
    await update(stores.whole, { id: aggregate }, current => markGone(current, now()))
  }

  /** Ends the filling of a whole that has problems, if no order needs it any more. Returns whether it did. */
  const stopFilling = async ({ id: aggregate, upload, trouble }: WholeRecord): Promise<boolean> => {
    if (trouble === undefined || (await isNeeded(dependencies, aggregate))) return false
    await update(stores.whole, { id: aggregate }, current =>
      current.stage === 'filling' && current.upload === upload ? markGone(current, now()) : undefined,
    )
    await wholes.abort({ aggregate, upload })
    return true
  }

  return each(
    fillMessage,
    async ({ aggregate, part }) => {
      const record = await stores.whole.get({ id: aggregate })
      if (record?.stage === 'ready' || record?.stage === 'removing') await removeUnneeded(record)
      if (record?.stage !== 'filling' || (part === undefined && (await stopFilling(record)))) return DONE
      const pieces = await getValue<PieceLink[]>(stores.blocks, record.piecesCid)
      const { ok: whole, error } = layOut({ pieces, size: (parsePiece(aggregate).ok as Piece).size })
      if (error) throw new Error(`The pieces of ${aggregate} do not fit into it`, { cause: error })
      const count = countParts(whole.length, batching.partBytes)
      const isServed = (part: number) => hasContents(whole, rangeOf(whole, part))
      if (part !== undefined && part < count) {
        if (isHeld(record, now(), timing.retryMs) && isServed(part)) return DONE
        const known = await stores.part.get({ upload: record.upload, part: partKey(part) })
        const ended = known ? undefined : await writePart(record, whole, part)
        if (ended) return ended
      }
      const parts = await listAll(stores.part, record.upload)
      if (parts.length === count) await finish(record, whole, parts)
      else if (part === undefined) {
        const written = new Set(parts.map(({ part }) => part))
        const missing = Array.from({ length: count }, (_, part) => part).filter(
          part => !written.has(partKey(part)),
        )
        const { true: served = [], false: others = [] } = Object.groupBy(missing, part => `${isServed(part)}`)
        const next = [...others, ...partsToAskFor(served, record)]
        await queues.fill.send(next.map(part => ({ aggregate, part })))
      }
      return DONE
    },
    { concurrency: 1 },
  )
}
