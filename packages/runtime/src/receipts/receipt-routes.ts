import type { Hono } from 'hono'
import { accepts } from 'hono/accepts'
import { CAR } from '../ucan/message.ts'
import { parseTaskCid } from '../ucan/task.ts'
import { describeMissing, type FindProgress } from './progress.ts'
import { receiptToJson } from './receipt-json.ts'
import type { ReceiptLog } from './receipt-log.ts'

export interface ReceiptRoutesOptions {
  receipts: ReceiptLog
  /**
   * Returns the URL at which the next service of the chain may have the receipt of a task that this one has not; `undefined` if
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

/** Bytes of an answer in JSON. */
const MAX_JSON_BYTES = 4_600_000

const isLong = (json: string): boolean => Buffer.byteLength(json) > MAX_JSON_BYTES

/**
 * Adds `GET /receipt/{task}`. The header `Accept` selects the form of the answer: a CAR or JSON. A CAR is the default,
 * also for clients that accept everything.
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
    if (json === undefined || isLong(json))
      return refuse(
        {
          name: 'ReceiptTooLarge',
          message: `The receipt of ${task} is too large for JSON; ask with Accept: ${CAR}`,
          ...{ task, receipt: served.receipt, issued: new Date(served.issuedAt).toISOString() },
        },
        406,
      )
    return context.body(json, 200, { ...cacheable, 'content-type': JSON_TYPE })
  })
}
