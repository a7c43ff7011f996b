import { setTimeout as sleep } from 'node:timers/promises'
import { filecoinOffer } from '@w3filecoin/capabilities'
import type { Local } from '@w3filecoin/local'
import { Authority, Peer, parseSigner } from '@w3filecoin/runtime'
import { randomContent, upload } from '../content.ts'

/** The longest time from an offer to its final receipt. It takes about 15 s on an idle machine. */
const MAX_WAIT_MS = 300_000

export interface HonestPieces {
  accepted: number
  slowestMs: number
  /** Why a piece was not accepted. */
  problems: string[]
}

/**
 * Offers pieces, one after the other, and waits for the deal of each. It offers at least one, and ends with the first piece
 * that ends after `isOver` returns true, or that is not accepted.
 */
export const sendHonestPieces = async (local: Local, isOver: () => boolean): Promise<HonestPieces> => {
  const sent: HonestPieces = { accepted: 0, slowestMs: 0, problems: [] }
  do {
    const startedAt = performance.now()
    const problem = await sendHonestPiece(local).catch((cause: Error) => `it failed: ${cause.message}`)
    if (problem === undefined) sent.accepted += 1
    else sent.problems.push(problem)
    sent.slowestMs = Math.max(sent.slowestMs, performance.now() - startedAt)
  } while (!isOver() && sent.problems.length === 0)
  return sent
}

/** Offers a piece and waits for its deal. Returns `undefined` if it was accepted, else the reason. */
const sendHonestPiece = async (local: Local): Promise<string | undefined> => {
  const content = await randomContent(50_000)
  await upload(local, content)
  const agent = parseSigner(local.agent.key)
  const storefront = new Peer(local.services.storefront!, { authority: new Authority(), fetch })
  const offer = filecoinOffer.invoke({
    issuer: agent,
    audience: storefront.principal,
    with: agent.did(),
    nb: { content: content.content, piece: content.piece } as never,
    expiration: Infinity,
  })
  const [answer] = await storefront.execute([(await offer.delegate()) as never])
  const accept = answer?.ok?.fx.join?.link()
  if (accept === undefined) return `the offer was refused: ${JSON.stringify(answer)}`
  for (const until = performance.now() + MAX_WAIT_MS; performance.now() < until; await sleep(500)) {
    const receipt = await storefront.receipt(`${accept}`)
    if (receipt) return receipt.out.error ? `it failed with ${JSON.stringify(receipt.out.error)}` : undefined
  }
  return `there was no receipt after ${MAX_WAIT_MS / 1000} s`
}
