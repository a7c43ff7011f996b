import {
  type AnyLink,
  type ChainLink,
  type FilecoinInfoSuccess,
  followChain,
  Proof,
  type Storefront,
} from '@w3filecoin/client'
import type { AskedTask } from './ask-task.ts'
import { element } from './element.ts'
import { badge, dealsSection, identifier, list, placesSection, problem, section, time } from './parts.ts'
import { facts, proofView } from './proof-view.ts'
import { STAGES, TASKS } from './words.ts'

/** A workflow as it is now: the state that the storefront reports, and the chain of receipts, each verified. */
export interface Journey {
  asked: AskedTask
  info?: FilecoinInfoSuccess
  /** The failure of the question about its state. */
  failure?: unknown
  links: ChainLink[]
}

/** Reads a workflow. Parts that cannot be read now are absent, with the reason. */
export const readJourney = async (
  storefront: Storefront,
  asked: AskedTask,
  signal: AbortSignal,
): Promise<Journey> => {
  const { task } = asked
  const follow = async (start: string) => {
    const links: ChainLink[] = []
    for await (const link of followChain(storefront, start, { signal })) links.push(link)
    return links
  }
  // The receipt of a failed task names the piece only in its task.
  const first = asked.piece ? [] : await follow(task)
  const piece = asked.piece ?? pieceOf(first[0])
  if (piece === undefined) return { asked, links: first }
  try {
    const info = await storefront.info(piece, { task, signal })
    const { submit = task, accept } = info.task ?? {}
    const starts = [submit, ...(accept ? [accept] : [])]
    const links = await Promise.all(starts.map(start => follow(`${start}`)))
    return { asked: { ...asked, piece }, info, links: links.flat() }
  } catch (failure) {
    signal.throwIfAborted()
    return { asked: { ...asked, piece }, failure, links: await follow(task) }
  }
}

/** The piece in the arguments of a task. */
const pieceOf = (link: ChainLink | undefined): AnyLink | undefined => {
  const [capability] =
    (link?.receipt?.ran as { capabilities?: { nb: { piece?: AnyLink } }[] } | undefined)?.capabilities ?? []
  return capability?.nb.piece
}

/** Shows a workflow: its stages, its chain of tasks, its places on chain and its proof. */
export const journeyView = async (storefront: Storefront, journey: Journey): Promise<HTMLElement[]> => {
  const { asked, info, links, failure } = journey
  const final = links.find(({ can, receipt }) => can === 'filecoin/accept' && receipt?.out.ok)
  return [
    stagesSection(journey),
    ...(failure ? [problem('The storefront reports no more about this workflow now', failure)] : []),
    chainSection(links, info),
    ...(info && info.deals.length > 0 ? [dealsSection(info.deals, storefront.did)] : []),
    ...(info?.places?.length ? [placesSection(info.places, storefront.did)] : []),
    ...(final ? [await proofOf(final, storefront, asked.piece)] : []),
  ]
}

const proofOf = async ({ receipt }: ChainLink, storefront: Storefront, piece: AnyLink | undefined) => {
  try {
    return proofView(await Proof.fromReceipt(receipt!), { storefront, name: piece && `${piece}` })
  } catch (error) {
    return section('Proof', badge('not verified'), problem('This receipt is not a proof', error))
  }
}

const stagesSection = ({ asked, info }: Journey): HTMLElement => {
  const {
    stage = asked.stage,
    history = [],
    waitsFor = asked.waitsFor,
    error = asked.error,
  } = info?.task ?? {}
  const { trouble, until } = asked
  return section(
    stage === undefined ? 'Task' : STAGES[stage],
    facts([
      ['Task', identifier(asked.task)],
      ...(asked.piece
        ? [['Piece', identifier(`${asked.piece}`, `/?of=${asked.piece}`)] as [string, Node]]
        : []),
    ]),
    history.length > 0 &&
      element(
        'ol',
        { class: 'stages' },
        ...history.map(({ stage, at }, n) =>
          element(
            'li',
            {
              class: n === history.length - 1 ? `now ${stage}` : stage,
              ...(n === history.length - 1 && { 'aria-current': 'step' }),
            },
            element('strong', {}, STAGES[stage]),
            ' ',
            time(at),
          ),
        ),
      ),
    element('p', { class: 'hint' }, 'As the storefront reports. The chain below shows the proven part.'),
    waitsFor !== undefined && element('p', { class: 'waits' }, `${waitsFor}.`),
    until !== undefined && element('p', { class: 'hint' }, 'Until ', time(until)),
    trouble !== undefined &&
      element(
        'p',
        { class: 'problem' },
        element('strong', {}, 'Trouble: '),
        `${trouble.name}. The storefront tries again.`,
      ),
    error !== undefined && problem('It failed', { message: error.name }),
  )
}

const chainSection = (links: readonly ChainLink[], info: FilecoinInfoSuccess | undefined): HTMLElement => {
  const timeOf = (can: string | undefined) => {
    const stage = TASKS[can ?? '']?.stage
    return info?.task?.history.findLast(entry => entry.stage === stage)?.at
  }
  const names = new Map(links.map(({ task, can }) => [task, can]))
  return section(
    'Chain of tasks',
    element(
      'p',
      { class: 'hint' },
      'Each receipt must be signed by the service that ran the task, and must name the next task. This browser checks both.',
    ),
    element('ol', { class: 'chain' }, ...links.map(link => linkItem(link, timeOf(link.can), names))),
  )
}

/** Errors that say nothing about a receipt: the service did not answer, or not with one. */
const UNREAD: ReadonlySet<string> = new Set(['Unreachable', 'UnknownKeys'])

const linkItem = (
  { task, can, service, promisedBy, receipt, error }: ChainLink,
  at: string | undefined,
  names: ReadonlyMap<string, string | undefined>,
): HTMLElement => {
  const known = TASKS[can ?? '']
  const failure = receipt?.out.error as { name: string; message: string } | undefined
  const isUnread = error !== undefined && UNREAD.has(error.code)
  const verdict = error && !isUnread ? 'not verified' : receipt ? 'verified' : 'waiting'
  return element(
    'li',
    { class: verdict.replace(' ', '-') },
    element(
      'div',
      { class: 'head' },
      element('code', { class: 'ability' }, can ?? 'task'),
      element('span', {}, known?.service ?? ''),
      badge(verdict, isUnread ? 'could not be read' : verdict === 'waiting' ? 'no receipt yet' : verdict),
    ),
    receipt && element('p', {}, failure ? `Failed: ${failure.name}` : (known?.says ?? 'Done')),
    at !== undefined && receipt && element('p', {}, time(at)),
    error && problem(isUnread ? 'This receipt could not be read' : 'This receipt is not verified', error),
    element(
      'details',
      {},
      element('summary', {}, 'Details'),
      facts([
        ['Task', identifier(task, `/receipt/${task}`)],
        ...(service === undefined ? [] : [['Signed by', identifier(service)] as [string, Node]]),
        ...(promisedBy === undefined
          ? []
          : [['Promised by', `the receipt of ${names.get(promisedBy) ?? promisedBy}`] as [string, string]]),
      ]),
      failure && list([failure.message]),
    ),
  )
}
