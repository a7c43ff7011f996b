import type { Receipt } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import { isTask } from '@w3filecoin/runtime'
import type { ServiceName, Services } from './services.ts'

/** A stored receipt, as a step of a story. */
export interface ReceiptStep {
  kind: 'receipt'
  /** The name of the task in the story: its ability, and the number of the aggregate from the second one on. */
  name: string
  /** When the service stored it, in milliseconds since 1970. */
  at: number
  service: string
  /** CID of the task that was run. */
  task: string
  /** Its ability, e.g. `piece/accept`. */
  ability: string | undefined
  issuer: string | undefined
  /** Present if the task failed. */
  error: { name: string; message: string } | undefined
  /** The tasks that must run next. A large aggregate has one fork for each of its pieces. */
  forks: number
  join: { task: string; ability: string | undefined } | undefined
  /** Set if the receipt is too large to be read here. Its outcome is then unknown. */
  unreadBytes?: number
}

/** Receipts above this size are not read: one may have 64 MB. */
const MAX_READ_BYTES = 16 * 1024 * 1024

/** A receipt with its row. `receipt` is absent if it is too large. */
export interface Filed {
  service: ServiceName
  step: ReceiptStep
  receipt?: Receipt
}

/** Finds the receipt of a task: the first of these services that stores it decides. */
export const findReceipt = async (
  services: Services,
  task: string,
  names: readonly ServiceName[],
): Promise<Filed | undefined> => {
  for (const name of names) {
    const { receipt: table, receipts, service } = services[name]
    const row = await table.get({ task })
    if (row === undefined) continue
    const { issuedAt: at, size = 0 } = row
    if (size > MAX_READ_BYTES)
      return {
        service: name,
        step: {
          kind: 'receipt',
          name: 'a task',
          at,
          service,
          task,
          ability: undefined,
          issuer: undefined,
          error: undefined,
          forks: 0,
          join: undefined,
          unreadBytes: size,
        },
      }
    const receipt = await receipts.get(task)
    if (receipt) return { service: name, step: toStep(receipt, { at, service, task }), receipt }
  }
  return undefined
}

const toStep = (
  { ran, issuer, out, fx }: Receipt,
  place: Pick<ReceiptStep, 'at' | 'service' | 'task'>,
): ReceiptStep => {
  const error = out.error as Failure | undefined
  const ability = abilityOf(ran)
  return {
    kind: 'receipt',
    name: ability ?? 'a task',
    ...place,
    ability,
    issuer: issuer?.did(),
    error: error && { name: `${error.name}`, message: `${error.message}` },
    forks: fx.fork.length,
    join: fx.join && { task: `${fx.join.link()}`, ability: abilityOf(fx.join) },
  }
}

const abilityOf = (task: unknown): string | undefined =>
  isTask(task) ? task.capabilities[0]?.can : undefined

/** The arguments of the task that a receipt is about, as texts, e.g. `{ piece: 'bafkzci…', group: 'free' }`, and its nonce. */
export const argumentsOf = (receipt: Receipt | undefined): Record<string, string> => {
  const { ran } = receipt ?? {}
  if (!isTask(ran)) return {}
  const nb = Object(ran.capabilities[0]?.nb) as Record<string, unknown>
  return {
    ...Object.fromEntries(Object.entries(nb).map(([name, value]) => [name, `${value}`])),
    ...(ran.nonce !== undefined && { nonce: ran.nonce }),
  }
}

/** DID of the agent that invoked the task of a receipt. */
export const issuerOf = (receipt: Receipt | undefined): string | undefined =>
  isTask(receipt?.ran) ? receipt.ran.issuer.did() : undefined

/** Finds the CID of the task among the forks of a receipt that offers a piece again. */
export const findRetry = (receipt: Receipt | undefined, piece: string): string | undefined => {
  const fork = receipt?.fx.fork.find(
    task => isTask(task) && `${(task.capabilities[0]?.nb as { piece?: unknown })?.piece}` === piece,
  )
  return fork && `${fork.link()}`
}
