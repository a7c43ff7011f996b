import { describePlaceKey } from '@w3filecoin/capabilities'
import { duration, shortCid, wrap } from '../../text.ts'
import { iso, time } from '../display.ts'
import type { ReceiptStep } from './receipts.ts'
import type { OpenWork, Step, Story } from './story.ts'

/** The answer of `ops trace`. */
export interface Told {
  subject: string
  stories: readonly Story[]
  /** The receipt of the task, if the subject is one. */
  receipt: ReceiptStep | undefined
  /** Whether there are more workflows than the limit. */
  more: boolean
}

/** Columns of the smallest usual terminal. */
const COLUMNS = 80
/** Columns of time and service before the text of a step. */
const TIME_COLUMNS = 21
const SERVICE_COLUMNS = 14
const LABEL_COLUMNS = 12
/** Columns of the name of a task, e.g. `aggregate/accept 2`. */
const NAME_COLUMNS = 18

/** The answer as lines of at most 80 columns. A word that is longer, e.g. a CID, is not cut. */
export const linesOf = ({ subject, stories, receipt, more }: Told, now: number): string[] => [
  ...stories.flatMap((story, n) => [
    ...(n === 0 ? [] : ['', '='.repeat(COLUMNS), '']),
    ...storyLines(story, `${n + 1} of ${stories.length}${more ? ' or more' : ''}`, now),
  ]),
  ...(stories.length === 0 && receipt ? receiptOnly(subject, receipt) : []),
  ...(more ? ['', 'There are more workflows: raise --limit'] : []),
]

const storyLines = (story: Story, number: string, now: number): string[] => [
  ...headOf(story, number, now),
  '',
  `${'UTC'.padEnd(TIME_COLUMNS)}${'SERVICE'.padEnd(SERVICE_COLUMNS)}STEP`,
  ...story.steps.flatMap(stepLines),
  ...(story.open.length > 0 ? ['', 'NOT FINISHED'] : []),
  ...story.open.flatMap(work => workLines(work, now)),
  '',
  'IN FULL',
  ...story.aggregates.map(({ aggregate }, n) => field(`aggregate ${n + 1}`, aggregate)),
  ...story.tasks.map(({ name, task }) => `  ${name.padEnd(NAME_COLUMNS)} ${task}`),
  ...[...issuersOf(story)].map(([service, did]) => `  ${service.padEnd(NAME_COLUMNS)} ${did}`),
]

const headOf = (story: Story, number: string, now: number): string[] => {
  const { piece, content, nonce, group, space, storefront, stage, since, reason, contentAttempts } = story
  const began = story.steps[0]?.at
  const took = began !== undefined && since !== undefined ? since - began : 0
  const count = story.aggregates.length
  const deal = story.aggregates.at(-1)?.deal
  const head = [
    `${piece === undefined ? 'Aggregate' : 'Workflow'} ${number}: ${stage}`,
    ...(piece !== undefined && count > 1 ? [`in aggregate ${count}`] : []),
    ...(deal === undefined ? [] : [`with ${describePlaceKey(deal)}`]),
  ].join(' ')
  // The record that is furthest along is the one that the others wait for.
  const last = story.open.at(-1)
  return [
    head,
    ...(since === undefined
      ? []
      : [`  since ${time(since)} UTC${took > 0 ? `, ${duration(took)} after the first step` : ''}`]),
    ...(reason ? detail('why', `${reason.name}: ${reason.message}`, 2) : []),
    ...(last ? detail('next', `${last.next} (${last.service})${triedAgain(last, now)}`, 2) : []),
    ...(piece === undefined ? [] : [field('piece', piece)]),
    ...(content === undefined ? [] : [field('content', content)]),
    field('group', group),
    ...(space === undefined ? [] : [field('space', space)]),
    ...(content === undefined && storefront !== undefined ? [field('storefront', storefront)] : []),
    ...(nonce === undefined ? [] : [field('nonce', nonce)]),
    ...(contentAttempts === undefined ? [] : [field('attempts', `${contentAttempts} to read the content`)]),
  ]
}

/** The DIDs that signed the receipts of each service. */
const issuersOf = ({ steps }: Story): Map<string, string> => {
  const issuers = new Map<string, Set<string>>()
  for (const step of steps)
    if (step.kind === 'receipt' && step.issuer !== undefined)
      issuers.set(step.service, (issuers.get(step.service) ?? new Set()).add(step.issuer))
  return new Map([...issuers].map(([service, dids]) => [service, [...dids].join(' ')]))
}

const stepLines = (step: Step): string[] => {
  const [first = '', ...rest] = wrap(textOf(step), COLUMNS - TIME_COLUMNS - SERVICE_COLUMNS)
  const indent = ' '.repeat(TIME_COLUMNS + SERVICE_COLUMNS)
  return [
    `${`${time(step.at) ?? '?'}`.padEnd(TIME_COLUMNS)}${step.service.padEnd(SERVICE_COLUMNS)}${first}`,
    ...rest.map(line => `${indent}${line}`),
  ]
}

const textOf = (step: Step): string => {
  switch (step.kind) {
    case 'stage': {
      const { record, stage, aggregate, copy, target, lastedMs, note } = step
      const what =
        record === 'order'
          ? `copy ${copy} at ${target} ${stage}`
          : record === 'piece'
            ? `piece ${stage}`
            : `aggregate ${aggregate} ${stage}`
      const where = record !== 'aggregate' && aggregate !== undefined ? ` (aggregate ${aggregate})` : ''
      const how = [note, lastedMs === undefined ? undefined : `for ${duration(lastedMs)}`]
        .filter(part => part !== undefined)
        .join(', ')
      return `${what}${where}${how ? `: ${how}` : ''}`
    }
    case 'deal': {
      const { deal, aggregate, provider, status, source, isEnd, reason } = step
      const place = `${describePlaceKey(deal)} of aggregate ${aggregate}`
      if (isEnd) return `${place} ${status.toLowerCase()}${reason ? `: ${reason}` : ''} (source ${source})`
      return `${place} seen at ${provider}: ${status} (source ${source})`
    }
    case 'receipt': {
      const { name, error, forks, join, unreadBytes } = step
      if (unreadBytes !== undefined) return `receipt ${name}: ${unreadBytes} bytes, too large to read here`
      const outcome = error ? `${error.name}: ${error.message}` : 'ok'
      const joined = join ? ` → ${join.ability ?? shortCid(join.task)}` : ''
      const forked = forks > 0 ? `, ${forks} ${forks === 1 ? 'fork' : 'forks'}` : ''
      return shorten(`receipt ${name}: ${outcome}${joined}${forked}`)
    }
  }
}

const workLines = (work: OpenWork, now: number): string[] => {
  const { service, table, stage, since, next, trouble, note, aggregate } = work
  const number = aggregate === undefined ? '' : ` ${aggregate}`
  const waits = since === undefined ? '' : ` since ${time(since)} (${duration(Math.max(0, now - since))})`
  return [
    ...wrap(`  ${service} ${table}${number}${stage === undefined ? '' : `, ${stage}`}${waits}`, COLUMNS),
    ...detail('next', next),
    ...(trouble ? detail('why not yet', `${trouble.message} (${describeTimes(trouble)})`) : []),
    ...(note === undefined ? [] : detail('known', note)),
    ...detail('tried again', describeCheck(work, now)),
    ...detail('record', work.key),
  ]
}

const describeTimes = ({ times, at }: NonNullable<OpenWork['trouble']>): string =>
  [`${times} ${times === 1 ? 'time' : 'times'}`, ...(at === undefined ? [] : [`last ${time(at)} UTC`])].join(
    ', ',
  )

const describeCheck = ({ checkAt, isOverdue }: OpenWork, now: number): string => {
  if (checkAt === undefined)
    return 'never: no check is scheduled. w3fil ops reconcile --scan --send repairs that'
  if (isOverdue)
    return `it was due ${time(checkAt)} UTC, ${duration(now - checkAt)} ago: see w3fil ops dlq and w3fil ops reconcile`
  return `${time(checkAt)} UTC, ${checkAt > now ? `in ${duration(checkAt - now)}` : 'now'}`
}

const triedAgain = ({ checkAt, isOverdue }: OpenWork, now: number): string =>
  checkAt === undefined || isOverdue || checkAt <= now ? '' : `; tried again in ${duration(checkAt - now)}`

const detail = (label: string, text: string, margin = 4): string[] => {
  const indent = margin + LABEL_COLUMNS
  const [first = '', ...rest] = wrap(shorten(text), COLUMNS - indent)
  return [
    `${' '.repeat(margin)}${label.padEnd(LABEL_COLUMNS)}${first}`,
    ...rest.map(line => `${' '.repeat(indent)}${line}`),
  ]
}

const field = (label: string, text: string): string => `  ${label.padEnd(LABEL_COLUMNS)}${text}`

const receiptOnly = (subject: string, receipt: ReceiptStep): string[] => [
  'The task has a receipt, but no workflow or aggregate belongs to it',
  ...stepLines(receipt),
  field('task', subject),
  ...(receipt.issuer === undefined ? [] : [field('issuer', receipt.issuer)]),
]

/** Shortens the CIDs and keys in a text: the full ones are in their own section, and in the JSON. */
const shorten = (text: string): string =>
  text
    .replaceAll(/\b(?:baf|bag)[a-z2-7]{40,}\b/g, shortCid)
    .replaceAll(/\bdid:key:z\w{30,}/g, did => `${did.slice(0, 16)}…`)

/** The answer as JSON. */
export const resultOf = ({ subject, stories, receipt, more }: Told): object => ({
  subject,
  more,
  ...(receipt && { receipt: stepJson(receipt) }),
  stories: stories.map(({ keys: _, ...story }) => ({
    kind: story.piece === undefined ? 'aggregate' : 'workflow',
    ...story,
    since: iso(story.since),
    steps: story.steps.map(stepJson),
    open: story.open.map(work => ({
      ...work,
      since: iso(work.since),
      checkAt: iso(work.checkAt),
      trouble: work.trouble && { ...work.trouble, at: iso(work.trouble.at) },
    })),
  })),
})

const stepJson = <S extends Step>(step: S) => ({ ...step, at: iso(step.at) })
