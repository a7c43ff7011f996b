import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTo } from '@ucanto/client'
import type { Receipt, Signer } from '@ucanto/interface'
import { ed25519, Verifier } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import { connect, dealTracker, verify, W3Error } from '@w3filecoin/client'
import { buildAggregate } from '@w3filecoin/piece'
import { parseSigner } from '@w3filecoin/runtime'
// @ts-expect-error: its package hides its types
import * as Draft3 from 'web3-storage-filecoin-client-1.4'
import { KEYS } from '../../stacks/test/stack.ts'
import { type Content, randomContent } from '../content.ts'
import type { Address, System } from './system.ts'

/** The agent of the journey, and its files. */
export interface Agent {
  signer: Signer
  sound: Content[]
  /** A file whose piece storage providers reject. */
  faulty: Content
}

export const createAgent = async (): Promise<Agent> => {
  const [faulty, ...sound] = await Promise.all([20_000, 1_000, 70_000, 300_000].map(randomContent))
  return { signer: (await ed25519.generate()) as Signer, faulty: faulty!, sound }
}

/** The URL template with which an agent stores content where the storefront reads it. */
const uploadTo = ({ engines, deployment }: System) =>
  `${engines.s3}/${deployment.buckets.StorefrontContentData}/{cid}`

/**
 * Takes the agent's files through the four services. The sound ones must end with a proof that the client verifies, the faulty one
 * with the reason. Rejects otherwise.
 */
export const travel = async (
  system: System,
  { signer, sound, faulty }: Agent,
  signal: AbortSignal,
): Promise<void> => {
  const { storefront, dealTracker: tracker } = system.services
  const w3 = await connect(storefront.url, { signer, upload: uploadTo(system) })
  const deals = await dealTracker(tracker.url, { signer })
  // A stage delivers no receipts to private addresses, but counts each attempt.
  const receiptsTo = 'https://127.0.0.1/receipts'
  const add = ({ bytes }: Content) => w3.add(bytes as Uint8Array<ArrayBuffer>, { signal, receiptsTo })
  const refused = add(faulty).then(
    () => {
      throw new Error('The file that storage providers reject has a proof')
    },
    cause => {
      if (!(cause instanceof W3Error && cause.code === 'InvalidContentPiece')) throw cause
    },
  )
  const verified = sound.map(async file =>
    verify(await add(file), { storefront: storefront.did, dealTracker: deals }),
  )
  await Promise.all([refused, ...verified])
}

/** Loads the storefront's page as a browser does: the HTML, and each file that it names. Rejects if one is missing. */
export const openPage = async ({ services: { storefront } }: System, signal: AbortSignal): Promise<void> => {
  const load = async (path: string, accept: string) => {
    const response = await fetch(new URL(path, storefront.url), { headers: { accept }, signal })
    if (!response.ok) throw new Error(`${path} of the page: the answer was ${response.status}`)
    return response
  }
  const html = await load('/', 'text/html')
  if (!html.headers.get('content-type')?.startsWith('text/html')) throw new Error('GET / serves no page')
  const files = (await html.text()).match(/\/page\/[^"]+/g) ?? []
  if (files.length < 3) throw new Error(`The page names only ${files.length} files`)
  await Promise.all(files.map(path => load(path, '*/*')))
}

/** A published client of draft 3. */
const { Storefront, Aggregator, Dealer } = Draft3

/**
 * Offers to each service in a dialect, so that its function for translations runs. Resolves when each has issued the receipt of the
 * task that it promised.
 */
export const travelInDialect = async (
  system: System,
  { signer: agent }: Agent,
  signal: AbortSignal,
): Promise<void> => {
  const { storefront, aggregator, dealer } = system.services
  const as = (issuer: Signer, { did }: Address) => ({
    issuer,
    with: issuer.did(),
    audience: Verifier.parse(did as `did:key:${string}`),
  })
  const to = ({ did, url }: Address) => ({
    connection: connectTo({
      id: Verifier.parse(did as `did:key:${string}`),
      codec: CAR.outbound,
      channel: HTTP.open<Record<string, never>>({ url: new URL(url) }),
    }),
  })
  const [file, ...others] = await Promise.all([5_000, 10_000, 15_000].map(randomContent))
  const { bytes, content, piece } = file!
  const uploaded = uploadTo(system).replace('{cid}', `${content}`)
  await fetch(uploaded, { method: 'PUT', body: bytes as Uint8Array<ArrayBuffer> })
  const pieces = others.map(({ piece }) => piece)
  const { link: aggregate } = buildAggregate({ pieces, size: 2 ** 20 }).ok!
  const group = 'in draft 3'
  const asStorefront = as(parseSigner(KEYS.StorefrontKey!), aggregator)
  const asAggregator = as(parseSigner(KEYS.AggregatorKey!), dealer)
  const answers: [Address, Receipt][] = [
    [storefront, await Storefront.filecoinQueue(as(agent, storefront), piece, content, to(storefront))],
    [aggregator, await Aggregator.aggregateQueue(asStorefront, pieces[0], group, to(aggregator))],
    [dealer, await Dealer.dealQueue(asAggregator, aggregate, pieces, storefront.did, group, to(dealer))],
  ]
  for (const [{ url }, { out, fx }] of answers) {
    if (out.error || fx.join === undefined)
      throw new Error(`${url} refused an offer in draft 3: ${JSON.stringify(out.error)}`)
    const receipt = `${url}/receipt/${fx.join.link()}`
    while ((await fetch(receipt)).status !== 200) await sleep(500, undefined, { signal })
  }
}
