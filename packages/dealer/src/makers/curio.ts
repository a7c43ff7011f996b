import { createHash } from 'node:crypto'
import { type Failure, failure } from '@w3filecoin/capabilities'
import { type Clock, type Fetch, readBody, reasonOf } from '@w3filecoin/runtime'
import type { PrivateKeyAccount } from 'viem/accounts'
import * as z from 'zod'
import { authorize, delegatedAddress, type NetworkLetter } from './curio-auth.ts'
import type { CurioTarget } from './curio-target.ts'
import type { Maker, MakerOrder, Progress } from './maker.ts'

export interface CurioMaker extends Maker {
  /** The address of the account. The provider must allow it, and it must exist on chain: see decision 0083. */
  client: string
}

/** Time for one answer. Curio ends its own work on a request after 10 s. A step makes at most five requests. */
const TIMEOUT_MS = 15_000
const MAX_ANSWER_BYTES = 64 * 1024
/** Characters of an answer that messages quote. */
const MAX_QUOTED = 200
/** Pause after a 429 that names none, and the longest. */
const PAUSE_MS = 60_000
const MAX_PAUSE_MS = 60 * 60_000
/** A provider accepts signatures of the minute before its own, and of the one after. */
const MAX_SKEW_MS = 60_000

const BASE = '/market/mk20'
/** The answers of `POST /deal` that find the deal invalid, and those that say that the provider does not take such deals now. */
const INVALID_DEAL: readonly number[] = [400, 413, 425, 426, 430, 441]
const SWITCHED_OFF: readonly number[] = [422, 423, 424, 440]
/** Two of the invalid deals have another miner than the provider: no order can succeed there. */
const WRONG_MINER = /Provider not available in Curio cluster|provider is disabled/

const statusSchema = z.object({ ddo_v1: z.object({ status: z.string(), errorMsg: z.string().default('') }) })
/** Go encodes an empty list as null. */
const namesSchema = z.array(z.string()).nullable().default([])
const productsSchema = z.object({ products: namesSchema })
const sourcesSchema = z.object({ sources: namesSchema })

/** An answer of the provider. Without a status, none arrived: the request may have been carried out. */
interface Answer {
  status?: number
  /** Empty if it cannot be read within the bounds. */
  text: string
  headers?: Pick<Headers, 'get'>
  /** The answer in a few words, e.g. `it answered 429 (slow down)`. */
  summary: string
}

/**
 * The provider's knowledge of a deal. Curio answers 401 about an unknown deal, as it does to an account that it does not accept, so
 * `missing` needs a request that Curio accepts. `unclear`: it cannot be asked now.
 */
type Found = { is: 'known'; message: string } | { is: 'missing' | 'unauthorized' | 'unclear'; answer: Answer }

/**
 * Opens a maker that has whole aggregates stored in sectors by a provider with Curio, without a deal of the built-in market. The
 * provider fetches the bytes of an aggregate from the URL, which must serve ranges.
 *
 * The id of a deal is derived from its order, and Curio refuses an id that it has: an order never becomes two deals. A deal that was
 * accepted once stays in the state `storing`. Curio reports no failure, and `complete` also after the provider removed the deal. So
 * the chain alone shows the end of an order, and its deadline.
 *
 * @param target e.g. { url: 'https://curio.example.com', miner: 'f01000', durationEpochs: 518_400 }
 * @param tools.account signs the requests
 * @see https://github.com/filecoin-project/curio/tree/main/market/mk20
 */
export const openCurioMaker = (
  { url, miner, durationEpochs }: CurioTarget,
  { account, fetch, now }: { account: Pick<PrivateKeyAccount, 'address' | 'sign'>; fetch: Fetch; now: Clock },
): CurioMaker => {
  const { origin } = new URL(url)
  const client = delegatedAddress(account.address, miner.charAt(0) as NetworkLetter).text

  const request = async (method: 'GET' | 'POST', route: string, body?: string): Promise<Answer> => {
    const path = `${BASE}${route}`
    const authorization = await authorize(account, { method, path, at: now() })
    try {
      const response = await fetch(`${origin}${path}`, {
        method,
        // Curio compares the whole value: a charset is refused.
        headers: { authorization, ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(body !== undefined && { body }),
        redirect: 'manual',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      const { status, headers } = response
      const text = `${(await readBody(response.body, MAX_ANSWER_BYTES)) ?? ''}`
      return { status, text, headers, summary: `it answered ${status}${quote(text)}` }
    } catch (cause) {
      return { text: '', summary: `no answer: ${reasonOf(cause)}` }
    }
  }

  const find = async (id: string): Promise<Found> => {
    const answer = await request('GET', `/status/${id}`)
    const deal = read(answer, statusSchema)?.ddo_v1
    if (deal) return { is: 'known', message: `${deal.status}${quote(deal.errorMsg)}` }
    if (answer.status !== 401) return { is: 'unclear', answer }
    const products = await request('GET', '/products')
    if (products.status === 401) return { is: 'unauthorized', answer: products }
    return { is: read(products, productsSchema) ? 'missing' : 'unclear', answer: products }
  }

  const storing = (id: string, message: string): Progress => ({
    state: 'storing',
    message: `${url} about deal ${id}: ${message}`,
    remote: id,
  })

  const asked = (message: string, retryAfterMs?: number): Progress => ({
    state: 'asked',
    message: `${url}: ${message}`,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })

  const refused = (blames: 'order' | 'target', name: string, message: string): Progress => ({
    state: 'refused',
    error: failure(name, `${url} (${miner}): ${message}`),
    blames,
  })

  /** Describes a 401. A wrong clock is the only reason that the answer shows. */
  const unauthorized = ({ summary, headers }: Answer): string => {
    const skewMs = Date.parse(headers?.get('date') ?? '') - now()
    return Math.abs(skewMs) > MAX_SKEW_MS
      ? `${summary}. Its clock differs from ours by ${Math.round(Math.abs(skewMs) / 1000)} s: correct the one that is wrong`
      : `${summary}. Ask the provider to allow the client ${client}`
  }

  /** Judges an answer of `POST /deal` after which the provider does not know the deal. */
  const judge = (answer: Answer): Progress => {
    const { status, summary, text } = answer
    if (status === undefined || status === 200 || status === 408 || status >= 500) return asked(summary)
    if (status === 429) return asked(summary, pauseOf(answer, now()))
    if (status === 401) return refused('target', 'TargetUnauthorized', unauthorized(answer))
    if (SWITCHED_OFF.includes(status)) return refused('target', 'TargetOff', summary)
    if (INVALID_DEAL.includes(status) && !WRONG_MINER.test(text))
      return refused('order', 'DealRefused', summary)
    return refused('target', 'TargetRefuses', `${summary}. Check the address and the miner of the target`)
  }

  const send = async (order: MakerOrder, sourceUrl: string, id: string): Promise<Progress> => {
    const deal = describeDeal(order, { id, client, miner, durationEpochs, sourceUrl })
    const answer = await request('POST', '/deal', JSON.stringify(deal))
    if (answer.status === 200 && answer.text.startsWith('Reason:')) return storing(id, 'accepted')
    // An earlier request may have been carried out, and its answer lost: then Curio answers 500, or by checks that come first.
    const found = await find(id)
    switch (found.is) {
      case 'known':
        return storing(id, found.message)
      case 'unauthorized':
        return refused('target', 'TargetUnauthorized', unauthorized(found.answer))
      case 'unclear':
        return asked(
          `${answer.summary}; about the deal, ${found.answer.summary}`,
          answer.status === 429 ? pauseOf(answer, now()) : undefined,
        )
      case 'missing':
        return judge(answer)
    }
  }

  return {
    client,
    advance: async (order, sourceUrl) => {
      const id = dealIdOf(order)
      const isAccepted = order.remote === id
      if (!isAccepted && sourceUrl !== undefined) return send(order, sourceUrl, id)
      const found = await find(id)
      if (found.is === 'known') return storing(id, found.message)
      if (found.is === 'missing' && sourceUrl !== undefined) return send(order, sourceUrl, id)
      const { summary } = found.answer
      return isAccepted ? storing(id, `${summary}; it was accepted`) : asked(summary)
    },
    // It must know the account, and take whole aggregates by URL.
    check: async () => {
      const error = (name: string, message: string): { error: Failure } => ({
        error: failure(name, `${url} (${miner}): ${message}`),
      })
      const answers = await Promise.all([request('GET', '/products'), request('GET', '/sources')])
      const [first, second] = answers
      const products = read(first, productsSchema)?.products ?? []
      const sources = read(second, sourcesSchema)?.sources ?? []
      const failed = answers.find(({ status }) => status !== 200)
      if (failed?.status === 401) return error('TargetUnauthorized', unauthorized(failed))
      if (failed) return error('TargetUnreachable', failed.summary)
      const missing = [
        ...['ddo_v1', 'retrieval_v1'].filter(name => !products.includes(name)),
        ...['http'].filter(name => !sources.includes(name)),
      ]
      return missing.length > 0
        ? error('TargetOff', `it does not take ${missing.join(', ')}. Ask the provider to enable it`)
        : { ok: { message: `${url} takes whole aggregates for ${miner} from the client ${client}` } }
    },
  }
}

/** The digits of a ULID: base 32 of Crockford. */
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/**
 * Returns the id of the deal of an order, a ULID: 48 bits of the time of the order, and 80 bits of a hash of its id.
 *
 * @example dealIdOf({ id: 'AAAA…', createdAt: 1469918176385 }) // '01ARYZ6S411W0771DPZ7ABFVNJ'
 * @throws RangeError if no ULID has this time
 * @see https://github.com/ulid/spec
 */
export const dealIdOf = ({ id, createdAt }: Pick<MakerOrder, 'id' | 'createdAt'>): string => {
  if (!(createdAt >= 0 && createdAt < 2 ** 48)) throw new RangeError(`No ULID has the time ${createdAt}`)
  const random = createHash('sha256').update(id).digest().subarray(0, 10).toString('hex')
  const value = (BigInt(createdAt) << 80n) | BigInt(`0x${random}`)
  return value
    .toString(32)
    .padStart(26, '0')
    .replace(/./g, digit => DIGITS.charAt(Number.parseInt(digit, 32)))
}

/** Describes a deal: the whole aggregate, as bytes that Curio does not index. */
const describeDeal = (
  { aggregate }: MakerOrder,
  {
    id,
    client,
    miner,
    durationEpochs,
    sourceUrl,
  }: { id: string; client: string; miner: string; durationEpochs: number; sourceUrl: string },
): object => ({
  identifier: id,
  client,
  data: {
    piece_cid: { '/': `${aggregate}` },
    format: { raw: {} },
    source_http: { urls: [{ url: sourceUrl, headers: {}, priority: 0, fallback: true }] },
  },
  products: {
    ddo_v1: {
      provider: miner,
      start_epoch: null,
      duration: durationEpochs,
      market_address: '',
      market_deal_id: null,
    },
    retrieval_v1: { indexing: false, announce_payload: false, announce_piece: false },
  },
})

/** Returns the JSON of an answer with status 200; `undefined` for every other answer. */
const read = <T>({ status, text }: Answer, schema: z.ZodType<T>): T | undefined => {
  if (status !== 200) return undefined
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/** Quotes the beginning of a text of the provider, in one line. Curio begins the answers to a deal with `Reason: `. */
const quote = (text: string): string => {
  const line = text
    .replace(/^Reason:/, '')
    .replaceAll(/[\s\p{C}]+/gu, ' ')
    .trim()
  return line === '' ? '' : ` (${line.slice(0, MAX_QUOTED)})`
}

/** Returns the pause that `Retry-After` asks for, in seconds or as a date, in milliseconds within bounds. */
const pauseOf = ({ headers }: Answer, now: number): number => {
  const value = headers?.get('retry-after') ?? ''
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return Number.isNaN(ms) ? PAUSE_MS : Math.min(Math.max(ms, 0), MAX_PAUSE_MS)
}
