import { count, fit, table } from '@w3filecoin/local/text'
import type { DeadLetter } from './dead-letter-queue.ts'
import type { QueueReport } from './dlq.ts'
import type { StalledRecord, TableReport } from './reconcile.ts'

/** The most columns of a line: a reason is longer than a terminal is wide, but a body may be anything. */
const WIDE = 300

/** What was found, for people. */
export class Display {
  readonly #print: (text: string) => unknown

  constructor(print: (text: string) => unknown) {
    this.#print = print
  }

  queue({ service, queue, letters, left, fifo }: QueueReport): void {
    if (letters.length === 0 && left === 0) return
    const rest =
      left === 0
        ? ''
        : `, about ${count(left)} more ${fifo ? 'behind these in their groups' : 'not looked at'}`
    this.#line(`${service} ${queue}: ${letterCount(letters.length)}${rest}`)
    this.#rows(
      ['MESSAGE', 'SENT FIRST (UTC)', 'ATTEMPTS', 'WHERE'],
      letters,
      ({ message, sentAt, postMortem }) => [
        message,
        time(sentAt),
        postMortem === undefined ? '?' : `${postMortem.attempts}`,
        postMortem?.at ?? '?',
      ],
      letter => [reasonOf(letter), letter.body],
    )
  }

  queues(reports: readonly QueueReport[], sent: boolean): void {
    const letters = reports.reduce((sum, { letters }) => sum + letters.length, 0)
    const left = reports.reduce((sum, { left }) => sum + left, 0)
    const among = `${reports.length === 1 ? 'one queue' : `${reports.length} queues`}`
    if (letters + left === 0) this.#line(`No dead letters in ${among}`)
    else if (sent)
      this.#line(
        `${letterCount(letters)} sent back to their queues${left > 0 ? `; about ${count(left)} are left` : ''}`,
      )
    else this.#line(`${letterCount(letters + left)} in ${among}; --send sends them back to their queues`)
  }

  table({ service, table, stalled, more }: TableReport): void {
    if (stalled.length === 0) return
    this.#line(`${service} ${table}: ${recordCount(stalled.length)}${more ? ', and more' : ''}`)
    this.#rows(
      ['RECORD', 'STAGE', 'SINCE (UTC)', 'TO BE LOOKED AT'],
      stalled,
      ({ key, stage, since, lookAt }) => [key, stage ?? '-', time(since), time(lookAt, 'never')],
      record => [
        `Next: ${record.next}`,
        ...messagesOf(record).map(([queue, message]) => `Message to ${queue}: ${JSON.stringify(message)}`),
      ],
    )
  }

  tables(reports: readonly TableReport[], sent: boolean): void {
    const sum = (of: (report: TableReport) => number) => reports.reduce((sum, report) => sum + of(report), 0)
    const stalled = sum(({ stalled }) => stalled.length)
    const among = `${count(sum(({ read }) => read))} records, ${count(sum(({ unfinished }) => unfinished))} unfinished`
    const more = reports.some(({ more }) => more) ? ', and there are more' : ''
    this.#line(
      stalled === 0
        ? `Nothing is stalled: ${among}`
        : sent
          ? `${recordCount(stalled)} got moving${more}: ${among}`
          : `${recordCount(stalled)} stalled${more}: ${among}; --send gets them moving`,
    )
  }

  /** Aligned rows, each with lines that say more about it. */
  #rows<T>(
    heads: readonly string[],
    items: readonly T[],
    row: (item: T) => string[],
    more: (item: T) => string[],
  ): void {
    if (items.length > 0) {
      const [head, ...rows] = table(heads, items.map(row))
      this.#line(`  ${head}`)
      for (const [n, item] of items.entries()) {
        this.#line(`  ${rows[n]}`)
        for (const line of more(item)) this.#line(`    ${line.replaceAll(/\s+/g, ' ')}`)
      }
    }
    this.#print('\n')
  }

  #line(text: string): void {
    this.#print(`${fit(text, WIDE)}\n`)
  }
}

/** Why a message was given up, in one line. */
export const reasonOf = ({ postMortem }: DeadLetter): string =>
  postMortem === undefined
    ? 'The function ended before it could say why'
    : postMortem.reason.map(({ name, message }) => `${name}: ${message}`).join(' ← ')

/** A JSON line for a letter. */
export const letterLine = (
  { service, queue }: QueueReport,
  { message, sentAt, postMortem, body }: DeadLetter,
  sent: boolean,
) => ({
  service,
  queue,
  message,
  sentAt: iso(sentAt),
  attempts: postMortem?.attempts,
  reason: postMortem?.reason,
  at: postMortem?.at,
  body,
  sent,
})

/** A JSON line for a record. */
export const recordLine = (
  { service, table }: TableReport,
  { since, lookAt, ...record }: StalledRecord,
  sent: boolean,
) => ({ service, table, ...record, since: iso(since), lookAt: iso(lookAt), sent })

const messagesOf = ({ messages }: StalledRecord): [string, unknown][] =>
  Object.entries(messages).flatMap(([queue, some = []]) =>
    some.map((message): [string, unknown] => [queue, message]),
  )

const letterCount = (n: number) => `${count(n)} dead ${n === 1 ? 'letter' : 'letters'}`
const recordCount = (n: number) => `${count(n)} ${n === 1 ? 'record' : 'records'}`

const iso = (time: number | undefined): string | undefined =>
  time === undefined ? undefined : new Date(time).toISOString()

const time = (time: number | undefined, without = '-'): string =>
  iso(time)?.slice(0, 19).replace('T', ' ') ?? without
