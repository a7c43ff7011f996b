import { isExpired, isTooEarly, verifySignature } from '@ipld/dag-ucan'
import { Message, Receipt as Receipts } from '@ucanto/core'
import type { Block, Invocation, Signer, Verifier } from '@ucanto/interface'
import { CAR } from '@ucanto/transport'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'
import { platform } from '#platform'
import { reasonOf } from './error.ts'
import { didOf, Keyring, type Party } from './keys.ts'
import type { Fetch } from './platform.ts'
import { invocationOf, isSignedBy, type Receipt, readMessage, viewReceipt } from './service.ts'
import { readStream } from './source.ts'

/** Options of {@link receiveReceipts}. */
export interface ReceiveReceiptsOptions {
  /** This storefront, or this agent: the audience of the invocations, which signs the answers. */
  signer: Signer
  /**
   * The services that may deliver receipts, and whose receipts are accepted: of a storefront, the aggregator and the dealer; of an
   * agent, the storefront.
   */
  senders: readonly Party[]
  /**
   * Handles a receipt, whose signature has been verified. A receipt may arrive more than once, or never: then fetch it. If it throws, the sender is answered `HandlerExecutionError`.
   *
   * @param receipt with the blocks of its effects, unless it has more than 100
   * @param task the task that the receipt is of: `piece/accept`, `aggregate/offer` or `aggregate/accept`; `filecoin/accept` if an
   * offer named the address (`receiptsTo`)
   */
  onReceipt: (receipt: Receipt, task: Invocation) => unknown
  /** Reads the DID documents of senders that are `did:web`s without keys. The default is the global `fetch`. */
  fetch?: Fetch
}

const MEDIA_TYPE = 'application/vnd.ipld.car'
/** Limits of a message, as in the services. */
const MAX_BYTES = 4_400_000
const MAX_BLOCKS = 5_000
const MAX_INVOCATIONS = 500

/**
 * Returns a handler of HTTP requests that receives receipts: services deliver them as `ucan/conclude`. It works wherever a handler takes a `Request` and returns a `Response`: Workers, Deno, Bun, Hono, Next.js.
 *
 * A request is answered 405, 413, 415 or 400 if it is not a message of at most 4.4 MB and 500 invocations. Each invocation gets
 * a signed receipt: `{ time }`, or a failure such as `UnknownSender` or `InvalidReceipt`.
 *
 * @param options the storefront's key, the senders and the handler of receipts
 * @example export default { fetch: receiveReceipts({ signer, senders: ['did:key:z6Mk…'], onReceipt: save }) }
 */
export const receiveReceipts = ({
  signer,
  senders,
  onReceipt,
  fetch = platform.fetch,
}: ReceiveReceiptsOptions): ((request: Request) => Promise<Response>) => {
  const keyring = new Keyring(fetch)
  const find = (did: string) => senders.find(sender => didOf(sender) === did)

  const conclude = async (invocation: Invocation): Promise<Result<object>> => {
    const [capability, ...others] = invocation.capabilities
    if (others.length > 0 || capability.can !== 'ucan/conclude')
      return refuse('HandlerNotFound', `This service has no handler for ${capability.can}`)
    const issuer = invocation.issuer.did()
    const sender = find(issuer)
    if (invocation.audience.did() !== signer.did())
      return refuse('InvalidAudience', `The invocation is addressed to ${invocation.audience.did()}`)
    if (sender === undefined) return refuse('UnknownSender', `${issuer} is not listed in \`senders\``)
    // Delegations are not accepted: a service delivers receipts under its own DID.
    if (capability.with !== issuer) return refuse('Unauthorized', `${issuer} must invoke with its own DID`)
    const { data } = invocation as unknown as { data: Parameters<typeof isExpired>[0] }
    if (isExpired(data) || isTooEarly(data))
      return refuse('Unauthorized', 'The invocation is not valid at this time')
    const isSigned = async (verifiers: readonly Verifier[]) =>
      (await Promise.all(verifiers.map(verifier => verifySignature(data, verifier as never)))).includes(true)
    if (!(await keyring.check(sender, isSigned)))
      return refuse('Unauthorized', `${issuer} did not sign the invocation`)

    const { receipt: root } = capability.nb as { receipt: AnyLink }
    const blocks = new Map([...invocation.iterateIPLDBlocks()].map(block => [`${block.cid}`, block as Block]))
    const receipt = readReceipt(root, blocks)
    const task = receipt && invocationOf(receipt.ran)
    if (task === undefined)
      return refuse('ReceiptNotFound', 'The blocks of the receipt and of its task must be attached')
    const service = find(task.audience.did())
    const isDelivered = (verifiers: readonly Verifier[]) => isSignedBy(receipt!, verifiers)
    if (service === undefined || !(await keyring.check(service, isDelivered)))
      return refuse(
        'InvalidReceipt',
        `The receipt is not signed by ${task.audience.did()}, or it is not listed`,
      )
    await onReceipt(receipt!, task)
    return { ok: { time: platform.now() } }
  }

  return async request => {
    if (request.method !== 'POST') return text(405, 'Send a POST request', { allow: 'POST' })
    if (request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() !== MEDIA_TYPE)
      return text(415, `Send an agent message with content-type ${MEDIA_TYPE}`)
    const body = await readBody(request)
    if (body === undefined) return text(413, `At most ${MAX_BYTES} bytes are allowed`)
    let invocations: readonly Invocation[]
    try {
      const message = await readMessage(body, MAX_BLOCKS)
      if (message.invocationLinks.length > MAX_INVOCATIONS)
        return text(413, `At most ${MAX_INVOCATIONS} invocations are allowed`)
      invocations = message.invocations as unknown as Invocation[]
      // Views decode lazily, and throw when a malformed part is read.
      for (const { capabilities, audience, issuer } of invocations) void [capabilities, audience, issuer]
    } catch (cause) {
      return text(400, `The message cannot be read: ${reasonOf(cause).slice(0, 200)}`)
    }
    const receipts = []
    for (const invocation of invocations) {
      const result = await conclude(invocation).catch(cause =>
        refuse('HandlerExecutionError', reasonOf(cause).slice(0, 500)),
      )
      receipts.push(
        await Receipts.issue({ issuer: signer, ran: invocation.cid as never, result: result as never }),
      )
    }
    const answer = await CAR.response.encode((await Message.build({ receipts: receipts as never })) as never)
    return new Response(answer.body as Uint8Array<ArrayBuffer>, { headers: { 'content-type': MEDIA_TYPE } })
  }
}

const refuse = (name: string, message: string): { error: Failure } => ({ error: failure(name, message) })

const text = (status: number, message: string, headers: Record<string, string> = {}): Response =>
  new Response(message, { status, headers })

/** Returns the body; `undefined` if it is too large. */
const readBody = async ({ body }: Request): Promise<Uint8Array | undefined> => {
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  for await (const chunk of body ? readStream(body) : []) {
    size += chunk.byteLength
    if (size > MAX_BYTES) return undefined
    chunks.push(chunk as Uint8Array<ArrayBuffer>)
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer())
}

const readReceipt = (root: AnyLink, blocks: ReadonlyMap<string, Block>): Receipt | undefined => {
  try {
    const receipt = viewReceipt(root, blocks)
    void [receipt.ran, receipt.out, receipt.fx, receipt.signature]
    return receipt
  } catch {
    return undefined
  }
}
