import { setTimeout as sleep } from 'node:timers/promises'
import { filecoinOffer } from '@w3filecoin/capabilities'
import type { Local } from '@w3filecoin/local'
import { Authority, Peer, parseSigner } from '@w3filecoin/runtime'
import { randomContent, upload } from '../content.ts'

/** How long a piece may take from its offer to its end, in milliseconds. */
const PATIENCE = 120_000

/** Takes a piece all the way through the system; `undefined` if it arrives, else what is wrong. */
export const travel = async (local: Local): Promise<string | undefined> => {
  const content = await randomContent(50_000)
  await upload(local, content)
  const agent = parseSigner(local.agent.key)
  const storefront = new Peer(local.services.storefront!, { authority: new Authority([]), fetch })
  const offer = filecoinOffer.invoke({
    issuer: agent,
    audience: storefront.principal,
    with: agent.did(),
    nb: { content: content.content, piece: content.piece } as never,
    expiration: Infinity,
  })
  const [answer] = await storefront.execute([(await offer.delegate()) as never])
  const accept = answer?.ok?.fx.join?.link()
  if (accept === undefined) return `The offer was refused: ${JSON.stringify(answer)}`
  for (const until = performance.now() + PATIENCE; performance.now() < until; await sleep(500)) {
    const receipt = await storefront.receipt(`${accept}`)
    if (receipt) return receipt.out.error ? `It ended with ${JSON.stringify(receipt.out.error)}` : undefined
  }
  return `Its end did not come in ${PATIENCE / 1000} s`
}
