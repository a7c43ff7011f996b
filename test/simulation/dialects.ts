import type { Receipt, Signer } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { type Failure, type Task, Tasks } from '@w3filecoin/capabilities'
import { isTask } from '@w3filecoin/runtime'
import type { Acknowledged } from './agents.ts'
import type { Findings, Logs } from './invariants.ts'
import { distinctionIn } from './receipts.ts'
import type { Simulated, System } from './services.ts'

const AGREES = 'a promise in a dialect has one receipt, which agrees with the protocol'
const LEADS = 'every link of a chain in a dialect leads to a receipt'

/** Checks that the services have kept every promise that they made in a dialect, to agents or to other services. */
export const checkTranslations = async (
  findings: Findings,
  { services }: System,
  logs: Logs,
): Promise<void> => {
  for (const { name, id, tables } of services.values())
    for (const { stage, task, of } of tables.translation?.items.values() ?? []) {
      const [own, other] = [logs.get(name)?.get(task as string), logs.get(name)?.get(of as string)]
      findings.check(
        AGREES,
        stage === 'done' && own !== undefined && other !== undefined && agree(own, other),
        () => `${name} promised ${task}, which is ${stage}: ${describe(own)}, of ${describe(other)}`,
      )
      if (own) await checkSignature(findings, own, id)
    }
}

/**
 * Checks that an agent finds the aggregate of its piece, and in draft 1 the deal too, when it follows the links from the task
 * that was promised in its dialect.
 */
export const checkChain = async (
  findings: Findings,
  { services }: System,
  { offer, promised, groups }: Acknowledged,
  aggregator: string,
  logs: Logs,
): Promise<void> => {
  const { storefront, dialect, content, piece, nonce } = offer
  if (dialect === undefined) return
  const { id } = services.get(storefront) as Simulated
  const follow = (service: string, task: unknown, what: string): Receipt | undefined => {
    const receipt = logs.get(service)?.get(`${task}`)
    findings.check(LEADS, receipt !== undefined, () => `${service} has no receipt of ${what} ${task}`)
    return receipt
  }
  for (const task of promised) {
    const checked = follow(storefront, task, 'the check of content')
    if (checked === undefined) continue
    await checkSignature(findings, checked, id)
    const submit = await Tasks.filecoinSubmit(
      id,
      { content: content.content, piece, nonce },
      distinctionIn(checked.ran as Task),
    )
    const submitted = logs.get(storefront)?.get(`${submit.cid}`)
    findings.check(
      AGREES,
      submitted !== undefined && agree(checked, submitted),
      () => `${task} of ${dialect}: ${describe(checked)}, of ${describe(submitted)}`,
    )
    if (checked.out.error) continue
    const offered = follow(aggregator, checked.fx.join?.link(), 'the offer of the piece')
    if (offered === undefined || offered.out.error) continue
    const { nb } = (offered.ran as Task).capabilities[0] as { nb: Record<string, unknown> }
    const group = (nb.group ?? nb.provider) as string
    findings.check(
      'a piece is in the group of its space',
      groups.has(group),
      () => `${piece} is offered in ${group}, not in ${[...groups]}`,
    )
    const record = promiserOf(services.get(aggregator) as Simulated, `${offered.fx.join?.link()}`)
    findings.check(
      AGREES,
      record?.storefront === id.did() && record.group === group && record.piece === `${piece}`,
      () => `${piece} of ${group} was promised a task of ${record?.piece} of ${record?.group}`,
    )
    const arranged = follow(aggregator, offered.fx.join?.link(), 'the aggregate of the piece')
    if (arranged === undefined || dialect !== 'draft-1') continue
    const dealt = follow('dealer', arranged.fx.join?.link(), 'the deal of the aggregate')
    if (dealt === undefined) continue
    const { aggregate } = arranged.out.ok as { aggregate: unknown }
    const { piece: named } = (dealt.out.ok ?? dealt.out.error) as { piece?: unknown }
    findings.check(
      AGREES,
      abilityOf(dealt) === 'offer/arrange' && `${named}` === `${aggregate}`,
      () => `${task} leads to ${aggregate}, and to ${abilityOf(dealt)} of ${named}`,
    )
  }
}

/** Returns the record of the piece whose workflow promised a task of a dialect. */
const promiserOf = ({ tables }: Simulated, task: string) => {
  const translation = [...tables.translation!.items.values()].find(item => item.task === task)
  return tables.piece!.items.get(JSON.stringify([translation?.subject]))
}

/** Whether the receipt of a task of a dialect reports the same as that of the task of the protocol. */
const agree = (own: Receipt, other: Receipt): boolean => {
  if (!isTask(own.ran) || !isTask(other.ran)) return false
  const isSameSubject =
    own.ran.nonce === other.ran.nonce &&
    linksIn(own.ran).every(link => linksIn(other.ran as Task).includes(link))
  const [result, expected] = [own, other].map(({ out }) => (out.ok ?? {}) as Named)
  return (
    isSameSubject &&
    nameOf(own) === nameOf(other) &&
    (result?.aggregate === undefined || `${result.aggregate}` === `${expected?.aggregate}`)
  )
}

type Named = { aggregate?: unknown }

/** Returns the links in the arguments of a task. */
const linksIn = ({ capabilities: [{ nb }] }: Task): string[] =>
  Object.values(nb as object)
    .filter(value => typeof value === 'object')
    .map(String)

/** Returns the name of the error in a receipt, which drafts 2 and 3 misspell; `undefined` for a success. */
const nameOf = ({ out }: Receipt): string | undefined => {
  const name = (out.error as Failure | undefined)?.name
  return name === 'InvaildPieceCID' ? 'InvalidPieceCID' : name
}

const abilityOf = ({ ran }: Receipt): string | undefined =>
  isTask(ran) ? ran.capabilities[0].can : undefined

const describe = (receipt: Receipt | undefined): string =>
  receipt === undefined ? 'no receipt' : `${abilityOf(receipt)} ${nameOf(receipt) ?? 'ok'}`

const checkSignature = async (findings: Findings, receipt: Receipt, id: Signer): Promise<void> => {
  const { error } = await receipt.verifySignature(Verifier.parse(id.did()) as never)
  findings.check('proofs verify', !error, () => `${receipt.ran.link()} is not signed by ${id.did()}`)
}
