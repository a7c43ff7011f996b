import { connect } from '@ucanto/client'
import { Delegation, invoke as invocation } from '@ucanto/core'
import type { Ability, Block, DID, Fact, Proof, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import type { Address } from '@w3filecoin/local'
import { principal } from '@w3filecoin/runtime'
import { expect } from 'vitest'
import type { Content } from './content.ts'

interface Request {
  issuer: Signer
  can: `${string}/${string}`
  /** The default is the issuer's DID. */
  with?: DID
  nb: Record<string, unknown>
  nonce?: string | undefined
  proofs?: readonly Proof[]
  facts?: Fact[]
  /** Blocks to send with the invocation. */
  attach?: readonly Block[]
}

/** Builds the invocation of an ability of a service, like any UCAN library. */
const buildInvocation = (
  did: string,
  { issuer, can, nb, nonce, proofs = [], facts = [], ...request }: Request,
) => {
  const built = invocation({
    issuer,
    audience: principal(did),
    capability: { can, with: request.with ?? issuer.did(), nb },
    expiration: Infinity,
    proofs: [...proofs],
    facts,
    ...(nonce === undefined ? {} : { nonce }),
  })
  for (const block of request.attach ?? []) built.attach(block)
  return built
}

/** Returns the CID of the task that a request invokes, e.g. `bafyrei…`. */
export const taskOf = async ({ did }: Pick<Address, 'did'>, request: Request): Promise<string> =>
  `${(await buildInvocation(did, request).buildIPLDView()).cid}`

/** Invokes an ability of a service over HTTP, and returns the receipt in its response. */
export const ask = async ({ url, did }: Address, request: Request): Promise<Receipt> => {
  const connection = connect({
    id: principal(did),
    codec: CAR.outbound,
    channel: HTTP.open<Record<string, never>>({ url: new URL(url) }),
  })
  const [receipt] = await connection.execute(buildInvocation(did, request) as never)
  return receipt as unknown as Receipt
}

/** Like {@link ask}, and checks that the service signed the receipt. */
export const invoke = async (service: Address, request: Request): Promise<Receipt> => {
  const receipt = await ask(service, request)
  await expect(receipt.verifySignature(ed25519.Verifier.parse(service.did))).resolves.toEqual({ ok: {} })
  return receipt
}

/** An agent with a delegation from a space. */
export interface Agent {
  issuer: Signer
  with: DID
  proofs: Proof[]
}

/** @param can the delegated ability: draft 1 has `piece/add` where the others have `filecoin/…` */
export const createAgent = async (space?: Signer, can: Ability = 'filecoin/*'): Promise<Agent> => {
  const owner = space ?? (await ed25519.generate())
  const issuer = await ed25519.generate()
  const delegation = await Delegation.delegate({
    issuer: owner,
    audience: issuer,
    capabilities: [{ can, with: owner.did() }],
    expiration: Infinity,
  })
  return { issuer, with: owner.did(), proofs: [delegation] }
}

/** Offers content to a storefront. The default agent is a new one, with a delegation from a new space. */
export const offer = async (
  storefront: Address,
  { content, piece }: Pick<Content, 'content' | 'piece'>,
  { agent, nonce }: { agent?: Agent; nonce?: string } = {},
): Promise<Receipt> =>
  invoke(storefront, {
    ...(agent ?? (await createAgent())),
    can: 'filecoin/offer',
    nb: { content, piece },
    nonce,
  })
