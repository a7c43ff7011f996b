import { setTimeout as sleep } from 'node:timers/promises'
import { filecoinOffer } from '@w3filecoin/capabilities'
import type { Local } from '@w3filecoin/local'
import { Authority, Peer, parseSigner } from '@w3filecoin/runtime'
import { randomContent, upload } from '../content.ts'

/** The longest time from an offer to its final receipt. It takes about 15 s on an idle machine. */
const MAX_WAIT_MS = 300_000

/** Offers a piece and waits for its deal. Returns `undefined` if it was accepted, else the reason. */
export const sendHonestPiece = async (local: Local): Promise<string | undefined> => {
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
