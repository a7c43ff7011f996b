import type { Receipt } from '@ucanto/interface'
import type { Hono } from 'hono'
import { accepts } from 'hono/accepts'
import { bodyLimit } from 'hono/body-limit'
import * as z from 'zod'
import { CAR, encodeMessage } from '../ucan/message.ts'
import { parseTaskCid } from '../ucan/task.ts'
import { describeMissing, type FindProgress, receiptNotFound } from './progress.ts'
import { receiptJson, receiptToJson } from './receipt-json.ts'
import { type OneOfMany, type ReceiptLog, readReceipt } from './receipt-log.ts'

export interface ReceiptRoutesOptions {
  receipts: ReceiptLog
  /**
   * Returns the URL at which the next service of the chain may have the receipt of a task that this service does not have; `undefined` if
   * the answer is 404. If absent, it always is.
   *
   * @param isFollowing whether the request comes from another service of the chain: its URL has `?chain`
   */
  elsewhere?: ((task: string, isFollowing: boolean) => Promise<string | undefined>) | undefined
  /** Finds the progress of promised tasks. If absent, the service promises none. */
  progress?: FindProgress | undefined
}

const JSON_TYPE = 'application/json'

/** Time for which a cache may serve a receipt without asking again. */
const RECEIPT_MAX_AGE_SECONDS = 3600

/** Maximum tasks of one request, and the size of such a request: each CID has at most 289 characters. */
const MAX_TASKS = 1_000
const MAX_REQUEST_BYTES = 320_000

/** Bytes of an answer, and of one receipt among many in JSON, so that there is room for all entries of the others. */
const MAX_ANSWER_BYTES = 4_600_000
const MAX_ENTRY_BYTES = 3_000_000
/** Bytes of all CARs in an answer with many receipts: the root of the message has about 110 bytes for each. */
const MAX_CAR_BYTES = 4_400_000

/** The body of `POST /receipts`. */
export const receiptsRequest = z.object({
  tasks: z.array(z.string()).min(1).max(MAX_TASKS).describe('CIDs of tasks'),
})

const refusal = z.object({ message: z.string(), task: z.string().describe('CID of the task') })

/** A receipt that JSON has no room for. */
export const receiptTooLarge = refusal.extend({
  name: z.literal('ReceiptTooLarge'),
  receipt: z.string().describe('CID of the receipt'),
  issued: z.iso.datetime(),
})

/** Entries of the answer to `POST /receipts`, by the order of `tasks`. */
export const receiptsAnswer = z.object({
  receipts: z
    .array(
      z.union([
        receiptJson,
        receiptNotFound,
        receiptTooLarge,
        refusal.extend({ name: z.literal('ReceiptOmitted'), retryAfterSeconds: z.literal(0) }),
        refusal.extend({ name: z.enum(['InvalidCID', 'InvalidTask']) }),
      ]),
    )
    .describe(
      'One entry for each task, in the same order. ReceiptOmitted: the answer has no room; ask again. ReceiptTooLarge: fetch the CAR of this task alone',
    ),
  retryAfterSeconds: z.int().min(0).optional().describe('The least of those of the entries'),
})

type Entry = z.infer<typeof receiptsAnswer>['receipts'][number]

/**
 * Adds the routes at which receipts are served:
 *
 * - `GET /receipt/{task}`: the header `Accept` selects a CAR or JSON. A CAR is the default, also for clients that accept
 *   everything.
 * - `POST /receipts` with `{ tasks }`: the receipts of up to 1,000 tasks in JSON, with the progress of tasks without one; or an
 *   agent message CAR with the receipts that there are. `retryAfterSeconds` or the header `Retry-After` is 0 if the answer had no
 *   room for all.
 */
export const addReceiptRoutes = (
  app: Hono,
  { receipts, elsewhere, progress = async tasks => tasks.map(() => undefined) }: ReceiptRoutesOptions,
): void => {
  app.get('/receipt/:task', async context => {
    const type = accepts(context, { header: 'Accept', supports: [CAR, JSON_TYPE], default: CAR })
    context.header('vary', 'Accept')
    const isJson = type === JSON_TYPE
    const refuse = (body: { name: string; message: string }, status: 400 | 404 | 406) =>
      isJson ? context.json(body, status) : context.text(body.message, status)

    const { ok: task, error } = parseTaskCid(context.req.param('task'))
    if (error) return refuse(error, error.name === 'InvalidCID' ? 400 : 404)
    const served = await receipts.serve(task)
    if (served === undefined) {
      const url = await elsewhere?.(task, context.req.query('chain') !== undefined)
      if (url !== undefined) return context.redirect(url, 307)
      const missing = describeMissing(task, (await progress([task]))[0])
      context.header('retry-after', `${missing.retryAfterSeconds}`)
      context.header('cache-control', `public, max-age=${missing.retryAfterSeconds}`)
      return refuse(missing, 404)
    }
    // Not `immutable`: the receipt of an offer is issued again if the offer starts another attempt.
    const cacheable = { 'cache-control': `public, max-age=${RECEIPT_MAX_AGE_SECONDS}` }
    if (!isJson)
      return 'url' in served
        ? context.redirect(served.url)
        : context.body(served.car as Uint8Array<ArrayBuffer>, 200, { ...cacheable, 'content-type': CAR })
    const json = 'url' in served ? undefined : receiptToJson(task, served.car, served.issuedAt)
    if (json === undefined || Buffer.byteLength(json) > MAX_ANSWER_BYTES)
      return refuse(describeTooLarge(task, served), 406)
    return context.body(json, 200, { ...cacheable, 'content-type': JSON_TYPE })
  })

  const tooMany = { name: 'RequestTooLarge', message: `At most ${MAX_REQUEST_BYTES} bytes are allowed` }
  const bounded = bodyLimit({ maxSize: MAX_REQUEST_BYTES, onError: context => context.json(tooMany, 413) })

  app.post('/receipts', bounded, async context => {
    const type = accepts(context, { header: 'Accept', supports: [JSON_TYPE, CAR], default: JSON_TYPE })
    context.header('cache-control', 'no-store')
    const { data } = receiptsRequest.safeParse(await context.req.json().catch(() => undefined))
    if (data === undefined) {
      const message = `Send JSON with 1 to ${MAX_TASKS} CIDs: { "tasks": ["bafyrei…"] }`
      return context.json({ name: 'InvalidRequest', message }, 400)
    }
    const parsed = data.tasks.map(text => ({ text, ...parseTaskCid(text) }))
    const tasks = [...new Set(parsed.flatMap(({ ok }) => ok ?? []))]
    const found = await receipts.serveMany(tasks, MAX_CAR_BYTES)
    const served = new Map(tasks.map((task, n) => [task, found[n]]))

    if (type === CAR) {
      const all: Receipt[] = []
      for (const [task, one] of served) if (one && 'car' in one) all.push(readReceipt(task, one.car)!)
      if (found.some(one => one && 'isOmitted' in one)) context.header('retry-after', '0')
      return context.body(await encodeMessage({ receipts: all }), 200, { 'content-type': CAR })
    }

    const missing = tasks.filter(task => served.get(task) === undefined)
    const states = missing.length === 0 ? [] : await progress(missing)
    const absent = new Map(missing.map((task, n) => [task, describeMissing(task, states[n])]))
    return context.body(writeAnswer(parsed, served, absent), 200, { 'content-type': JSON_TYPE })
  })
}

type Served = Exclude<OneOfMany, { isOmitted: true }>

const describeTooLarge = (task: string, { receipt, issuedAt }: Pick<Served, 'receipt' | 'issuedAt'>) => ({
  name: 'ReceiptTooLarge' as const,
  message: `The receipt of ${task} is too large for JSON. Get /receipt/${task} with Accept: ${CAR}`,
  task,
  receipt,
  issued: new Date(issuedAt).toISOString(),
})

const omitted = (task: string) => ({
  name: 'ReceiptOmitted' as const,
  message: 'The answer has no room for this task. Ask for it again',
  task,
  retryAfterSeconds: 0 as const,
})

/** Writes the entries of an answer in the order of the tasks, with receipts as long as there is room. */
const writeAnswer = (
  asked: readonly ({ text: string } & ReturnType<typeof parseTaskCid>)[],
  served: ReadonlyMap<string, OneOfMany | undefined>,
  absent: ReadonlyMap<string, z.infer<typeof receiptNotFound>>,
): string => {
  const short = asked.map(({ text, ok: task, error }): Entry => {
    if (task === undefined) {
      const { name, message } = error as { name: 'InvalidCID' | 'InvalidTask'; message: string }
      return { name, message, task: text.slice(0, 300) }
    }
    const one = served.get(task)
    if (one === undefined) return absent.get(task)!
    return 'isTooLarge' in one ? describeTooLarge(task, one) : omitted(task)
  })
  /** By task: a question may name a task a thousand times, and a CAR may have megabytes. */
  const written = new Map<string, string>()
  const write = (task: string, one: Extract<Served, { car: Uint8Array }>): string => {
    const json = written.get(task) ?? receiptToJson(task, one.car, one.issuedAt)
    written.set(task, json)
    return json
  }
  const texts = short.map(entry => JSON.stringify(entry))
  let room = MAX_ANSWER_BYTES - texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 100)
  let leastSeconds = Math.min(...[...absent.values()].map(({ retryAfterSeconds }) => retryAfterSeconds))
  const entries = asked.map(({ ok: task }, n) => {
    const one = task === undefined ? undefined : served.get(task)
    if (task === undefined || one === undefined || 'isTooLarge' in one) return texts[n]
    const json = 'car' in one && room > 0 ? write(task, one) : undefined
    const bytes = json === undefined ? 0 : Buffer.byteLength(json)
    if ('car' in one && bytes > MAX_ENTRY_BYTES) return JSON.stringify(describeTooLarge(task, one))
    room -= bytes
    if (json !== undefined && room >= 0) return json
    leastSeconds = 0
    return texts[n]
  })
  const retry = Number.isFinite(leastSeconds) ? `,"retryAfterSeconds":${leastSeconds}` : ''
  return `{"receipts":[${entries.join(',')}]${retry}}`
}
