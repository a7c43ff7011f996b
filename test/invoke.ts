import { connect } from '@ucanto/client'
import { Delegation, invoke as invocation } from '@ucanto/core'
import type { Block, DID, Fact, Proof, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import type { Address } from '@w3filecoin/local'
import { expect } from 'vitest'
import type { Content } from './content.ts'

interface Asked {
  issuer: Signer
  can: `${string}/${string}`
  /** The issuer itself, if it is not said. */
  with?: DID
  nb: Record<string, unknown>
  nonce?: string | undefined
  proofs?: readonly Proof[]
  facts?: Fact[]
  /** Blocks that travel with it. */
  attach?: readonly Block[]
}

/** The invocation of an ability of a service, as any UCAN library makes it. */
const invocationOf = (did: string, { issuer, can, nb, nonce, proofs = [], facts = [], ...asked }: Asked) => {
  const made = invocation({
    issuer,
    audience: ed25519.Verifier.parse(did),
    capability: { can, with: asked.with ?? issuer.did(), nb },
    expiration: Infinity,
    proofs: [...proofs],
    facts,
    ...(nonce === undefined ? {} : { nonce }),
  })
  for (const block of asked.attach ?? []) made.attach(block)
  return made
}

/** CID of the invocation, which is the task that it asks for. */
export const taskOf = async ({ did }: Pick<Address, 'did'>, asked: Asked): Promise<string> =>
  `${(await invocationOf(did, asked).buildIPLDView()).cid}`

/** Invokes an ability of a service over HTTP, and returns what it answers in the form of a receipt. */
export const ask = async ({ url, did }: Address, asked: Asked): Promise<Receipt> => {
  const connection = connect({
    id: ed25519.Verifier.parse(did),
    codec: CAR.outbound,
    channel: HTTP.open<Record<string, never>>({ url: new URL(url) }),
  })
  const [receipt] = await connection.execute(invocationOf(did, asked) as never)
  return receipt as unknown as Receipt
}

/** {@link ask}; the service must have signed the receipt. */
export const invoke = async (service: Address, asked: Asked): Promise<Receipt> => {
  const receipt = await ask(service, asked)
  await expect(receipt.verifySignature(ed25519.Verifier.parse(service.did))).resolves.toEqual({ ok: {} })
  return receipt
}

/** An agent, to which a space has delegated `filecoin/*`. */
export interface Agent {
  issuer: Signer
  with: DID
  proofs: Proof[]
}

export const newAgent = async (space?: Signer): Promise<Agent> => {
  const owner = space ?? (await ed25519.generate())
  const issuer = await ed25519.generate()
  const delegation = await Delegation.delegate({
    issuer: owner,
    audience: issuer,
    capabilities: [{ can: 'filecoin/*', with: owner.did() }],
    expiration: Infinity,
  })
  return { issuer, with: owner.did(), proofs: [delegation] }
}

/** Offers content at a storefront, as an agent of some space unless it is said who. */
export const offer = async (
  storefront: Address,
  { content, piece }: Pick<Content, 'content' | 'piece'>,
  { agent, nonce }: { agent?: Agent; nonce?: string } = {},
): Promise<Receipt> =>
  invoke(storefront, {
    ...(agent ?? (await newAgent())),
    can: 'filecoin/offer',
    nb: { content, piece },
    nonce,
  })
