import { hash } from 'node:crypto'
import { isDelegation } from '@ucanto/core'
import type { Authorization, Delegation } from '@ucanto/interface'
import { Revoked } from '@ucanto/validator'
import { failure, type RevokeSuccess, revoke } from '@w3filecoin/capabilities'
import { type Ucan, viewUcan } from '@w3filecoin/capabilities/codec'
import type { Clock, Table } from '../ports.ts'
import { type Handler, provide } from './handler.ts'
import { MESSAGE_LIMITS } from './message.ts'
import { Chains } from './proof-chain.ts'
import { Ucans } from './ucans.ts'
import { blocksOf, signedBytes } from './ucanto.ts'

/** A revocation: a principal revoked a delegation. Revocations are final. */
export interface RevocationRecord {
  /**
   * The hash of the bytes that the issuer of the delegation signed, e.g. `signed:nNRj…`. Anyone can write a delegation in
   * another form, under another CID; see decision 0039. In records of earlier code, the CID.
   */
  ucan: string
  /** DID of the principal. */
  by: string
  /** Milliseconds since 1970. */
  revokedAt: number
}

/** The revocations that a service knows. */
export interface Revocations {
  table: Table<RevocationRecord>
  now: Clock
}

/** Maximum number of delegations that are searched for the principal. */
const MAX_DELEGATIONS = 50

/**
 * Handles `ucan/revoke`: records that a principal on the chain of a delegation revoked it. The revocation is in force when
 * the handler answers. The blocks of the delegations from there to the principal must be attached to the invocation.
 */
export const revokeHandler = ({ table, now }: Revocations): Handler =>
  provide(revoke, async ({ capability, invocation }) => {
    const { ucan } = capability.nb
    const blocks = blocksOf(invocation)
    const delegation = viewUcan(ucan, blocks)
    if (delegation === undefined)
      return {
        out: {
          error: failure('UCANNotFound', `The block of ${ucan} is missing. Attach it to the invocation.`),
        },
      }
    const taken = new Chains(new Ucans(blocks), MESSAGE_LIMITS.chain).take(ucan)
    if (taken.error) return { out: { error: taken.error } }
    const principals = principalsOf(delegation)
    if (!principals.has(capability.with))
      return {
        out: {
          error: failure(
            'UnauthorizedRevocation',
            `${capability.with} is not on the attached chain of ${ucan}`,
          ),
        },
      }
    const revokedAt = now()
    const inserted = await table.insert({ ucan: formlessKey(delegation), by: capability.with, revokedAt })
    const { time }: RevokeSuccess = { time: inserted.ok ? revokedAt : inserted.error.record.revokedAt }
    return { out: { ok: { time } } }
  })

/** Returns the key of a delegation's revocations, which is the same for all forms of the delegation. */
const formlessKey = ({ data }: Delegation): string =>
  `signed:${hash('sha256', signedBytes(data as unknown as Ucan), 'base64url')}`

/** Returns the issuers and audiences of a delegation and of those of its proofs whose blocks are present. */
const principalsOf = (delegation: Delegation): Set<string> => {
  const principals = new Set<string>()
  const seen = new Set<string>()
  const open = [delegation]
  for (let next = open.pop(); next !== undefined && seen.size < MAX_DELEGATIONS; next = open.pop()) {
    if (seen.has(`${next.cid}`)) continue
    seen.add(`${next.cid}`)
    principals.add(next.issuer.did()).add(next.audience.did())
    open.push(...next.proofs.filter(isDelegation))
  }
  return principals
}

/**
 * Returns the `validateAuthorization` of `@ucanto/server`. It rejects an invocation if a delegation on its chain was
 * revoked by a principal on the chain from this delegation to the root. An invocation without delegations needs no read.
 * `@ucanto/server` checks only the first chain that fits; `viewsOf` then hides its revoked delegation.
 */
export const revocationCheck =
  ({ table }: Revocations) =>
  async (authorization: Authorization) => {
    const links = chainOf(authorization)
    if (links.length === 0) return { ok: {} }
    const keys = links.flatMap(({ delegation, principals }) =>
      [...principals].flatMap(by =>
        [formlessKey(delegation), `${delegation.cid}`].map(ucan => ({ delegation, key: { ucan, by } })),
      ),
    )
    const found = await table.getMany(keys.map(({ key }) => key))
    const at = found.findIndex(record => record !== undefined)
    return at === -1 ? { ok: {} } : { error: new Revoked(keys[at]!.delegation) }
  }

interface ChainLink {
  delegation: Delegation
  /** Issuers and audiences from this delegation to the root. */
  principals: ReadonlySet<string>
}

/** Returns the delegations of an authorization, without the invocation itself. */
const chainOf = ({ proofs }: Authorization): ChainLink[] =>
  proofs.flatMap(proof => {
    const above = chainOf(proof)
    const principals = new Set([proof.issuer.did(), proof.audience.did() as string])
    for (const link of above) for (const did of link.principals) principals.add(did)
    return [{ delegation: proof.delegation, principals }, ...above]
  })
