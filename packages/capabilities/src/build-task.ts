import type { Block, DID, Fact, Invocation, Principal, Proof, Signer } from '@ucanto/interface'
import { issueInvocation } from './codec/ucan.ts'

/**
 * A task of the protocol. Only `tasks.ts` and the files of `dialects/` build tasks, so that the task promised as an effect and the
 * task run later have the same bytes. A task never expires, and has a nonce only if the offer has one. Ed25519 signatures are
 * deterministic, so a task's CID is a pure function of the offer.
 *
 * @example `filecoin/accept` of a storefront: `{ iss: storefront, aud: storefront, att: [{ can: 'filecoin/accept', with:
 * storefront, nb: { content, piece } }], prf: [], exp: null }`
 */
export type Task = Invocation

/** Distinguishes a task from others with the same arguments. */
export interface Distinguished {
  nonce?: string | undefined
  facts?: Fact[] | undefined
}

export interface TaskOptions extends Distinguished {
  /** The issuer, and the resource unless `with` is set. */
  issuer: Signer
  audience: Principal
  with?: DID
  can: `${string}/${string}`
  nb: Record<string, unknown>
  proofs?: readonly Proof[] | undefined
  attach?: readonly Block[]
}

/** Signs a task. */
export const buildTask = async ({
  issuer,
  audience,
  can,
  nb,
  nonce,
  proofs = [],
  facts = [],
  attach = [],
  ...rest
}: TaskOptions) => {
  const task: Task = await issueInvocation({
    issuer,
    audience,
    capability: { can, with: rest.with ?? issuer.did(), nb },
    proofs,
    facts,
    nonce,
  })
  for (const block of attach) task.attach(block)
  return task
}
