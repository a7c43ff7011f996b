import type { Invocation } from '@ucanto/interface'
import { reasonOf, W3Error } from './error.ts'
import { invocationOf, type Receipt, type Service } from './service.ts'

/**
 * A task of a workflow, with its receipt. `followChain` has checked that `service` signed the receipt, and that the receipt of
 * `promisedBy` names the task.
 *
 * @example { task: 'bafyrei…', can: 'piece/offer', service: 'did:key:z6Mk…', promisedBy: 'bafyrei…', effect: 'join', receipt }
 */
export interface ChainLink {
  /** CID of the task. */
  task: string
  /** Its ability, e.g. `piece/accept`. Absent if no receipt has the block of the task. */
  can?: string
  /** DID of the service that runs the task, and signs its receipt. */
  service?: string
  /** CID of the task whose receipt names this one. Absent for the first task. */
  promisedBy?: string
  /** How that receipt names it: `fork` is a task that runs beside the next one, `join` the next one. */
  effect?: 'fork' | 'join'
  /** The signed receipt. Absent while there is none, and after an error. */
  receipt?: Receipt
  /** The reason why the receipt cannot be believed, or could not be fetched. */
  error?: W3Error
}

/** A workflow has about eight tasks, and four more for each aggregate that was not stored. */
const MAX_LINKS = 100
/** The tasks of the protocol. A receipt may also name their forms in a dialect, which have the same outcome. */
const PROTOCOL = /^(filecoin|piece|aggregate)\//
/** The maximum number of effects of one receipt that are read. That of a failed aggregate has one for each of up to 95,000 pieces. */
const MAX_EFFECTS = 100_000

/**
 * Follows a workflow from one of its tasks through the services, by the effects of the receipts, and verifies each receipt. It
 * yields each task once, in order, and ends at tasks without a receipt. An error ends only the branch where it occurred.
 *
 * @param service serves the receipts, or redirects to the service that does: usually the storefront. The first task must be one
 * that this service runs
 * @param task CID of the first task, e.g. `filecoin/submit` of an offer
 * @param options a signal that ends the call
 * @example for await (const { can, receipt } of followChain(w3, offered.submit)) console.log(can, receipt?.out)
 */
export async function* followChain(
  service: Service,
  task: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<ChainLink, void> {
  const waiting: ChainLink[] = [{ task, service: service.did }]
  const seen = new Set([task])
  /** The piece that the workflow is about, once it is known. */
  let piece: string | undefined
  for (let links = 0; links < MAX_LINKS; links++) {
    const link = waiting.shift()
    if (link === undefined) return
    const receipt = await fetchReceipt(service, link, signal)
    if (receipt === undefined || receipt instanceof W3Error) {
      yield receipt === undefined ? link : { ...link, error: receipt }
      continue
    }
    const ran = invocationOf(receipt.ran)
    piece ??= pieceOf(ran)
    yield { ...link, ...(ran && describe(ran)), receipt }
    const next = effectsOf(receipt)
      .filter(({ invocation, task }) => !seen.has(task) && isAbout(invocation, piece))
      .map(({ invocation, ...effect }) => ({
        ...effect,
        ...(invocation && describe(invocation)),
        promisedBy: link.task,
      }))
    for (const { task } of next) seen.add(task)
    waiting.push(...next.slice(0, MAX_LINKS))
  }
}

/** Returns the signed receipt; `undefined` if there is none yet; an error if it cannot be believed or fetched. */
const fetchReceipt = async (
  service: Service,
  { task, service: signer }: ChainLink,
  signal: AbortSignal | undefined,
): Promise<Receipt | W3Error | undefined> => {
  if (signer === undefined) return undefined
  try {
    const receipt = await service.receipt(task, { signer, signal })
    const ran = receipt && invocationOf(receipt.ran)
    if (ran && ran.audience.did() !== signer)
      return new W3Error('UnsignedReceipt', `${task} is a task of ${ran.audience.did()}, not of ${signer}`)
    return receipt
  } catch (cause) {
    signal?.throwIfAborted()
    return cause instanceof W3Error ? cause : new W3Error('InvalidAnswer', reasonOf(cause), { cause })
  }
}

/** Returns the tasks that a receipt names, the forks first. `invocation` is absent if the receipt has only the CID. */
const effectsOf = ({
  fx,
}: Receipt): { task: string; effect: 'fork' | 'join'; invocation: Invocation | undefined }[] =>
  [
    ...fx.fork.slice(0, MAX_EFFECTS).map(effect => ['fork', effect] as const),
    ...(fx.join ? [['join', fx.join] as const] : []),
  ].map(([kind, effect]) => ({ task: `${effect.link()}`, effect: kind, invocation: invocationOf(effect) }))

const describe = ({ capabilities: [{ can }], audience }: Invocation): { can: string; service: string } => ({
  can,
  service: audience.did(),
})

/** The piece in the arguments of a task; `undefined` if it is about an aggregate. */
const pieceOf = (ran: Invocation | undefined): string | undefined => {
  const { piece } = (ran?.capabilities[0].nb ?? {}) as { piece?: unknown }
  return piece === undefined ? undefined : `${piece}`
}

/** Whether a task belongs to the workflow of the piece: the receipt of a failed aggregate has a task for each of its pieces. */
const isAbout = (invocation: Invocation | undefined, piece: string | undefined): boolean => {
  if (invocation && !PROTOCOL.test(invocation.capabilities[0].can)) return false
  const other = pieceOf(invocation)
  return other === undefined || other === piece
}
