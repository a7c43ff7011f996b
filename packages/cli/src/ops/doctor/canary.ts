import type { Delegation } from '@ucanto/interface'
import { connect, type Fetch, type Stage, type StageEvent, type Upload, W3Error } from '@w3filecoin/client'
import { hintOf } from '../../outcome.ts'
import { duration } from '../../text.ts'
import { describeStage } from '../../user/stage-words.ts'
import type { About, Address } from './address.ts'
import { type Diagnosis, diagnose } from './diagnosis.ts'

interface CanaryOptions {
  address: Address
  about: About
  /** Path of the file with the key that offers the piece. */
  key: string
  with: string | undefined
  proofs: Delegation[]
  /** Stores content in the bucket that the storefront reads, if it names no address for uploads. */
  store: Upload
  /** The piece is followed for this long. */
  waitMs: number
  fetch: Fetch
  now: () => number
}

/** The stages at which the aggregator has the piece. */
const QUEUED: readonly Stage[] = ['queued', 'aggregated', 'retried', 'accepted']

/**
 * Offers new content of some bytes to the storefront, and follows its piece. It is well when the aggregator has the piece: a deal
 * takes days on a real stage.
 */
export const sendCanary = async ({
  address: { url, did, keys },
  about,
  key,
  with: space,
  proofs,
  store,
  waitMs,
  fetch,
  now,
}: CanaryOptions): Promise<Diagnosis> => {
  const { well, ill } = diagnose('storefront', 'canary')
  const startedAt = now()
  const signal = AbortSignal.timeout(waitMs)
  const content = about.content
  const events: StageEvent[] = []
  let task: string | undefined
  try {
    const w3 = await connect(url, {
      key,
      with: space,
      proofs,
      service: { did, keys },
      fetch,
      signal,
      ...(content?.upload === undefined && content?.from === 'bucket' && { upload: store }),
    })
    // New content each time: an offer of known content would show how an earlier one ended.
    const text = `A canary of w3fil ops doctor for ${did}, ${new Date(startedAt).toISOString()}`
    const offered = await w3.start(new TextEncoder().encode(text), { signal })
    task = offered.accept
    for await (const event of w3.watch(offered, { signal })) events.push(event)
  } catch (cause) {
    if (!signal.aborted)
      return cause instanceof W3Error
        ? ill(`${cause.code}: ${cause.message}`, adviceOn(cause))
        : ill(`the canary failed: ${(cause as Error).message}`, 'Repeat the command.')
  }
  const took = duration(now() - startedAt)
  if (task === undefined)
    return ill(
      `the storefront did not accept an offer within ${took}`,
      'See the log of its function api, or pass a longer --wait.',
    )
  const last = events.at(-1)
  const passed = [...new Set(events.map(({ stage }) => stage))].join(', ')
  const follow = `w3fil status ${task} --storefront ${url}`
  if (last === undefined)
    return ill(`the storefront accepted an offer, but did not report its stage within ${took}`, follow)
  if (last.stage === 'failed')
    return ill(
      `the piece failed after ${took} (${passed}): ${last.error?.name ?? 'no reason'}`,
      `Follow it with ${follow}`,
    )
  if (last.stage === 'accepted') return well(`the piece is stored after ${took} (${passed})`)
  const state = `after ${took} the piece is ${describeStage(last)} (${passed})`
  return QUEUED.includes(last.stage)
    ? well(`${state}; a deal takes days, follow it with ${follow}`)
    : ill(`${state}. ${last.waitsFor ?? ''}`.trim(), `Follow it with ${follow}`)
}

const adviceOn = (cause: W3Error): string =>
  cause.code === 'UploadUnavailable'
    ? 'Store a small file where the storefront reads content, under its CID, and offer it with w3fil add --no-upload.'
    : (hintOf(cause) ?? 'See the log of the function api of the storefront.')
