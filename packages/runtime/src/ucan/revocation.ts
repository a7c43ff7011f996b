import { isDelegation } from '@ucanto/core'
import type { Authorization, Delegation } from '@ucanto/interface'
import { Revoked } from '@ucanto/validator'
import { failure, type RevokeSuccess, revoke } from '@w3filecoin/capabilities'
import type { Clock, Table } from '../ports.ts'
import { type Handler, provide } from './handler.ts'
import { MESSAGE_LIMITS } from './message.ts'
import { Chains } from './proof-chain.ts'
import { blocksOf, viewDelegation } from './ucanto.ts'

/** "This principal revoked that delegation." Never taken back. */
export interface RevocationRecord {
  /** CID of the delegation. */
  ucan: string
  by: string
  revokedAt: number
}

/** Where revocations are kept, and the time. */
export interface Revocations {
  table: Table<RevocationRecord>
  now: Clock
}

/** Delegations of one chain that are looked at; a longer chain is refused. */
const MAX_DELEGATIONS = 50

/**
 * `ucan/revoke`: notes that a principal on the chain of a delegation revoked it, in force from the answer on. It needs
 * the blocks of the delegation and of what leads from it to the principal.
 */
export const revokeHandler = ({ table, now }: Revocations): Handler =>
  provide(revoke, async ({ capability, invocation }) => {
    const { ucan } = capability.nb
    const blocks = blocksOf(invocation)
    const delegation = viewDelegation(ucan, blocks)
    if (delegation === undefined)
      return {
        out: { error: failure('UCANNotFound', `The block of ${ucan} must travel with the invocation`) },
      }
    const taken = new Chains(blocks, MESSAGE_LIMITS.chain).take(ucan)
    if (taken.error) return { out: { error: taken.error } }
    const principals = principalsOf(delegation)
    if (!principals.has(capability.with))
      return {
        out: {
          error: failure(
            'UnauthorizedRevocation',
            `${capability.with} is not on the chain of ${ucan} that came along`,
          ),
        },
      }
    const revokedAt = now()
    const inserted = await table.insert({ ucan: `${ucan}`, by: capability.with, revokedAt })
    const { time }: RevokeSuccess = { time: inserted.ok ? revokedAt : inserted.error.record.revokedAt }
    return { out: { ok: { time } } }
  })

/** Issuers and audiences of a delegation and of those that it was derived from, as far as their blocks are there. */
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
 * Whether the chain that authorizes an invocation holds: none of its delegations was revoked by a principal who is on
 * the chain from there to its root. An invocation that needs no delegation costs no read. `@ucanto/server` settles on
 * the first chain that fits: one that was revoked and is brought along is not made up for by another.
 */
export const revocationCheck =
  ({ table }: Revocations) =>
  async (authorization: Authorization) => {
    const links = chainOf(authorization)
    if (links.length === 0) return { ok: {} }
    const keys = links.flatMap(({ delegation, principals }) =>
      [...principals].map(by => ({ delegation, key: { ucan: `${delegation.cid}`, by } })),
    )
    const found = await table.getMany(keys.map(({ key }) => key))
    const at = found.findIndex(record => record !== undefined)
    return at === -1 ? { ok: {} } : { error: new Revoked(keys[at]!.delegation) }
  }

interface ChainLink {
  delegation: Delegation
  /** Issuers and audiences from here to the root. */
  principals: ReadonlySet<string>
}

/** The delegations of an authorization, without the invocation itself. */
const chainOf = ({ proofs }: Authorization): ChainLink[] =>
  proofs.flatMap(proof => {
    const above = chainOf(proof)
    const principals = new Set([proof.issuer.did(), proof.audience.did() as string])
    for (const link of above) for (const did of link.principals) principals.add(did)
    return [{ delegation: proof.delegation, principals }, ...above]
  })
